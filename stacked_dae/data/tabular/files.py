"""Files that hold a table, read by batches of rows: CSV, Parquet and Feather by pyarrow, .npy and .npz by NumPy."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.reading import Reading
from stacked_dae.data.columns.values import Values
from stacked_dae.data.tabular.arrow_columns import column_values, describe_unusable, names_of, numbers_where_all_are
from stacked_dae.data.tabular.csv_dialect import Dialect, find_dialect
from stacked_dae.errors import DataError

ROWS = 8192
"""Rows in a batch at the most."""
# Bytes of a CSV file that are read at a time; a line must fit.
_BLOCK = 2**22
_CSV, _FEATHER = (".csv", ".tsv", ".csv.gz", ".tsv.gz"), (".feather", ".arrow")
_BESIDE = r"[\s()$€£¥%+-]*"
_POINTS_AND_COMMA = rf"^{_BESIDE}\d{{1,3}}(\.\d{{3}})+,\d+{_BESIDE}$"
_DECIMAL_COMMA = rf"^({_BESIDE}\d*),(\d+([eE][+-]?\d+)?{_BESIDE})$"
# What columns are seldom named.
_FRACTION = re.compile(r"\s*[+-]?\d*[.,]\d+([eE][+-]?\d+)?\s*", re.ASCII)
_AS_FOUND = Reading()
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+", re.ASCII)
ENDINGS = (*_CSV, ".parquet", *_FEATHER, ".npy", ".npz")
"""What the name of a table's file ends in."""


class TableFile(Protocol):
    """A file that holds a table."""

    names: list[str]
    """Names of the columns."""
    is_bytes: bool
    """True if the file is an array of bytes, as images are."""
    indexes: set[str]
    """Columns that number the rows, as pandas writes an index."""
    unusable: Mapping[str, str]
    """What the columns hold that are neither numbers nor text, by name."""
    notices: Sequence[str]
    """Lines that say how the file was read, where that may be wrong."""
    may_lack_header: bool
    """True if a line that names the columns may hold values."""

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time.

        In each batch a column is float64 with NaN for a missing value, or, where one of its values is not a number or
        it is among ``as_text``, objects: text, and None for a missing value.

        Raises:
            DataError: the file is damaged, or a column holds neither numbers nor text.
        """
        ...


def open_table(path: str | Path, reading: Reading = _AS_FOUND) -> TableFile:
    """Return the table in a file, whose ending says what it is.

    Args:
        path: ends in .csv or .tsv (also compressed: .csv.gz, .tsv.gz), .parquet, .feather, .arrow, .npy or .npz.
        reading: what was said of how its text is read; but for ``na_values``, which :class:`WrittenFile` knows.

    Raises:
        DataError: it does not exist, has another ending, or is not readable; or two of its columns share a name.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise DataError(f"{path}: a table is a file that ends in {', '.join(ENDINGS)}")
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty")
    if ending in _CSV:
        file: TableFile = _Csv(path, find_dialect(path, reading.delimiter, reading.decimal), reading.header)
    elif ending == ".parquet":
        file = _Parquet(path)
    elif ending in _FEATHER:
        file = _Feather(path)
    else:
        file = _numpy(path)
    double = next((name for i, name in enumerate(file.names) if name in file.names[:i]), None)
    if double is not None:
        raise DataError(f"{path}: two columns are named {double!r}; rename one")
    if not file.names:
        raise DataError(f"{path}: it has no columns")
    if "" in file.names[1:]:
        raise DataError(f"{path}: column {file.names.index('') + 1} has no name; give it one (pandas: index=False)")
    return file


def _indexes(names: Sequence[str], schema: Any = None) -> set[str]:
    """Return the columns that pandas wrote for an index, by its metadata in the schema or by their names."""
    noted = (schema.pandas_metadata or {}).get("index_columns", []) if schema is not None else []
    return {name for name in names if name in noted or _INDEX.fullmatch(name)} | ({""} & set(names[:1]))


def _arrow(path: Path) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise DataError(
            f"{path}: CSV, Parquet and Feather are read by pyarrow: pip install 'stacked-dae[tables]'"
        ) from None
    return pyarrow


def _reason(error: Exception) -> str:
    """Return the beginning of an error's text, on one line."""
    text = " ".join(str(error).split())
    if "straddling" in text:
        return f"a line is longer than {_BLOCK // 2**20} MiB"
    return text if len(text) <= 200 else f"{text[:200]}…"


