"""The result of a run: what its test found, as the run folder keeps it and as W&B shows it."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch

from stacked_dae.errors import StageError
from stacked_dae.nn.mixed_classifier import MixedClassifier
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.reporting.columns import Unit, baseline_key
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.manifest import RegressionResult, Result
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.training.evaluation import RegressionScore, Score
from stacked_dae.version import __version__

# What of a result W&B has elsewhere, or cannot plot.
_NOT_IN_SUMMARY = ("confusion", "metrics", "baselines", "mixture", "weights_sha256", "test_rows", "versions")


def build_result(
    folder: RunFolder,
    stack: EncoderStack | MixedClassifier,
    test: Score | RegressionScore,
    baselines: dict[str, float] | None,
) -> Result | RegressionResult:
    """Return the result of a fine-tuned run.

    Args:
        folder: its folder.
        stack: the network that was tested.
        test: what was found.
        baselines: errors of the baselines; those that an earlier result of these rows has are kept.
    """
    config, records = folder.config(), folder.manifest.stages
    tuned = records[FINETUNE]
    assert tuned.best_epoch is not None
    assert tuned.sha256 is not None
    shared: dict[str, Any] = {
        "dataset": folder.manifest.dataset.name,
        "model": config.model,
        "seed": config.seed,
        "n_test": test.n,
        "best_epoch": tuned.best_epoch,
        "parameters": sum(p.numel() for p in stack.parameters()),
        "seconds": round(sum(record.seconds or 0.0 for record in records.values()), 3),
        "weights_sha256": tuned.sha256,
        "test_rows": test.rows,
        "versions": {
            "stacked_dae": __version__,
            "torch": torch.__version__,
            "pytorch_lightning": version("pytorch-lightning"),
            "python": platform.python_version(),
        },
        "metrics": dict(test.measures) or None,
        "baselines": {**_earlier_baselines(folder, test.rows), **(baselines or {})} or None,
    }
    if isinstance(test, RegressionScore):
        rmse = folder.best_valid_rmse()
        assert rmse is not None
        return RegressionResult(**shared, test_rmse=test.rmse, test_mae=test.mae, test_r2=test.r2, best_valid_rmse=rmse)
    assert tuned.best_valid_error_percent is not None
    return Result(
        **shared,
        labels_per_class=config.data.labels_per_class,
        test_error_percent=test.error_percent,
        test_error_ci95_percent=test.ci95_percent,
        best_valid_error_percent=tuned.best_valid_error_percent,
        confusion=test.confusion,
        mixture=stack.parts() if isinstance(stack, MixedClassifier) else None,
    )


def _earlier_baselines(folder: RunFolder, rows: str) -> dict[str, float]:
    """Return what an earlier result of these weights has on the rows of this SHA-256."""
    try:
        earlier = folder.result()
    except StageError:
        return {}
    return (earlier.baselines or {}) if earlier.test_rows == rows else {}


def summary_of(result: Result | RegressionResult) -> dict[str, Any]:
    """Return a result as W&B's summary has it, flat."""
    summary = {name: value for name, value in result.to_dict().items() if name not in _NOT_IN_SUMMARY}
    summary |= {f"test_{name}": value for name, value in (result.metrics or {}).items()}
    if isinstance(result, Result):
        summary |= {f"share_{name}": value for name, value in (result.mixture or {}).items()}
    unit: Unit = "rmse" if isinstance(result, RegressionResult) else "error_percent"
    return summary | {baseline_key(name, unit): value for name, value in (result.baselines or {}).items()}


def selection_score(run: RunFolder) -> tuple[float, float]:
    """Return what a fine-tuned run is chosen by: its lowest validation error (%), and the loss of the same epoch.

    Of a regression both are the squared error.
    """
    record = run.stage(FINETUNE)
    assert record.best_epoch is not None
    if record.best_valid_loss is not None:
        return record.best_valid_loss, record.best_valid_loss
    assert record.best_valid_error_percent is not None
    (loss,) = (row["valid_loss"] for row in run.metrics(FINETUNE).rows() if row["epoch"] == record.best_epoch)
    return record.best_valid_error_percent, loss


def diverged_stage(run: RunFolder) -> str:
    """Return the stage of a run in which its training diverged."""
    return next(name for name, record in run.manifest.stages.items() if not record.is_done)
