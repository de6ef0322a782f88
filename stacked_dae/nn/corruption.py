"""The corruption q_D(x̃ | x) of a layer's input (ICML 2008, section 2.3; JMLR 2010, section 4).

Every corruption maps ``x`` of shape (B, d) to ``(x̃, destroyed)``, both (B, d): the corrupted input, and
a boolean mask of the inputs that were chosen for destruction. None of them rescales what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor


class Corruption(Protocol):
    """A corruption; ``generator`` makes it repeatable and must live on the device of ``x``."""

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return (x̃, destroyed), both (B, d)."""


_SMALLEST_DRAW = 2.0**-24
"""What the float32 numbers that torch draws in [0, 1) are multiples of."""


def _uniform(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(x.shape, generator=generator, device=x.device)


def _random_keys(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return (B, d) random int32 numbers; two come out of each draw of 64 bits, for half the time of floats."""
    rows, inputs = x.shape
    draws = torch.empty(rows, (inputs + 1) // 2, dtype=torch.int64, device=x.device)
    return draws.random_(-(2**63), None, generator=generator).view(torch.int32)[:, :inputs]


@dataclass(frozen=True)
class _Fraction:
    """A corruption whose ``nu`` is a share or a probability."""

    nu: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.nu <= 1.0:
            raise ValueError(f"nu must be in [0, 1], not {self.nu!r}")

    def _below(self, chance: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return where uniform numbers are below ``nu``, which happens with that probability."""
        below = chance < self.nu
        # Draws are multiples of 2⁻²⁴, so that below a smaller nu there is 0 alone: a second draw decides about it.
        if 0.0 < self.nu < _SMALLEST_DRAW:
            below &= _uniform(chance, generator) < self.nu / _SMALLEST_DRAW
        return below


@dataclass(frozen=True)
class FixedMasking(_Fraction):
    """Set exactly ``round(nu d)`` inputs of each example to 0, chosen afresh for each (the paper's, section 2.3).

    Args:
        nu: destroyed fraction, in [0, 1].
    """

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        # The places of the largest of d random numbers are a uniform draw of subsets, and topk gives exactly as many
        # as it is asked for even where two numbers are equal.
        places = _random_keys(x, generator).topk(round(self.nu * x.shape[1]), dim=1, sorted=False).indices
        destroyed = torch.zeros(x.shape, dtype=torch.bool, device=x.device).scatter_(1, places, True)
        return x.scatter(1, places, 0.0), destroyed


@dataclass(frozen=True)
class Masking(_Fraction):
    """Set each input to 0 with probability ``nu``, independently (the common variant).

    Args:
        nu: probability, in [0, 1].
    """

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        destroyed = self._below(_uniform(x, generator), generator)
        return x.masked_fill(destroyed, 0.0), destroyed


@dataclass(frozen=True)
class Gaussian:
    """Add independent noise N(0, ``nu``²) to every input (JMLR 2010, section 4.1).

    Args:
        nu: standard deviation, at least 0, in units of the input.
    """

    nu: float

    def __post_init__(self) -> None:
        if not self.nu >= 0.0:
            raise ValueError(f"nu must be at least 0, not {self.nu!r}")

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + self.nu * noise, torch.ones(x.shape, dtype=torch.bool, device=x.device)


@dataclass(frozen=True)
class SaltAndPepper(_Fraction):
    """Set each input with probability ``nu`` to 0 or 1, by a fair coin (JMLR 2010, section 4.1).

    Args:
        nu: probability, in [0, 1].
    """

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        # One uniform number decides both: below nu it destroys, and below nu / 2 it destroys with a 0.
        chance = _uniform(x, generator)
        destroyed = self._below(chance, generator)
        return torch.where(destroyed, (chance >= self.nu / 2).to(x.dtype), x), destroyed


@dataclass(frozen=True)
class SwapNoise(_Fraction):
    """Give each input with probability ``nu`` the value that another example has there (swap noise, of tables).

    The other example is any other one of the rows that are corrupted together, evenly; a row that is alone stays as
    it is.

    Args:
        nu: probability, in [0, 1].
    """

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        rows = len(x)
        if rows < 2:
            return x, torch.zeros(x.shape, dtype=torch.bool, device=x.device)
        destroyed = self._below(_uniform(x, generator), generator)
        # Its own row, and 1 to rows − 1 further on: any other one.
        further = torch.randint(1, rows, x.shape, generator=generator, device=x.device)
        others = (torch.arange(rows, device=x.device)[:, None] + further) % rows
        return torch.where(destroyed, x.gather(0, others), x), destroyed


Groups = Literal["pixel", "channel"]


@dataclass(frozen=True)
class GroupedCorruption:
    """Corrupt images so that what happens to one value of a group happens to all of it.

    Args:
        corruption: one of this module's.
        by: pixel: the channels of a pixel are a group; channel: the pixels of a channel are.

    A group is set to 0 (masking), set to 0 or 1 (salt and pepper), shifted by one random number (Gaussian), or given
    the values that another example has there (swap).
    """

    corruption: Corruption
    by: Groups

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return (x̃, destroyed), both (B, C, …), for images x (B, C, …)."""
        groups = x[:, 0] if self.by == "pixel" else x.flatten(2)[:, :, 0]
        # In place of the groups a carrier is corrupted, which shows what happens to each.
        swaps = isinstance(self.corruption, SwapNoise)
        rows = torch.arange(len(x), device=x.device, dtype=x.dtype)[:, None]
        carrier = (rows if swaps else torch.zeros_like(rows)).expand(len(x), groups[0].numel()).contiguous()
        changed, destroyed = (self._spread(part, x) for part in self.corruption(carrier, generator))
        if swaps:
            return x.gather(0, changed.long()), destroyed
        if isinstance(self.corruption, Gaussian):
            return x + changed, destroyed
        return torch.where(destroyed, changed, x), destroyed

    def _spread(self, part: Tensor, x: Tensor) -> Tensor:
        """Return what the groups have, (B, groups), for each value: (B, C, …)."""
        shape = (len(x), 1, *x.shape[2:]) if self.by == "pixel" else (*x.shape[:2], *(1 for _ in x.shape[2:]))
        return part.reshape(shape).expand(x.shape)


CORRUPTIONS: Mapping[str, Callable[[float], Corruption]] = {
    "fixed_masking": FixedMasking,
    "masking": Masking,
    "gaussian": Gaussian,
    "salt_and_pepper": SaltAndPepper,
    "swap": SwapNoise,
}
"""Every corruption by the name that ``pretrain.corruption.kind`` has for it; called with the noise level ν."""
