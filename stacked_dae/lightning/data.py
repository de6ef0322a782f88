"""A data module of a data set, arrays, a table, or torch data sets."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.schema import Config
from stacked_dae.data.arrays import array_of
from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.data.disk_array import DiskArray
from stacked_dae.data.registry import load_data, load_dataset
from stacked_dae.data.splits import labelled_rows
from stacked_dae.errors import ConfigError, DataError, suggest
from stacked_dae.lightning.loaders import BatchLoader, EpochSampler

Part = Any
"""Rows of one split: (inputs, targets or None), a torch data set, a function that returns either, or None."""


class DAEDataModule(pl.LightningDataModule):
    """Training, validation and test rows for :class:`PretrainTask`, :class:`FinetuneTask` or any LightningModule.

    Batches are (inputs, targets), or (inputs,) without targets. Rows of arrays go to the device once and are cut into
    minibatches there; those of a torch data set come through a DataLoader.

    Args:
        train, valid, test: (inputs, targets or None) as arrays, a torch data set, or a function that returns either,
            called when the split is first used. A target of −1 marks a row without a label.
        batch_size: examples per minibatch, and process.
        shuffle: whether each training epoch has a new order.
        seed: of that order; None to draw it from torch's global generator, which ``seed_everything`` seeds.
        **loader: further arguments of the DataLoader of a torch data set, such as ``num_workers``; those that leave
            rows out, such as ``drop_last``, are for training only.

    Raises:
        ConfigError: a batch size below 1, or an unknown argument.
        DataError: arrays of different lengths, or of numbers that are neither floats nor bytes.
    """

    def __init__(
        self,
        train: Part,
        valid: Part = None,
        test: Part = None,
        *,
        batch_size: int = 20,
        shuffle: bool = True,
        seed: int | None = None,
        **loader: Any,
    ) -> None:
        super().__init__()
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
        if loader and isinstance(train, tuple):
            name = next(iter(loader))
            hint = suggest(name, ("valid", "test", "batch_size", "shuffle", "seed"))
            raise ConfigError(f"unknown argument {name}{hint}; DataLoader's arguments apply only to torch data sets")
        for name in loader:
            known = set(inspect.signature(DataLoader.__init__).parameters) - {"self", "dataset", "sampler"}
            if name not in known:
                raise ConfigError(f"unknown argument {name}{suggest(name, known)}")
        self._parts = {"train": train, "valid": valid, "test": test}
        for name, part in self._parts.items():
            if hasattr(part, "to_numpy") or hasattr(part, "toarray"):
                # A frame, or a sparse matrix, is no torch data set, though it can be indexed.
                part = (part, None)
            if isinstance(part, (tuple, list)):
                if not 1 <= len(part) <= 2:
                    raise DataError(f"{name}: give (inputs, targets), two arrays, not {len(part)}")
                self._parts[name] = _checked(name, *part)
        self.batch_size, self.shuffle, self.seed, self._loader = batch_size, shuffle, seed, loader

    @classmethod
    def from_arrays(
        cls,
        inputs: Any,
        targets: Any = None,
        *,
        valid: tuple[Any, Any] | None = None,
        test: tuple[Any, Any] | None = None,
        **arguments: Any,
    ) -> DAEDataModule:
        """Return the data module of arrays (NumPy or torch) in memory or memory-mapped.

        Args:
            inputs: (n, …), uint8 (used as 0 to 1) or floating-point.
            targets: (n,) classes, or (n,) or (n, outputs) numbers of a regression; None without.
            valid, test: (inputs, targets) likewise.
            **arguments: as for the class.

        Raises:
            DataError: as for the class.
        """
        return cls((inputs, targets), valid, test, **arguments)

    @classmethod
    def from_name(
        cls, name: str, *, root: str | None = None, source: str = "regenerated", **arguments: Any
    ) -> DAEDataModule:
        """Return the data module of a named data set (``stacked-dae data list``); its test rows are read when used.

        Args:
            name: the data set.
            root: the data folder.
            source: regenerated or original (ICML 2007 problems only).
            **arguments: ``images=True`` for images, (B, 1, H, W); others as for the class.

        Raises:
            DataError: the name is not known, or a file is absent or damaged.
        """
        return cls.from_dataset(load_dataset(name, root, source), **arguments)

    @classmethod
    def from_table(cls, path: str, target: str | None = None, **arguments: Any) -> DAEDataModule:
        """Return the data module of a table, preprocessed as ``data.path`` is; NaN marks a missing value.

        What is left out, such as an index, is warned of.

        Args:
            path: a file that ends in .csv, .parquet, .npy or .npz.
            target: column of the class, or of the number to predict (``task="regression"``), which is standardised.
            **arguments: ``task``; ``keep``, ``drop``, ``categorical``, ``scale`` and ``split``, as in the settings;
                others as for the class.

        Raises:
            ConfigError, DataError: a setting or the file is wrong.
        """
        columns = {key: arguments.pop(key) for key in [field.name for field in fields(DataConfig)] if key in arguments}
        for name in ("weights", "labels_per_class"):
            if name in columns:
                instead = "; labelled(per_class=…) of the data module keeps that many" if name != "weights" else ""
                raise ConfigError(f"{name} has no meaning for a data module; leave it out{instead}")
        settings, task = DataConfig(path=path, target=target, **columns), arguments.pop("task", "classification")
        config = Config(task=task, data=settings)
        data = load_data(config.data, task=config.task)
        for notice in data.notices:
            warnings.warn(notice, stacklevel=2)
        return cls.from_dataset(data, **arguments)

    @classmethod
    def from_dataset(cls, data: Dataset, *, images: bool = False, **arguments: Any) -> DAEDataModule:
        """Return the data module of a :class:`~stacked_dae.data.dataset.Dataset`.

        Args:
            data: the data set.
            images: give inputs as images, (B, 1, H, W), not as (B, d).
            **arguments: as for the class.

        Raises:
            DataError: ``images`` of data that are none.
        """
        if images and data.image_shape is None:
            raise DataError(f"{data.name}: images=True needs images, but these inputs have no height and width")
        shape = (1, *data.image_shape) if images and data.image_shape is not None else (data.inputs,)

        def rows(split: Split) -> tuple[Any, Any]:
            inputs = split.inputs
            if not images:
                return inputs, split.labels
            if isinstance(inputs, DiskArray):
                raise DataError(f"{data.name}: images=True needs rows in memory; load them, or use a torch Dataset")
            return inputs.reshape(-1, *shape), split.labels

        valid = rows(data.valid) if len(data.valid) else None
        return cls(rows(data.train), valid, (lambda: rows(data.load_test())) if data.has_test else None, **arguments)

    @classmethod
    def from_torch(
        cls, train: TorchDataset[Any], valid: Part = None, test: Part = None, **arguments: Any
    ) -> DAEDataModule:
        """Return the data module of torch data sets, map-style or iterable; also of Hugging Face's ``datasets``."""
        return cls(train, valid, test, **arguments)

    def labelled(self, per_class: int | None = None, seed: int = 0) -> DAEDataModule:
        """Return the same data with only those training rows that have a label, or a number to predict.

        Args:
            per_class: keep this many of each class, drawn with ``seed``; all of them if None.
            seed: as ``labels_per_class`` of the settings draws them with the run's seed.

        Raises:
            DataError: the training rows are not arrays with labels, or a class has fewer rows.
        """
        part = self.part("train")
        if not isinstance(part, tuple) or part[1] is None or part[1].dtype.kind not in "if":
            raise DataError("labelled() needs training rows that are arrays with a class or number each")
        if part[1].dtype.kind == "f" and per_class is not None:
            raise DataError("labelled(): per_class applies only to classes; leave it out")
        inputs, labels = part
        rows = labelled_rows(labels, per_class, seed)
        if rows is not None:
            inputs, labels = inputs[rows], labels[rows]
        return DAEDataModule(
            (inputs, labels), partial(self.part, "valid"), partial(self.part, "test"),
            batch_size=self.batch_size, shuffle=self.shuffle, seed=self.seed, **self._loader,
        )  # fmt: skip

    def part(self, name: str) -> Part:
        """Return the rows of ``train``, ``valid`` or ``test``, read now if they were not; None if there are none."""
        if callable(self._parts[name]):
            part = self._parts[name]()
            self._parts[name] = _checked(name, *part) if isinstance(part, (tuple, list)) else part
        return self._parts[name]

    def train_dataloader(self) -> Any:
        return self._loader_of("train")

    def val_dataloader(self) -> Any:
        return self._loader_of("valid")

    def test_dataloader(self) -> Any:
        return self._loader_of("test")

    def predict_dataloader(self) -> Any:
        return self._loader_of("test")

    def _loader_of(self, name: str) -> Any:
        part = self.part(name)
        if part is None:
            # Lightning takes an empty list for a split that is not there.
            return []
        shuffle = self.shuffle and name == "train"
        if isinstance(part, tuple):
            return self.batches(*part, shuffle=shuffle)
        arguments = {key: value for key, value in self._loader.items() if name == "train" or key != "drop_last"}
        if not isinstance(part, torch.utils.data.IterableDataset) and hasattr(part, "__len__") and shuffle:
            processes = 1 if self.trainer is None else self.trainer.world_size
            # With several processes Lightning draws the order and shards it.
            seeded = self.seed is not None and processes == 1
            arguments |= {"sampler": EpochSampler(len(part), self.seed or 0)} if seeded else {"shuffle": True}
        return DataLoader(dataset=part, batch_size=self.batch_size, **arguments)

    def batches(self, inputs: Any, targets: Any, *, shuffle: bool) -> BatchLoader:
        """Return the loader of arrays, on the Trainer's device, with this process's share of the rows."""
        trainer = self.trainer
        if trainer is None:
            return BatchLoader(inputs, targets, self.batch_size, torch.device("cpu"), shuffle=shuffle, seed=self.seed)
        return BatchLoader(
            inputs, targets, self.batch_size, trainer.strategy.root_device,
            # To overfit some batches they must be the same in every epoch.
            shuffle=shuffle and not trainer.overfit_batches,  # type: ignore[attr-defined]
            seed=self.seed,
            rank=trainer.global_rank, world_size=trainer.world_size,
        )  # fmt: skip


