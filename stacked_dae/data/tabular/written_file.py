"""A table's file, with the values that stand for none taken out, and numbers that people wrote read as such."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.data.columns.columns import Column, NumericColumn
from stacked_dae.data.columns.errors import leave_out
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.columns.reading import Reading
from stacked_dae.data.columns.values import NUMBER, Values, canonical
from stacked_dae.data.columns.written_numbers import (
    NaValues,
    is_ambiguous,
    other_sign,
    signs_differ,
    written_number,
    written_numbers,
)
from stacked_dae.data.formats.arrow_columns import numbers_where_all_are
from stacked_dae.data.formats.csv_dialect import DecimalError, ambiguous
from stacked_dae.data.formats.opening import open_table
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.errors import DataError


class _Wrapped:
    """Base of a table's file whose columns are read otherwise.

    Args:
        file: the table.
    """

    def __init__(self, file: TableFile) -> None:
        self._file = file
        self.names, self.is_bytes, self.indexes, self.notices = file.names, file.is_bytes, file.indexes, file.notices
        self.unusable, self.may_lack_header, self.unnamed = file.unusable, file.may_lack_header, file.unnamed
        self.pixels, self.image_shape, self.colours = file.pixels, file.image_shape, file.colours
        self.decimal, self.has_points = file.decimal, file.has_points


class WrittenFile(_Wrapped):
    """A table's file as people write it.

    Args:
        path: of the file, for errors.
        file: the table.
        reading: its options.
        names: columns whose text is text whatever it looks like; those read as text anyway need not be among them.
        signs: currency and percent signs of the columns of a model, empty for none; None where there is no model yet.
        hint: what an error of a comma that may mean two things ends with.
        needed: columns that cannot be left out, such as the target.
    """

    def __init__(
        self,
        path: Path,
        file: TableFile,
        reading: Reading,
        names: Collection[str] = (),
        *,
        signs: Mapping[str, str] | None = None,
        hint: str = "",
        needed: Collection[str | None] = (),
    ) -> None:
        super().__init__(file)
        self._path, self._text, self._expected, self._hint, self._needed = path, names, signs, hint, needed
        # The commas of a CSV file are points by now.
        self._decimal = "." if reading.decimal is None or file.has_points else reading.decimal
        self._is_said = reading.decimal is not None
        self._na_values = NaValues(reading.na_values, reading.decimal or file.decimal)
        self.written: dict[str, str] = {}
        """The first number of each column that has a mark or a sign, as it is written."""
        self.signs: dict[str, str] = {}
        """The currency or percent sign of each column that bears one."""

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        signs: dict[str, str] = {}
        for values in self._file.batches(names, as_text):
            found = {name: self._na_values.without(column) for name, column in values.items()}
            for name in found.keys() - {*as_text}:
                # Where text stood for missing values, numbers may be left.
                found[name] = self._na_values.without(self._numbers(name, found[name], signs))
            yield found

    def with_sign(self, column: Column) -> Column:
        """Return a column with the sign that its rows bear."""
        has_sign = isinstance(column, NumericColumn) and column.name in self.signs
        return replace(column, sign=self.signs[column.name]) if has_sign else column  # type: ignore[arg-type]

    def as_number(self, name: str) -> float:
        """Return the number that the first one with a mark or a sign of a column is read as."""
        found = written_number(self.written[name], self._decimal)
        assert found is not None
        return found[0]

    def _numbers(self, name: str, values: Values, signs: dict[str, str]) -> Values:
        """Return a column as numbers, if it holds them; ``signs`` are those of the rows before."""
        numbers, sign = values, ""
        if values.dtype == object:
            parsed = self._parsed(name, values)
            if parsed is None:
                return values
            numbers, sign = parsed
        if np.isnan(numbers).all():
            return numbers
        expected = sign if self._expected is None or not sign else self._expected.get(name, sign)
        if sign != expected:
            raise DataError(f"{self._path}: {other_sign(name, sign, expected)}")
        before = signs.setdefault(name, sign)
        if sign != before and values.dtype != object:
            others = "" if name in self._needed else f", or {leave_out(name)}"
            raise DataError(f"{self._path}: {signs_differ(name, before)}; write them alike{others}")
        if sign:
            self.signs[name] = sign
        return numbers if sign == before else values

    def _parsed(self, name: str, values: Values) -> tuple[NDArray[np.float64], str] | None:
        """Return text as numbers, with the sign that all bear; None where it holds others."""
        known = [value for value in values if value is not None]
        if not known:
            return np.full(len(values), np.nan), ""
        plain = numbers_where_all_are(values) if self._decimal == "." else values
        if plain.dtype != object:
            return plain, ""
        if name in self._text or written_number(known[0], self._decimal) is None:
            return None
        left = self._na_values.without(values, numbers=True)
        found = written_numbers(left.tolist(), self._decimal)
        if found is None:
            return None
        texts = [value for value in left if value is not None]
        if not self._is_said and is_ambiguous(texts):
            error = ambiguous(self._path, name, next(text for text in texts if "," in text))
            raise DataError(f"{error}{self._hint}")
        shown = next((text for text in texts if not NUMBER.fullmatch(text)), None)
        if shown is not None:
            self.written.setdefault(name, shown)
        return found


def described(path: Path, file: WrittenFile, names: Sequence[str]) -> list[str]:
    """Return a line for each of these columns whose numbers have a mark or a sign."""
    return [
        f"{path}: column {name!r} is read as numbers: {file.written[name].strip()!r} is {file.as_number(name):.15g}"
        for name in names
        if name in file.written
    ]


class CanonicalFile(_Wrapped):
    """A file's table with the names that the first versions gave: 7 for 007."""

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        for values in self._file.batches(names, as_text):
            yield {name: canonical(column) for name, column in values.items()}


def reading_of(settings: DataConfig) -> Reading:
    """Return what the settings say of how a table's text is read."""
    return Reading(settings.delimiter, settings.decimal, settings.header, tuple(settings.na_values))


def open_data(
    path: Path, settings: DataConfig, known: Preprocessing | None = None, signs: Mapping[str, str] | None = None
) -> WrittenFile:
    """Return the file of a table, read as the settings say.

    Args:
        path: the file.
        settings: those of the data.
        known: of a run that exists: what are no numbers there are none here.
        signs: currency and percent signs of the columns of pre-trained layers, if the table is for such.

    Raises:
        DataError: it is not readable.
    """
    reading = reading_of(settings)
    hint = "; or say which it is: --data.decimal , for the decimal mark, --data.decimal . for thousands"
    try:
        file = open_table(path, reading)
    except DecimalError as error:
        raise DataError(f"{error}{hint}") from None
    numbers: Collection[str] = file.names
    if known is not None:
        numbers = {c.name for c in [*known.columns, known.target_column] if isinstance(c, NumericColumn)}
        numbers |= {settings.weights} if settings.weights is not None else set()
    others = [name for name in file.names if name not in numbers]
    needed = (settings.target, settings.weights)
    return WrittenFile(path, file, reading, others, signs=signs, hint=hint, needed=needed)
