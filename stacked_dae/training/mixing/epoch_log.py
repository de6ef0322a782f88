"""Where the figures of the epochs go that no Lightning Trainer makes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import TracebackType

from torch import Tensor
from typing_extensions import Self

from stacked_dae.utils.terminal.progress import Reporter


@dataclass(frozen=True)
class HeldOut:
    """What is said of rows by networks that have not seen them.

    Args:
        log_p: (n, k) log probability of each class.
        labels: (n,) int64.
        weights: (n,) of the rows, at least 0.
    """

    log_p: Tensor
    labels: Tensor
    weights: Tensor

    @property
    def of_labels(self) -> Tensor:
        """Log probability of the class of each row, (n,)."""
        return self.log_p.gather(1, self.labels[:, None])[:, 0]

    def _mean(self, values: Tensor) -> float:
        return float((values * self.weights).sum() / self.weights.sum())

    @cached_property
    def loss(self) -> float:
        """Mean of −log p of the class of each row."""
        return -self._mean(self.of_labels)

    @property
    def error_percent(self) -> float:
        """Share of wrong predictions, in percent."""
        return 100.0 * self._mean((self.log_p.argmax(1) != self.labels).to(self.weights.dtype))

    def figures(self, train_loss: float) -> dict[str, float]:
        """Return the figures of an epoch with such a training loss."""
        return {"train_loss": train_loss, "valid_loss": self.loss, "valid_error_percent": self.error_percent}


class EpochLog:
    """Shows the epochs of a stage; a context, at whose end the stage ends.

    Args:
        stage: its name.
        reporter: shows it.
    """

    def __init__(self, stage: str, reporter: Reporter) -> None:
        self._stage, self._reporter = stage, reporter
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            self._reporter.stop()

    def start(self, epochs: int) -> None:
        """Begin a stage of at most so many epochs, beside an epoch 0."""
        self._started = True
        self._reporter.start(self._stage, epochs, "epochs")

    def add(self, epoch: int, held_out: HeldOut, train_loss: float, seconds: float) -> None:
        """Take an epoch, from 0: what is said of the rows held out, the training loss, and how long it took."""
        self._reporter.advance(min(epoch, 1), held_out.figures(train_loss))