def _checked(name: str, inputs: Any, targets: Any = None) -> tuple[Any, Any]:
    """Return arrays as the loader takes them: float32 or uint8 inputs, int64 or float32 targets."""
    if isinstance(inputs, np.memmap):
        inputs = DiskArray.from_memmap(inputs) or inputs
    if not isinstance(inputs, DiskArray):
        inputs = array_of(name, inputs)
        if inputs.dtype.kind not in "fub" or inputs.ndim < 2 or 0 in inputs.shape:
            raise DataError(
                f"{name}: inputs must be floating-point numbers or uint8 of shape (examples, …), not {inputs.dtype} of"
                f" shape {inputs.shape}"
            )
        if inputs.dtype != np.uint8:
            inputs = np.ascontiguousarray(inputs, np.float32)
    if targets is not None:
        targets = array_of(name, targets)
        if targets.ndim == 0 or len(targets) != len(inputs):
            raise DataError(
                f"{name}: {len(inputs)} examples but targets of shape {targets.shape}; there must be one per example"
            )
        if targets.dtype.kind not in "fiub":
            raise DataError(f"{name}: targets must be numbers, not {targets.dtype}; turn classes into 0, 1, … first")
        targets = targets.astype(np.float32 if targets.dtype.kind == "f" else np.int64)
    return inputs, targets
