"""The command on data: list, prepare, show, check."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from stacked_dae.cli.options import DataOptions
from stacked_dae.config.data_schema import TABLE_SETTINGS, DataConfig
from stacked_dae.errors import ConfigError, DataError
from stacked_dae.utils.terminal.text import say

if TYPE_CHECKING:
    from stacked_dae.data.tabular.report import TableReport

# Of a wide table the first columns tell enough, beside those that are not inputs; of many classes the first.
_MOST_COLUMNS = 40


def run_data(options: DataOptions) -> None:
    """List the data sets, prepare one, draw examples of one, or check a table."""
    if options.action == "check":
        _check(options)
        return
    for name in (*TABLE_SETTINGS, "task"):
        if getattr(options, name) is not None:
            flag = next(f.metadata.get("flag", name) for f in fields(options) if f.name == name)
            raise ConfigError(f"--{flag} is an option of data check, not of data {options.action}")
    from rich.table import Table

    from stacked_dae.data import registry
    from stacked_dae.utils.terminal.console import Terminal

    if options.action == "list":
        table = Table("name", "train / valid / test", "what")
        for name, entry in registry.DATASETS.items():
            table.add_row(name, " / ".join(map(str, entry.rows)), f"{entry.description}; {entry.source}")
        Terminal().print(table)
        return
    if options.name is None:
        raise ConfigError(f"data {options.action} needs the name of a data set; data list names them")
    data = registry.load_dataset(options.name, options.root, options.source)
    if options.action == "show":
        from stacked_dae.figures.run_figures import draw_samples

        say(draw_samples(data, Path(options.out or f"{data.name}.png")))
        return
    rows = " / ".join(str(len(split)) for split in (data.train, data.valid, data.load_test()))
    say(f"{data.name} is ready: {rows} rows of {data.inputs} inputs, {data.classes} classes")


def _check(options: DataOptions) -> None:
    """Print the report on a table; raise DataError where training would refuse it."""
    if options.name is None:
        raise ConfigError("data check needs the name of a file, such as: stacked-dae data check people.csv --target y")
    from stacked_dae.data.tabular.report import check_table
    from stacked_dae.utils.files import check_apart, write_text

    if options.out is not None:
        check_apart("--out", Path(options.out), options.name)
    given = {name: getattr(options, name) for name in TABLE_SETTINGS}
    if options.split is not None and options.split.startswith("["):
        try:
            given["split"] = [float(share) for share in options.split.strip("[] ").split(",")]
        except ValueError:
            raise ConfigError(
                f"data.split must be three shares, such as [0.7, 0.1, 0.2], not {options.split}"
            ) from None
    report = check_table(
        DataConfig(path=options.name, **{name: value for name, value in given.items() if value is not None}),
        options.task or "classification",
    )
    if options.out is not None:
        write_text(Path(options.out), json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n")
    _print(report)
    if report.error is not None:
        raise DataError(f"training would be refused: {report.error}")


def _print(report: TableReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    from stacked_dae.utils.terminal.console import Terminal

    console = Terminal()
    table = Table("column", "is", "holds", "missing", "values (training rows)")
    shown = [
        c for k, c in enumerate(report.columns) if k < _MOST_COLUMNS or c.role in ("refused", "index", "identifier")
    ]
    for column in shown:
        missing = f"{100 * column.missing / report.rows:.1f} %" if column.missing else ""
        table.add_row(*map(escape, (column.name, column.role, column.holds, missing, column.values)))
    console.print(table)
    if len(shown) < len(report.columns):
        console.print(f"and {len(report.columns) - len(shown)} more columns (all are in --out FILE.json)")
    labelled = sum(report.classes.values())
    if report.classes:
        classes = Table("class", "rows", "share")
        for name, rows in list(report.classes.items())[:_MOST_COLUMNS]:
            classes.add_row(escape(name), str(rows), f"{100 * rows / labelled:.1f} %")
        console.print(classes)
        if len(report.classes) > _MOST_COLUMNS:
            console.print(f"and {len(report.classes) - _MOST_COLUMNS} more classes (all are in --out FILE.json)")
    if report.target is not None:
        say(f"the target is {report.target} (training rows)")
    splits = " / ".join(map(str, report.splits.values()))
    unlabelled = f", {report.unlabelled} of them without a label" if report.unlabelled else ""
    say(f"{report.rows} rows{unlabelled}; train / valid / test: {splits}; {report.inputs} inputs")
    for notice in report.notices:
        say(f"note: {notice}")
    if report.command is not None:
        say(f"to train: {report.command}")
