"""The error of a network on a split, with the interval of a classifier's, and further measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassCalibrationError,
    MulticlassCohenKappa,
    MulticlassF1Score,
    MulticlassMatthewsCorrCoef,
    MulticlassPrecision,
    MulticlassRecall,
)
from torchmetrics.functional.classification import multiclass_confusion_matrix

from stacked_dae.data.columns.columns import NumericColumn
from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.errors import ConfigError
from stacked_dae.nn.mixed_classifier import MixedClassifier
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.training.loader import ChunkLoader
from stacked_dae.utils.intervals import interval, with_interval

_BATCH = 500
# By class: the mean is over the classes that the rows have, as scikit-learn's is.
_BY_CLASS: dict[str, Any] = {"average": None}
# The measures that finetune.metrics names; all take the probabilities of the classes.
_NAMED: dict[str, tuple[type[Metric], dict[str, Any]]] = {
    "accuracy": (MulticlassAccuracy, {"average": "micro"}),
    "balanced_accuracy": (MulticlassRecall, _BY_CLASS),
    "f1": (MulticlassF1Score, {}),
    "precision": (MulticlassPrecision, {}),
    "recall": (MulticlassRecall, {}),
    "auroc": (MulticlassAUROC, _BY_CLASS),
    "average_precision": (MulticlassAveragePrecision, _BY_CLASS),
    "calibration_error": (MulticlassCalibrationError, {}),
    "cohen_kappa": (MulticlassCohenKappa, {}),
    "matthews_corrcoef": (MulticlassMatthewsCorrCoef, {}),
}


class Measures:
    """Torchmetrics of one stage, computed on its validation rows, and on the test rows.

    Args:
        names: those of ``finetune.metrics``; a mean over classes leaves out those that the rows do not have.
        classes: number of classes; of use to ``names`` only.
        own: the user's, of the outputs (logits) and the labels, or of the outputs and the targets (regression only).
        device: where they are computed.
        target: of a regression; outputs and targets are given to ``own`` in its units.
    """

    def __init__(
        self,
        names: Sequence[str],
        classes: int,
        own: MetricCollection | None,
        device: torch.device,
        target: NumericColumn | None = None,
    ) -> None:
        self._device, self._target = device, target
        named = {name: _NAMED[name][0](num_classes=classes, **_NAMED[name][1]) for name in names}
        self._named = MetricCollection(dict(named)).to(device) if named else None
        self._present = torch.zeros(classes, dtype=torch.bool, device=device)
        self._own = own.clone().to(device) if own is not None else None
        self.names = [str(name) for part in (self._named, self._own) if part is not None for name in part]

    def try_out(self, outputs: int, *, wanted: Literal["classes", "targets", "inputs"]) -> None:
        """Compute the measures of made-up rows of ``outputs`` values, and forget them.

        Args:
            outputs: number of outputs per example.
            wanted: what they are compared with.

        Raises:
            ConfigError: a measure does not take such rows, or is no single number.
        """
        generator = torch.Generator().manual_seed(0)
        # Standardised targets lie on both sides of 0.
        values = (
            torch.randn(16, outputs, generator=generator)
            if wanted == "targets"
            else torch.rand(2 * outputs, outputs, generator=generator)
        ).to(self._device)
        labelled = wanted == "classes"
        these = torch.arange(2 * outputs, device=self._device) % outputs if labelled else values.flip(0)
        try:
            self.update(values, these)
            found = self.take()
        except ConfigError:
            raise
        except Exception as error:  # what a metric raises depends on the metric
            rows = {
                "classes": f"logits and labels of {outputs} classes",
                "targets": "predictions and targets, (n, 1) each",
                "inputs": f"reconstructions of {outputs} values",
            }[wanted]
            reason = " ".join(str(error).split())
            raise ConfigError(f"metrics: {', '.join(self.names)} cannot take {rows}: {reason}") from None
        if len(found) < len(self.names):
            raise ConfigError(f"metrics: {', '.join(self.names)} must have different names")

    def update(self, outputs: Tensor, wanted: Tensor) -> None:
        """Take a batch's outputs and what they should be."""
        if self._named is not None:
            self._named.update(outputs.softmax(1), wanted)
            self._present[wanted] = True
        if self._own is not None:
            if self._target is not None:
                shift, width = self._target.shift, self._target.width
                outputs, wanted = outputs.double() * width + shift, wanted.double() * width + shift
            self._own.update(outputs, wanted)

    def take(self) -> dict[str, float]:
        """Return the measures of what was taken, by name, and begin anew.

        Raises:
            ConfigError: one of the user's is no single number.
        """
        found: dict[str, float] = {}
        for collection in (self._named, self._own):
            if collection is None:
                continue
            for name, value in collection.compute().items():
                if collection is self._named and value.ndim:
                    value = value[self._present].mean()
                if not isinstance(value, Tensor) or value.numel() != 1:
                    raise ConfigError(f"metrics: {name} must be a single number, such as a mean over the classes")
                found[name] = float(value)
            collection.reset()
        self._present.zero_()
        return found


