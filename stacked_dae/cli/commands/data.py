"""The command on data sets: list, prepare, show."""

from __future__ import annotations

from pathlib import Path

from stacked_dae.cli.options import DataOptions
from stacked_dae.errors import ConfigError


def run_data(options: DataOptions) -> None:
    """List the data sets, prepare one, or draw examples of one."""
    from rich.console import Console
    from rich.table import Table

    from stacked_dae.data import registry

    if options.action == "list":
        table = Table("name", "train / valid / test", "what")
        for name, entry in registry.DATASETS.items():
            table.add_row(name, " / ".join(map(str, entry.rows)), f"{entry.description}; {entry.source}")
        Console().print(table)
        return
    if options.name is None:
        raise ConfigError(f"data {options.action} needs the name of a data set; data list names them")
    data = registry.load_dataset(options.name, options.root, options.source)
    if options.action == "show":
        from stacked_dae.reporting.run_figures import draw_samples

        print(draw_samples(data, Path(options.out or f"{data.name}.png")))
        return
    rows = " / ".join(str(len(split)) for split in (data.train, data.valid, data.load_test()))
    print(f"{data.name} is ready: {rows} rows of {data.inputs} inputs, {data.classes} classes")
