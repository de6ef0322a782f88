"""The tables in the terminal: at the end of a job, and of runs side by side."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stacked_dae.reporting.comparison import Comparison, shown
from stacked_dae.runs.fingerprints import FINETUNE, stage_name
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.intervals import with_interval

_MODELS = {
    "sda": "stacked denoising autoencoders",
    "saa": "stacked autoencoders (control: nu = 0)",
    "mlp": "never pre-trained (control)",
}

# Characters of a column that can be read.
_NARROWEST = 8


def print_summary(folder: RunFolder) -> None:
    """Print stage, epochs, loss or error, and seconds; then the test error with its 95 % interval and n."""
    config = folder.config()
    table = Table(title=escape(f"{folder.path}: {_MODELS[config.model]} on {folder.manifest['dataset']['name']}"))
    table.add_column("stage")
    table.add_column("epochs", justify="right")
    table.add_column("validation", justify="right")
    table.add_column("seconds", justify="right")
    for stage, entry in folder.manifest["stages"].items():
        rows = folder.metrics(stage).rows()
        if entry["status"] != "done" or not rows:
            table.add_row(stage, "", entry["status"], "")
        elif stage == FINETUNE:
            best = f"error {entry['best_valid_error_percent']:.2f} % (epoch {entry['best_epoch']})"
            table.add_row(stage, str(entry["epochs"]), best, f"{entry['seconds']:.1f}")
        else:
            table.add_row(stage, str(entry["epochs"]), f"loss {rows[-1]['valid_loss']:.4g}", f"{entry['seconds']:.1f}")
    console = Console()
    console.print(table)
    if (folder.path / "result.json").exists():
        result = folder.result()
        console.print(
            f"test error {with_interval(result['test_error_percent'], result['test_error_ci95_percent'])} %"
            f" (95 % interval, n = {result['n_test']})",
            highlight=False,
        )


def print_layers(folder: RunFolder) -> None:
    """Print the data and the network of a run: each layer's units, activation, corruption, loss and parameters."""
    config, data = folder.config(), folder.manifest["dataset"]
    preprocessing = folder.preprocessing()
    console = Console(highlight=False)
    told = f"{data['name']}: {data['inputs']} inputs"
    if preprocessing is not None:
        names = preprocessing.names
        told += f" out of {len(names)} columns ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})"
        if preprocessing.target:
            classes = preprocessing.classes
            told += f"; classes of {preprocessing.target}: {', '.join(classes[:8])}{', …' if len(classes) > 8 else ''}"
    console.print(escape(told), soft_wrap=True)
    own = folder.manifest.get("own")
    if own:
        console.print(escape(f"in place of the settings below: {own}"), soft_wrap=True)
    table = Table()
    for name in ("layer", "units", "activation", "corruption", "loss", "parameters"):
        table.add_column(name, justify="right" if name in ("units", "parameters") else "left")
    inputs = data["inputs"]
    for k, layer in enumerate(config.layers(), 1):
        pre_trained = config.model != "mlp"
        table.add_row(
            stage_name(k),
            str(layer.units),
            layer.activation,
            f"{layer.kind}, nu {layer.nu:g}" if pre_trained and layer.nu else "none",
            layer.loss if pre_trained else "",
            f"{layer.units * (inputs + 1):,}",
        )
        inputs = layer.units
    console.print(table)


def print_comparison(comparison: Comparison) -> None:
    """Print which settings differ, then a row a run; the one of the lowest validation error is marked."""
    console = Console()
    named = ", ".join(comparison.keys)
    count = f"{len(comparison.runs)} run{'s' * (len(comparison.runs) != 1)}"
    differ = f"they differ in {named}" if named else "all settings are the same"
    console.print(
        f"{count}; {differ}" if len(comparison.runs) > 1 else count, highlight=False, soft_wrap=True, markup=False
    )
    table = Table(title=escape(comparison.folder) or None, box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold")
    # Errors before settings, where there is no room for both.
    has_room = _NARROWEST * (len(comparison.keys) + len(comparison.layers) + 4) <= console.width
    keys = list(comparison.keys) if has_room else []
    for key in keys:
        table.add_column(comparison.short(key), overflow="fold")
    for layer in comparison.layers:
        table.add_column(layer.replace("layer_", "loss "), justify="right")
    for name in ("valid %", "test %", "seconds"):
        table.add_column(name, justify="right")
    for run in comparison.runs:
        best = run is comparison.best
        table.add_row(
            escape(f"{'* ' if best else ''}{comparison.label(run)}"),
            *(escape(shown(run.settings.get(key), 6)) for key in keys),
            *(shown(run.losses.get(layer)) for layer in comparison.layers),
            shown(run.valid_error_percent),
            run.test_text,
            shown(run.seconds, 1),
            style="bold" if best else None,
        )
    console.print(table)
    if not has_room:
        console.print("no room for the settings: a wider terminal, --out or --csv shows them", highlight=False)
    if comparison.best:
        console.print("* lowest validation error; ± is the 95 % interval", highlight=False)
    else:
        console.print(comparison.why_no_best, highlight=False)
