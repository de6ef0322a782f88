"""The curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stacked_dae.figures.style import BLUE, GREY, ORANGE, VERMILLION, Picture, figure, plain
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE


def curves(
    metrics: Mapping[str, Sequence[Mapping[str, float]]],
    kept: int | None = None,
    known: Mapping[str, Mapping[str, float]] | None = None,
) -> Picture:
    """Draw what each stage logged per epoch, one panel per stage: losses, and the validation error of fine-tuning.

    Args:
        metrics: stage → its rows.
        kept: epoch of fine-tuning whose weights were kept; None where none is yet, to mark the lowest error.
        known: stage → what makes its figures readable, by name: the loss of predicting the mean, the error of a
            baseline.
    """
    picture = figure(3.6 * len(metrics), 3.2)
    panels = np.atleast_1d(picture.subplots(1, len(metrics)))
    for axes, (stage, rows) in zip(panels, metrics.items(), strict=True):
        epochs, lines = [row["epoch"] for row in rows], (known or {}).get(stage, {})
        if stage == FINETUNE and "valid_error_percent" not in rows[0]:
            _judged(axes, epochs, [row["valid_loss"] for row in rows], kept, "validation", ".3f")
            lines = {"predicting the mean": 1.0}
            axes.set_ylabel("squared error / variance")
        elif stage == FINETUNE:
            _judged(axes, epochs, [row["valid_error_percent"] for row in rows], kept, "validation error", ".2f", " %")
            axes.set_ylabel("error (%)")
        else:
            # Not the same loss twice: training rebuilds from corrupted inputs, validation from clean ones.
            axes.plot(epochs, [row["train_loss"] for row in rows], ".-", color=ORANGE, label="training (corrupted)")
            axes.plot(epochs, [row["valid_loss"] for row in rows], "s-", ms=3, color=BLUE, label="validation (clean)")
            axes.set_ylabel("loss per example")
        _rule(axes, lines)
        axes.set_title(stage.replace("_", " "), fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        plain(axes)
        axes.legend(fontsize=8)
    return picture


def run_curves(folder: RunFolder, known: Mapping[str, Mapping[str, float]] | None = None) -> Picture | None:
    """Draw the :func:`curves` of a run; None where no epoch has ended yet."""
    stages = folder.manifest.stages
    metrics = {stage: rows for stage in stages if (rows := folder.metrics(stage).rows())}
    if not metrics:
        return None
    return curves(metrics, stages[FINETUNE].best_epoch if FINETUNE in stages else None, known)


def _judged(
    axes: Axes,
    epochs: Sequence[float],
    values: Sequence[float],
    kept: int | None,
    name: str,
    digits: str,
    unit: str = "",
) -> None:
    """Draw what the epochs are judged by, and mark the one that is kept."""
    best = int(np.argmin(values)) if kept is None else list(epochs).index(kept)
    axes.plot(epochs, values, ".-", color=VERMILLION, label=name)
    axes.plot(epochs[best], values[best], "o", color="black", label=f"kept: {values[best]:{digits}}{unit}")


def _rule(axes: Axes, lines: Mapping[str, float]) -> None:
    """Draw lines to compare with; one far above what was measured is only named, or it would press the rest flat."""
    low, high = axes.get_ylim()
    for (name, value), style in zip(lines.items(), cycle(("--", ":", "-.")), strict=False):
        far = value > high + 1.5 * (high - low)
        shown = f"{name}: {value:.4g}{' (above)' if far else ''}"
        if far:
            axes.plot([], [], color=GREY, linestyle=style, label=shown)
        else:
            axes.axhline(value, color=GREY, linestyle=style, linewidth=1.2, label=shown)
