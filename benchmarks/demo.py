"""The demo: do layers that were pre-trained without labels beat the same network trained from scratch on few labels?

    python benchmarks/demo.py [--seeds N] [--out FOLDER]

Pre-trains one stack on all training images of configs/demo.yaml. Then, for each seed, draws the labels and trains two
networks with them: the pre-trained stack, and the control, the same network from random weights. Logistic regression
and the majority class learn from the same labels. Ends with a table, FOLDER/demo.json and FOLDER/demo.png. A demo that
was cut goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from stacked_dae import StackedDAEError, config_from_dict, finetune, fit, pretrain
from stacked_dae.figures.run_figures import draw_run
from stacked_dae.figures.style import BLUE, VERMILLION
from stacked_dae.utils.terminal.progress import Reporter, TerminalReporter

ROOT = Path(__file__).parents[1]
NAMES = {"sda": "pre-trained", "mlp": "never pre-trained"}
BASELINES = {"logistic_regression": "logistic regression", "majority_class": "majority class"}


def run(out: Path, seeds: int, reporter: Reporter) -> dict[str, Any]:
    """Train what is not trained yet; return the errors by model, one a seed."""
    path = ROOT / "configs" / "demo.yaml"
    config = config_from_dict(yaml.safe_load(path.read_text()), str(path))
    layers = pretrain(config, out / "layers", progress=reporter)
    draw_run(layers)
    errors: dict[str, list[float]] = {name: [] for name in (*NAMES, *BASELINES)}
    seconds: dict[str, float] = {
        "pretrain": sum(record.seconds or 0.0 for record in layers.manifest.stages.values()),
        **dict.fromkeys(NAMES, 0.0),
    }
    n_test = 0
    for seed in range(seeds):
        for model, name in NAMES.items():
            reporter.say(f"seed {seed}: {name}")
            # Both have the same labels, and so the same baselines.
            tuned = replace(config.finetune, baselines=model == "sda")
            chosen = replace(config, seed=seed, model=model, finetune=tuned)
            folder = out / f"{model}-{seed}"
            if model == "sda":
                done = finetune(chosen, folder, layers.path, progress=reporter)
            else:
                done = fit(chosen, folder, progress=reporter)
            result = done.result()
            errors[model].append(result.test_error_percent)
            for name, error in (result.baselines or {}).items():
                errors[name].append(error)
            seconds[model] += done.stage("finetune").seconds or 0.0
            n_test = result.n_test
    return {
        "dataset": config.data.name,
        "labels_per_class": config.data.labels_per_class,
        "n_test": n_test,
        "seeds": list(range(seeds)),
        "test_error_percent": errors,
        "mean_test_error_percent": {model: statistics.mean(values) for model, values in errors.items()},
        "training_seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def table(result: dict[str, Any]) -> Table:
    """Return the table of errors: a row a seed, then the means."""
    sheet = Table(
        title=f"Test error (%) on {result['dataset']} with {result['labels_per_class']} labels per class,"
        f" n = {result['n_test']}",
    )
    sheet.add_column("label draw")
    for name in (*NAMES.values(), "gain", *BASELINES.values()):
        sheet.add_column(name, justify="right")
    errors, means = result["test_error_percent"], result["mean_test_error_percent"]
    draws = {f"seed {seed}": {name: errors[name][i] for name in errors} for i, seed in enumerate(result["seeds"])}
    for title, found in (*draws.items(), ("mean", means)):
        if title == "mean":
            sheet.add_section()
        figures = (found["sda"], found["mlp"], found["mlp"] - found["sda"], *(found[name] for name in BASELINES))
        sheet.add_row(title, *(f"{figure:.2f}" for figure in figures))
    return sheet


def picture(result: dict[str, Any]) -> Figure:
    """Return the figure: the errors of each label draw, joined by a line, and the means."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    errors, means = result["test_error_percent"], result["mean_test_error_percent"]
    places = {"logistic_regression": 0, "mlp": 1, "sda": 2}
    for draw in zip(*(errors[model] for model in places), strict=True):
        axes.plot(list(places.values()), draw, color="0.7", marker="o", markersize=4, zorder=1)
    for model, place in places.items():
        axes.hlines(
            means[model], place - 0.14, place + 0.14, color=BLUE if model == "sda" else VERMILLION, lw=3, zorder=2
        )
        axes.annotate(
            f"{means[model]:.1f} %", (place + 0.17, means[model]), va="center", fontsize=11, fontweight="bold"
        )
    names = [BASELINES["logistic_regression"], f"{NAMES['mlp']}\n(control)", f"{NAMES['sda']}\nwithout labels"]
    axes.set_xticks(list(places.values()), names)
    axes.set_xlim(-0.4, 2.7)
    axes.set_ylabel("test error (%)")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.set_title(
        f"{result['dataset']}, {result['labels_per_class']} labels per class: {len(result['seeds'])} label draws",
        fontsize=10,
    )
    return figure


def main() -> int:
    """Run the demo from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="label draws (default 5)")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the runs (default runs/demo)")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error("--seeds must be at least 1")
    started = time.monotonic()
    try:
        with TerminalReporter() as reporter:
            result = run(options.out, options.seeds, reporter)
    except StackedDAEError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 2
    (options.out / "demo.json").write_text(json.dumps(result, indent=2) + "\n")
    picture(result).savefig(options.out / "demo.png", dpi=130)
    Console().print(table(result))
    means = result["mean_test_error_percent"]
    print(
        f"mean test error: pre-trained {means['sda']:.2f} %, never pre-trained {means['mlp']:.2f} %,"
        f" logistic regression {means['logistic_regression']:.2f} % ({time.monotonic() - started:.0f} s)"
    )
    print(f"figure: {options.out / 'demo.png'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
