"""The error of a classifier on a split, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from stacked_dae.data.dataset import Split
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.training.loader import ChunkLoader
from stacked_dae.utils.intervals import interval, with_interval

_BATCH = 500


@dataclass(frozen=True)
class Score:
    """An error over ``n`` examples; ``confusion[i][j]`` counts those of class i that were called j.

    ``rows`` is the SHA-256 of the examples and their labels.
    """

    wrong: int
    n: int
    confusion: list[list[int]]
    rows: str

    @property
    def error_percent(self) -> float:
        """Share of wrong predictions, in percent."""
        return 100.0 * self.wrong / self.n

    @property
    def ci95_percent(self) -> float:
        """Half the 95 % binomial interval, 1.96 √(p (1 − p) / n), in percent."""
        return interval(self.error_percent, self.n)

    def __str__(self) -> str:
        return f"{with_interval(self.error_percent, self.ci95_percent)} % (n = {self.n})"


@torch.no_grad()
def score(stack: EncoderStack, split: Split, device: torch.device) -> Score:
    """Return the error of ``stack`` on ``split``."""
    stack = stack.to(device)
    classes = len(stack.head.bias)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for chunk in ChunkLoader(split.inputs, split.labels, _BATCH, device):
        x, labels = chunk.read()
        assert labels is not None
        confusion += multiclass_confusion_matrix(stack(x), labels, classes).cpu()
    n = len(split)
    return Score(n - int(confusion.trace()), n, confusion.tolist(), split.fingerprint)
