"""The codes of encoders over any data module, for the next layer to train on."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from stacked_dae.data.disk_array import DiskArray
from stacked_dae.errors import ConfigError, DataError
from stacked_dae.lightning.batches import inputs_of, targets_of
from stacked_dae.lightning.data import DAEDataModule
from stacked_dae.lightning.loaders import EpochSampler
from stacked_dae.training.loader import DeviceRows

Cache = Literal["memory", "disk", "never"]
_HOOKS = {
    "train": "train_dataloader",
    "valid": "val_dataloader",
    "test": "test_dataloader",
    "predict": "predict_dataloader",
}
# What a data module may do to each batch on its way to the device.
_TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
# Rows encoded at a time.
_ROWS = 4096


class CodesDataModule(DAEDataModule):
    """The codes of trained encoders over a data module, computed once from clean inputs.

    Batches pass the data module's own transfer hooks before they are encoded.

    Args:
        encoders: lowest first, PretrainTasks or any modules; each is called with the codes of the one before.
        data: a data module, or a DataLoader of training batches.
        cache: memory: keep the codes there; disk: in a temporary file, which needs (B, h) codes; never: encode each
            batch as it comes, as random augmentation, a sampler of your own and endless data need.
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
        if isinstance(data, DAEDataModule) and seed is None:
            seed = data.seed
        batch_size = batch_size or getattr(data, "batch_size", None)
        super().__init__(None, batch_size=batch_size or 20, seed=seed)
        self._own_batch_size = batch_size is not None
        # Not registered anywhere: the encoders are other stages' and stay as they are.
        listed = isinstance(encoders, (nn.ModuleList, Sequence))
        self._encoders: list[nn.Module] = list(encoders) if listed else [encoders]  # type: ignore[arg-type,list-item]
        self._data, self._cache = data, cache
        self._folder: Path | None = None
        self._codes: dict[str, list[tuple[Any, Any]]] = {}

    def prepare_data(self) -> None:
        self._data.prepare_data()

    def setup(self, stage: str) -> None:
        self._data.trainer = self.trainer
        self._data.setup(stage)

    def teardown(self, stage: str) -> None:
        self._data.teardown(stage)

    def part(self, name: str) -> Any:
        """Return the codes and targets of a split, computed now if they were not yet; None if there are no rows.

        Raises:
            DataError: the split has several loaders.
        """
        found = self._cached(name)
        if len(found) > 1:
            raise DataError(f"{name} has {len(found)} loaders; their codes are not one split")
        return found[0] if found else None

    def predict_dataloader(self) -> Any:
        own = _loaders(self._data, "predict")
        return self._loader_of("predict" if own and not isinstance(self._data, DAEDataModule) else "test")

    def _loader_of(self, name: str) -> Any:
        if self._cache == "never":
            found: list[Any] = [_EncodedLoader(loader, self._encoded_batch) for loader in _loaders(self._data, name)]
        else:
            shuffle = self._shuffled() if name == "train" else False
            found = [self.batches(codes, targets, shuffle=shuffle) for codes, targets in self._cached(name)]
        if name == "train" and not found:
            raise DataError(f"{type(self._data).__name__} has no training batches to encode")
        return found[0] if len(found) == 1 else found

    def _shuffled(self) -> bool:
        """Return whether the training rows have a new order in each epoch, as in the data module's own loaders.

        Raises:
            ConfigError: they are drawn in a way that codes computed once cannot follow.
        """
        if isinstance(self._data, DAEDataModule) and isinstance(self._data.part("train"), tuple):
            return self._data.shuffle
        loaders = [loader for loader in _loaders(self._data, "train") if isinstance(loader, DataLoader)]
        random = False
        for loader in loaders:
            sampler = loader.sampler
            plain = (
                isinstance(sampler, RandomSampler)
                and not sampler.replacement
                and sampler.num_samples
                == len(
                    loader.dataset  # type: ignore[arg-type]
                )
            )
            known = plain or isinstance(sampler, (SequentialSampler, EpochSampler)) or loader.batch_size is None
            iterable = isinstance(loader.dataset, torch.utils.data.IterableDataset)
            if not iterable and (not known or loader.drop_last):
                raise ConfigError(
                    "the training DataLoader has a sampler of its own or drop_last, which codes computed once cannot"
                    " follow; give cache='never'"
                )
            random = random or (not iterable and not isinstance(sampler, SequentialSampler))
        return random if loaders else True

    def _cached(self, name: str) -> list[tuple[Any, Any]]:
        """Return the codes and targets of each loader of a split."""
        if name not in self._codes:
            if name == "train":
                self._shuffled()
            self._codes[name] = self._encoded(name)
        return self._codes[name]

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @contextmanager
    def _evaluating(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """Put the encoders on the device and into evaluation, and back; give the function that encodes."""
        modes = [(module, module.training) for encoder in self._encoders for module in encoder.modules()]
        for encoder in self._encoders:
            encoder.to(self._device).eval()

        def encode(x: Tensor) -> Tensor:
            for encoder in self._encoders:
                x = encoder(x)
            return x

        try:
            with torch.no_grad():
                yield encode
        finally:
            for module, mode in modes:
                module.training = mode

    def _encoded_batch(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """Return the codes and the targets of a batch of the data module's."""
        batch = self._data.on_before_batch_transfer(batch, 0)
        batch = self._data.transfer_batch_to_device(batch, self._device, 0)
        batch = self._data.on_after_batch_transfer(batch, 0)
        with self._evaluating() as encode:
            return encode(inputs_of(batch)), targets_of(batch)

    def _encoded(self, name: str) -> list[tuple[Any, Any]]:
        own_hooks = any(is_overridden(hook, self._data, pl.LightningDataModule) for hook in _TRANSFER)
        if isinstance(self._data, DAEDataModule) and not own_hooks and name != "predict":
            rows = self._data.part(name)
            if rows is None:
                return []
            if isinstance(rows, tuple):
                read = DeviceRows(rows[0], self._device).read
                blocks = (read(slice(start, start + _ROWS)) for start in range(0, len(rows[0]), _ROWS))
                with self._evaluating() as encode:
                    return [(self._keep(name, len(rows[0]), map(encode, blocks)), rows[1])]
        found = []
        for k, loader in enumerate(_loaders(self._data, name)):
            if name == "train" and not self._own_batch_size and getattr(loader, "batch_size", None):
                self.batch_size = loader.batch_size
            pairs = [self._encoded_batch(batch) for batch in loader]
            if not pairs:
                continue
            codes = [codes.cpu() for codes, _ in pairs]
            targets = [target for _, target in pairs if target is not None]
            kept = self._keep(f"{name}_{k}", sum(map(len, codes)), codes)
            labels = torch.cat(targets).cpu().numpy() if len(targets) == len(codes) else None
            found.append((kept, labels))
        return found

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

    def __init__(self, loader: Any, encode: Callable[[Any], tuple[Tensor, Tensor | None]]) -> None:
        self._loader, self._encode = loader, encode
        # Lightning looks at these to tell the loader its epoch.
        self.sampler = getattr(loader, "sampler", None)
        self.batch_sampler = getattr(loader, "batch_sampler", None)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for batch in self._loader:
            codes, targets = self._encode(batch)
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
    """Return the loaders of a split, those of a CombinedLoader or a mapping one by one; none without."""
    if not is_overridden(_HOOKS[name], data, pl.LightningDataModule):
        return []
    found = getattr(data, _HOOKS[name])()
    if isinstance(found, CombinedLoader):
        return list(found.flattened)
    if isinstance(found, Mapping):
        return list(found.values())
    return list(found) if isinstance(found, (list, tuple)) else [found]