class _Csv:
    is_bytes = False
    unusable: Mapping[str, str] = {}

    def __init__(self, path: Path, dialect: Dialect, header: bool) -> None:
        self._path, self._dialect, self._header = path, dialect, header
        with closing(self._open()) as reader:
            self.names: list[str] = reader.schema.names
        self.indexes = _indexes(self.names)
        unsure = f"{path}: it is not UTF-8, so it is read as Windows-1252 (Latin-1); save it as UTF-8 if that is wrong"
        values = (
            f"{path}: its first line names the columns {', '.join(self.names[:4])}, …; if it holds values, name them"
            " there, or have them named f0, f1, …: --data.header false"
        )
        self.may_lack_header = header and any(_FRACTION.fullmatch(name) for name in self.names)
        self.notices: Sequence[str] = [unsure] * (dialect.encoding == "cp1252") + [values] * self.may_lack_header

    def _open(self, names: Sequence[str] | None = None) -> Any:
        pa = _arrow(self._path)
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
            return csv.open_csv(
                self._path,
                read_options=csv.ReadOptions(
                    block_size=_BLOCK,
                    use_threads=False,
                    encoding=self._dialect.encoding,
                    autogenerate_column_names=not self._header,
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
            raise DataError(f"{self._path}: not readable as CSV ({_reason(error)})") from None

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        pa = _arrow(self._path)
        with closing(self._open(names)) as reader:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except (pa.ArrowException, UnicodeError, OSError) as error:
                    raise DataError(f"{self._path}: not readable as CSV ({_reason(error)})") from None
                for start in range(0, len(batch), ROWS):
                    rows = batch.slice(start, ROWS)
                    columns = {n: self._pointed(rows.column(n), n in as_text) for n in names}
                    yield {n: column_values(self._path, n, columns[n], as_text=n in as_text) for n in names}

    def _pointed(self, column: Any, as_text: bool) -> Any:
        """Return a column with a point for the decimal comma; names stay as they are written."""
        import pyarrow.compute as pc

        if as_text or self._dialect.decimal == ".":
            return column
        # With a comma behind them, points part thousands.
        parted = pc.fill_null(pc.match_substring_regex(column, _POINTS_AND_COMMA), False)
        column = pc.if_else(parted, pc.replace_substring(column, ".", ""), column)
        return pc.replace_substring_regex(column, _DECIMAL_COMMA, r"\1.\2")


class _ArrowFile:
    """A file whose columns have types, read by record batches of pyarrow's."""

    is_bytes = may_lack_header = False
    notices: Sequence[str] = ()
    kind: str

    def __init__(self, path: Path) -> None:
        self._path = path
        pa = _arrow(path)
        try:
            schema = self._schema()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: not readable as {self.kind} ({_reason(error)})") from None
        self.names: list[str] = schema.names
        self.indexes = _indexes(self.names, schema)
        self.unusable: Mapping[str, str] = describe_unusable(schema)

    def _schema(self) -> Any:
        raise NotImplementedError

    def _record_batches(self, names: Sequence[str]) -> Iterator[Any]:
        """Go through these columns, at most ROWS rows at a time."""
        raise NotImplementedError

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        pa = _arrow(self._path)
        try:
            for rows in self._record_batches(names):
                yield {n: column_values(self._path, n, rows.column(n), as_text=n in as_text) for n in names}
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self._path}: not readable as {self.kind} ({_reason(error)})") from None


class _Parquet(_ArrowFile):
    kind = "Parquet"

    def _schema(self) -> Any:
        from pyarrow import parquet

        self._file = parquet.ParquetFile(self._path, pre_buffer=False)
        return self._file.schema_arrow

    def _record_batches(self, names: Sequence[str]) -> Iterator[Any]:
        yield from self._file.iter_batches(ROWS, columns=list(names))


class _Feather(_ArrowFile):
    kind = "Feather"

    def _schema(self) -> Any:
        pa = _arrow(self._path)
        with pa.OSFile(str(self._path)) as source:
            return pa.ipc.open_file(source).schema

    def _record_batches(self, names: Sequence[str]) -> Iterator[Any]:
        pa = _arrow(self._path)
        with pa.OSFile(str(self._path)) as source:
            reader = pa.ipc.open_file(source)
            for k in range(reader.num_record_batches):
                batch = reader.get_batch(k)
                yield from (batch.slice(start, ROWS) for start in range(0, len(batch), ROWS))


class _Arrays:
    """Arrays with equal numbers of rows; each column of a 2-D one is a column, a 1-D one is one column."""

    may_lack_header = False
    notices: Sequence[str] = ()
    unusable: Mapping[str, str] = {}

    def __init__(self, path: Path, arrays: dict[str, NDArray[Any]]) -> None:
        self._columns: dict[str, NDArray[Any]] = {}
        self.names = []
        for name, array in arrays.items():
            if array.ndim not in (1, 2) or array.dtype.kind not in "biufUS":
                raise DataError(
                    f"{path}: {name or 'the array'} of shape {array.shape} and type {array.dtype} is not a table of"
                    " numbers or text"
                )
            if array.dtype.kind == "S":
                try:
                    array = np.char.decode(array, "utf-8")
                except UnicodeDecodeError:
                    raise DataError(f"{path}: {name or 'the array'} holds bytes that are not UTF-8 text") from None
            wide = array if array.ndim == 2 else array[:, None]
            for k in range(wide.shape[1]):
                own = str(k) if not name else f"{name}_{k}"
                self.names.append(name if array.ndim == 1 and name else own)
                self._columns[self.names[-1]] = wide[:, k]
        lengths = {len(column) for column in self._columns.values()}
        if len(lengths) > 1:
            raise DataError(f"{path}: its arrays have {' and '.join(map(str, sorted(lengths)))} rows; they must agree")
        self.indexes = _indexes(self.names)
        self.is_bytes = all(array.dtype == np.uint8 for array in arrays.values())
        self._rows = lengths.pop() if lengths else 0

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        for start in range(0, self._rows, ROWS):
            yield {n: self._values(self._columns[n][start : start + ROWS], n in as_text) for n in names}

    @staticmethod
    def _values(block: NDArray[Any], as_text: bool) -> Values:
        if as_text or block.dtype.kind == "b":
            return names_of(block)
        if block.dtype.kind not in "US":
            return block.astype(np.float64)
        return numbers_where_all_are(names_of(block))


def _numpy(path: Path) -> TableFile:
    try:
        if path.suffix.lower() == ".npy":
            return _Arrays(path, {"": np.load(path, mmap_mode="r", allow_pickle=False)})
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return _Arrays(path, {name: arrays[name] for name in arrays.files})
    except (DataError, MemoryError):
        raise
    except Exception as error:  # what a damaged header makes NumPy raise depends on where it is
        raise DataError(f"{path}: not readable as {path.suffix[1:]} ({_reason(error)})") from None
