"""Pictures of images: filters, reconstructions, and examples of a data set."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stacked_dae.data.dataset import Dataset
from stacked_dae.errors import DataError
from stacked_dae.figures.style import figure, place
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.runs.stage_names import stage_name
from stacked_dae.training.loader import DeviceRows
from stacked_dae.utils.seeding import derive_seed


def tiles(images: NDArray[np.float32], columns: int, gap: float = np.nan) -> NDArray[np.float32]:
    """Return (n, rows, columns) images laid out as one picture, ``columns`` to a row, with a pixel of gap between."""
    n, height, width = images.shape
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), gap, dtype=np.float32)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = image
    return sheet


def filters_sheet(weight: NDArray[np.float32], image_shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the filters, (h, d), laid out as one picture, each scaled to [−1, 1] about its own mean."""
    images = weight.reshape(-1, *image_shape)
    images = images - images.mean(axis=(1, 2), keepdims=True)
    images = images / np.maximum(np.abs(images).max(axis=(1, 2), keepdims=True), 1e-12)
    return tiles(images, math.ceil(math.sqrt(len(images))))


def filters(
    weight: NDArray[np.float32],
    image_shape: tuple[int, int],
    most: int = 100,
    title: str = "First-layer filters",
    ax: Axes | None = None,
) -> Figure:
    """Draw the incoming weights of the units that respond most selectively (largest norm), each scaled for itself.

    Args:
        weight: (h, d).
        image_shape: (rows, columns) of the d inputs.
        most: units drawn at the most.
        title: what they are the filters of.
        ax: where to draw; a new figure is made without it.
    """
    strongest = np.argsort(-np.linalg.norm(weight - weight.mean(1, keepdims=True), axis=1))[:most]
    sheet = filters_sheet(weight[np.sort(strongest)], image_shape)
    axes, picture = place(ax, 7, 7 * sheet.shape[0] / sheet.shape[1] + 0.4)
    axes.imshow(sheet, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    which = (
        f"all {len(weight)}" if len(strongest) == len(weight) else f"the {len(strongest)} strongest of {len(weight)}"
    )
    axes.set_title(f"{title}: {which}", fontsize=11)
    axes.set_axis_off()
    return picture


@torch.no_grad()
def reconstructions(
    layers: Sequence[DenoisingAutoencoder], examples: torch.Tensor, image_shape: tuple[int, int], seed: int
) -> Figure:
    """Draw clean, corrupted and rebuilt examples for each layer; codes are shown decoded down to the input.

    Args:
        layers: lowest first.
        examples: clean inputs, (n, d).
        image_shape: (rows, columns) of the d inputs.
        seed: the run's seed; the noise has an address of its own.
    """
    picture = figure(1.6 + 0.72 * len(examples), 2.35 * len(layers) + 0.2)
    panels = np.atleast_1d(picture.subplots(len(layers), 1))
    code = examples
    for k, (layer, axes) in enumerate(zip(layers, panels, strict=True), 1):
        generator = torch.Generator().manual_seed(derive_seed(seed, stage_name(k), "figure"))
        corrupted, _ = layer.corrupt(code, generator)
        rows = []
        for shown in (code, corrupted, layer.decode(layer.encode(corrupted))):
            for below in reversed(layers[: k - 1]):
                shown = below.decode(shown)
            rows.append(shown)
        images = torch.cat(rows).clamp(0, 1).numpy().reshape(-1, *image_shape)
        image_rows(axes, images, ["clean", "corrupted", "rebuilt"])
        axes.set_title(f"Layer {k}, {_noise(layer)}" + ("; decoded down to the input" if k > 1 else ""), fontsize=10)
        code = layer.encode(code)
    return picture


def image_rows(axes: Axes, images: NDArray[np.float32], names: Sequence[str]) -> None:
    """Draw images in [0, 1], (n, rows, columns), in as many rows as there are ``names``."""
    axes.imshow(tiles(images, len(images) // len(names)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    height = images.shape[1]
    axes.set_yticks([height / 2 + i * (height + 1) for i in range(len(names))], names, fontsize=9)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def layer_pictures(layers: Sequence[DenoisingAutoencoder], data: Dataset, seed: int) -> dict[str, Figure]:
    """Draw the filters of the first of all ``layers``, and reconstructions of some validation examples by each.

    Returns an empty mapping where the examples are not images.
    """
    if data.image_shape is None:
        return {}
    rows = data.valid if len(data.valid) else data.train
    examples = DeviceRows(rows.inputs, torch.device("cpu")).read(slice(0, None, max(1, len(rows) // 12)))[:12]
    return {
        "filters": filters(layers[0].weight.detach().numpy(), data.image_shape),
        "reconstructions": reconstructions(layers, examples, data.image_shape, seed),
    }


def _noise(layer: DenoisingAutoencoder) -> str:
    """Return the layer's corruption in words."""
    if layer.corruption is None:
        return "no corruption"
    kind = re.sub(r"(?<!^)(?=[A-Z])", " ", type(layer.corruption).__name__).lower()
    return f"{kind}, ν = {getattr(layer.corruption, 'nu', '?')}"


def samples(data: Dataset, each: int = 10) -> Figure:
    """Draw the first ``each`` training examples of every class, one row per class.

    Raises:
        DataError: the examples are not images.
    """
    if data.image_shape is None:
        raise DataError(f"{data.name}: its examples are not images, so there is nothing to show")
    chosen = [np.flatnonzero(data.train.labels == c)[:each] for c in range(data.classes)]
    rows = torch.from_numpy(np.concatenate([np.resize(rows, each) for rows in chosen]))
    images = DeviceRows(data.train.inputs, torch.device("cpu")).read(rows).numpy().reshape(-1, *data.image_shape)
    sheet = tiles(images, each, gap=0.5)
    picture = figure(7, 7 * sheet.shape[0] / sheet.shape[1] + 0.5)
    axes = picture.subplots()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    height = data.image_shape[0] + 1
    axes.set_yticks([c * height + height / 2 for c in range(data.classes)], [str(c) for c in range(data.classes)])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_ylabel("class")
    axes.set_title(f"{data.name}: training examples", fontsize=11)
    return picture
