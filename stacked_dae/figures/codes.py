"""Codes in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stacked_dae.errors import ConfigError, DataError
from stacked_dae.figures.style import BLUE, GREY, KINDS, MARKERS, RAMP, place, plain, shortened_apart
from stacked_dae.inference.raw_rows import checked_labels

Method = Literal["pca", "tsne", "umap"]

MOST_KINDS = 20
"""Kinds that a legend has room for."""


def codes_in_two(values: NDArray[np.float32], method: Method = "pca", seed: int = 0) -> tuple[NDArray[Any], list[str]]:
    """Return codes, (n, h), in two dimensions, (n, 2), and what the two axes are.

    Args:
        values: the codes.
        method: principal components, t-SNE (scikit-learn's), or UMAP where umap-learn is installed.
        seed: of t-SNE and UMAP.

    Raises:
        ConfigError: the method is unknown, or its package is not installed.
        DataError: there are too few rows.
    """
    if method not in get_args(Method):
        raise ConfigError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
    if len(values) < 3:
        raise DataError(f"a picture of codes needs at least 3 rows, not {len(values)}")
    if method == "pca":
        centred = values - values.mean(0, dtype=np.float64)
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        if len(s) < 2:
            u, s = np.pad(u, ((0, 0), (0, 1))), np.pad(s, (0, 1))
        shares = 100.0 * s**2 / max(float((s**2).sum()), 1e-300)
        return u[:, :2] * s[:2], [f"component {k + 1} ({shares[k]:.0f} % of the variance)" for k in range(2)]
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(values) - 1) / 3)
        return TSNE(perplexity=perplexity, random_state=seed % 2**32).fit_transform(values), ["t-SNE 1", "t-SNE 2"]
    try:
        from umap import UMAP
    except ImportError:
        raise ConfigError("method umap needs a package that is not installed: pip install umap-learn") from None
    return np.asarray(UMAP(random_state=seed % 2**32).fit_transform(values)), ["UMAP 1", "UMAP 2"]


def codes_picture(
    points: NDArray[Any], axis_names: Sequence[str], labels: Any, title: str, ax: Axes | None = None
) -> Figure:
    """Draw points, (n, 2), coloured by their labels: kinds with a legend, numbers by a ramp.

    Args:
        points: where.
        axis_names: what the two axes are.
        labels: one a point: names or whole numbers of at most 20 kinds, or numbers; a missing one is grey; or None.
        title: above it.
        ax: where to draw; a new figure is made without it.

    Raises:
        DataError: there is not one label a point, or there are too many kinds.
    """
    axes, picture = place(ax, 6.0, 4.6)
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=12.0, color=BLUE)
    else:
        values, missing = checked_labels(labels, len(points))
        known, there = values[~missing], points[~missing]
        if missing.any():
            without = points[missing]
            axes.scatter(without[:, 0], without[:, 1], s=8.0, color=GREY, alpha=0.6, label="no label")
        if known.dtype.kind in "iuf" and len(np.unique(known)) > MOST_KINDS:
            drawn = axes.scatter(there[:, 0], there[:, 1], s=12.0, c=known.astype(np.float64), cmap=RAMP)
            picture.colorbar(drawn, ax=axes, label="label")
        else:
            _draw_kinds(axes, there, known)
    axes.set_xlabel(axis_names[0])
    axes.set_ylabel(axis_names[1])
    axes.set_title(title, fontsize=11)
    plain(axes)
    return picture


def _draw_kinds(axes: Axes, points: NDArray[Any], values: NDArray[Any]) -> None:
    """Draw each kind in a colour and a shape of its own."""
    names = np.array([str(value) for value in values])
    kinds = [str(value) for value in (np.unique(values) if values.dtype.kind in "iufb" else np.unique(names))]
    if len(kinds) > MOST_KINDS:
        raise DataError(f"a picture has room for {MOST_KINDS} kinds of labels, not {len(kinds)}; leave labels out")
    # Digits and letters say themselves what they are.
    signs = all(len(name) == 1 and name.isascii() and name.isalnum() for name in kinds)
    for k, (kind, name) in enumerate(zip(kinds, shortened_apart(kinds), strict=True)):
        marker = f"${kind}$" if signs else MARKERS[(k + k // len(KINDS)) % len(MARKERS)]
        color, these, size = KINDS[k % len(KINDS)], points[names == kind], 30.0 if signs else 12.0
        axes.scatter(these[:, 0], these[:, 1], s=size, linewidths=0.3, color=color, marker=marker, label=name)
    axes.legend(fontsize=8, markerscale=1.6, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
