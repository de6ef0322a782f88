"""The rows of a file as the pre-trained layers rebuild them, and how unusual each is."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.inference.model import StackedDAE
from stacked_dae.inference.predictions import kept_rows, rows_of, write_csv_lines, write_npy
from stacked_dae.inference.pretrained_layers import row_means
from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.terminal.progress import Reporter

_MOST_UNUSUAL = 10
_COLUMNS_OF_A_ROW = 3


@dataclass(frozen=True)
class UnusualRow:
    """One of the rows with the highest scores.

    Args:
        row: its number, from 1.
        score: mean of its columns' squared errors, as :meth:`StackedDAE.reconstruction_errors` has them.
        columns: the columns with the greatest errors, the greatest first, each with its error.
    """

    row: int
    score: float
    columns: list[tuple[str, float]]


@dataclass(frozen=True)
class Anomalies:
    """Summary of the scores of a file's rows.

    Args:
        rows: number of rows.
        median: of the scores of rows with any value.
        unusual: the rows with the highest scores, the highest first.
        by_column: mean error of each column, NaN of one without any value.
    """

    rows: int
    median: float
    unusual: list[UnusualRow]
    by_column: dict[str, float]


def write_reconstructions(
    model: StackedDAE, data: Path, layer: int, out: Path, reporter: Reporter, keep_columns: Sequence[str] = ()
) -> int:
    """Write each row of a file as the pre-trained layers rebuild it from its codes; return the number of rows.

    Args:
        model: of a run that pre-trained its layers.
        data: file of rows.
        layer: from 1, that of the codes.
        out: a CSV file of the model's columns, or .npy of the network's inputs, (n, d) float32.
        reporter: says which columns are passed over, and which names training had not seen.
        keep_columns: columns of ``data`` that come first in each line of the CSV file.

    Raises:
        ConfigError: a column to keep is not there, is named twice, or has the name of a column that is written.
        StageError: the model has no decoders.
        DataError: the data differ in kind from those it was trained on; nothing is written.
    """
    count = 0
    layers, kept = model.pretrained_layers(layer), kept_rows(model, data, keep_columns, model.columns)

    def rebuilt() -> Iterator[NDArray[np.float32]]:
        nonlocal count
        for rows in rows_of(model, data, reporter, keep_columns):
            count += len(rows.inputs)
            yield layers.reconstruct(rows.inputs)

    def lines() -> Iterator[list[Any]]:
        yield [*keep_columns, *model.columns]
        for block in rebuilt():
            columns = list(block.T) if model.preprocessing is None else model.preprocessing.restore(block).values()
            # As exact as they are: how many digits matter depends on the column.
            shown = [values if values.dtype == object else map(repr, values.tolist()) for values in columns]
            yield from ([*next(kept), *row] for row in zip(*shown, strict=True))

    if out.suffix == ".npy":
        write_atomically(out, lambda file: write_npy(file, rebuilt(), layers.inputs))
    else:
        write_atomically(out, lambda file: write_csv_lines(file, lines()))
    return count


def write_anomalies(
    model: StackedDAE, data: Path, layer: int, out: Path, reporter: Reporter, keep_columns: Sequence[str] = ()
) -> Anomalies:
    """Write a CSV file with the score of each row of a file and the error of each of its columns.

    Args:
        model: of a run that pre-trained its layers.
        data: file of rows.
        layer: from 1, the uppermost that takes part.
        out: the CSV file.
        reporter: says which columns are passed over, and which names training had not seen.
        keep_columns: columns of ``data`` that come first in each line.

    Raises:
        ConfigError: a column to keep is not there, is named twice, or has the name of a column that is written.
        StageError: the model has no decoders.
        DataError: the data differ in kind from those it was trained on; nothing is written.
    """
    written = ["score", *(f"error_{name}" for name in model.columns)]
    layers, kept = model.pretrained_layers(layer), kept_rows(model, data, keep_columns, written)
    scores: list[NDArray[np.float64]] = []
    total, known = np.zeros(len(model.columns)), np.zeros(len(model.columns))
    unusual: list[UnusualRow] = []

    if not layers.saw_hidden:
        reporter.warn(
            "layer_1 was not pre-trained with masking noise (pretrain.corruption), so it has not learnt to rebuild"
            " hidden columns; the scores say little"
        )

    def lines() -> Iterator[list[Any]]:
        nonlocal total, known, unusual
        yield [*keep_columns, *written]
        start = 1
        for rows in rows_of(model, data, reporter, keep_columns):
            errors = layers.errors(rows.inputs, rows.values)
            means = row_means(errors)
            scores.append(means)
            total, known = total + np.nansum(errors, 0), known + np.isfinite(errors).sum(0)
            highest = np.argsort(-means, kind="stable")[:_MOST_UNUSUAL]
            found = [_unusual(start + int(k), errors[k], model.columns) for k in highest if np.isfinite(means[k])]
            unusual = heapq.nsmallest(_MOST_UNUSUAL, [*unusual, *found], key=lambda row: (-row.score, row.row))
            yield from ([*next(kept), _shown(mean), *map(_shown, row)] for mean, row in zip(means, errors, strict=True))
            start += len(means)

    write_atomically(out, lambda file: write_csv_lines(file, lines()))
    every = np.concatenate(scores)
    means = np.divide(total, known, out=np.full(len(total), np.nan), where=known > 0)
    of_known = every[np.isfinite(every)]
    median = float(np.median(of_known)) if len(of_known) else float("nan")
    return Anomalies(len(every), median, unusual, dict(zip(model.columns, means.tolist(), strict=True)))


def _unusual(number: int, errors: NDArray[np.float64], names: Sequence[str]) -> UnusualRow:
    worst = [int(k) for k in np.argsort(-np.nan_to_num(errors, nan=-1.0), kind="stable")[:_COLUMNS_OF_A_ROW]]
    columns = [(names[k], float(errors[k])) for k in worst if np.isfinite(errors[k])]
    return UnusualRow(number, float(np.nanmean(errors)), columns)


def _shown(value: float) -> str:
    """Return a number as text; empty for a missing one."""
    return "" if np.isnan(value) else f"{value:.6g}"
