"""Layer-wise pre-training of deep networks with denoising autoencoders, on PyTorch Lightning.

The method of Vincent, Larochelle, Bengio and Manzagol, "Extracting and Composing Robust Features with Denoising
Autoencoders" (ICML 2008).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stacked_dae.version import __version__ as __version__

if TYPE_CHECKING:
    from stacked_dae.config.loading import config_from_dict as config_from_dict
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
    from stacked_dae.figures.plots import plot_codes as plot_codes
    from stacked_dae.figures.plots import plot_confusion as plot_confusion
    from stacked_dae.figures.plots import plot_filters as plot_filters
    from stacked_dae.figures.plots import plot_history as plot_history
    from stacked_dae.figures.plots import plot_importance as plot_importance
    from stacked_dae.figures.plots import plot_reconstructions as plot_reconstructions
    from stacked_dae.inference.model import StackedDAE as StackedDAE
    from stacked_dae.lightning.codes import CodesDataModule as CodesDataModule
    from stacked_dae.lightning.data import DAEDataModule as DAEDataModule
    from stacked_dae.lightning.greedy import pretrain_greedy as pretrain_greedy
    from stacked_dae.lightning.tasks.finetune import FinetuneTask as FinetuneTask
    from stacked_dae.lightning.tasks.finetune import RegressionTask as RegressionTask
    from stacked_dae.lightning.tasks.pretrain import PretrainTask as PretrainTask
    from stacked_dae.nn.autoencoder import DenoisingAutoencoder as DenoisingAutoencoder
    from stacked_dae.nn.components import Components as Components
    from stacked_dae.nn.corruption import FixedMasking as FixedMasking
    from stacked_dae.nn.corruption import Gaussian as Gaussian
    from stacked_dae.nn.corruption import Masking as Masking
    from stacked_dae.nn.corruption import SaltAndPepper as SaltAndPepper
    from stacked_dae.nn.corruption import SwapNoise as SwapNoise
    from stacked_dae.nn.stack import EncoderStack as EncoderStack
    from stacked_dae.pipeline.api import evaluate as evaluate
    from stacked_dae.pipeline.api import finetune as finetune
    from stacked_dae.pipeline.api import fit as fit
    from stacked_dae.pipeline.api import measure_baselines as measure_baselines
    from stacked_dae.pipeline.api import pretrain as pretrain
    from stacked_dae.runs.folder import RunFolder as RunFolder
    from stacked_dae.tuning.search import objective as objective
    from stacked_dae.tuning.search import search as search

# The module of each public name, imported when the name is first used: `stacked-dae --help` must not wait for torch.
_MODULES = {
    "CodesDataModule": "lightning.codes",
    "Components": "nn.components",
    "Config": "config.schema",
    "ConfigError": "errors",
    "DAEDataModule": "lightning.data",
    "DataError": "errors",
    "DenoisingAutoencoder": "nn.autoencoder",
    "DivergedError": "errors",
    "EncoderStack": "nn.stack",
    "FinetuneTask": "lightning.tasks.finetune",
    "FixedMasking": "nn.corruption",
    "Gaussian": "nn.corruption",
    "Masking": "nn.corruption",
    "PretrainTask": "lightning.tasks.pretrain",
    "RegressionTask": "lightning.tasks.finetune",
    "RunFolder": "runs.folder",
    "SaltAndPepper": "nn.corruption",
    "StackedDAE": "inference.model",
    "StackedDAEClassifier": "estimators.classifier",
    "StackedDAEError": "errors",
    "StackedDAERegressor": "estimators.regressor",
    "StackedDAETransformer": "estimators.transformer",
    "StageError": "errors",
    "SwapNoise": "nn.corruption",
    "config_from_dict": "config.loading",
    "evaluate": "pipeline.api",
    "finetune": "pipeline.api",
    "fit": "pipeline.api",
    "load_data": "data.registry",
    "make_dataset": "data.dataset",
    "measure_baselines": "pipeline.api",
    "objective": "tuning.search",
    "plot_codes": "figures.plots",
    "plot_confusion": "figures.plots",
    "plot_filters": "figures.plots",
    "plot_history": "figures.plots",
    "plot_importance": "figures.plots",
    "plot_reconstructions": "figures.plots",
    "pretrain": "pipeline.api",
    "pretrain_greedy": "lightning.greedy",
    "search": "tuning.search",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
