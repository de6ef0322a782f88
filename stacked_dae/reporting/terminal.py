"""The tables in the terminal: at the end of a job, and of runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stacked_dae.reporting.columns import columns_of, shown
from stacked_dae.reporting.comparison import Comparison

# Characters of a column that can be read.
_NARROWEST = 8


def print_comparison(comparison: Comparison) -> None:
    """Print which settings differ, then one row per run; the one with the lowest validation error is marked."""
    console = Console()
    named = ", ".join(comparison.keys)
    count = f"{len(comparison.runs)} run{'s' * (len(comparison.runs) != 1)}"
    differ = f"they differ in {named}" if named else "all settings are the same"
    console.print(
        f"{count}; {differ}" if len(comparison.runs) > 1 else count, highlight=False, soft_wrap=True, markup=False
    )
    table = Table(title=escape(comparison.folder) or None, box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold")
    # Errors before measures before settings, where there is no room for all.
    usual = columns_of(comparison.runs)
    first = 1 + len(comparison.layers) + len(comparison.shown_columns)
    measures = sum(1 for column in comparison.shown_columns if column not in usual)
    has_room = _NARROWEST * (first + len(comparison.keys)) <= console.width
    cut = measures > 0 and _NARROWEST * first > console.width
    columns = [column for column in comparison.shown_columns if not cut or column in usual]
    keys = list(comparison.keys) if has_room else []
    for key in keys:
        table.add_column(comparison.short(key), overflow="fold")
    for layer in comparison.layers:
        table.add_column(layer.replace("layer_", "loss "), justify="right")
    for column in columns:
        table.add_column(column.title, justify="right")
    for run in comparison.runs:
        best = run is comparison.best
        table.add_row(
            escape(f"{'* ' if best else ''}{comparison.label(run)}"),
            *(escape(shown(run.settings.get(key), 6)) for key in keys),
            *(shown(run.losses.get(layer)) for layer in comparison.layers),
            *(column.text(run) for column in columns),
            style="bold" if best else None,
        )
    console.print(table)
    if not has_room:
        what = "the settings and the further measures" if cut else "the settings"
        console.print(f"no room for {what}: a wider terminal, --out or --csv shows them", highlight=False)
    if comparison.best:
        interval = "" if comparison.best.is_regression else "; after the test error, its 95 % interval"
        console.print(f"* lowest validation error{interval}", highlight=False)
    else:
        console.print(comparison.why_no_best, highlight=False)


def print_trials(rows: Sequence[Mapping[str, Any]], measure: str, best: int, most: int = 10) -> None:
    """Print how the trials of a search ended, and those of the lowest validation error, the best one marked.

    Args:
        rows: one per trial.
        measure: key of the figure that they are chosen by.
        best: number of the best.
        most: rows printed at the most.
    """
    console = Console()
    states = [row["state"] for row in rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    console.print(f"{len(rows)} trials: {counted}", highlight=False)
    complete = sorted(
        (row for row in rows if row["state"] == "complete"), key=lambda row: (row[measure], row["valid_loss"])
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("valid RMSE" if measure == "valid_rmse" else "valid %", justify="right")
    names = [name for name in rows[0] if "." in name or name in ("seed", "model")]
    keys = [name for name in names if len({str(row.get(name)) for row in complete}) > 1]
    for key in keys:
        table.add_column(key.replace(".", ".\u200b"), overflow="fold")
    table.add_column("run", overflow="fold")
    for row in complete[:most]:
        is_best = row["trial"] == best
        cells = (escape(shown(row[key], 6)) for key in keys)
        mark = "* " if is_best else ""
        table.add_row(
            f"{mark}{row['trial']}", f"{row[measure]:.4g}", *cells, row["run"], style="bold" if is_best else None
        )
    console.print(table)
    rest = f" of {len(complete)}" if len(complete) > most else ""
    console.print(f"* lowest validation error{rest}; only this one was tested", highlight=False)
