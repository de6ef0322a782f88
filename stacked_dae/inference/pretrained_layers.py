"""The layers of a run as pre-training left them, with their decoders: rows rebuilt, and how far each value is off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.columns.values import Values
from stacked_dae.data.disk_array import Inputs
from stacked_dae.errors import DataError, StageError
from stacked_dae.nn.activations import replace_missing
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.corruption import FixedMasking, Masking
from stacked_dae.nn.reconstruction import decode, reconstruct, reconstruct_hidden
from stacked_dae.training.loader import DeviceRows
from stacked_dae.utils.seeding import derive_seed

_BATCH = 4096
# In standard deviations: no row is so far from the mean.
_FAR = 1e4


class PretrainedLayers:
    """Pre-trained layers on rows as the network takes them: (n, d) float32, NaN where a value is missing, or uint8.

    Args:
        layers: the lowest first.
        preprocessing: of the table that the rows are of, if they are of one.
    """

    def __init__(self, layers: Sequence[DenoisingAutoencoder], preprocessing: Preprocessing | None) -> None:
        self._layers, self._preprocessing = layers, preprocessing
        self.inputs = layers[0].weight.shape[1]
        self.saw_hidden = isinstance(layers[0].corruption, (Masking, FixedMasking))
        """Whether the lowest layer was trained with masking noise, so that an input of 0 is a hidden one to it."""

    def decode(self, codes: Any) -> NDArray[np.float32]:
        """Return the inputs that codes of the uppermost layer stand for: (n, h) → (n, d).

        Raises:
            DataError: the codes are of another shape.
        """
        y = np.asarray(codes, np.float32)
        width = len(self._layers[-1].bias)
        if y.ndim != 2 or y.shape[1] != width:
            raise DataError(f"the codes must be (n, {width}), not {y.shape}")
        inputs: NDArray[np.float32] = decode(self._layers, torch.from_numpy(y)).numpy()
        return inputs

    def reconstruct(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the inputs rebuilt from their codes: (n, d) → (n, d); missing ones are rebuilt too."""
        return np.concatenate([reconstruct(self._layers, x).numpy() for x in self._filled(inputs)])

    def corrupt(self, inputs: NDArray[Any], seed: int) -> NDArray[np.float32]:
        """Return the inputs with the noise that the lowest layer was trained with: (n, d) → (n, d)."""
        noise = torch.Generator().manual_seed(derive_seed(seed, "corrupt"))
        return np.concatenate([self._layers[0].corrupt(x, noise)[0].numpy() for x in self._filled(inputs)])

    @torch.no_grad()
    def sample(self, n: int, steps: int, seed: int) -> NDArray[np.float32]:
        """Return inputs at the end of chains of noise and reconstruction that begin in noise, (n, d)."""
        lowest, noise = self._layers[0], torch.Generator().manual_seed(derive_seed(seed, "sample"))
        is_share = torch.full((self.inputs,), lowest.decoder == "sigmoid")
        if lowest.standardised is not None:
            is_share = ~lowest.standardised
        drawn = torch.where(is_share, torch.rand(n, self.inputs, generator=noise), 0.0)
        drawn += torch.where(is_share, 0.0, torch.randn(n, self.inputs, generator=noise))
        rebuilt = drawn
        for _ in range(steps):
            rebuilt = reconstruct(self._layers, lowest.corrupt(drawn, noise)[0])
            if not bool((rebuilt.abs() < _FAR).all()):
                raise StageError(
                    "the chain diverges: these layers rebuild a row as one that is farther off; samples need layers of"
                    " sigmoid or tanh units"
                )
            zeros_and_ones = torch.bernoulli(rebuilt.clamp(0.0, 1.0), generator=noise)
            drawn = torch.where(is_share, zeros_and_ones, rebuilt)
        return rebuilt.numpy()

    def errors(self, inputs: NDArray[Any], values: Mapping[str, Values] | None) -> NDArray[np.float64]:
        """Return how far each value is from what the other columns say of it: (n, columns), NaN where it is missing.

        Args:
            inputs: (n, d).
            values: the columns that the inputs were made of, by name; None without a table, where the inputs are them.
        """
        table = self._preprocessing
        columns = torch.arange(self.inputs) if table is None else torch.from_numpy(table.column_of_input)
        rebuilt = [reconstruct_hidden(self._layers, x, columns).numpy() for x in self._filled(inputs)]
        if table is not None and values is not None:
            return table.errors(values, np.concatenate(rebuilt))
        pairs = zip(blocks_of(inputs), rebuilt, strict=True)
        return np.concatenate([np.square(x.numpy().astype(np.float64) - z) for x, z in pairs])

    def _filled(self, inputs: NDArray[Any]) -> Iterator[torch.Tensor]:
        return (x if self._preprocessing is None else replace_missing(x) for x in blocks_of(inputs))


def blocks_of(inputs: Inputs) -> Iterator[torch.Tensor]:
    """Yield the rows of ``inputs``, some at a time, as the network takes them: (at most 4096, d) float32."""
    rows = DeviceRows(inputs, torch.device("cpu"))
    for start in range(0, len(inputs), _BATCH):
        yield rows.read(slice(start, start + _BATCH))


def column_means(names: Sequence[str], errors: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean of each column over the rows that have a value in it, by name; NaN where none has."""
    return dict(zip(names, row_means(errors.T).tolist(), strict=True))


def row_means(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each row over the values that it has, (n, columns) → (n,); NaN where it has none."""
    known = np.isfinite(errors)
    counts = known.sum(1)
    means = np.full(len(errors), np.nan)
    np.divide(np.where(known, errors, 0.0).sum(1), counts, out=means, where=counts > 0)
    return means
