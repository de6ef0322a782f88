"""The pictures of a run or a data set, drawn into files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from stacked_dae.data.dataset import Dataset
from stacked_dae.inference.loading import load_layers
from stacked_dae.inference.run_data import run_data
from stacked_dae.reporting.figures import confusion, curves, layer_pictures, samples, save
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE


def draw_samples(data: Dataset, file: Path) -> Path:
    """Draw training examples of every class into ``file`` (PNG) and return it."""
    return save(samples(data), file)


def draw_run(folder: RunFolder, dataset: Dataset | None = None, root: str | None = None) -> list[Path]:
    """Draw what the run folder holds into its ``figures/`` and return the files.

    The test rows are not read: the confusion matrix comes from ``result.json``.

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
    if folder.has_result:
        made["confusion"] = confusion(folder.result(), data.table.classes if data.table else ())
    (folder.path / "figures").mkdir(exist_ok=True)
    return [save(figure, folder.path / "figures" / f"{name}.png") for name, figure in made.items()]
