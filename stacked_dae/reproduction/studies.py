"""The paper's figures, measured again: first-layer filters against ν, and test error against ν and depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset
from stacked_dae.figures.images import filters_sheet
from stacked_dae.figures.style import ORANGE, ordered_color, save
from stacked_dae.inference.loading import load_layers
from stacked_dae.pipeline.api import fit, pretrain
from stacked_dae.reproduction.models import epoch_multiplier, finetuning
from stacked_dae.reproduction.search_space import DEFAULT_LAYERS
from stacked_dae.utils.files import write_csv
from stacked_dae.utils.terminal.progress import Reporter

FILTER_NOISE = (0.0, 0.1, 0.25, 0.5)
NOISE = (0.0, 0.1, 0.25, 0.4)
DEPTHS = (1, 2, 3)


def _config(data: Dataset, source: str, seed: int, depth: int, nu: float, model: str = "sda") -> Config:
    values: dict[str, Any] = {
        "seed": seed,
        "model": model,
        "data": {"name": data.name, "source": source},
        "pretrain": {
            "units": [DEFAULT_LAYERS["units"]] * depth,
            "epochs": 15 * epoch_multiplier(data.name),
            "corruption": {"nu": nu},
        },
        "finetune": {**finetuning(data.name), "optimizer": {"lr": 0.3}},
    }
    return config_from_dict(values)


def filters_by_noise(data: Dataset, source: str, seed: int, out: Path, reporter: Reporter) -> Path:
    """Pre-train one layer at each of four noise levels and draw 100 filters of each (ICML 2008, Figure 3).

    The layers start from the same weights, so that a filter can be followed from sheet to sheet. The runs and
    ``filters.png`` are in ``out``; after a kill, the same call resumes.
    """
    assert data.image_shape is not None
    sheets: list[tuple[float, NDArray[np.float32]]] = []
    for nu in FILTER_NOISE:
        reporter.say(f"{data.name}: filters at ν = {nu:.0%}")
        run = pretrain(_config(data, source, seed, 1, nu), out / f"nu_{nu:g}", dataset=data, progress=reporter)
        sheets.append((nu, load_layers(run)[0].weight.detach().numpy()[:100]))
    figure = Figure(figsize=(3.2 * len(sheets), 3.5), layout="constrained")
    for axes, (nu, weights) in zip(figure.subplots(1, len(sheets)), sheets, strict=True):
        axes.imshow(filters_sheet(weights, data.image_shape), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_title(f"ν = {nu:.0%}", fontsize=11)
        axes.set_axis_off()
    figure.suptitle(f"{data.name}: 100 filters of the first layer", fontsize=11)
    return save(figure, out / "filters.png")


def errors_by_noise(data: Dataset, source: str, seed: int, out: Path, reporter: Reporter) -> Path:
    """Fit one to three layers at each of four noise levels, and networks never pre-trained (JMLR 2010, Figures 10, 11).

    All else is the same for all: nothing is searched, and each network is tested once. ``errors.csv``, ``errors.png``
    and the runs are in ``out``; after a kill, the same call resumes.
    """
    rows: list[dict[str, Any]] = []
    for depth in DEPTHS:
        for model, nu in (("mlp", 0.0), *(("sda", nu) for nu in NOISE)):
            reporter.say(f"{data.name}: {depth} layers, {f'ν = {nu:.0%}' if model == 'sda' else 'never pre-trained'}")
            config = _config(data, source, seed, depth, nu, model)
            run = fit(config, out / f"depth_{depth}_{model}_{nu:g}", dataset=data, progress=reporter)
            result = run.result()
            kept = ("test_error_percent", "test_error_ci95_percent", "n_test", "best_valid_error_percent", "seconds")
            rows.append({"depth": depth, "model": model, "nu": nu, **{name: getattr(result, name) for name in kept}})
    write_csv(out / "errors.csv", rows)
    return save(_draw_errors(data.name, rows), out / "errors.png")


def _draw_errors(name: str, rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(8, 4.1), layout="constrained")
    by_noise, by_depth = figure.subplots(1, 2, sharey=True)
    for depth in DEPTHS:
        own = [row for row in rows if row["depth"] == depth and row["model"] == "sda"]
        _line(
            by_noise,
            [100 * row["nu"] for row in own],
            own,
            f"{depth} layer{'s' * (depth > 1)}",
            ordered_color(depth - 1, len(DEPTHS)),
        )
    by_noise.set_xlabel("noise ν (%)")
    by_noise.set_ylabel("test error (%)")
    control = [row for row in rows if row["model"] == "mlp"]
    _line(by_depth, list(DEPTHS), control, "never pre-trained", ORANGE)
    for k, nu in enumerate(NOISE):
        own = [row for row in rows if row["model"] == "sda" and row["nu"] == nu]
        _line(by_depth, list(DEPTHS), own, f"ν = {nu:.0%}", ordered_color(k, len(NOISE)))
    by_depth.set_xlabel("layers")
    by_depth.set_xticks(DEPTHS)
    for axes in (by_noise, by_depth):
        axes.grid(alpha=0.3)
        # Below: inside, it would hide an interval.
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    figure.suptitle(f"{name}: test error with its 95 % interval", fontsize=11)
    return figure


def _line(axes: Any, x: list[Any], rows: list[dict[str, Any]], label: str, color: str) -> None:
    y = [row["test_error_percent"] for row in rows]
    half = [row["test_error_ci95_percent"] for row in rows]
    axes.errorbar(x, y, yerr=half, marker="o", ms=4, capsize=2, label=label, color=color)
