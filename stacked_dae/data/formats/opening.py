"""Opening the file of a table, whose ending says what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stacked_dae.data.columns.reading import Reading
from stacked_dae.data.formats.array_file import open_arrays
from stacked_dae.data.formats.arrow_file import FeatherFile, ParquetFile
from stacked_dae.data.formats.csv_dialect import find_dialect
from stacked_dae.data.formats.csv_file import CsvFile
from stacked_dae.data.formats.folder import TableFolder
from stacked_dae.data.formats.images import IMAGES, ImageFolder
from stacked_dae.data.formats.json_lines import JsonLinesFile
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.errors import DataError

_CSV, _FEATHER = (".csv", ".tsv", ".csv.gz", ".tsv.gz"), (".feather", ".arrow")
_JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_AS_FOUND = Reading()
ENDINGS = (*_CSV, ".parquet", *_FEATHER, *_JSON_LINES, ".npy", ".npz")
"""Endings of the names of a table's files."""


def files_of(path: Path) -> list[Path]:
    """Return the files of a table: a file, or in a folder its parts, or its images where it has no parts.

    Names that begin with . or _ are passed over.
    """
    if not path.is_dir():
        return [path]
    files = [file for file in path.rglob("*") if file.is_file()]
    files = [file for file in files if not any(name[0] in "._" for name in file.relative_to(path).parts)]
    parts = sorted(file for file in files if file.name.lower().endswith(ENDINGS))
    return parts or sorted(file for file in files if file.name.lower().endswith(IMAGES))


def _said(reading: Reading) -> tuple[str | None, str | None, tuple[str, ...]]:
    return reading.delimiter, reading.decimal, reading.na_values


def open_table(path: str | Path, reading: Reading = _AS_FOUND) -> TableFile:
    """Return the table in a file, whose ending says what it is.

    Args:
        path: ends in one of :data:`ENDINGS`, or is a folder of such files, the parts of one table, or of images.
        reading: what was said of how its text is read; but for ``na_values``, which :class:`WrittenFile` knows.

    Raises:
        DataError: it does not exist, has another ending, or is not readable; or two of its columns share a name.
    """
    path = Path(path)
    if path.is_dir():
        parts = files_of(path)
        if not parts:
            raise DataError(
                f"{path}: no file in this folder holds a table or an image; its name ends in"
                f" {', '.join((*ENDINGS, *IMAGES))}"
            )
        if parts[0].name.lower().endswith(IMAGES):
            return ImageFolder(path, parts, colours=reading.colours)
        images = sum(1 for file in path.rglob("*") if file.name.lower().endswith(IMAGES))
        if images:
            raise DataError(
                f"{path}: it holds {images} images and the table {parts[0].name}; take one kind out of the folder"
            )
        named = next((p.parent.name for p in parts if "=" in str(p.parent.relative_to(path))), None)
        if named is not None:
            raise DataError(
                f"{path}: the values in the names of its folders, such as {named}, are not read; write them into the"
                " files as a column"
            )
        texts = [part for part in parts if part.name.lower().endswith(_CSV) and part.stat().st_size]
        if reading.decimal is None and any(find_dialect(part, *_said(reading)).decimal == "," for part in texts):
            # A part of whole numbers alone does not show its decimal mark.
            reading = replace(reading, decimal=",")
        return TableFolder(path, parts, lambda part: open_table(part, reading))
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise DataError(f"{path}: a table is a file that ends in {', '.join(ENDINGS)}")
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty")
    if ending in _CSV:
        dialect = find_dialect(path, *_said(reading), after_commas=reading.commas)
        file: TableFile = CsvFile(path, dialect, reading.header, is_said=reading.decimal is not None)
    elif ending == ".parquet":
        file = ParquetFile(path)
    elif ending in _JSON_LINES:
        file = JsonLinesFile(path)
    elif ending in _FEATHER:
        file = FeatherFile(path)
    else:
        file = open_arrays(path)
    double = next((name for i, name in enumerate(file.names) if name in file.names[:i]), None)
    if double is not None:
        raise DataError(f"{path}: two columns are named {double!r}; rename one")
    if not file.names:
        raise DataError(f"{path}: it has no columns")
    if "" in file.names[1:]:
        raise DataError(f"{path}: column {file.names.index('') + 1} has no name; give it one (pandas: index=False)")
    return file
