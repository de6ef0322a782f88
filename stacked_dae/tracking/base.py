"""What is told of a job, and what a job tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stacked_dae.config.schema import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRETRAIN, FINETUNE, BASELINE = "pretrain", "finetune", "baseline"
# The one W&B run of a trial that `wandb agent` started: it expects a single one.
TRIAL = "trial"


@dataclass(frozen=True)
class Subject:
    """What a job is about.

    Args:
        config: the experiment.
        out: the run folder.
        data: name, fingerprint and sizes of the data.
        mark: fingerprint of the job's last stage: a job with another one is another W&B run.
        parent: the run folder of the layers that are fine-tuned; None for the same.
        layers: SHA-256 of the weights of the layers that are fine-tuned; empty for other jobs.
        own: what was given in Python instead of settings, if anything.
    """

    config: Config
    out: Path
    data: Mapping[str, Any]
    mark: str
    parent: Path | None = None
    layers: Sequence[str] = ()
    own: str | None = None


class Job(Protocol):
    """What a job tells about itself while it runs."""

    watched: bool
    """Whether anybody looks: for nobody, no pictures need be drawn."""

    def log(self, stage: str, row: Mapping[str, float]) -> None:
        """Take a row of the stage's ``metrics.csv``: all of them in order, those of an earlier call too."""

    def picture(self, figures: Mapping[str, Figure]) -> None:
        """Take pictures by name."""

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Take the job's results."""

    def keep(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None:
        """Take what the job made (``kind``: layers or classifier): files of the run folder, the weights' SHA-256."""


class Silent:
    """Is told everything and tells nobody."""

    watched = False

    def log(self, stage: str, row: Mapping[str, float]) -> None: ...

    def picture(self, figures: Mapping[str, Figure]) -> None: ...

    def summarise(self, values: Mapping[str, Any]) -> None: ...

    def keep(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None: ...
