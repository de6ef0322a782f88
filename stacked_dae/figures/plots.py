"""Pictures for a Python session: of a run, of a model, and of rows as a model sees them.

Each returns a figure and never shows it; as the last line of a notebook's cell it shows itself.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stacked_dae.errors import ConfigError, StageError
from stacked_dae.figures.answers import confusion
from stacked_dae.figures.codes import Method, codes_in_two, codes_picture
from stacked_dae.figures.columns import column_errors, column_importance
from stacked_dae.figures.curves import run_curves
from stacked_dae.figures.images import filters, image_rows
from stacked_dae.figures.style import place
from stacked_dae.inference.importance import importance_of
from stacked_dae.inference.model import StackedDAE
from stacked_dae.inference.pretrained_layers import blocks_of
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.manifest import Result
from stacked_dae.utils.type_hints import matches_type

# Images beside one another in a picture of reconstructions.
_MOST_IMAGES = 12


def plot_history(run: RunFolder | str | Path) -> Figure:
    """Draw what each stage of a run logged per epoch.

    Raises:
        StageError: it is not a run folder, or no stage has begun.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    picture = run_curves(folder)
    if picture is None:
        raise StageError(f"{folder.path} has no epoch yet; run its fit first")
    return picture


def plot_confusion(run: RunFolder | str | Path, ax: Axes | None = None) -> Figure:
    """Draw the confusion matrix of a run's test rows.

    Raises:
        StageError: it is not a run folder, was not tested, or predicts numbers.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    result, table = folder.result(), folder.preprocessing()
    if not isinstance(result, Result):
        raise StageError(f"{folder.path} predicts numbers, so there is no confusion of classes")
    return confusion(result, table.classes if table else (), ax)


def plot_filters(
    model: StackedDAE,
    layer: int = 1,
    *,
    most: int = 100,
    image_shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the strongest filters of a layer as images: the weights of its units, those above layer 1 times those below.

    Args:
        model: of images.
        layer: from 1.
        most: filters drawn at the most.
        image_shape: (rows, columns) of the inputs; that of the images it was trained on, or a square, if None.
        ax: where to draw; a new figure is made without it.

    Raises:
        ConfigError: the model has no such layer, or its inputs are no images.
    """
    if not matches_type(int, most) or most < 1:
        raise ConfigError(f"most must be a whole number above 0, not {most!r}")
    weight: NDArray[np.float32] = model.filters(layer)
    for below in range(layer - 1, 0, -1):
        weight = weight @ model.filters(below)
    title = f"Filters of layer {layer}" + (" through the layers below" if layer > 1 else "")
    return filters(weight, _image_shape(model, image_shape), most, title, ax)


def plot_reconstructions(
    model: StackedDAE,
    rows: Any,
    layer: int | None = None,
    *,
    corrupt: bool = False,
    seed: int = 0,
    image_shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw rows and what the pre-trained layers rebuild of them; of a table, how far each column is off.

    Args:
        model: of a run folder.
        rows: raw; of images the first 12 are drawn.
        layer: from 1; the uppermost if None.
        corrupt: of images, whether layer 1's noise is added first.
        seed: of the noise.
        image_shape: as for :func:`plot_filters`.
        ax: where to draw; a new figure is made without it.

    Raises:
        StageError: the model has no decoders.
        ConfigError: the model has no such layer, or ``corrupt`` is given for a table.
        DataError: the rows differ in kind from those it was trained on.
    """
    table = model.preprocessing
    if table is not None and not table.are_pixels:
        if corrupt:
            raise ConfigError("corrupt is for images; of a table each column is rebuilt from the others")
        return column_errors(model.reconstruction_errors(rows, layer, by="column"), ax)
    layers, shape = model.pretrained_layers(layer), _image_shape(model, image_shape)
    clean = next(blocks_of(model.inputs_of(rows)[:_MOST_IMAGES])).numpy()
    names, drawn = ["clean"], [clean]
    if corrupt:
        names, drawn = [*names, "corrupted"], [*drawn, layers.corrupt(clean, seed)]
    images = np.concatenate([*drawn, layers.reconstruct(drawn[-1])]).clip(0, 1).reshape(-1, *shape)
    ax, picture = place(ax, 1.6 + 0.72 * len(clean), 0.4 + 0.72 * (len(names) + 1))
    image_rows(ax, images, [*names, "rebuilt"])
    k = model.check_layer(layer)
    ax.set_title(f"Rebuilt from the codes of layer {k}" + ("; decoded down to the input" if k > 1 else ""), fontsize=10)
    return picture


def plot_codes(
    model: StackedDAE,
    rows: Any,
    labels: Any = None,
    layer: int | None = None,
    *,
    method: Method = "pca",
    seed: int = 0,
    ax: Axes | None = None,
) -> Figure:
    """Draw the codes of rows in two dimensions.

    Args:
        model: of a run folder or a file.
        rows: raw, n of them.
        labels: a class or a number for each row, (n,), to colour it by; None or NaN where it has none.
        layer: from 1; the uppermost if None.
        method: pca (principal components), tsne (scikit-learn's t-SNE), or umap where umap-learn is installed.
        seed: of t-SNE and UMAP.
        ax: where to draw; a new figure is made without it.

    Raises:
        ConfigError: the model has no such layer, or the method cannot be used.
        DataError: the rows differ in kind from those it was trained on, or are not as many as the labels.
    """
    codes = model.encode(rows, layer)
    points, names = codes_in_two(codes, method, seed)
    return codes_picture(
        points, names, labels, f"Codes of layer {model.check_layer(layer)}: {codes.shape[1]} units", ax
    )


def plot_importance(
    model: StackedDAE, rows: Any, labels: Any, *, repeats: int = 5, seed: int = 0, ax: Axes | None = None
) -> Figure:
    """Draw which columns the predictions rest on: how much the error rises when a column is shuffled among the rows.

    The bar is the mean of several shufflings, the line their standard deviation. Columns that say the same stand in for
    one another, so that each of them may seem to matter little (permutation importance: Breiman, "Random Forests",
    2001, section 10).

    Args:
        model: fine-tuned.
        rows: raw, n of them, that the model was not trained on.
        labels: the class of each, or its number (regression only), (n,); rows whose label is missing are left out.
        repeats: how often each column is shuffled.
        seed: of the shuffling.
        ax: where to draw; a new figure is made without it.

    Raises:
        StageError: the model was never fine-tuned.
        ConfigError: ``repeats`` is below 1.
        DataError: the rows differ in kind from those it was trained on, are not as many as the labels, or a label is of
            a class that the model does not know.
    """
    return column_importance(importance_of(model, rows, labels, repeats, seed), ax=ax)


def _image_shape(model: StackedDAE, given: tuple[int, int] | None) -> tuple[int, int]:
    """Return the (rows, columns) of a model's images."""
    width = model.stack.layers[0].weight.shape[1]
    shape = given or (model.preprocessing.image_shape if model.preprocessing is not None else None)
    side = math.isqrt(width)
    if shape is None and model.preprocessing is None and side * side == width:
        shape = (side, side)
    if shape is None or shape[0] * shape[1] != width:
        raise ConfigError(f"the model's {width} inputs are not known to be an image; give image_shape=(rows, columns)")
    return shape
