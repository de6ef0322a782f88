"""The pictures of a run or a data set, drawn into files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.inference.loading import load_layers
from stacked_dae.inference.model import StackedDAE
from stacked_dae.inference.regression_report import predicted_and_true
from stacked_dae.inference.run_data import run_data
from stacked_dae.reporting.figures import confusion, curves, layer_pictures, predictions, samples, save
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.manifest import Result
from stacked_dae.runs.stage_names import FINETUNE

_OF_A_TASK = {"confusion", "predictions"}
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
    metrics = {stage: rows for stage in stages if (rows := folder.metrics(stage).rows())}
    if metrics:
        made["curves"] = curves(metrics, stages[FINETUNE].best_epoch if FINETUNE in stages else None)
    trained = [stage for stage, record in stages.items() if stage != FINETUNE and record.is_done]
    data = run_data(folder, dataset, root)
    # Without its custom components the layers cannot be built.
    is_whole = len(trained) == len(folder.config().layers()) and folder.manifest.components is None
    if trained and is_whole:
        made |= layer_pictures(load_layers(folder), data, folder.config().seed)
    result = folder.result() if folder.has_result else None
    if isinstance(result, Result):
        made["confusion"] = confusion(result, data.table.classes if data.table else ())
    if data.is_regression and data.table and folder.has_done(FINETUNE) and len(data.valid):
        model = StackedDAE.from_run(folder.path, "finetuned")
        made["predictions"] = predictions(*predicted_and_true(model, _first(data.valid)), str(data.table.target))
    (folder.path / "figures").mkdir(exist_ok=True)
    for name in _OF_A_TASK - made.keys():
        # Of an earlier run in this folder, for another task.
        (folder.path / "figures" / f"{name}.png").unlink(missing_ok=True)
    return [save(figure, folder.path / "figures" / f"{name}.png") for name, figure in made.items()]


def _first(split: Split) -> Split:
    return Split(split.inputs[:_MOST_ROWS], split.labels[:_MOST_ROWS])
