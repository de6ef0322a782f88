"""The rows of a file as inputs of a model, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.values import Values
from stacked_dae.data.formats.opening import open_table
from stacked_dae.data.tabular.inputs import inputs_of
from stacked_dae.data.tabular.loading import table_rows
from stacked_dae.data.tabular.scan import check_numbers
from stacked_dae.errors import DataError
from stacked_dae.inference.model import StackedDAE

# Column of the class where there is no table.
_TARGET = "y"


@dataclass(frozen=True)
class FileRows:
    """Some rows of a file.

    Args:
        inputs: as the network takes them, (n, d) float32, NaN where a value is missing, or uint8.
        values: of a table, its columns by name; None without a table.
        unseen: (column, row of the block, value) of each name that training had not seen.
    """

    inputs: NDArray[Any]
    values: Mapping[str, Values] | None
    unseen: list[tuple[str, int, str]]


def file_rows(model: StackedDAE, path: str | Path) -> Iterator[FileRows]:
    """Yield the rows of a file, a block at a time.

    Raises:
        DataError: the file differs in kind from the one that the model was trained on; the text names column and row.
    """
    if model.preprocessing is not None:
        for values in table_rows(path, model.preprocessing):
            yield FileRows(inputs_of(path, model.preprocessing, values), values, model.preprocessing.unseen(values))
        return
    file = open_table(path)
    names = [name for name in file.names if name not in file.indexes]
    if len(names) == len(model.columns) + 1 and _TARGET in names:
        names.remove(_TARGET)
    if len(names) != len(model.columns):
        raise DataError(f"{path}: {len(names)} columns, but the model takes {len(model.columns)}")
    start = 0
    for values in file.batches(names):
        text = next((name for name in names if values[name].dtype == object), None)
        if text is not None:
            raise DataError(f"{path}: column {text!r} holds text, but the model takes numbers")
        block = np.stack([values[name] for name in names], axis=1)
        bad = np.argwhere(~np.isfinite(block))
        if len(bad):
            row, column = bad[0]
            raise DataError(
                f"{path}: column {names[column]!r}, row {start + row + 1} is {block[row, column]}; fill it first"
            )
        yield FileRows(block.astype(np.uint8 if file.is_bytes else np.float32), None, [])
        start += len(block)
    if not start:
        raise DataError(f"{path}: it has no rows")


def labelled_file_rows(model: StackedDAE, path: str | Path) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield the inputs of the rows of a file with the class of each, a block at a time; −1 where it has none.

    Of a regression it is the number to predict, float64, NaN where there is none. The classes are in the column that
    the model was trained on, or, without a table, in one named y.

    Raises:
        StageError: the model was never fine-tuned.
        DataError: the file differs in kind from the one it was trained on, or has another class.
    """
    model.check_finetuned()
    places = {str(name): place for place, name in enumerate(model.classes)}
    target = _TARGET if model.preprocessing is None else model.preprocessing.target
    if model.preprocessing is not None:
        blocks = (
            (inputs_of(path, model.preprocessing, values), values[str(target)])
            for values in table_rows(path, model.preprocessing, target=True)
        )
    else:
        file = open_table(path)
        if _TARGET not in file.names:
            raise DataError(f"{path}: there is no column {_TARGET!r}, which holds the classes")
        inputs = (rows.inputs for rows in file_rows(model, path))
        named = (values[_TARGET] for values in file.batches([_TARGET], {_TARGET}))
        blocks = zip(inputs, named, strict=True)  # type: ignore[assignment]
    start = 0
    for rows, labels in blocks:
        if model.target_column is not None:
            check_numbers(Path(path), str(target), labels, start)
            yield rows, labels
            start += len(labels)
            continue
        for at, label in enumerate(labels):
            if label is not None and label not in places:
                raise DataError(
                    f"{path}: column {target!r}, row {start + at + 1} is {label!r}, a class that the model was not"
                    f" trained on; it knows {', '.join(map(str, model.classes[:8]))}{', …' * (len(places) > 8)}"
                )
        yield rows, np.array([-1 if label is None else places[label] for label in labels], np.int64)
        start += len(labels)
