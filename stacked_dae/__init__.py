"""Layer-wise pre-training of deep networks with denoising autoencoders, on PyTorch Lightning.

The method of Vincent, Larochelle, Bengio and Manzagol, "Extracting and Composing Robust Features with Denoising
Autoencoders" (ICML 2008).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stacked_dae.version import __version__ as __version__

if TYPE_CHECKING:
    from stacked_dae.config import Config as Config
    from stacked_dae.corruption import FixedMasking as FixedMasking
    from stacked_dae.corruption import Gaussian as Gaussian
    from stacked_dae.corruption import Masking as Masking
    from stacked_dae.corruption import SaltAndPepper as SaltAndPepper
    from stacked_dae.corruption import Swap as Swap
    from stacked_dae.data.dataset import make_dataset as make_dataset
    from stacked_dae.data.registry import load_data as load_data
    from stacked_dae.errors import ConfigError as ConfigError
    from stacked_dae.errors import DataError as DataError
    from stacked_dae.errors import DivergedError as DivergedError
    from stacked_dae.errors import StackedDAEError as StackedDAEError
    from stacked_dae.errors import StageError as StageError
    from stacked_dae.estimator import StackedDAEClassifier as StackedDAEClassifier
    from stacked_dae.estimator import StackedDAERegressor as StackedDAERegressor
    from stacked_dae.estimator import StackedDAETransformer as StackedDAETransformer
    from stacked_dae.layer import DenoisingLayer as DenoisingLayer
    from stacked_dae.manifest import RunFolder as RunFolder
    from stacked_dae.model import StackedDAE as StackedDAE
    from stacked_dae.networks import Parts as Parts
    from stacked_dae.settings import from_dict as from_dict
    from stacked_dae.stack import EncoderStack as EncoderStack
    from stacked_dae.workflow import evaluate as evaluate
    from stacked_dae.workflow import finetune as finetune
    from stacked_dae.workflow import fit as fit
    from stacked_dae.workflow import pretrain as pretrain

# Names are imported when they are used: the command line must answer without waiting for torch.
_HOME = {
    "Config": "config",
    "from_dict": "settings",
    "FixedMasking": "corruption",
    "Gaussian": "corruption",
    "Masking": "corruption",
    "SaltAndPepper": "corruption",
    "Swap": "corruption",
    "make_dataset": "data.dataset",
    "load_data": "data.registry",
    "ConfigError": "errors",
    "DataError": "errors",
    "DivergedError": "errors",
    "StackedDAEError": "errors",
    "StageError": "errors",
    "StackedDAEClassifier": "estimator",
    "StackedDAERegressor": "estimator",
    "StackedDAETransformer": "estimator",
    "DenoisingLayer": "layer",
    "RunFolder": "manifest",
    "Parts": "networks",
    "StackedDAE": "model",
    "EncoderStack": "stack",
    "evaluate": "workflow",
    "finetune": "workflow",
    "fit": "workflow",
    "pretrain": "workflow",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
