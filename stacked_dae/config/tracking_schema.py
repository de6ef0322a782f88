"""The settings of tracking: Weights & Biases, and Lightning's own loggers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stacked_dae.config.checks import require_choice

LoggerName = Literal["csv", "tensorboard"]
TrackingMode = Literal["auto", "online", "offline", "off"]


@dataclass(frozen=True)
class TrackingConfig:
    """Weights & Biases; the run folder keeps its own records either way."""

    mode: TrackingMode = "off"
    """auto: online where there is an API key, else offline. $WANDB_MODE, where it is set, wins."""
    project: str | None = None
    """W&B project; $WANDB_PROJECT, else stacked-dae, when null."""
    entity: str | None = None
    """W&B user or team; your own default when null."""
    group: str | None = None
    """W&B group; $WANDB_RUN_GROUP, else the run folder's name, when null."""
    tags: list[str] = field(default_factory=list)
    """W&B tags."""
    loggers: list[LoggerName] = field(default_factory=list)
    """Lightning's own loggers, csv and tensorboard, each in a folder of its name in the run folder."""

    def __post_init__(self) -> None:
        require_choice("tracking.mode", self.mode, TrackingMode)
        for name in self.loggers:
            require_choice("tracking.loggers", name, LoggerName)
