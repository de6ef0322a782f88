"""Layer-wise pre-training of deep networks with denoising autoencoders, on PyTorch Lightning.

The method of Vincent, Larochelle, Bengio and Manzagol, "Extracting and Composing Robust Features with Denoising
Autoencoders" (ICML 2008).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stacked_dae.version import __version__ as __version__

if TYPE_CHECKING:
    from stacked_dae.config.loading import from_dict as from_dict
    from stacked_dae.config.schema import Config as Config
    from stacked_dae.data.dataset import make_dataset as make_dataset
    from stacked_dae.data.registry import load_data as load_data
    from stacked_dae.errors import ConfigError as ConfigError
    from stacked_dae.errors import DataError as DataError
    from stacked_dae.errors import DivergedError as DivergedError
    from stacked_dae.errors import StackedDAEError as StackedDAEError
    from stacked_dae.errors import StageError as StageError
    from stacked_dae.estimators.classifier import StackedDAEClassifier as StackedDAEClassifier
    from stacked_dae.estimators.regressor import StackedDAERegressor as StackedDAERegressor
    from stacked_dae.estimators.transformer import StackedDAETransformer as StackedDAETransformer
    from stacked_dae.inference.model import StackedDAE as StackedDAE
    from stacked_dae.nn.autoencoder import DenoisingLayer as DenoisingLayer
    from stacked_dae.nn.components import Parts as Parts
    from stacked_dae.nn.corruption import FixedMasking as FixedMasking
    from stacked_dae.nn.corruption import Gaussian as Gaussian
    from stacked_dae.nn.corruption import Masking as Masking
    from stacked_dae.nn.corruption import SaltAndPepper as SaltAndPepper
    from stacked_dae.nn.corruption import Swap as Swap
    from stacked_dae.nn.stack import EncoderStack as EncoderStack
    from stacked_dae.pipeline.runner import evaluate as evaluate
    from stacked_dae.pipeline.runner import finetune as finetune
    from stacked_dae.pipeline.runner import fit as fit
    from stacked_dae.pipeline.runner import pretrain as pretrain
    from stacked_dae.runs.folder import RunFolder as RunFolder

# Names are imported when they are used: the command line must answer without waiting for torch.
_HOME = {
    "Config": "config.schema",
    "from_dict": "config.loading",
    "FixedMasking": "nn.corruption",
    "Gaussian": "nn.corruption",
    "Masking": "nn.corruption",
    "SaltAndPepper": "nn.corruption",
    "Swap": "nn.corruption",
    "make_dataset": "data.dataset",
    "load_data": "data.registry",
    "ConfigError": "errors",
    "DataError": "errors",
    "DivergedError": "errors",
    "StackedDAEError": "errors",
    "StageError": "errors",
    "StackedDAEClassifier": "estimators.base",
    "StackedDAERegressor": "estimators.base",
    "StackedDAETransformer": "estimators.base",
    "DenoisingLayer": "nn.autoencoder",
    "RunFolder": "runs.folder",
    "Parts": "training.builders",
    "StackedDAE": "inference.model",
    "EncoderStack": "nn.stack",
    "evaluate": "pipeline.runner",
    "finetune": "pipeline.runner",
    "fit": "pipeline.runner",
    "pretrain": "pipeline.runner",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
