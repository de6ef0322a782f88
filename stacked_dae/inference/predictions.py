"""A model's answers to the rows of a file, written to a file, some rows at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.errors import columns_there, listed
from stacked_dae.data.columns.reading import Reading
from stacked_dae.data.formats.opening import open_table
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.inference.file_rows import FileRows, file_rows
from stacked_dae.inference.model import StackedDAE
from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.terminal.progress import Reporter

# At most this many names unseen in training are reported with their row; the others are counted.
_REPORTED = 3


def write_predictions(
    model: StackedDAE, data: Path, out: Path, reporter: Reporter, keep_columns: Sequence[str] = ()
) -> int:
    """Write a CSV file with the class and the probability of each class of every row; return the number of rows.

    Of a regression the file has the predicted number, in the column ``prediction``.

    Args:
        model: says the classes, or the numbers.
        data: file of rows.
        out: the CSV file.
        reporter: says which columns are passed over, and which names training had not seen.
        keep_columns: columns of ``data`` that come first in each line, such as an identifier.

    Raises:
        ConfigError: a column to keep is not there, is named twice, or has the name of a column that is written.
        StageError: the model was never fine-tuned.
        DataError: the data differ in kind from those it was trained on; nothing is written.
    """
    count = 0
    is_regression = model.target_column is not None
    written = ["prediction"] if is_regression else ["class", *(f"p_{name}" for name in model.classes)]
    kept = kept_rows(model, data, keep_columns, written)

    def lines() -> Iterator[list[Any]]:
        nonlocal count
        classes = np.array(model.classes)
        yield [*keep_columns, *written]
        for rows in rows_of(model, data, reporter, keep_columns):
            if is_regression:
                numbers = model.numbers_of(rows.inputs).tolist()
                # As exact as they are: how many digits matter depends on the target.
                yield from ([*next(kept), repr(number)] for number in numbers)
                count += len(numbers)
                continue
            probabilities = model.probabilities_of(rows.inputs)
            named = classes[probabilities.argmax(1)].tolist()
            yield from (
                [*next(kept), name, *map(_shown, row)] for name, row in zip(named, probabilities.tolist(), strict=True)
            )
            count += len(named)

    write_atomically(out, lambda file: write_csv_lines(file, lines()))
    return count


def write_codes(model: StackedDAE, data: Path, layer: int, out: Path, reporter: Reporter) -> int:
    """Write the codes of a layer for every row, (n, h) float32; return the number of rows.

    ``out`` ends in .npy, or in .parquet or .csv, whose columns are ``code_1`` … ``code_h``.

    Raises:
        ConfigError: .parquet without pyarrow.
        DataError: the data differ in kind from those the model was trained on; nothing is written.
    """
    blocks = (model.codes_of(rows.inputs, layer) for rows in rows_of(model, data, reporter))
    write = {".parquet": _as_parquet, ".csv": _as_csv}.get(out.suffix, write_npy)
    count = 0

    def counted() -> Iterator[NDArray[np.float32]]:
        nonlocal count
        for block in blocks:
            count += len(block)
            yield block

    write_atomically(out, lambda file: write(file, counted(), model.stack.widths[layer - 1]))
    return count


def kept_rows(
    model: StackedDAE, data: Path, names: Sequence[str], written: Sequence[str]
) -> Iterator[tuple[str | None, ...]]:
    """Return the values of these columns, a tuple for each row, as the file has them.

    Raises:
        ConfigError: a column is not there, is named twice, holds no text or numbers, or has the name of one of
            ``written``, the columns that the file is to have.
    """
    reading = Reading() if model.preprocessing is None else model.preprocessing.reading
    if not names:
        return repeat(())
    file = open_table(data, reading)
    for k, name in enumerate(names):
        where = f"--keep-columns: column {name!r} of {data}"
        if name not in file.names:
            hint = f"{suggest(name, file.names)}; it has {columns_there(file.names)}"
            raise ConfigError(f"--keep-columns: {data} has no column {name!r}{hint}")
        if name in names[:k]:
            raise ConfigError(f"{where} is named twice; name it once")
        if name in written:
            raise ConfigError(f"{where} has the name of a column that is written; rename it")
        if name in file.unusable and not file.unusable[name].startswith(("timestamp", "date")):
            raise ConfigError(f"{where} holds {file.unusable[name]}, neither numbers nor text; leave it out")
    batches = file.batches(names, set(names))
    return chain.from_iterable(zip(*(values[name] for name in names), strict=True) for values in batches)


def _shown(probability: float) -> str:
    return f"{probability:.6g}"


def rows_of(
    model: StackedDAE, data: Path, reporter: Reporter, keep_columns: Collection[str] = ()
) -> Iterator[FileRows]:
    """Yield the rows of a file; report the columns passed over, and names that training had not seen."""
    start, count = 0, 0
    for rows in file_rows(model, data):
        if start == 0 and model.preprocessing is not None:
            there = open_table(data, model.preprocessing.reading).names
            extra = [name for name in model.preprocessing.unknown(there) if name not in keep_columns]
            if extra:
                reporter.warn(f"{data}: the model has no {listed(extra)}; passed over")
        for column, row, value in rows.unseen:
            count += 1
            if count <= _REPORTED:
                reporter.warn(f"{data}: column {column!r}, row {start + row + 1} is {value!r}, unseen in training")
        start += len(rows.inputs)
        yield rows
    if count > _REPORTED:
        reporter.warn(f"{data}: {count} such values in all; they share the input for unseen names")


def write_csv_lines(file: IO[bytes], lines: Iterable[Sequence[Any]]) -> None:
    """Write lines of values to an open CSV file."""
    text = io.TextIOWrapper(file, "utf-8", newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    text.flush()
    text.detach()


def write_npy(file: IO[bytes], blocks: Iterator[NDArray[np.float32]], width: int) -> None:
    """Write blocks of rows, (n, width) float32, to an open .npy file."""

    # The number of rows is known at the end; a header of version 1.0 keeps its length as that grows.
    def header(rows: int) -> None:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})

    header(0)
    length, rows = file.tell(), 0
    for block in blocks:
        file.write(np.ascontiguousarray(block, "<f4").data)
        rows += len(block)
    file.seek(0)
    header(rows)
    if file.tell() != length:
        raise AssertionError("the header of an .npy file grew")
    file.seek(0, io.SEEK_END)


def _as_csv(file: IO[bytes], blocks: Iterator[NDArray[np.float32]], width: int) -> None:
    file.write((",".join(_code_names(width)) + "\n").encode())
    for block in blocks:
        np.savetxt(file, block, fmt="%.9g", delimiter=",")


def _code_names(width: int) -> list[str]:
    return [f"code_{k}" for k in range(1, width + 1)]


def _as_parquet(file: IO[bytes], blocks: Iterator[NDArray[np.float32]], width: int) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ConfigError("--out: Parquet is written by pyarrow: pip install 'stacked-dae[tables]'") from None
    schema = pa.schema([(name, pa.float32()) for name in _code_names(width)])
    with parquet.ParquetWriter(file, schema) as writer:
        for block in blocks:
            writer.write_table(pa.table(list(block.T), schema=schema))
