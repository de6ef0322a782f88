"""The command on data sets: list, prepare, show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacked_dae.errors import ConfigError


def run_data(asked: Any) -> None:
    """List the data sets, make one ready, or show one."""
    from rich.console import Console
    from rich.table import Table

    from stacked_dae.data import registry

    if asked.action == "list":
        table = Table("name", "train / valid / test", "what")
        for name, entry in registry.ENTRIES.items():
            table.add_row(name, " / ".join(map(str, entry.rows)), f"{entry.description}; {entry.source}")
        Console().print(table)
        return
    if asked.name is None:
        raise ConfigError(f"data {asked.action} needs the name of a data set; data list names them")
    data = registry.load(asked.name, asked.root, asked.source)
    if asked.action == "show":
        from stacked_dae.reporting.run_figures import draw_samples

        print(draw_samples(data, Path(asked.out or f"{data.name}.png")))
        return
    rows = " / ".join(str(len(split)) for split in (data.train, data.valid, data.load_test()))
    print(f"{data.name} is ready: {rows} rows of {data.inputs} inputs, {data.classes} classes")
