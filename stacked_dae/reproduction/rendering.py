"""Table 1 as Markdown, CSV and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stacked_dae.figures.style import BLUE, GREY, save
from stacked_dae.reproduction import published
from stacked_dae.reproduction.table import TableRow, named, ordered
from stacked_dae.utils.files import write_csv, write_text
from stacked_dae.utils.intervals import with_interval


def _distinguishing_name(row: TableRow, rows: Sequence[TableRow]) -> str:
    """Return the model's name; with its preset where it has a row of another, with its seed where any row has."""
    others = [other for other in rows if other.preset]
    same = [other for other in others if (named(other), other.model) == (named(row), row.model)]
    marks = [f"preset {row.preset}"] if len({other.preset for other in same}) > 1 else []
    marks += [f"seed {row.seed}"] if len({other.seed for other in others}) > 1 else []
    return f"{row.model} ({', '.join(marks)})" if row.preset and marks else row.model


def _tried(row: TableRow) -> str:
    """Return how large the search was, and what was asked for where that is something else."""
    if row.asked == "svm-rbf":
        return f"{row.tried} pairs"
    if row.asked == "svm-codes":
        return f"{row.preset} {row.budget}, {row.tried} pairs"
    asked = f" of {row.budget}" if row.tried != row.budget else ""
    return f"{row.preset} {row.tried}{asked}" + (f", {row.diverged} diverged" if row.diverged else "")


def cells(rows: Sequence[TableRow]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of the table for people."""
    header = ["problem", "model", "paper", "ours", "verdict", "validation", "tried", "chosen"]
    lines = []
    for row in ordered(rows):
        there = row.paper_percent, row.paper_ci95_percent
        published = "" if there[0] is None or there[1] is None else with_interval(there[0], there[1])
        ours = with_interval(row.test_error_percent, row.ci95_percent)
        chosen = ", ".join(f"{name} {value}" for name, value in row.settings.items())
        valid = f"{row.valid_error_percent:.2f}"
        lines.append(
            [named(row), _distinguishing_name(row, rows), published, ours, row.verdict, valid, _tried(row), chosen]
        )
    return header, lines


def write_table(rows: Sequence[TableRow], out: Path) -> None:
    """Write ``table.md`` for people and ``table.csv`` for machines into ``out``."""
    header, lines = cells(rows)
    text = ["# Table 1, measured", ""]
    text += [
        "Test error in percent with its 95 % binomial interval. *paper*: as published; *verdict*: better or worse than"
        " that, or equal where the two intervals overlap. *tried*: the preset and how many of its configurations, or"
        " pairs of C and γ; the one of the lowest *validation* error is tested, once.",
        "",
        "For modern and its controls *paper* is the lowest of its table's six columns. The command of each row is in"
        " table.csv.",
        "",
        f"Published: {'; '.join(published.sources().values())}.",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(line)} |" for line in lines),
        "",
        *sorted({f"Measured {row.date} on {row.machine}{_seed(row)}." for row in rows}),
        "",
    ]
    write_text(out / "table.md", "\n".join(text))
    plain = [
        {**asdict(row), "verdict": row.verdict, "settings": _plain(row.settings), "command": row.command}
        for row in ordered(rows)
    ]
    write_csv(out / "table.csv", plain)


def _seed(row: TableRow) -> str:
    return f"; seed {row.seed}" if row.preset else ""


def _plain(settings: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def draw_table(rows: Sequence[TableRow], file: Path) -> Path:
    """Draw the table into ``file`` (PNG), a panel a problem: the paper's errors and ours, with intervals."""
    problems = list(dict.fromkeys(named(row) for row in ordered(rows)))
    # As few places as can be stay empty.
    across = len(problems) if len(problems) <= 4 else min((4, 3), key=lambda count: -len(problems) % count)
    down = -(-len(problems) // across)
    tallest = max(sum(named(row) == problem for row in rows) for problem in problems)
    figure = Figure(figsize=(3.0 * across + 1.0, (0.28 * tallest + 1.1) * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, problem in zip(panels, problems, strict=False):
        own = [row for row in ordered(rows) if named(row) == problem]
        for y, row in enumerate(own):
            if row.paper_percent is not None:
                axes.errorbar(
                    row.paper_percent, y - 0.14, xerr=row.paper_ci95_percent, fmt="D", ms=4, mfc="white", color=GREY
                )
            axes.errorbar(row.test_error_percent, y + 0.14, xerr=row.ci95_percent, fmt="o", ms=4, color=BLUE)
        axes.set_yticks(range(len(own)), [_distinguishing_name(row, rows) for row in own], fontsize=8)
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.set_title(problem, fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(axis="x", labelsize=8)
    for axes in panels[len(problems) :]:
        axes.set_visible(False)
    (theirs,) = figure.axes[0].plot([], [], "D", ms=4, mfc="white", color=GREY)
    (ours,) = figure.axes[0].plot([], [], "o", ms=4, color=BLUE)
    figure.legend([theirs, ours], ["paper", "ours"], loc="outside upper right", ncols=2, fontsize=9)
    figure.supxlabel("test error (%) with its 95 % interval", fontsize=9)
    save(figure, file)
    return file
