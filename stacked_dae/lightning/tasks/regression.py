"""Training of stacked encoders with targets as a LightningModule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stacked_dae.errors import ConfigError, DataError
from stacked_dae.lightning.tasks.encoders import EncoderLike
from stacked_dae.lightning.tasks.finetune import FinetuneTask


class RegressionTask(FinetuneTask):
    """Stacked encoders under a linear regression, trained with targets.

    As :class:`FinetuneTask`, with these differences: labels are numbers, (B,) or (B, ``num_outputs``); the loss is the
    squared error summed over the outputs; no error is logged; ``predict`` returns the outputs.
    """

    _size, _regression = "num_outputs", True

    def __init__(self, encoders: nn.Module | Sequence[EncoderLike], num_outputs: int = 1, **arguments: Any) -> None:
        if "class_weight" in arguments:
            raise ConfigError("class_weight applies only to FinetuneTask")
        super().__init__(encoders, num_outputs, **arguments)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the examples of Σ (outputs − targets)²: ()."""
        return (outputs - y).square().sum(1).mean()

    def predicted(self, outputs: Tensor) -> Tensor:
        """Return the outputs, (B, num_outputs)."""
        return outputs

    def log_error(self, part: str, outputs: Tensor, y: Tensor) -> None:
        """Log nothing: the loss is the squared error."""

    def _right(self, y: Tensor, outputs: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        y = y.to(dtype)
        y = y[:, None] if y.ndim == 1 else y
        if tuple(y.shape) != outputs:
            raise DataError(
                f"targets must have the shape (B, {self.num_outputs}), but this batch has {tuple(y.shape)} for outputs"
                f" of shape {outputs}"
            )
        if self.must_check():
            self.check_finite("targets", y, "leave out such rows")
        return y

    @staticmethod
    def _check(outputs: int) -> None:
        if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1:
            raise ConfigError(f"num_outputs must be a whole number of at least 1, not {outputs!r}")
