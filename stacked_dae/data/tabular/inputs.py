"""Rows of a table's file as inputs of a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.columns.values import Values
from stacked_dae.data.disk_array import DiskArray, Inputs
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.errors import DataError


def inputs_of(path: str | Path, preprocessing: Preprocessing, values: Mapping[str, Values]) -> NDArray[np.float32]:
    """Return :meth:`Preprocessing.transform` of rows of a file; its errors name the file."""
    try:
        return preprocessing.transform(values)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _batches(
    file: TableFile, names: Sequence[str], as_text: Collection[str]
) -> Iterator[tuple[slice, dict[str, Values]]]:
    start = 0
    for values in file.batches(names, as_text):
        stop = start + len(values[names[0]])
        yield slice(start, stop), values
        start = stop


def read_inputs(
    file: TableFile,
    path: Path,
    preprocessing: Preprocessing,
    chosen: NDArray[np.bool_],
    scratch: Path,
    budget_bytes: int,
) -> Inputs:
    """Return the inputs of the chosen rows, in memory or, if they need more than the budget, on disk.

    Args:
        file: the table.
        path: of the file, for errors.
        preprocessing: makes inputs of the columns.
        chosen: (n,) which rows.
        scratch: folder for inputs on disk; they leave no file behind there.
        budget_bytes: inputs of more than this many bytes stay on disk.
    """
    shape = (int(chosen.sum()), len(preprocessing.inputs))
    if 4 * shape[0] * shape[1] <= budget_bytes:
        in_memory = np.empty(shape, np.float32)
        _fill(file, path, preprocessing, chosen, in_memory.__setitem__)
        return in_memory
    scratch.mkdir(parents=True, exist_ok=True)
    on_disk = DiskArray.create_unlinked(scratch, shape)
    _fill(file, path, preprocessing, chosen, lambda rows, block: on_disk.write(rows.start, block))
    return on_disk


def _fill(
    file: TableFile,
    path: Path,
    preprocessing: Preprocessing,
    chosen: NDArray[np.bool_],
    put: Callable[[slice, NDArray[np.float32]], None],
) -> None:
    at = 0
    for rows, values in _batches(file, preprocessing.names, preprocessing.categorical()):
        kept = chosen[rows]
        if kept.any():
            block = inputs_of(path, preprocessing, {name: column[kept] for name, column in values.items()})
            put(slice(at, at + len(block)), block)
            at += len(block)
