"""Errors of single columns, and the options that mend them, as they can be pasted into a shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

from stacked_dae.errors import DataError

# A name that YAML takes as text without quotes, whatever stands beside it.
_BARE = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z_]\w*(?: \w+)*", re.ASCII | re.IGNORECASE)

# Of many columns, those that a line names.
_SHOWN = 5
# Of the columns that a file has, a line names the first; an option that names more is not written out.
MOST_LISTED = 20


class ColumnError(DataError):
    """A column that cannot be an input.

    Args:
        where: the file.
        name: of the column.
        what: is wrong with it.
        remedy: what to do.
    """

    def __init__(self, where: str, name: str, what: str, remedy: str) -> None:
        mark = "" if what.endswith("?") else ";"
        self.name, self.what = name, what
        self.line = f"column {name!r} {what}{mark} {remedy}"
        super().__init__(f"{where}: {self.line}")


class ConstantColumnError(ColumnError):
    """A column that has one value, or none, in the training rows."""


def list_option(option: str, names: Sequence[str]) -> str:
    """Return an option of the command line that names columns."""
    items = ", ".join(name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in names)
    return f"--{option} {shlex.quote(f'[{items}]')}"


def listed(names: Sequence[str]) -> str:
    """Return these columns in words, the first of many: columns 'a', 'b', ... and 5 others."""
    shown = ", ".join(map(repr, names[:_SHOWN]))
    more = f" and {len(names) - _SHOWN} others" if len(names) > _SHOWN else ""
    return f"column{'s' * (len(names) > 1)} {shown}{more}"


def columns_there(names: Sequence[str]) -> str:
    """Return the names that a file has, the first of many."""
    return ", ".join(names[:MOST_LISTED]) + (", …" if len(names) > MOST_LISTED else "")


def leave_out(name: str) -> str:
    """Return the remedy that leaves a column out."""
    return f"leave it out: {list_option('data.drop', [name])}"
