"""Files of JSON lines: an object in each line, its keys the columns."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from stacked_dae.data.columns.values import Values
from stacked_dae.data.formats.arrow_columns import names_of, numbers_where_all_are
from stacked_dae.data.formats.table_file import ROWS, PlainFile, indexes_of, reason_of
from stacked_dae.errors import DataError


class JsonLinesFile(PlainFile):
    """A file of JSON lines, compressed by gzip where it ends in .gz; a key that a line lacks is a missing value."""

    is_bytes = may_lack_header = False
    notices: Sequence[str] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        self.unusable: Mapping[str, str] = {}
        kinds: dict[str, str | None] = {}
        for row in self._rows():
            for name, value in row.items():
                if kinds.get(name) is None:
                    kinds[name] = "lists" if isinstance(value, list) else "objects" if isinstance(value, dict) else None
        self.names = list(kinds)
        self.unusable = {name: kind for name, kind in kinds.items() if kind is not None}
        self.indexes = indexes_of(self.names)

    def _rows(self) -> Iterator[dict[str, Any]]:
        try:
            zipped = self._path.suffix.lower() == ".gz"
            with self._path.open("rb") as opened:
                yield from self._parsed(gzip.GzipFile(fileobj=opened) if zipped else opened)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self._path}: not readable as JSON lines ({reason_of(error)})") from None

    def _parsed(self, opened: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(opened, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_row)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{self._path}: line {number} is not readable as JSON ({reason_of(error)})") from None
            if not isinstance(row, dict):
                raise DataError(
                    f'{self._path}: line {number} is no object of columns; write one such as {{"age": 50}} in each line'
                )
            yield row

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        rows = self._rows()
        while block := list(islice(rows, ROWS)):
            yield {name: self._values(name, [row.get(name) for row in block], name in as_text) for name in names}

    def _values(self, name: str, values: list[Any], as_text: bool) -> Values:
        if name in self.unusable:
            raise DataError(f"{self._path}: column {name!r} holds {self.unusable[name]}, neither numbers nor text")
        if not as_text and {type(value) for value in values} <= {int, float, type(None)}:
            try:
                return np.array([np.nan if value is None else float(value) for value in values])
            except OverflowError:
                raise DataError(f"{self._path}: column {name!r} has a number beyond those of 64 bits") from None
        names = names_of(values)
        has_text = any(isinstance(value, str) for value in values)
        return numbers_where_all_are(names) if has_text and not as_text else names


def _row(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return row
