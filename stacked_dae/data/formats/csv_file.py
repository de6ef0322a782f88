"""CSV and TSV files, read by pyarrow as text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from stacked_dae.data.columns.values import NUMBER, Values
from stacked_dae.data.columns.written_numbers import BESIDE, POINTED_THOUSANDS, THOUSANDS_MARKS
from stacked_dae.data.formats.arrow_columns import column_values
from stacked_dae.data.formats.csv_dialect import Dialect
from stacked_dae.data.formats.table_file import BLOCK, ROWS, PlainFile, import_pyarrow, indexes_of, reason_of
from stacked_dae.errors import DataError

_PARTED = rf"^{BESIDE}{POINTED_THOUSANDS}(,\d+)?{BESIDE}$"
_POINTED = rf"^{BESIDE}\d*\.\d+([eE][+-]?\d+)?{BESIDE}$"
_WHOLE_OR_BLANK = rf"^{BESIDE}\d*{BESIDE}$"
_DECIMAL_COMMA = rf"^({BESIDE}\d*),(\d+([eE][+-]?\d+)?{BESIDE})$"


class CsvFile(PlainFile):
    """A CSV file.

    Args:
        path: the file.
        dialect: how it is written.
        header: whether its first line names the columns.
        is_said: whether the user said what the decimal mark is.
    """

    has_points = True
    is_bytes = False
    unusable: Mapping[str, str] = {}

    def __init__(self, path: Path, dialect: Dialect, header: bool, *, is_said: bool = False) -> None:
        self._path, self._dialect, self._header, self._is_said = path, dialect, header, is_said
        self.decimal = dialect.decimal
        with closing(self._open()) as reader:
            self.names: list[str] = reader.schema.names
        self.indexes = indexes_of(self.names)
        unsure = f"{path}: it is not UTF-8, so it is read as Windows-1252 (Latin-1); save it as UTF-8 if that is wrong"
        values = (
            f"{path}: its first line names the columns {', '.join(self.names[:4])}, …; if it holds values, name them"
            " there, or have them named f0, f1, …: --data.header false"
        )
        numbers = [k for k, name in enumerate(self.names) if NUMBER.fullmatch(name) and name != str(k)]
        self.may_lack_header = header and bool(numbers)
        self.notices: Sequence[str] = [unsure] * (dialect.encoding == "cp1252") + [values] * self.may_lack_header

    def _open(self, names: Sequence[str] | None = None) -> Any:
        pa = import_pyarrow(self._path)
        from pyarrow import csv

        # What a column holds is not guessed from its beginning.
        kinds = {name: pa.string() for name in names or ()}
        # Of one column, an empty line is a missing value.
        parse = csv.ParseOptions(
            delimiter=self._dialect.delimiter,
            newlines_in_values=True,
            ignore_empty_lines=names is None or len(self.names) > 1,
        )
        try:
            # By its name pyarrow knows .gz, but not .GZ.
            zipped = self._path.suffix.lower() == ".gz"
            return csv.open_csv(
                pa.input_stream(str(self._path), compression="gzip" if zipped else None),
                read_options=csv.ReadOptions(
                    block_size=BLOCK,
                    use_threads=False,
                    encoding=self._dialect.encoding,
                    autogenerate_column_names=not self._header,
                    skip_rows=self._dialect.skipped,
                ),
                parse_options=parse,
                convert_options=csv.ConvertOptions(
                    column_types=kinds,
                    include_columns=names,
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except (pa.ArrowException, UnicodeError, OSError) as error:
            raise DataError(f"{self._path}: not readable as CSV ({reason_of(error)})") from None

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        pa = import_pyarrow(self._path)
        with closing(self._open(names)) as reader:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except (pa.ArrowException, UnicodeError, OSError) as error:
                    raise DataError(f"{self._path}: not readable as CSV ({reason_of(error)})") from None
                for start in range(0, len(batch), ROWS):
                    rows = batch.slice(start, ROWS)
                    columns = {n: self._pointed(n, rows.column(n), n in as_text) for n in names}
                    yield {n: column_values(self._path, n, columns[n], as_text=n in as_text) for n in names}

    def _pointed(self, name: str, column: Any, as_text: bool) -> Any:
        """Return a column of numbers with a point for the decimal comma; names stay as they are written."""
        import pyarrow.compute as pc

        if as_text or self._dialect.decimal == ".":
            return column

        def matching(pattern: str) -> Any:
            return pc.fill_null(pc.match_substring_regex(column, pattern), False)

        parted, pointed, with_comma = matching(_PARTED), matching(_POINTED), matching(_DECIMAL_COMMA)
        numbers = pc.or_(pc.or_(parted, pointed), pc.or_(with_comma, matching(_WHOLE_OR_BLANK)))
        if not pc.all(pc.or_(numbers, pc.is_null(column)), min_count=0).as_py():
            return column
        plain = column.filter(pc.and_not(pointed, parted))
        if len(plain):
            raise DataError(
                f"{self._path}: column {name!r} has {plain[0].as_py().strip()!r}, but commas are the decimal mark"
                " of the file; write it with a comma, or, if points are: --data.decimal ."
            )
        thousands = column.filter(parted)
        if len(thousands) and not self._is_said and not pc.any(matching(",")).as_py():
            raise DataError(
                f"{self._path}: column {name!r} has {thousands[0].as_py().strip()!r}, whose point may part thousands or"
                " be the decimal mark; say which is the decimal mark: --data.decimal , or --data.decimal ."
            )
        column = pc.if_else(parted, pc.replace_substring_regex(column, THOUSANDS_MARKS, ""), column)
        return pc.replace_substring_regex(column, _DECIMAL_COMMA, r"\1.\2")
