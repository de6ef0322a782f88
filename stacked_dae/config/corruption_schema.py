"""The settings of the corruption of a layer's inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from stacked_dae.config.checks import as_list, require, require_choice, require_number

CorruptionKind = Literal["fixed_masking", "masking", "gaussian", "salt_and_pepper", "swap"]


@dataclass(frozen=True)
class CorruptionConfig:
    """The corruption q_D of a layer's input."""

    kind: CorruptionKind = "fixed_masking"
    """fixed_masking: exactly round(nu d) inputs of each example are set to 0 (the paper's).
    masking: each input with probability nu. gaussian: N(0, nu^2) is added.
    salt_and_pepper: each input with probability nu is set to 0 or 1, evenly.
    swap: each input with probability nu gets the value of another example there (for tables)."""
    nu: float | list[float] = 0.25
    """Noise level: destroyed fraction in [0, 1]; standard deviation for gaussian. One value, or one per layer."""

    def __post_init__(self) -> None:
        require_choice("pretrain.corruption.kind", self.kind, CorruptionKind)
        high = math.inf if self.kind == "gaussian" else 1.0
        for nu in as_list(self.nu):
            require_number("pretrain.corruption.nu", nu, 0.0, high)


@dataclass(frozen=True)
class EmphasisConfig:
    """Emphasis (JMLR 2010, section 5.3): the loss of destroyed inputs counts alpha, that of the others beta."""

    alpha: float = 1.0
    """Weight of the loss on destroyed inputs, at least 0."""
    beta: float = 1.0
    """Weight of the loss on the inputs that were left alone, at least 0."""

    def __post_init__(self) -> None:
        require_number("pretrain.emphasis.alpha", self.alpha, 0.0)
        require_number("pretrain.emphasis.beta", self.beta, 0.0)
        require(
            self.alpha + self.beta > 0, "pretrain.emphasis.alpha and beta are both 0: there would be nothing to learn"
        )
