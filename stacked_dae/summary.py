"""The table at the end of a job."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from stacked_dae.manifest import RunFolder
from stacked_dae.plan import FINETUNE

_MODELS = {
    "sda": "stacked denoising autoencoders",
    "saa": "stacked autoencoders (control: nu = 0)",
    "mlp": "never pre-trained (control)",
}


def print_summary(folder: RunFolder) -> None:
    """Print stage, epochs, loss or error, and seconds; then the test error with its 95 % interval and n."""
    config = folder.config()
    table = Table(title=f"{folder.path}: {_MODELS[config.model]} on {folder.manifest['dataset']['name']}")
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
            f"test error {result['test_error_percent']:.2f} ± {result['test_error_ci95_percent']:.2f} %"
            f" (95 % interval, n = {result['n_test']})",
            highlight=False,
        )
