"""A job that is logged, and the interface of its tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stacked_dae.config.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRETRAIN, FINETUNE, BASELINE = "pretrain", "finetune", "baseline"
TRIAL = "trial"
"""Job type of the single W&B run of a trial that `wandb agent` started."""


@dataclass(frozen=True)
class TrackedJob:
    """The subject of a W&B run.

    Args:
        config: the settings.
        out: the run folder.
        data: name, fingerprint and sizes of the data.
        fingerprint: of the job's last stage: a job with another one is another W&B run.
        parent: the run folder of the layers that are fine-tuned; None for the same.
        layers: SHA-256 of the weights of the layers that are fine-tuned; empty for other jobs.
        components: name of the custom components, if any.
        target_width: what a regression's errors are multiplied by to be in the target's units; None otherwise.
    """

    config: Config
    out: Path
    data: Mapping[str, Any]
    fingerprint: str
    parent: Path | None = None
    layers: Sequence[str] = ()
    components: str | None = None
    target_width: float | None = None


class Tracker(Protocol):
    """Logs a job while it runs."""

    enabled: bool
    """True if anything is logged; no figures need be drawn otherwise."""

    def log(self, stage: str, row: Mapping[str, float]) -> None:
        """Log a row of the stage's ``metrics.csv``; all rows in order, those of an earlier call too."""

    def log_figures(self, figures: Mapping[str, Figure]) -> None:
        """Log figures by name."""

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Log the job's results."""

    def log_artifact(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None:
        """Log what the job made.

        Args:
            kind: layers or classifier.
            files: paths in the run folder.
            weights: SHA-256 of each weights file.
        """


class NullTracker:
    """Tracker that does nothing."""

    enabled = False

    def log(self, stage: str, row: Mapping[str, float]) -> None: ...

    def log_figures(self, figures: Mapping[str, Figure]) -> None: ...

    def log_summary(self, values: Mapping[str, Any]) -> None: ...

    def log_artifact(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None: ...
