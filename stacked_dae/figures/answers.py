"""Draw what a network answers against what is true: the confusion of classes, and predicted numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stacked_dae.figures.style import BLUE, GREY, place, shortened, shortened_apart
from stacked_dae.runs.manifest import Result
from stacked_dae.utils.intervals import with_interval


def predictions(
    predicted: NDArray[np.float64], targets: NDArray[np.float64], name: str, ax: Axes | None = None
) -> Figure:
    """Draw predicted numbers, (n,), against the targets, (n,), of validation rows; on the line they are right.

    ``name`` is the target's; a new figure is made without ``ax``.
    """
    axes, picture = place(ax, 4.2, 4.2)
    ends = [float(min(predicted.min(), targets.min())), float(max(predicted.max(), targets.max()))]
    axes.plot(ends, ends, color=GREY, linewidth=1.0, label="predicted = true")
    axes.plot(
        targets, predicted, "o", color=BLUE, markersize=3.5, alpha=0.5, markeredgewidth=0.0, label="validation row"
    )
    axes.set_xlabel(f"{shortened(name)}, true")
    axes.set_ylabel(f"{shortened(name)}, predicted")
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return picture


def confusion(result: Result, names: Sequence[str] = (), ax: Axes | None = None) -> Figure:
    """Draw the confusion matrix of a tested run: true classes down, predictions across, counts in the cells.

    ``names`` are those of the classes; their numbers if there are none. A new figure is made without ``ax``.
    """
    counts = np.asarray(result.confusion)
    error = with_interval(result.test_error_percent, result.test_error_ci95_percent, result.n_test)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(4.0, 0.5 * len(counts) + 1.0)
    axes, picture = place(ax, size, size)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.argwhere(counts):
        axes.text(
            j,
            i,
            str(counts[i, j]),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share[i, j] > 0.5 else "black",
        )
    labels = shortened_apart(names) or [str(k) for k in range(len(counts))]
    axes.set_xticks(range(len(counts)), labels, rotation=90 if max(map(len, labels)) > 3 else 0)
    axes.set_yticks(range(len(counts)), labels)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"Test error {error} % (n = {result.n_test})", fontsize=11)
    return picture