@dataclass(frozen=True)
class Score:
    """An error over ``n`` examples; ``confusion[i][j]`` counts those of class i that were called j.

    ``rows`` is the SHA-256 of the examples and their labels; ``measures`` are further ones by name.
    """

    wrong: int
    n: int
    confusion: list[list[int]]
    rows: str
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def error_percent(self) -> float:
        """Share of wrong predictions, in percent."""
        return 100.0 * self.wrong / self.n

    @property
    def ci95_percent(self) -> float:
        """Half the 95 % binomial interval, 1.96 √(p (1 − p) / n), in percent."""
        return interval(self.error_percent, self.n)

    def __str__(self) -> str:
        return f"{with_interval(self.error_percent, self.ci95_percent, self.n)} % (n = {self.n})"


@dataclass(frozen=True)
class RegressionScore:
    """Errors of predicted numbers over ``n`` examples.

    Args:
        n: number of examples.
        rmse: root of the mean squared error, in the units of the target.
        mae: mean absolute error, likewise.
        r2: 1 − squared error / squared deviation from these examples' mean; None where all have the same target.
        rows: SHA-256 of the examples and their targets.
        measures: further ones by name.
    """

    n: int
    rmse: float
    mae: float
    r2: float | None
    rows: str
    measures: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def of(
        predicted: NDArray[np.float64], y: NDArray[np.float64], rows: str, measures: Mapping[str, float] | None = None
    ) -> RegressionScore:
        """Return the errors of ``predicted``, (n,), where the targets are ``y``, (n,)."""
        errors, around = predicted - y, y - y.mean()
        spread = float(np.square(around).sum())
        return RegressionScore(
            n=len(y),
            rmse=float(np.sqrt(np.square(errors).mean())),
            mae=float(np.abs(errors).mean()),
            r2=1.0 - float(np.square(errors).sum()) / spread if np.ptp(y) > 0.0 and spread > 0.0 else None,
            rows=rows,
            measures=measures or {},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the errors as plain values, for JSON."""
        return {"n": self.n, "rmse": self.rmse, "mae": self.mae, "r2": self.r2}

    def __str__(self) -> str:
        r2 = "" if self.r2 is None else f", R² {self.r2:.3f}"
        return f"RMSE {self.rmse:.4g}, MAE {self.mae:.4g}{r2} (n = {self.n})"


def score_split(
    stack: EncoderStack | MixedClassifier,
    data: Dataset,
    split: Split,
    device: torch.device,
    measures: Measures | None = None,
) -> Score | RegressionScore:
    """Return the error of ``stack`` on a split of ``data``, and ``measures`` of it."""
    if data.target_column is not None:
        return _score_regression(stack, split, data.target_column, device, measures)
    return score(stack, split, device, measures)


@torch.no_grad()
def _score_regression(
    stack: EncoderStack | MixedClassifier,
    split: Split,
    target: NumericColumn,
    device: torch.device,
    measures: Measures | None,
) -> RegressionScore:
    stack = stack.to(device)
    predicted = []
    for chunk in ChunkLoader(split.inputs, split.labels, _BATCH, device):
        x, labels = chunk.read()
        assert labels is not None
        outputs = stack(x)
        predicted.append(target.restore(outputs.cpu().numpy()))
        if measures is not None:
            measures.update(outputs, labels)
    found = {} if measures is None else measures.take()
    return RegressionScore.of(np.concatenate(predicted), target.restore(split.labels), split.fingerprint, found)


@torch.no_grad()
def score(
    stack: EncoderStack | MixedClassifier, split: Split, device: torch.device, measures: Measures | None = None
) -> Score:
    """Return the error of ``stack`` on ``split``, and ``measures`` of it."""
    stack = stack.to(device)
    classes = stack.outputs
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for chunk in ChunkLoader(split.inputs, split.labels, _BATCH, device):
        x, labels = chunk.read()
        assert labels is not None
        logits = stack(x)
        confusion += multiclass_confusion_matrix(logits, labels, classes).cpu()
        if measures is not None:
            measures.update(logits, labels)
    n = len(split)
    found = {} if measures is None else measures.take()
    return Score(n - int(confusion.trace()), n, confusion.tolist(), split.fingerprint, found)
