"""The settings of Lightning's Trainer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from stacked_dae.config.checks import require, require_choice, require_number

Precision = Literal[
    "32-true", "tf32", "bf16-mixed", "16-mixed", "16-true", "bf16-true", "64-true", "transformer-engine",
    "transformer-engine-float16",
]  # fmt: skip


@dataclass(frozen=True)
class TrainerConfig:
    """Lightning's Trainer."""

    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, cuda, mps."""
    precision: Precision = "32-true"
    """Precision of the matrix products: 32-true, tf32 (where the GPU has it, else 32-true), bf16-mixed; weights,
    losses and sums stay in float32. The others are Lightning's: training is then by autograd; weights are saved in
    float32."""
    gradient_clip_val: float | None = None
    """Greatest norm of the gradient of an update, above 0; not clipped when null."""
    max_time: str | None = None
    """Longest training of a stage, DD:HH:MM:SS: it ends after the minibatch, and the stage is done. None when null."""
    checkpoint_seconds: float = 1.0
    """Least seconds between two checkpoints, which are made at the end of an epoch; 0 for one each epoch. A killed run
    goes on from the last one, a run that a signal stops from where it was."""

    def __post_init__(self) -> None:
        choices = ("auto", "cpu", "gpu", "cuda", "mps")
        require(
            self.accelerator in choices,
            f"trainer.accelerator must be one of {', '.join(choices)}, not {self.accelerator!r}",
        )
        require_choice("trainer.precision", self.precision, Precision)
        if self.gradient_clip_val is not None:
            require_number("trainer.gradient_clip_val", self.gradient_clip_val, 0.0, open_low=True)
        written = self.max_time is None or re.fullmatch(r"\d\d:\d\d:\d\d:\d\d", self.max_time) is not None
        require(
            written and self.max_time != "00:00:00:00",
            f'trainer.max_time must be DD:HH:MM:SS in quotes, above 0, such as "00:01:30:00", not {self.max_time!r}',
        )
        require_number("trainer.checkpoint_seconds", self.checkpoint_seconds, 0.0)
