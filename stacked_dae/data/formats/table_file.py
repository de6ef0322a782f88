"""The interface of table files, for every format."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stacked_dae.data.columns.values import Values
from stacked_dae.errors import DataError

ROWS = 8192
"""Rows in a batch at the most."""
BLOCK = 2**22
"""Bytes of a text file that are read at a time; a line must fit."""
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+", re.ASCII)


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
    unnamed: Collection[str]
    """Columns of an array, which nobody has named one by one."""
    decimal: str
    """Decimal mark of the text in the file."""
    has_points: bool
    """True if numbers come with a decimal point, whatever the mark is in the file."""
    colours: bool
    """True if it is a folder of images in RGB."""
    pixels: Collection[str]
    """Columns that are the pixels of images, from 0 to 1."""
    image_shape: tuple[int, int] | None
    """(rows, columns) in which the pixels can be drawn; None where there are none, or they can't be."""

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time.

        In each batch a column is float64 with NaN for a missing value, or, where one of its values is not a number or
        it is among ``as_text``, objects: text, and None for a missing value.

        Raises:
            DataError: the file is damaged, or a column holds neither numbers nor text.
        """
        ...


class PlainFile:
    """Base of the formats that hold no images and name each column."""

    colours = False
    decimal = "."
    has_points = False
    unnamed: Collection[str] = ()
    pixels: Collection[str] = ()
    image_shape: tuple[int, int] | None = None


def indexes_of(names: Sequence[str], schema: Any = None) -> set[str]:
    """Return the columns that pandas wrote for an index, by its metadata in the schema or by their names."""
    noted = (schema.pandas_metadata or {}).get("index_columns", []) if schema is not None else []
    return {name for name in names if name in noted or _INDEX.fullmatch(name)} | ({""} & set(names[:1]))


def import_pyarrow(path: Path) -> Any:
    """Return pyarrow; raise DataError where it is not installed."""
    try:
        import pyarrow
    except ImportError:
        raise DataError(
            f"{path}: CSV, Parquet and Feather are read by pyarrow: pip install 'stacked-dae[tables]'"
        ) from None
    return pyarrow


def reason_of(error: Exception) -> str:
    """Return the beginning of an error's text, on one line."""
    text = " ".join(str(error).split())
    if "straddling" in text:
        return f"a line is longer than {BLOCK // 2**20} MiB"
    return text if len(text) <= 200 else f"{text[:200]}…"
