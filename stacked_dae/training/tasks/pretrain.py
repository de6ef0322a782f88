"""Pre-training of one layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.training.tasks.base import ChunkedTask


class ChunkedPretrainTask(ChunkedTask):
    """Trains a :class:`~stacked_dae.nn.autoencoder.DenoisingAutoencoder` on the codes of the layer below.

    Logs, each epoch, ``train_loss`` (rebuilding from corrupted inputs, averaged over the epoch as the weights move)
    and ``valid_loss`` (rebuilding from clean inputs: no random number enters it).
    """

    def __init__(
        self,
        layer: DenoisingAutoencoder,
        stage: str,
        seed: int,
        optimizer: Callable[[list[Tensor]], Optimizer],
        decay: float = 0.0,
    ) -> None:
        super().__init__(stage, seed, optimizer, decay)
        self.layer = layer

    def prepare(self, x: Tensor, labels: Tensor | None, noise: torch.Generator) -> tuple[Tensor, ...]:
        corrupted, weight = self.layer.corrupt(x, noise)
        x = self.layer.fill(x)
        return (x, corrupted) if weight is None else (x, corrupted, weight)

    def minibatch(self, *rows: Tensor) -> Tensor:
        x, corrupted, *weight = rows
        return self.layer.step(x, corrupted, self._descent, *weight)

    def evaluate(self, x: Tensor, labels: Tensor | None) -> Tensor:
        if self._measures:
            rebuilt, known = self.layer.decode(self.layer.encode(x)), x.isnan().logical_not_()
            # A missing value has nothing to be compared with.
            self.measure(*((rebuilt, x) if bool(known.all()) else (rebuilt[known], x[known])))
        return self.layer.loss(x).sum()

    def valid_metrics(self, sums: Tensor, count: int) -> dict[str, float]:
        return {"valid_loss": float(sums) / count}
