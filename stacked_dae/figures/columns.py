"""How well each column of a table is rebuilt."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stacked_dae.figures.style import BLUE, place, plain, shortened_apart

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
    # By place, not by name: shortened names may be the same.
    places = range(len(names))
    axes.barh(places, [errors[name] for name in names], color=BLUE, height=0.7)
    axes.set_yticks(places, shortened_apart(names, 24))
    axes.invert_yaxis()
    axes.set_xlabel("mean squared error\n(numbers in standard deviations or spans, names one-hot)", fontsize=9)
    which = "" if names == known else f": {half + 1} best and {half} worst of {len(known)}"
    axes.set_title(f"Columns, rebuilt from the others{which}", fontsize=11)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    plain(axes)
    return picture
