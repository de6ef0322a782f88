"""Which columns of a table are inputs: the roles that the settings give, and the columns that name the rows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.data.columns.errors import MOST_LISTED, columns_there, list_option
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.data.tabular.scan import ColumnScan
from stacked_dae.data.tabular.written_file import open_data
from stacked_dae.errors import ConfigError, suggest

# Settings that name one column.
SINGLE_ROLES = ("target", "split", "groups", "order", "weights")


def check_roles(file: TableFile, settings: DataConfig, roles: Mapping[str, Sequence[object]]) -> None:
    """Raise ConfigError for a setting that names a column which is not there; the shares of a split name none."""
    for option, names in roles.items():
        for name in names:
            if isinstance(name, str) and name not in file.names:
                raise ConfigError(
                    f"data.{option}: {settings.path} has no column {name!r}{suggest(name, file.names)}; it has"
                    f" {columns_there(file.names)}"
                    f"{', or, if these are values: --data.header false' if file.may_lack_header else ''}"
                )


def _asked_for(settings: DataConfig, known: Preprocessing | None) -> set[str]:
    """Return the columns that are inputs whatever they hold."""
    return {*settings.keep, *settings.categorical, *(known.names if known is not None else [])}


def find_inputs(
    file: TableFile, settings: DataConfig, known: Preprocessing | None = None
) -> tuple[list[str], list[str]]:
    """Return the columns that may be inputs, in the order of the file, and a line for each index that is left out.

    Raises:
        ConfigError: a setting names a column that is not there, or that cannot have this role.
    """
    asked_for = _asked_for(settings, known)
    single = {role: [getattr(settings, role)] for role in SINGLE_ROLES}
    lists = {role: getattr(settings, role) for role in ("keep", "drop", "categorical")}
    check_roles(file, settings, {**lists, **single})
    if settings.target is not None:
        for option, names in {**single, "drop": settings.drop, "target": []}.items():
            if settings.target in names:
                raise ConfigError(f"data.{option}: column {settings.target!r} of {settings.path} is the target, too")
    # What parts the rows may be an input too, if the user says so.
    parts = {settings.groups, settings.order, settings.weights} - {*settings.keep}
    others = {settings.target, settings.split if isinstance(settings.split, str) else None, *settings.drop, *parts}
    for name in settings.keep:
        if name in others:
            raise ConfigError(
                f"data.keep: column {name!r} of {settings.path} is the target, the split, or dropped;"
                " take it out of data.keep"
            )
    indexes = [name for name in file.names if name in file.indexes and name not in {*others, *asked_for}]
    names = [name for name in settings.keep or file.names if name not in {*others, *indexes}]
    if not names:
        raise ConfigError(f"data.path: no column of {settings.path} is left to learn from")
    for name in settings.categorical:
        if name not in names:
            raise ConfigError(f"data.categorical: column {name!r} of {settings.path} is not an input; take it out")
    notices = [
        f"{settings.path}: "
        + (f"column {name!r}" if name else "column 1, which has no name,")
        + " is an index of the rows, so it is left out"
        + (f"; to use it: {_keep_too(name, [n for n in file.names if n in {*names, name}])}" if name else "")
        for name in indexes
        if not settings.keep
    ]
    return [name for name in file.names if name in names], [*file.notices, *notices]


def leave_out_identifiers(
    path: Path,
    names: Sequence[str],
    scans: Mapping[str, ColumnScan],
    settings: DataConfig,
    known: Preprocessing | None = None,
) -> tuple[list[str], list[str]]:
    """Return the scanned columns without those that name the rows, and a line for each of these.

    ``names`` are all columns that may be inputs, pixels too.
    """
    asked = _asked_for(settings, known)
    found = [name for name, scan in scans.items() if scan.is_identifier and name not in asked]
    if len(found) == len(scans):
        return list(scans), []
    notices = []
    for name in found:
        if scans[name].has_too_many_names:
            how = ""
        elif scans[name].holds_names:
            how = list_option("data.categorical", [*settings.categorical, name])
        else:
            how = _keep_too(name, [other for other in names if other not in found or other == name])
        notices.append(
            f"{path}: column {name!r} has another value in every row, so it is left out as an identifier"
            + (f"; to use it: {how}" if how else "")
        )
    return [name for name in scans if name not in found], notices


def _keep_too(name: str, names: Sequence[str]) -> str:
    """Return the option that makes ``name`` an input beside the others."""
    if len(names) <= MOST_LISTED:
        return list_option("data.keep", names)
    return f"name all inputs in data.keep, and {name!r} among them"


def name_the_target(settings: DataConfig) -> str:
    """Return the line for a table that is to be learnt from without a target."""
    line = "data.target: name the column of the class or number"
    if settings.path is not None:
        names = open_data(Path(settings.path), settings).names
        line += f", such as --data.target {shlex.quote(names[-1])}; {settings.path} has {columns_there(names)}"
    return f"{line}; without one, pretrain only"
