"""Where the figures of the epochs go that no Lightning Trainer makes."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from torch import Tensor
from typing_extensions import Self

from stacked_dae.utils.progress import Reporter


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

    def add(self, row: Mapping[str, float], log_p: Tensor, labels: Tensor) -> None:
        """Take the figures of an epoch.

        Args:
            row: as in ``metrics.csv``.
            log_p: (n, classes) log probabilities that were given to held-out rows.
            labels: (n,) int64, the classes of these rows.
        """
        self._reporter.advance(
            1 if row["epoch"] else 0, {k: v for k, v in row.items() if k not in ("epoch", "seconds")}
        )
