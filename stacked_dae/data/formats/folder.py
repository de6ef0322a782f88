"""A folder of files that hold parts of one table, as Spark and Dask write it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from stacked_dae.data.columns.values import Values
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.errors import DataError


class TableFolder:
    """The parts of a table in a folder, in the order of their names; each has the same columns, in any order.

    Args:
        path: the folder.
        parts: its files, at least one.
        open_part: opens one.

    Raises:
        DataError: a part is not readable, or has other columns than the first.
    """

    def __init__(self, path: Path, parts: Sequence[Path], open_part: Callable[[Path], TableFile]) -> None:
        self._parts = [open_part(part) for part in parts]
        first = self._parts[0]
        self.names, self.is_bytes, self.may_lack_header = first.names, first.is_bytes, first.may_lack_header
        for part, file in zip(parts, self._parts, strict=True):
            other = set(file.names) ^ set(self.names)
            if other or (file.is_bytes, file.image_shape) != (first.is_bytes, first.image_shape):
                what = f"column {min(other)!r} is in one only" if other else "their arrays differ in shape or type"
                raise DataError(
                    f"{path}: {parts[0].name} and {part.name} are no parts of one table: {what}; take one out of the"
                    " folder, or name the file"
                )
        self.pixels, self.image_shape, self.unnamed = first.pixels, first.image_shape, first.unnamed
        self.colours, self.decimal, self.has_points = first.colours, first.decimal, first.has_points
        self.indexes = set().union(*(file.indexes for file in self._parts))
        self.unusable: Mapping[str, str] = {k: v for file in self._parts for k, v in file.unusable.items()}
        self.notices: Sequence[str] = list(dict.fromkeys(notice for file in self._parts for notice in file.notices))

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        for file in self._parts:
            yield from file.batches(names, as_text)
