"""How well each column of a table is rebuilt, and how much the predictions rest on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stacked_dae.figures.style import BLACK, BLUE, VERMILLION, place, plain, shortened_apart
from stacked_dae.inference.importance import Importance

_MOST_COLUMNS = 25


def column_errors(errors: Mapping[str, float], ax: Axes | None = None) -> Figure:
    """Draw how far each column is from what the others say of it, the best rebuilt first; 25 columns at the most.

    Args:
        errors: its mean error by name; NaN where it had no value.
        ax: where to draw; a new figure is made without it.
    """
    known = sorted((name for name in errors if np.isfinite(errors[name])), key=lambda name: errors[name])
    half = _MOST_COLUMNS // 2
    names = known if len(known) <= _MOST_COLUMNS else [*known[: half + 1], *known[-half:]]
    axes, picture = place(ax, 6.0, 0.9 + 0.24 * max(len(names), 2))
    _bars(axes, names, [errors[name] for name in names], BLUE)
    axes.set_xlabel("mean squared error\n(numbers in standard deviations or spans, names one-hot)", fontsize=9)
    which = "" if names == known else f": {half + 1} best and {half} worst of {len(known)}"
    axes.set_title(f"Columns, rebuilt from the others{which}", fontsize=11)
    return picture


def column_importance(importance: Importance, rows: str = "rows", ax: Axes | None = None) -> Figure:
    """Draw how much the error rises when a column is shuffled, the most first; 25 columns at the most.

    Args:
        importance: what to draw.
        rows: what the rows are.
        ax: where to draw; a new figure is made without it.
    """
    rises = importance.rises
    ranked = sorted(rises, key=lambda name: -rises[name].mean())
    names = ranked[:_MOST_COLUMNS]
    axes, picture = place(ax, 6.0, 0.9 + 0.24 * max(len(names), 2))
    _bars(axes, names, [rises[name].mean() for name in names], VERMILLION, [rises[name].std() for name in names])
    axes.axvline(0.0, color=BLACK, linewidth=0.8)
    axes.set_xlabel(f"rise of the error when the column is shuffled ({importance.unit})", fontsize=9)
    which = "" if names == ranked else f": the first {len(names)} of {len(ranked)}"
    axes.set_title(f"What predictions rest on, by {importance.n} {rows}{which}", fontsize=11)
    return picture


def _bars(
    axes: Axes, names: Sequence[str], lengths: Sequence[float], color: str, spread: Sequence[float] | None = None
) -> None:
    """Draw a bar for each column, the first uppermost."""
    # By place, not by name: shortened names may be the same.
    places = range(len(names))
    axes.barh(places, lengths, xerr=spread, color=color, height=0.7, error_kw={"elinewidth": 1.0, "capsize": 2.0})
    axes.set_yticks(places, shortened_apart(names, 24))
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    plain(axes)
