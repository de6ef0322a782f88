"""Data sets: inputs and labels in three splits; the test split is read only when asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.arrays import array_of
from stacked_dae.data.columns.columns import NumericColumn
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.disk_array import DiskArray, Inputs, iter_blocks
from stacked_dae.data.formats.images import channels_first, shape_of
from stacked_dae.errors import DataError


@dataclass(frozen=True)
class Split:
    """Inputs (n, d), uint8 (0 to 255, used as 0 to 1) or float32, and labels (n,), int64 from 0.

    A training row without a label has −1. In a table's inputs NaN is a missing value. The labels of a regression are
    its targets, standardised, (n, 1) float32; NaN for a training row without one. The weights, (n,) float64, of
    training and validation rows say how much each label counts where it is learnt from; None where all count alike.
    """

    inputs: Inputs
    labels: NDArray[Any]
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counted_labels(self) -> NDArray[Any]:
        """The labels, −1 where a label has the weight 0."""
        return self.labels if self.weights is None else np.where(self.weights > 0.0, self.labels, -1)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the rows, their order and types included."""
        digest = hashlib.sha256()
        self.enter(digest)
        return digest.hexdigest()

    def enter(self, digest: hashlib._Hash) -> None:
        """Add the rows to a checksum."""
        for array in (self.inputs, self.labels, *([] if self.weights is None else [self.weights])):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            for block in iter_blocks(array):
                digest.update(np.ascontiguousarray(block).data)


