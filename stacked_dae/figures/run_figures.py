"""The pictures of a run or a data set, drawn into files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.figures.answers import confusion, predictions
from stacked_dae.figures.codes import MOST_KINDS, codes_in_two, codes_picture
from stacked_dae.figures.columns import column_errors, column_importance
from stacked_dae.figures.curves import run_curves
from stacked_dae.figures.images import layer_pictures, samples
from stacked_dae.figures.style import save
from stacked_dae.inference.importance import permutation_importance
from stacked_dae.inference.loading import load_layers
from stacked_dae.inference.model import StackedDAE
from stacked_dae.inference.pretrained_layers import PretrainedLayers, blocks_of, column_means
from stacked_dae.inference.reports.regression_report import predicted_and_true
from stacked_dae.inference.run_data import run_data
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.manifest import Result
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.training.mixing.stage import labelled_examples

_ALL = {"curves", "filters", "reconstructions", "columns", "codes", "importance", "confusion", "predictions"}
# Columns that are shuffled at the most: it takes as many predictions of all rows, five times.
_MOST_SHUFFLED = 50
# Points that a picture can still show.
_MOST_ROWS = 2000


def draw_samples(data: Dataset, file: Path) -> Path:
    """Draw training examples of every class into ``file`` (PNG) and return it."""
    return save(samples(data), file)


def draw_run(folder: RunFolder, dataset: Dataset | None = None, root: str | None = None) -> list[Path]:
    """Draw what the run folder holds into its ``figures/`` and return the files.

    The test rows are not read: the confusion matrix comes from ``result.json``, and the predictions of a regression are
    of validation rows.

    Raises:
        StageError: no stage has begun, or the data have changed.
    """
    made: dict[str, Figure] = {}
    stages = folder.manifest.stages
    trained = [stage for stage, record in stages.items() if stage != FINETUNE and record.is_done]
    data = run_data(folder, dataset, root)
    # Without its custom components the layers cannot be built.
    is_whole = len(trained) == len(folder.config().layers()) and folder.manifest.components is None
    layers = load_layers(folder) if trained and is_whole else []
    result = folder.result() if folder.has_result else None
    known: dict[str, dict[str, float]] = {
        stage_name(k): {"predicting the mean": loss} for k, loss in _losses_of_means(layers, data).items()
    }
    if isinstance(result, Result):
        names = {name: name.replace("_", " ") for name in ("majority", "logistic_regression")}
        baselines = result.baselines or {}
        known[FINETUNE] = {f"{names[name]}, test": baselines[name] for name in names if name in baselines}
    drawn = run_curves(folder, known)
    if drawn is not None:
        made["curves"] = drawn
    if layers:
        made |= layer_pictures(layers, data, folder.config().seed)
        if data.table is not None and not data.table.are_pixels:
            made |= _table_pictures(folder, layers, data)
    if isinstance(result, Result):
        made["confusion"] = confusion(result, data.table.classes if data.table else ())
    if data.table is not None and folder.has_done(FINETUNE) and len(data.valid):
        made |= _pictures_of_predictions(folder, data)
    (folder.path / "figures").mkdir(exist_ok=True)
    for name in _ALL - made.keys():
        # Of an earlier run in this folder, on other data or for another task.
        (folder.path / "figures" / f"{name}.png").unlink(missing_ok=True)
    return [save(figure, folder.path / "figures" / f"{name}.png") for name, figure in made.items()]


@torch.no_grad()
def _losses_of_means(layers: Sequence[DenoisingAutoencoder], data: Dataset) -> dict[int, float]:
    """Return by layer, from 1, the loss of rebuilding validation rows as the mean of training rows; of 2000 each."""
    losses = {}
    train, valid = (_inputs(rows) for rows in (data.train, data.valid if len(data.valid) else data.train))
    for k, layer in enumerate(layers, 1):
        each = layer.loss_of_mean(valid, train.nanmean(0).nan_to_num())
        if each is not None:
            losses[k] = float(each.mean())
        train, valid = layer.encode(train), layer.encode(valid)
    return losses


def _inputs(split: Split) -> torch.Tensor:
    return torch.cat(list(blocks_of(_some(split).inputs)))


def _table_pictures(folder: RunFolder, layers: Sequence[DenoisingAutoencoder], data: Dataset) -> dict[str, Figure]:
    """Draw validation rows of a table: how far each column is off, and the codes in two dimensions."""
    split = _some(data.valid if len(data.valid) else data.train)
    model, inputs = StackedDAE.from_run(folder.path), _inputs(split).numpy()
    assert data.table is not None
    values = data.table.restore(inputs)
    errors = PretrainedLayers(layers, data.table).errors(inputs, values)
    made = {"columns": column_errors(column_means(model.columns, errors))}
    if len(inputs) >= 3:
        classes = np.array(data.table.classes)
        labels: Any = None
        if data.is_regression and data.target_column is not None:
            labels = data.target_column.restore(split.labels)
        elif 0 < len(classes) <= MOST_KINDS:
            labels = np.where(split.labels >= 0, classes[split.labels], None)
        title = f"Codes of the uppermost layer, {len(inputs)} {'validation' if len(data.valid) else 'training'} rows"
        made["codes"] = codes_picture(*codes_in_two(model.codes_of(inputs)), labels, title)
    return made


def _pictures_of_predictions(folder: RunFolder, data: Dataset) -> dict[str, Figure]:
    """Draw what the predictions of a table's validation rows are beside the truth, and what they rest on."""
    assert data.table is not None
    model, split = StackedDAE.from_run(folder.path, "finetuned"), _some(data.valid)
    made: dict[str, Figure] = {}
    targets, rows = split.labels, "validation rows"
    if data.is_regression:
        predicted, targets = predicted_and_true(model, split)
        made["predictions"] = predictions(predicted, targets, str(data.table.target))
    if data.table.are_pixels or len(model.columns) > _MOST_SHUFFLED:
        return made
    if folder.config().learns_from_validation:
        # None of the validation rows is new to it, so that the training rows, which are many more, serve as well.
        known = np.flatnonzero(data.train.counted_labels >= 0)
        inputs, targets = labelled_examples(data, known[_step(len(known))], with_validation=True)
        rows = "rows that were learnt from"
    else:
        inputs = _inputs(split)
    made["importance"] = column_importance(permutation_importance(model, inputs.numpy(), targets), rows)
    return made


def _some(split: Split) -> Split:
    step = _step(len(split))
    return Split(split.inputs[step], split.labels[step])


def _step(n: int) -> slice:
    """Return at most 2000 of ``n`` rows, from all over them: the first ones of ordered data are not like the rest."""
    return slice(None, None, max(1, -(-n // _MOST_ROWS)))
