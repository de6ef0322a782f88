"""The preprocessing of a table: its columns as inputs of a network, as fitted on the training rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.columns import CategoricalColumn, Column, NumericColumn, PixelColumn
from stacked_dae.data.columns.reading import Reading
from stacked_dae.data.columns.values import Values
from stacked_dae.utils.type_hints import matches_type

_NUMERIC = {"name": str, "shift": float, "width": float, "standardised": bool}
_PIXEL = {**_NUMERIC, "pixel": bool}
_CATEGORICAL = {"name": str, "values": list[str]}
# Kept where they are not at their default, so that other models stay as they were.
_FLAGS = ("as_written", "from_layers")
_LATER = (*_FLAGS, "reading", "image_shape", "target_column")


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a table's rows to inputs and labels, fitted on the training rows; a part of the model.

    Args:
        columns: the columns that are inputs, in their order.
        target: the column of the class, or of the number to predict; None where there is none.
        classes: its values, in the order of the labels; those of whole numbers by size, others by the alphabet.
        as_written: whether names are text as the file has it, where that is not how a number is written: 007, 1E2.
        from_layers: whether the columns were fitted on another table, that of the pre-trained layers.
        reading: options with which its files are read.
        image_shape: (rows, columns) of its images, if it is of images that can be drawn.
        target_column: the scaling of the target, standardised like an input (regression only).
    """

    columns: list[Column]
    target: str | None
    classes: list[str]
    as_written: bool = False
    from_layers: bool = False
    reading: Reading = field(default_factory=Reading)
    image_shape: tuple[int, int] | None = None
    target_column: NumericColumn | None = None

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    @property
    def inputs(self) -> list[str]:
        """Names of the network's inputs, d of them."""
        return [name for column in self.columns for name in column.inputs]

    @property
    def signs(self) -> dict[str, str]:
        """Currency and percent signs of the columns of numbers, by name; empty for those that bear none."""
        columns = [*self.columns, self.target_column]
        return {c.name: c.sign for c in columns if isinstance(c, NumericColumn)}

    @property
    def standardised(self) -> NDArray[np.bool_]:
        """Mask of the inputs that are standardised, (d,); the others are in [0, 1]."""
        return np.array(
            [isinstance(c, NumericColumn) and c.standardised for c in self.columns for _ in c.inputs], dtype=np.bool_
        )

    @property
    def pixels(self) -> list[str]:
        """Names of the columns that are the pixels of images."""
        return [column.name for column in self.columns if isinstance(column, PixelColumn)]

    @property
    def are_pixels(self) -> bool:
        """True if all columns are the pixels of images."""
        return len(self.pixels) == len(self.columns)

    def categorical(self) -> list[str]:
        """Return the names of the columns of names."""
        return [column.name for column in self.columns if isinstance(column, CategoricalColumn)]

    def transform(self, values: Mapping[str, Values]) -> NDArray[np.float32]:
        """Return the inputs of rows whose columns are ``values`` by name: (n, d), NaN where a value is missing."""
        return np.concatenate([column.transform(values[column.name]) for column in self.columns], axis=1)

    @property
    def column_of_input(self) -> NDArray[np.int64]:
        """The place, from 0, of the column that each input belongs to, (d,)."""
        return np.repeat(np.arange(len(self.columns)), [len(column.inputs) for column in self.columns])

    def restore(self, inputs: NDArray[Any]) -> dict[str, Values]:
        """Return the columns by name that inputs, (n, d), stand for: numbers in their units, and names."""
        return {column.name: column.restore(part) for column, part in self._parts(inputs)}

    def errors(self, values: Mapping[str, Values], inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the errors of ``inputs``, (n, d), from the columns ``values``: (n, columns), NaN for missing."""
        return np.stack([column.errors(values[column.name], part) for column, part in self._parts(inputs)], axis=1)

    def _parts(self, inputs: NDArray[Any]) -> Iterator[tuple[Column, NDArray[Any]]]:
        ends = np.cumsum([len(column.inputs) for column in self.columns])
        return zip(self.columns, np.split(inputs, ends[:-1], axis=1), strict=True)

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return those of ``names`` that are neither an input's nor the target's column."""
        known = {*self.names, self.target}
        return [name for name in names if name not in known]

    def unseen(self, values: Mapping[str, Values]) -> list[tuple[str, int, str]]:
        """Return (column, row, value) of every value that its column did not have in the training rows."""
        found = []
        for column in self.columns:
            if isinstance(column, CategoricalColumn):
                known = {None, *column.values}
                found += [(column.name, i, v) for i, v in enumerate(values[column.name]) if v not in known]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        columns = [_to_dict(column) for column in self.columns]
        shape = self.image_shape and [*self.image_shape]
        values = {
            **asdict(self),
            "columns": columns,
            "reading": self.reading.to_dict(),
            "image_shape": shape,
            "target_column": self.target_column and _to_dict(self.target_column),
        }
        return {name: value for name, value in values.items() if name not in _LATER or value}

    @staticmethod
    def from_dict(values: Any) -> Preprocessing:
        """Return the Preprocessing of :meth:`to_dict`.

        Raises:
            ValueError: ``values`` are not those of a Preprocessing.
        """
        hints: dict[str, Any] = {"columns": list[dict[str, Any]], "target": str | None, "classes": list[str]}
        flags = [name for name in _FLAGS if isinstance(values, dict) and name in values]
        hints |= dict.fromkeys(flags, bool)
        reading = Reading()
        if isinstance(values, dict) and "reading" in values:
            reading, hints["reading"] = Reading.from_dict(values["reading"]), dict
        shape = None
        if isinstance(values, dict) and "image_shape" in values:
            hints["image_shape"] = list[int]
            shape = tuple(values["image_shape"]) if isinstance(values["image_shape"], list) else ()
        target_column: NumericColumn | None = None
        if isinstance(values, dict) and "target_column" in values:
            hints["target_column"] = dict
            column = _column(values["target_column"])
            if not isinstance(column, NumericColumn):
                raise ValueError("its target_column is not numeric")
            target_column = column
        if not _has(values, hints) or not values["columns"]:
            raise ValueError("columns are missing")
        columns = [_column(column) for column in values["columns"]]
        said = {name: values[name] for name in flags}
        if shape is not None and len(shape) != 2:
            raise ValueError("its image_shape is not that of images")
        return Preprocessing(
            columns,
            values["target"],
            values["classes"],
            **said,
            reading=reading,
            image_shape=shape,
            target_column=target_column,
        )


def _to_dict(column: Column) -> dict[str, Any]:
    """Return a column as plain values, without a sign where it has none."""
    return {name: value for name, value in asdict(column).items() if name != "sign" or value}


def _column(values: Any) -> Column:
    """Return the column of :func:`_to_dict`.

    Raises:
        ValueError: ``values`` are not those of a column.
    """
    sign = {"sign": str} if isinstance(values, dict) and "sign" in values else {}
    if _has(values, _PIXEL):
        return PixelColumn(**values)
    if _has(values, {**_NUMERIC, **sign}) and values["width"] > 0:
        return NumericColumn(**values)
    if _has(values, _CATEGORICAL):
        return CategoricalColumn(**values)
    raise ValueError("a column is neither numeric nor categorical")


def _has(values: Any, hints: Mapping[str, Any]) -> bool:
    return (
        isinstance(values, dict)
        and set(values) == set(hints)
        and all(matches_type(hints[k], v) for k, v in values.items())
    )