@dataclass(frozen=True)
class Dataset:
    """A data set. Splits are canonical: fixed by the data set, never by a run's seed.

    Args:
        name: its name in the registry, or any name for the user's arrays.
        classes: number of classes; labels are 0 to classes − 1. 0 for a regression, or without a target.
        train, valid: the training and validation rows.
        load_test: gives the test rows; called once, after all training and selection.
        image_shape: (rows, columns) where the d inputs are an image, else None.
        table: of a table, how its rows became inputs and labels.
        notices: lines that say what was left out of a table.
        has_test: whether there are test rows.
    """

    name: str
    classes: int
    train: Split
    valid: Split
    load_test: Callable[[], Split]
    image_shape: tuple[int, int] | None = None
    table: Preprocessing | None = None
    notices: Sequence[str] = ()
    has_test: bool = True

    @property
    def inputs(self) -> int:
        """Number of inputs d per example."""
        return int(self.train.inputs.shape[1])

    @property
    def target_column(self) -> NumericColumn | None:
        """The scaling of the numbers to predict; None where the labels are classes."""
        return self.table.target_column if self.table is not None else None

    @property
    def is_regression(self) -> bool:
        """Whether the labels are numbers to predict."""
        return self.target_column is not None

    @property
    def outputs(self) -> int:
        """Number of outputs of a head: one for each class, or the number that a regression predicts."""
        return 1 if self.is_regression else self.classes

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the training and validation rows, their order and types included.

        A table's includes how the rows were made from it.
        """
        digest = hashlib.sha256()
        if self.table is not None:
            # The same numbers, whatever mark they were written with.
            table = replace(self.table, reading=replace(self.table.reading, commas=False))
            digest.update(json.dumps(table.to_dict()).encode())
        for split in (self.train, self.valid):
            split.enter(digest)
        return digest.hexdigest()


def make_dataset(
    name: str,
    train: tuple[Any, Any],
    valid: tuple[Any, Any],
    load_test: Callable[[], tuple[Any, Any]],
    image_shape: tuple[int, int] | None = None,
) -> Dataset:
    """Return a checked Dataset of (inputs, labels) pairs of arrays; the test rows are checked when they are read.

    Inputs are (n, d), or images, (n, H, W) or with channels, whose pixels are the d inputs. Those of another type than
    uint8 become float32. The label −1 marks a training row without one, which is for pre-training alone. Memory-mapped
    inputs (``np.load(FILE, mmap_mode="r")``) stay in their file; see ``data.memory_budget``.

    Raises:
        DataError: inputs that are no such arrays, not finite, or of another width; labels that are not whole numbers
            from 0 (training rows: from −1), or not one per example.
    """
    first = _split(name, "training", *train, least=-1)
    shape = np.shape(train[0])[1:]
    if len(shape) == 3:
        shape = channels_first(np.empty((1, *shape), np.bool_)).shape[1:]
    image_shape = image_shape or (shape_of(shape) if len(shape) > 1 else None)
    classes = int(first.labels.max()) + 1
    if classes < 2:
        raise DataError(f"{name}: the training labels have one class only; fine-tuning needs two or more")
    width = first.inputs.shape[1]
    if image_shape and image_shape[0] * image_shape[1] != width:
        raise DataError(f"{name}: {width} inputs do not form an image of {image_shape[0]}×{image_shape[1]} pixels")
    return Dataset(
        name,
        classes,
        first,
        _split(name, "validation", *valid, width=width, classes=classes),
        lambda: _split(name, "test", *load_test(), width=width, classes=classes),
        image_shape,
    )


def _split(name: str, part: str, inputs: Any, labels: Any, width: int = 0, classes: int = 0, least: int = 0) -> Split:
    """Return the checked split."""
    where = f"{name}, {part} rows"
    if isinstance(inputs, np.memmap) and inputs.ndim > 2 and inputs.size:
        # Channels that are last are moved, which takes them into memory.
        moved = channels_first(inputs)
        inputs = inputs.reshape(len(inputs), -1) if moved is inputs else np.array(moved)
    on_disk = DiskArray.from_memmap(inputs) if isinstance(inputs, np.memmap) else None
    x: Inputs = array_of(where, inputs) if on_disk is None else on_disk
    y = array_of(where, labels)
    if len(x.shape) < 2 or 0 in x.shape:
        raise DataError(f"{where}: the inputs must be (examples, inputs), or images, not of shape {x.shape}")
    if isinstance(x, np.ndarray):
        x = channels_first(x).reshape(len(x), -1)
    if width and x.shape[1] != width:
        raise DataError(f"{where}: {x.shape[1]} inputs, but the training rows have {width}")
    if y.shape != (len(x),):
        raise DataError(f"{where}: {len(x)} examples but labels of shape {y.shape}; there must be one per example")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < least:
        unlabelled = "; −1 for a row without a label" if least else ""
        raise DataError(f"{where}: the labels must be whole numbers from 0{unlabelled}")
    if classes and y.max() >= classes:
        raise DataError(f"{where}: label {y.max()}, but the training labels end at {classes - 1}")
    if not isinstance(x, DiskArray):
        x = np.ascontiguousarray(x, x.dtype if x.dtype == np.uint8 else np.float32)
    found = None if x.dtype == np.uint8 else _first(x, lambda block: ~np.isfinite(block))
    if found:
        row, column, value = found
        raise DataError(f"{where}: row {row}, input {column} is {value}; remove or fill such values first")
    return Split(x, y.astype(np.int64))


def _first(inputs: Inputs, wrong: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> tuple[int, int, float] | None:
    """Return row, column and value of the first input that is ``wrong``, None where none is."""
    start = 0
    for block in iter_blocks(inputs):
        bad = wrong(block)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            return start + int(row), int(column), float(block[row, column])
        start += len(block)
    return None


def check_unit_interval(dataset: Dataset) -> None:
    """Raise DataError where an input lies outside [0, 1], which cross-entropy does not allow."""
    for part, split in (("training", dataset.train), ("validation", dataset.valid)):
        if split.inputs.dtype == np.uint8:
            continue
        found = _first(split.inputs, lambda block: (block < 0.0) | (block > 1.0))
        if found:
            row, column, value = found
            raise DataError(
                f"{dataset.name}, {part} rows: row {row}, input {column} is {value:g}, but cross_entropy needs"
                " inputs in [0, 1]; scale the inputs, or set pretrain.loss to squared_error"
            )
