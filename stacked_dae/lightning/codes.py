"""The codes of encoders over any data module, for the next layer to train on."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stacked_dae.data.disk_array import DiskArray
from stacked_dae.errors import ConfigError
from stacked_dae.lightning.base import inputs_of, targets_of
from stacked_dae.lightning.data import DAEDataModule
from stacked_dae.training.loader import DeviceRows

Cache = Literal["memory", "disk", "never"]
# Rows encoded at a time.
_ROWS = 4096


class CodesDataModule(DAEDataModule):
    """The codes of trained encoders over a data module, computed once from clean inputs.

    Args:
        encoders: lowest first, PretrainTasks or any modules; each is called with the codes of the one before.
        data: a data module, or a DataLoader of training batches.
        cache: memory: keep the codes there; disk: in a temporary file, which needs (B, h) codes; never: encode each
            batch as it comes, as random augmentation and endless data need.
        batch_size: examples per minibatch of codes; that of ``data`` if None.
        seed: of the order of the codes; that of ``data`` if None.

    Raises:
        ConfigError: another cache, or ``data`` of another type.
    """

    def __init__(
        self,
        encoders: nn.Module | Sequence[nn.Module],
        data: pl.LightningDataModule | DataLoader[Any],
        *,
        cache: Cache = "memory",
        batch_size: int | None = None,
        seed: int | None = None,
    ) -> None:
        if cache not in ("memory", "disk", "never"):
            raise ConfigError(f"cache must be memory, disk or never, not {cache!r}")
        data = as_data_module(data)
        shuffle = True
        if isinstance(data, DAEDataModule):
            shuffle, seed = data.shuffle, data.seed if seed is None else seed
        super().__init__(
            None, batch_size=batch_size or getattr(data, "batch_size", None) or 20, shuffle=shuffle, seed=seed
        )
        # Not registered anywhere: the encoders are other stages' and stay as they are.
        self._encoders = [encoders] if isinstance(encoders, nn.Module) else list(encoders)
        self._data, self._cache = data, cache
        self._folder: Path | None = None

    def prepare_data(self) -> None:
        self._data.prepare_data()

    def setup(self, stage: str) -> None:
        self._data.trainer = self.trainer
        self._data.setup(stage)

    def teardown(self, stage: str) -> None:
        self._data.teardown(stage)

    def part(self, name: str) -> Any:
        """Return the codes and targets of a split, computed now if they were not yet; None if there are no rows."""
        if self._parts[name] is None:
            self._parts[name] = self._encoded(name)
        return self._parts[name]

    def _loader_of(self, name: str) -> Any:
        if self._cache != "never":
            return super()._loader_of(name)
        return [_EncodedLoader(loader, self._encode) for loader in _loaders(self._data, name)]

    @torch.no_grad()
    def _encode(self, x: Tensor) -> Tensor:
        for encoder in self._encoders:
            x = encoder(x)
        return x

    @contextmanager
    def _evaluating(self, device: torch.device) -> Iterator[None]:
        """Put the encoders on the device and into evaluation, and back."""
        modes = [encoder.training for encoder in self._encoders]
        for encoder in self._encoders:
            encoder.to(device).eval()
        try:
            yield
        finally:
            for encoder, mode in zip(self._encoders, modes, strict=True):
                encoder.train(mode)

    def _encoded(self, name: str) -> Any:
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        rows = self._data.part(name) if isinstance(self._data, DAEDataModule) else None
        with self._evaluating(device):
            if isinstance(rows, tuple):
                read = DeviceRows(rows[0], device).read
                blocks = (read(slice(start, start + _ROWS)) for start in range(0, len(rows[0]), _ROWS))
                return self._keep(name, len(rows[0]), map(self._encode, blocks)), rows[1]
            codes, targets = [], []
            for loader in _loaders(self._data, name):
                for batch in loader:
                    codes.append(self._encode(inputs_of(batch).to(device)).cpu())
                    targets.append(targets_of(batch))
        if not codes:
            return None
        labels = [target for target in targets if target is not None]
        kept = self._keep(name, sum(map(len, codes)), codes)
        return kept, torch.cat(labels).cpu().numpy() if len(labels) == len(codes) else None

    def _keep(self, name: str, count: int, blocks: Iterable[Tensor]) -> Any:
        if self._cache == "memory":
            return np.concatenate([block.float().cpu().numpy() for block in blocks])
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="stacked-dae-codes-"))
            weakref.finalize(self, rmtree, self._folder, ignore_errors=True)
        array, start = None, 0
        for block in blocks:
            if block.ndim != 2:
                raise ConfigError(f"cache: disk needs codes of shape (B, h), not {tuple(block.shape)}; use memory")
            if array is None:
                array = DiskArray.create(self._folder / f"{name}.npy", (count, block.shape[1]))
            array.write(start, block.float().cpu().numpy())
            start += len(block)
        return array


class _EncodedLoader:
    """Batches of codes, encoded as the batches of inputs come."""

    def __init__(self, loader: Any, encode: Callable[[Tensor], Tensor]) -> None:
        self._loader, self._encode = loader, encode
        # Lightning looks at these to tell the loader its epoch.
        self.sampler = getattr(loader, "sampler", None)
        self.batch_sampler = getattr(loader, "batch_sampler", None)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for batch in self._loader:
            codes, targets = self._encode(inputs_of(batch)), targets_of(batch)
            yield (codes,) if targets is None else (codes, targets)


class _LoaderModule(pl.LightningDataModule):
    """A data module of one DataLoader of training batches."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__()
        self._loader = loader

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader


def as_data_module(data: Any) -> pl.LightningDataModule:
    """Return a data module as it is, or one of a DataLoader of training batches.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(data, pl.LightningDataModule):
        return data
    if isinstance(data, DataLoader):
        return _LoaderModule(data)
    raise ConfigError(f"data must be a LightningDataModule or a DataLoader, not {type(data).__name__}")


def _loaders(data: pl.LightningDataModule, name: str) -> list[Any]:
    """Return the loaders of a split; none where the data module has none."""
    hook = {"train": "train_dataloader", "valid": "val_dataloader", "test": "test_dataloader"}[name]
    overridden = getattr(type(data), hook) is not getattr(pl.LightningDataModule, hook)
    found = getattr(data, hook)() if overridden else []
    return list(found) if isinstance(found, (list, tuple)) else [found]
