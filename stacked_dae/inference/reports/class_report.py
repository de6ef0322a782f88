"""The report of a model on labelled rows, class by class: of a file, or of the test rows of its run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.disk_array import Inputs, iter_blocks
from stacked_dae.errors import DataError
from stacked_dae.inference.file_rows import labelled_file_rows
from stacked_dae.inference.model import StackedDAE
from stacked_dae.utils.intervals import wilson_interval


@dataclass(frozen=True)
class ClassReport:
    """Figures of a model on labelled rows.

    Args:
        n: labelled rows.
        unlabelled: rows without a label, which count nowhere.
        classes: the classes of the model, as text.
        confusion: ``confusion[i][j]`` counts the rows of class i that were called j.
        balanced_accuracy: mean over the classes among the rows of the share that was recognised, in [0, 1].
        macro_f1: mean over the classes among the rows of F1, in [0, 1].
        auroc: area under the curve, of several classes the mean of each against the others, in [0, 1]; None where the
            rows are of one class only.
        log_loss: mean of −log of the probability of the true class.
    """

    n: int
    unlabelled: int
    classes: list[str]
    confusion: list[list[int]]
    balanced_accuracy: float
    macro_f1: float
    auroc: float | None
    log_loss: float

    @property
    def wrong(self) -> int:
        """Number of rows that got another class."""
        return self.n - sum(row[k] for k, row in enumerate(self.confusion))

    @property
    def error_percent(self) -> float:
        """Share of wrong predictions, in percent."""
        return 100.0 * self.wrong / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the error, in percent."""
        return wilson_interval(self.wrong, self.n)

    def of_class(self, k: int) -> dict[str, Any]:
        """Return rows, share recognised (recall) and share of its predictions that are right (precision) of class k."""
        rows, called = sum(self.confusion[k]), sum(row[k] for row in self.confusion)
        right = self.confusion[k][k]
        return {
            "class": self.classes[k],
            "rows": rows,
            "predicted": called,
            "recall": right / rows if rows else None,
            "precision": right / called if called else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        return {
            "n": self.n,
            "unlabelled": self.unlabelled,
            "error_percent": self.error_percent,
            "error_ci95_percent": list(self.interval),
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "auroc": self.auroc,
            "log_loss": self.log_loss,
            "classes": [self.of_class(k) for k in range(len(self.classes))],
            "confusion": self.confusion,
        }


def score_file(model: StackedDAE, path: str | Path) -> ClassReport:
    """Return the figures of a fine-tuned model on a file with the columns and the class that it was trained on.

    Raises:
        StageError: the model was never fine-tuned.
        DataError: the file differs in kind from the one it was trained on, has another class, or no label.
    """
    labels, probabilities = [], []
    for rows, known in labelled_file_rows(model, path):
        labels.append(known)
        if (known >= 0).any():
            probabilities.append(model.probabilities_of(rows[known >= 0]))
    if not probabilities:
        raise DataError(f"{path}: no row has a label, so there is nothing to compare the predictions with")
    y, p = np.concatenate(labels), np.concatenate(probabilities).astype(np.float64)
    unlabelled = int((y < 0).sum())
    return _score(y[y >= 0], p / p.sum(1, keepdims=True), [str(name) for name in model.classes], unlabelled)


def score_rows(model: StackedDAE, inputs: Inputs, labels: NDArray[np.int64]) -> ClassReport:
    """Return the figures of a fine-tuned model on inputs as the network takes them, (n, d), and their labels, (n,)."""
    blocks = (model.probabilities_of(block) for block in iter_blocks(inputs))
    p = np.concatenate(list(blocks)).astype(np.float64)
    return _score(labels, p / p.sum(1, keepdims=True), [str(name) for name in model.classes], 0)


def _score(y: NDArray[np.int64], p: NDArray[np.float64], classes: list[str], unlabelled: int) -> ClassReport:
    from sklearn.metrics import confusion_matrix, f1_score, log_loss, roc_auc_score

    every, there = np.arange(len(classes)), np.unique(y)
    confusion = confusion_matrix(y, p.argmax(1), labels=every)
    recalls = confusion.diagonal()[there] / confusion.sum(1)[there]
    curves = [roc_auc_score(y == k, p[:, k]) for k in there] if len(there) > 1 else []
    return ClassReport(
        n=len(y),
        unlabelled=unlabelled,
        classes=classes,
        confusion=confusion.tolist(),
        balanced_accuracy=float(recalls.mean()),
        macro_f1=float(f1_score(y, p.argmax(1), labels=there, average="macro", zero_division=0.0)),
        auroc=float(np.mean(curves)) if curves else None,
        log_loss=float(log_loss(y, p, labels=every)),
    )
