"""How a CSV file is written: its encoding, its delimiter, and its decimal mark, found in its beginning."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from stacked_dae.data.columns.written_numbers import BESIDE, POINTED_THOUSANDS
from stacked_dae.errors import DataError

_SAMPLE = 2**16
_ROWS = 200
_NAMED = re.compile(r"\ufeff?sep=(.)\r?\n")
DELIMITERS = (",", ";", "\t", "|")
"""The delimiters that are looked for."""
_WITH_COMMA = re.compile(rf"{BESIDE}(\d+|{POINTED_THOUSANDS}),\d+([eE][+-]?\d+)?{BESIDE}", re.ASCII)
_WHOLE_OR_EMPTY = re.compile(rf"{BESIDE}(\d+|{POINTED_THOUSANDS})?{BESIDE}", re.ASCII)
# As pyarrow has them.
_MISSING = ("NA", "N/A", "#N/A", "n/a", "NaN", "nan", "null", "NULL", "-NaN", "-nan")
_WITH_POINT = re.compile(rf"{BESIDE}\d*\.\d+([eE][+-]?\d+)?{BESIDE}", re.ASCII)
_THOUSANDS_WITH_POINT = re.compile(rf"{BESIDE}[1-9]\d{{0,2}}\.\d{{3}}{BESIDE}", re.ASCII)
_THOUSANDS = re.compile(rf"{BESIDE}[1-9]\d{{0,2}},\d{{3}}{BESIDE}", re.ASCII)


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Args:
        encoding: a name that Python's codecs have.
        delimiter: between two fields, one character.
        decimal: the decimal mark, a point or a comma.
        skipped: lines before the first of the table: Excel's, which names the delimiter (sep=;).
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    skipped: int = 0


class DecimalError(DataError):
    """A comma that may part thousands or be the decimal mark."""


def ambiguous(path: Path, name: str, value: str) -> DecimalError:
    """Return the error of a column with such a comma."""
    return DecimalError(
        f"{path}: column {name!r} has {value.strip()!r}, whose comma may part thousands or be the decimal mark; write"
        " it with a decimal point and without marks between thousands"
    )


def find_dialect(
    path: Path,
    delimiter: str | None = None,
    decimal: str | None = None,
    na_values: Sequence[str] = (),
    *,
    after_commas: bool = False,
) -> Dialect:
    """Return how a CSV file, compressed by gzip where it ends in .gz, is written; what is given is not looked for.

    UTF-16 is told by its first bytes; what is not UTF-8 is taken for Windows-1252, of which Latin-1 is a part. The
    delimiter is the one that cuts the first rows into equal numbers of fields, the most of them. The decimal mark is a
    comma where a column holds whole numbers and numbers with a comma alone.

    Args:
        path: the file.
        delimiter, decimal: what was said of them.
        na_values: what stands for a missing value, beside what does anyway.
        after_commas: whether the file that a model was trained on had decimal commas.

    Raises:
        DataError: the file is not readable.
        DecimalError: 1,234 may be more than a thousand or a little more than one; so may 1.234 ``after_commas``.
    """
    try:
        with path.open("rb") as opened:
            zipped = path.suffix.lower() == ".gz"
            sample = gzip.GzipFile(fileobj=opened).read(_SAMPLE) if zipped else opened.read(_SAMPLE)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable as CSV ({error})") from None
    encoding = _encoding_of(sample)
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(sample)
    if len(sample) == _SAMPLE and "\n" in text:
        text = text[: text.rindex("\n")]
    named = _NAMED.match(text)
    if named is not None:
        text, delimiter = text[named.end() :], delimiter or named[1]
    if delimiter is None:
        delimiter = "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else _delimiter_of(text)
    if decimal is None:
        rows, missing = _rows(text, delimiter), {*_MISSING, *na_values}
        decimal = _decimal_of(path, rows, missing)
        if after_commas and decimal == ".":
            _check_points(path, rows)
    return Dialect(encoding, delimiter, decimal, 0 if named is None else 1)


def _encoding_of(sample: bytes) -> str:
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        # A character may be cut at the end of the sample.
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _rows(text: str, delimiter: str) -> list[list[str]]:
    """Return the fields of the first rows that are not empty."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) == _ROWS:
                break
    except csv.Error:
        # A field longer than the module takes: what came before it serves.
        pass
    return rows


def _delimiter_of(text: str) -> str:
    widths = {}
    for mark in DELIMITERS:
        found = {len(row) for row in _rows(text, mark)}
        if len(found) == 1:
            widths[mark] = found.pop()
    for mark in DELIMITERS[1:]:
        # Its commas are those of numbers.
        commas = [field for row in _rows(text, mark)[1:] for field in row if "," in field]
        if widths.get(mark, 1) > 1 and commas and all(_WITH_COMMA.fullmatch(field) for field in commas):
            return mark
    best = max(widths, key=lambda mark: widths[mark], default=",")
    return best if widths.get(best, 1) > 1 else ","


def _decimal_of(path: Path, rows: list[list[str]], missing: Collection[str]) -> str:
    header, *body = rows or [[]]
    for k, name in enumerate(header):
        fields = [row[k] for row in body if len(row) > k and row[k].strip() not in missing]
        commas = [field for field in fields if _WITH_COMMA.fullmatch(field)]
        # Beside text or a decimal point a comma says nothing.
        if not commas or not all(_WITH_COMMA.fullmatch(f) or _WHOLE_OR_EMPTY.fullmatch(f) for f in fields):
            continue
        if all(_THOUSANDS.fullmatch(field) for field in commas):
            raise ambiguous(path, name, commas[0])
        return ","
    return "."


def _check_points(path: Path, rows: list[list[str]]) -> None:
    """Raise DecimalError where every point may part thousands, as in the model's training file."""
    header, *body = rows or [[]]
    fields = [(name, field) for row in body for name, field in zip(header, row, strict=False)]
    points = [(name, field) for name, field in fields if _WITH_POINT.fullmatch(field)]
    if points and all(_THOUSANDS_WITH_POINT.fullmatch(field) for _, field in points):
        name, value = points[0]
        raise DecimalError(
            f"{path}: column {name!r} has {value.strip()!r}, whose point may part thousands, as in the training file,"
            " which has decimal commas, or be the decimal mark; write it without marks between thousands, or with"
            " another number of decimals"
        )
