"""Parquet and Feather files, read by pyarrow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stacked_dae.data.columns.values import Values
from stacked_dae.data.formats.arrow_columns import column_values, describe_unusable
from stacked_dae.data.formats.table_file import ROWS, PlainFile, import_pyarrow, indexes_of, reason_of
from stacked_dae.errors import DataError


class _ArrowFile(PlainFile):
    """A file whose columns have types, read by record batches of pyarrow's."""

    is_bytes = may_lack_header = False
    notices: Sequence[str] = ()
    kind: str

    def __init__(self, path: Path) -> None:
        self._path = path
        pa = import_pyarrow(path)
        try:
            schema = self._schema()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: not readable as {self.kind} ({reason_of(error)})") from None
        self.names: list[str] = schema.names
        self.indexes = indexes_of(self.names, schema)
        self.unusable: Mapping[str, str] = describe_unusable(schema)

    def _schema(self) -> Any:
        raise NotImplementedError

    def _record_batches(self, names: Sequence[str]) -> Iterator[Any]:
        """Go through these columns, at most ROWS rows at a time."""
        raise NotImplementedError

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        pa = import_pyarrow(self._path)
        try:
            for rows in self._record_batches(names):
                yield {n: column_values(self._path, n, rows.column(n), as_text=n in as_text) for n in names}
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self._path}: not readable as {self.kind} ({reason_of(error)})") from None


class ParquetFile(_ArrowFile):
    """A Parquet file."""

    kind = "Parquet"

    def _schema(self) -> Any:
        from pyarrow import parquet

        self._file = parquet.ParquetFile(self._path, pre_buffer=False)
        return self._file.schema_arrow

    def _record_batches(self, names: Sequence[str]) -> Iterator[Any]:
        yield from self._file.iter_batches(ROWS, columns=list(names))


class FeatherFile(_ArrowFile):
    """A Feather file, or another file of Arrow's."""

    kind = "Feather"

    def _schema(self) -> Any:
        pa = import_pyarrow(self._path)
        with pa.OSFile(str(self._path)) as source:
            return pa.ipc.open_file(source).schema

    def _record_batches(self, names: Sequence[str]) -> Iterator[Any]:
        pa = import_pyarrow(self._path)
        with pa.OSFile(str(self._path)) as source:
            reader = pa.ipc.open_file(source)
            for k in range(reader.num_record_batches):
                batch = reader.get_batch(k)
                yield from (batch.slice(start, ROWS) for start in range(0, len(batch), ROWS))
