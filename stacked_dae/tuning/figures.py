"""Pictures of a search: its history, the importance of settings, each setting by itself, and all together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stacked_dae.figures.style import BLUE, GREY, VERMILLION, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stacked_dae.tuning.result import SearchResult, SearchTrial

_BEST, _COMPLETE, _PRUNED = VERMILLION, BLUE, GREY
_LOG_RANGE, _LONGEST = 30.0, 18
_MOST_SLICES, _A_ROW = 12, 3


def draw_search(result: SearchResult) -> list[Path]:
    """Draw a search into the ``figures`` folder of its folder, and return the files.

    The importance of settings (functional ANOVA) needs complete trials whose errors differ; without, it is left out.
    """
    complete = result.complete
    made = {"history": history(result)}
    varied = _varied(complete)
    if varied:
        made["settings"] = slices(result, varied)
        made["parallel"] = parallel_coordinates(result, varied)
        shares = result.importance()
        if shares:
            made["importance"] = importance(shares)
    folder = result.out / "figures"
    folder.mkdir(exist_ok=True)
    return [save(figure, folder / f"{name}.png") for name, figure in made.items()]


def history(result: SearchResult) -> Figure:
    """Draw the validation error of each trial in the order in which they began, and the lowest so far."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    complete = result.complete
    pruned = [trial for trial in result.all_trials if trial.state == "pruned" and trial.value is not None]
    numbers = np.array([trial.number for trial in complete])
    values = _values(complete)
    axes.scatter(numbers, values, s=22, color=_COMPLETE, label="trial", zorder=2)
    if pruned:
        xs, ys = [trial.number for trial in pruned], _values(pruned)
        axes.scatter(xs, ys, s=26, marker="x", color=_PRUNED, label="stopped early", zorder=1)
    axes.step(numbers, np.minimum.accumulate(values), where="post", color=_BEST, label="lowest so far")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(_label(result))
    figure.legend(frameon=False, loc="outside upper right", ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def importance(shares: Mapping[str, float]) -> Figure:
    """Draw how much of the variance of the validation error each setting explains."""
    names = sorted(shares, key=lambda name: shares[name])
    figure = Figure(figsize=(7, 1.0 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(names, [100 * shares[name] for name in names], color=_COMPLETE)
    axes.bar_label(bars, fmt="%.0f %%", padding=3)
    axes.set_xlim(0, 112)
    axes.set_xlabel("share of the variance of the validation error (functional ANOVA), %")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def slices(result: SearchResult, names: Sequence[str]) -> Figure:
    """Draw the validation error of the complete trials against each setting."""
    complete = result.complete
    names = names[:_MOST_SLICES]
    columns = min(_A_ROW, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.6 * columns, 0.4 + 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        places, ticks = _places(complete, name)
        axes.scatter(places, _values(complete), s=20, color=_COMPLETE, alpha=0.8)
        best = complete.index(result.best)
        axes.scatter(places[best], result.best.value, s=70, facecolors="none", edgecolors=_BEST, linewidths=1.8)
        _name_ticks(axes, places, ticks)
        axes.set_xlabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(_label(result))
    figure.suptitle("Complete trials; the best has a ring", fontsize=10)
    return figure


def parallel_coordinates(result: SearchResult, names: Sequence[str]) -> Figure:
    """Draw each complete trial as a line through its settings to its validation error."""
    complete = sorted(result.complete, key=lambda t: -(t.value or 0.0))
    names = names[:_MOST_SLICES]
    figure = Figure(figsize=(max(6.0, 2.0 * (len(names) + 1)), 4.2), layout="constrained")
    axes = figure.subplots()
    heights, marks = [], []
    for name in names:
        places, ticks = _places(complete, name)
        heights.append(_unit(np.log10(places) if _is_log(places, ticks) else places))
        marks.append(_ends(places, ticks, heights[-1]))
    values = _values(complete)
    heights.append(_unit(values))
    marks.append(_ends(values, None, heights[-1]))
    lines = np.stack(heights, axis=1)
    for line, trial in zip(lines, complete, strict=True):
        is_best = trial is result.best
        # Darker lines are better ones.
        color = _BEST if is_best else str(0.35 + 0.5 * line[-1])
        axes.plot(range(len(line)), line, color=color, linewidth=2.2 if is_best else 0.9, zorder=3 if is_best else 1)
    for at, ends in enumerate(marks):
        axes.axvline(at, color="black", linewidth=0.6)
        for height, text in ends:
            axes.text(at, height, f" {text}", fontsize=8, va="center", bbox={"facecolor": "white", "alpha": 0.75,
                                                                         "edgecolor": "none", "pad": 0.6})  # fmt: skip
    axes.set_xticks(range(len(lines[0])), [*(name.replace(".", ".\n") for name in names), _label(result)], fontsize=8)
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(lines[0]) - 0.4)
    axes.spines[:].set_visible(False)
    axes.set_title("Complete trials: the best in colour, the darker the better", fontsize=10)
    return figure


def _values(trials: Sequence[SearchTrial]) -> np.ndarray[Any, Any]:
    return np.array([trial.value for trial in trials], dtype=float)


def _label(result: SearchResult) -> str:
    return "validation RMSE" if result.measure == "valid_rmse" else "validation error, %"


def _varied(trials: Sequence[SearchTrial]) -> list[str]:
    """Return the settings that differ between trials."""
    names = list(trials[0].settings) if trials else []
    return [name for name in names if len({json.dumps(t.settings[name], default=str) for t in trials}) > 1]


def _places(trials: Sequence[SearchTrial], name: str) -> tuple[np.ndarray[Any, Any], list[str] | None]:
    """Return where each trial stands on the axis of a setting, and the names of the places; None for numbers."""
    values = [trial.settings[name] for trial in trials]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=float), None
    texts = [value if isinstance(value, str) else json.dumps(value, default=str) for value in values]
    known = sorted(set(texts))
    return np.array([known.index(text) for text in texts], dtype=float), [text[:_LONGEST] for text in known]


def _is_log(places: np.ndarray[Any, Any], ticks: list[str] | None) -> bool:
    return ticks is None and bool(places.min() > 0 and places.max() / places.min() > _LOG_RANGE)


def _name_ticks(axes: Axes, places: np.ndarray[Any, Any], ticks: list[str] | None) -> None:
    if ticks is not None:
        axes.set_xticks(range(len(ticks)), ticks, rotation=20 if max(map(len, ticks)) > 8 else 0)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
    elif _is_log(places, ticks):
        axes.set_xscale("log")


def _unit(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return values scaled to [0, 1]; equal ones stand in the middle."""
    width = values.max() - values.min()
    return np.full_like(values, 0.5) if width == 0 else (values - values.min()) / width


def _ends(
    places: np.ndarray[Any, Any], ticks: list[str] | None, heights: np.ndarray[Any, Any]
) -> list[tuple[float, str]]:
    """Return the texts on an axis of parallel coordinates and their heights: each name, or both ends of numbers."""
    if ticks is not None:
        return [(float(heights[list(places).index(k)]), tick) for k, tick in enumerate(ticks)]
    low, high = int(places.argmin()), int(places.argmax())
    return [(float(heights[at]), f"{places[at]:.4g}") for at in (low, high)]
