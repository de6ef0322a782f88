"""A table's file, with the values that stand for none taken out, and numbers that people wrote read as such."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.data.columns.columns import NumericColumn
from stacked_dae.data.columns.errors import leave_out
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.columns.reading import Reading
from stacked_dae.data.columns.values import NUMBER, Values, canonical
from stacked_dae.data.columns.written_numbers import without_missing, written_number, written_numbers
from stacked_dae.data.formats.arrow_columns import numbers_where_all_are
from stacked_dae.data.formats.csv_dialect import DecimalError
from stacked_dae.data.formats.opening import open_table
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.errors import DataError


class WrittenFile:
    """A table's file as people write it.

    Args:
        path: of the file, for errors.
        file: the table.
        na_values: what stands for a missing value.
        names: columns whose text is text whatever it looks like; those read as text anyway need not be among them.
    """

    def __init__(self, path: Path, file: TableFile, na_values: Sequence[str], names: Collection[str] = ()) -> None:
        self._path, self._file, self._na_values, self._text = path, file, na_values, names
        self.names, self.is_bytes, self.indexes, self.notices = file.names, file.is_bytes, file.indexes, file.notices
        self.unusable, self.may_lack_header = file.unusable, file.may_lack_header
        self.pixels, self.image_shape, self.unnamed = file.pixels, file.image_shape, file.unnamed
        self.written: dict[str, str] = {}
        """The first number of each column that has a mark or a sign, as it is written."""

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        signs: dict[str, str] = {}
        for values in self._file.batches(names, as_text):
            yield {
                name: self._read(name, without_missing(column, self._na_values), name in as_text, signs)
                for name, column in values.items()
            }

    def _read(self, name: str, values: Values, as_text: bool, signs: dict[str, str]) -> Values:
        if as_text:
            return values
        if values.dtype == object:
            # Of which some were missing values.
            values = numbers_where_all_are(values) if self._na_values else values
        if values.dtype != object:
            if not np.isnan(values).all() and signs.setdefault(name, ""):
                raise DataError(
                    f"{self._path}: column {name!r} has numbers with {signs[name]!r} and others without; write them"
                    f" alike, or {leave_out(name)}"
                )
            return values
        first = next((value for value in values if value is not None), None)
        if name in self._text or first is None or written_number(first) is None:
            return values
        found = written_numbers(values.tolist())
        if found is None or signs.setdefault(name, found[1]) != found[1]:
            return values
        self.written.setdefault(name, next(value for value in values if value and not NUMBER.fullmatch(value)))
        return found[0]


def described(path: Path, file: WrittenFile, names: Sequence[str]) -> list[str]:
    """Return a line for each of these columns whose numbers have a mark or a sign."""
    lines = []
    for name in names:
        if name in file.written:
            found = written_number(file.written[name])
            assert found is not None
            lines.append(
                f"{path}: column {name!r} is read as numbers: {file.written[name].strip()!r} is {found[0]:.15g}"
            )
    return lines


class CanonicalFile:
    """A file's table with the names that the first versions gave: 7 for 007."""

    def __init__(self, file: TableFile) -> None:
        self._file = file
        self.names, self.is_bytes, self.indexes, self.notices = file.names, file.is_bytes, file.indexes, file.notices
        self.unusable, self.may_lack_header = file.unusable, file.may_lack_header
        self.pixels, self.image_shape, self.unnamed = file.pixels, file.image_shape, file.unnamed

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        for values in self._file.batches(names, as_text):
            yield {name: canonical(column) for name, column in values.items()}


def reading_of(settings: DataConfig) -> Reading:
    """Return what the settings say of how a table's text is read."""
    return Reading(settings.delimiter, settings.decimal, settings.header, tuple(settings.na_values))


def open_data(path: Path, settings: DataConfig, known: Preprocessing | None = None) -> WrittenFile:
    """Return the file of a table, read as the settings say.

    Args:
        path: the file.
        settings: those of the data.
        known: of a run that exists: what are no numbers there are none here.

    Raises:
        DataError: it is not readable.
    """
    reading = reading_of(settings)
    try:
        file = open_table(path, reading)
    except DecimalError as error:
        raise DataError(
            f"{error}; or say which it is: --data.decimal , for the decimal mark, --data.decimal . for thousands"
        ) from None
    numbers = {c.name for c in known.columns if isinstance(c, NumericColumn)} if known is not None else file.names
    return WrittenFile(path, file, reading.na_values, [name for name in file.names if name not in numbers])
