"""Pictures of a run: filters, reconstructions, curves, confusion. Each returns a Figure and never shows it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stacked_dae.data.dataset import Dataset
from stacked_dae.errors import DataError
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.runs.manifest import Result
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.training.loader import DeviceRows
from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.intervals import with_interval
from stacked_dae.utils.seeding import derive_seed


def save(figure: Figure, file: Path) -> Path:
    """Write ``figure`` to ``file`` (PNG) atomically and return it."""
    write_atomically(file, lambda target: figure.savefig(target, format="png", dpi=130))
    return file


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


def filters(weight: NDArray[np.float32], image_shape: tuple[int, int], most: int = 100) -> Figure:
    """Draw the incoming weights of the units that respond most selectively (largest norm), each scaled for itself.

    Args:
        weight: (h, d).
        image_shape: (rows, columns) of the d inputs.
        most: units drawn at the most.
    """
    strongest = np.argsort(-np.linalg.norm(weight - weight.mean(1, keepdims=True), axis=1))[:most]
    sheet = filters_sheet(weight[np.sort(strongest)], image_shape)
    figure = Figure(figsize=(7, 7 * sheet.shape[0] / sheet.shape[1] + 0.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_title(f"First-layer filters: the {len(strongest)} strongest of {len(weight)}", fontsize=11)
    axes.set_axis_off()
    return figure


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
    figure = Figure(figsize=(1.6 + 0.72 * len(examples), 2.35 * len(layers) + 0.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(layers), 1))
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
        axes.imshow(tiles(images, len(examples)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        height = image_shape[0]
        middles = [height / 2 + i * (height + 1) for i in range(3)]
        axes.set_yticks(middles, ["clean", "corrupted", "rebuilt"], fontsize=9)
        axes.set_xticks([])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(f"Layer {k}, {_noise(layer)}" + ("; decoded down to the input" if k > 1 else ""), fontsize=10)
        code = layer.encode(code)
    return figure


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


def curves(metrics: Mapping[str, Sequence[Mapping[str, float]]], kept: int | None = None) -> Figure:
    """Draw what each stage logged per epoch, one panel per stage: losses, and the validation error of fine-tuning.

    Args:
        metrics: stage → its rows.
        kept: epoch of fine-tuning whose weights were kept; None where none is yet, to mark the lowest error.
    """
    figure = Figure(figsize=(3.4 * len(metrics), 3.1), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(metrics)))
    for axes, (stage, rows) in zip(panels, metrics.items(), strict=True):
        epochs = [row["epoch"] for row in rows]
        title = stage.replace("_", " ")
        if stage == FINETUNE and "valid_error_percent" not in rows[0]:
            losses = [row["valid_loss"] for row in rows]
            best = int(np.argmin(losses)) if kept is None else epochs.index(kept)
            axes.plot(epochs, losses, marker=".", color="C3", label="validation")
            axes.plot(epochs[best], losses[best], "o", color="black", label=f"best: {losses[best]:.3f}")
            axes.axhline(1.0, color="0.5", linestyle="--", linewidth=1.0, label="predicting the mean")
            axes.set_ylabel("squared error / variance")
        elif stage == FINETUNE:
            errors = [row["valid_error_percent"] for row in rows]
            best = int(np.argmin(errors)) if kept is None else epochs.index(kept)
            axes.plot(epochs, errors, marker=".", color="C3", label="validation error")
            axes.plot(epochs[best], errors[best], "o", color="black", label=f"best: {errors[best]:.2f} %")
            axes.set_ylabel("error (%)")
        else:
            # Not the same loss twice: training rebuilds from corrupted inputs, validation from clean ones.
            axes.plot(epochs, [row["train_loss"] for row in rows], marker=".", label="training (corrupted)")
            axes.plot(epochs, [row["valid_loss"] for row in rows], marker=".", label="validation (clean)")
            axes.set_ylabel("loss per example")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def predictions(predicted: NDArray[np.float64], targets: NDArray[np.float64], name: str) -> Figure:
    """Draw predicted numbers, (n,), against the targets, (n,), of validation rows; on the line they are right.

    ``name`` is the target's.
    """
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    ends = [float(min(predicted.min(), targets.min())), float(max(predicted.max(), targets.max()))]
    axes.plot(ends, ends, color="0.5", linewidth=1.0, label="predicted = true")
    axes.plot(targets, predicted, "o", markersize=3.5, alpha=0.5, markeredgewidth=0.0, label="validation row")
    axes.set_xlabel(f"{shortened(name)}, true")
    axes.set_ylabel(f"{shortened(name)}, predicted")
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def confusion(result: Result, names: Sequence[str] = ()) -> Figure:
    """Draw the confusion matrix of a tested run: true classes down, predictions across, counts in the cells.

    ``names`` are those of the classes; their numbers if there are none.
    """
    counts = np.asarray(result.confusion)
    error = with_interval(result.test_error_percent, result.test_error_ci95_percent, result.n_test)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(4.0, 0.5 * len(counts) + 1.0)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
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
    labels = [shortened(name) for name in names] or [str(k) for k in range(len(counts))]
    axes.set_xticks(range(len(counts)), labels, rotation=90 if max(map(len, labels)) > 3 else 0)
    axes.set_yticks(range(len(counts)), labels)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"Test error {error} % (n = {result.n_test})", fontsize=11)
    return figure


def shortened(name: str, most: int = 16) -> str:
    """Return a name that has room beside a picture."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


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
    figure = Figure(figsize=(7, 7 * sheet.shape[0] / sheet.shape[1] + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    height = data.image_shape[0] + 1
    axes.set_yticks([c * height + height / 2 for c in range(data.classes)], [str(c) for c in range(data.classes)])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_ylabel("class")
    axes.set_title(f"{data.name}: training examples", fontsize=11)
    return figure
