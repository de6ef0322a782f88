"""Print tables and lines that fit the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text


def _has_room(console: Console, table: Table) -> bool:
    """Return whether a table fits the terminal with every cell in one line."""
    return console.measure(table, options=console.options.update(width=100_000)).maximum <= console.width


def print_table(console: Console, table: Table) -> None:
    """Print a table; where it is too wide, its rows one below the other, with the name of each value."""
    if _has_room(console, table):
        console.print(table)
        return
    if table.title:
        console.print(table.title, highlight=False)
    names = [Text.from_markup(str(column.header)).plain for column in table.columns]
    longest = max((len(name) for name in names[1:]), default=0)
    cells = zip(*(column.cells for column in table.columns), strict=True)
    for (first, *others), row in zip(cells, table.rows, strict=True):
        console.print(f"{escape(names[0])} {first}", highlight=False, style=row.style or "")
        for name, value in zip(names[1:], others, strict=True):
            if str(value):
                console.print(f"  {escape(name.ljust(longest))}  {value}", highlight=False)


def print_line(console: Console, text: str) -> None:
    """Print a line of plain text, broken between words in a terminal, and left whole for another program."""
    console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def without(names: Sequence[str]) -> str:
    """Return in one line what a terminal has no room for, and where it is to be seen."""
    listed = ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more columns"
    return f"no room for {listed}: a wider terminal, --out or --csv shows them"
