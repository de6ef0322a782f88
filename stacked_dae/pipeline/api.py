"""The workflow in Python: pre-train, fine-tune, test and evaluate in a run folder, and what a result should beat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.data.splits import labelled_rows
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.inference.loading import load_stack
from stacked_dae.inference.run_data import run_data
from stacked_dae.nn.components import Components
from stacked_dae.pipeline.baselines import baseline_errors, baseline_names, baseline_settings
from stacked_dae.pipeline.parts import ArgumentsLike, CallbacksLike, LightningParts, LoggersLike, MetricsLike
from stacked_dae.pipeline.runner import RunJob
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.layer_store import LayerStore
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.training.evaluation import RegressionScore, Score, score_split
from stacked_dae.training.trainer import resolve_device
from stacked_dae.utils.terminal.progress import Reporter, reporting


def fit(
    config: Config,
    out: str | Path,
    *,
    dataset: Dataset | None = None,
    rerun: bool = False,
    progress: bool | Reporter = True,
    test: bool = True,
    components: Components | None = None,
    callbacks: CallbacksLike = None,
    logger: LoggersLike = None,
    trainer: ArgumentsLike = None,
    metrics: MetricsLike = None,
    layers: LayerStore | str | Path | None = None,
) -> RunFolder:
    """Pre-train, fine-tune and test, and return the run folder; whatever is done already is kept.

    Args:
        config: the settings.
        out: the run folder: new, empty, or that of the same experiment, which is resumed.
        dataset: the data; loaded as ``config.data`` says if None.
        rerun: where the folder holds another experiment, train again from the first stage that differs.
        progress: True for bars in a terminal and in a notebook, False for none. The logger ``stacked_dae`` gets what is
            said either way.
        test: True to read the test rows at the end and write ``result.json``. A later call with True tests a run that
            was trained with False, and trains nothing.
        components: custom components that replace the configured corruption, loss or layer class.
        callbacks: Lightning's callbacks: one, several, or a function of the stage's name (``layer_1`` …, ``finetune``)
            that returns them. One that can change the training is part of the experiment; one that keeps a state, such
            as EarlyStopping, is needed anew for each stage, so give a function.
        logger: Lightning's loggers likewise; no part of the experiment.
        trainer: arguments of Lightning's Trainer, such as ``{"accumulate_grad_batches": 4}``, or a function of the
            stage's name that returns them.
        metrics: torchmetrics of the logits and the labels of the validation rows each epoch, and of the test rows; or a
            function of the stage's name, whose metrics of a layer are of its reconstructions and its clean inputs. No
            part of the experiment.
        layers: folder of trained layers that runs share: a layer that is there is taken, and one that is not is trained
            and kept there. Several processes train it once. No part of the experiment.

    Raises:
        ConfigError, DataError, StageError: the settings, the data or the folder are not usable; nothing was written.
        DivergedError: the training diverged.
    """
    with reporting(progress) as reporter:
        return RunJob(
            config,
            out,
            dataset,
            rerun,
            reporter,
            finetune=True,
            test=test,
            components=components,
            parts=LightningParts(callbacks, logger, trainer, metrics),
            layers=layers,
        ).run()


def pretrain(
    config: Config,
    out: str | Path,
    *,
    dataset: Dataset | None = None,
    rerun: bool = False,
    progress: bool | Reporter = True,
    components: Components | None = None,
    callbacks: CallbacksLike = None,
    logger: LoggersLike = None,
    trainer: ArgumentsLike = None,
    metrics: MetricsLike = None,
    layers: LayerStore | str | Path | None = None,
) -> RunFolder:
    """Pre-train the layers only, and return the run folder; arguments and errors as for :func:`fit`."""
    if config.model == "mlp":
        raise ConfigError("model: mlp is never pre-trained; use fit, or model sda or saa")
    with reporting(progress) as reporter:
        return RunJob(
            config,
            out,
            dataset,
            rerun,
            reporter,
            finetune=False,
            components=components,
            parts=LightningParts(callbacks, logger, trainer, metrics),
            layers=layers,
        ).run()


def finetune(
    config: Config,
    out: str | Path,
    pretrained: str | Path,
    *,
    dataset: Dataset | None = None,
    rerun: bool = False,
    progress: bool | Reporter = True,
    test: bool = True,
    components: Components | None = None,
    callbacks: CallbacksLike = None,
    logger: LoggersLike = None,
    trainer: ArgumentsLike = None,
    metrics: MetricsLike = None,
) -> RunFolder:
    """Fine-tune and test the layers of the run folder ``pretrained``, and return the new run folder ``out``.

    ``config`` may differ from that run's in ``seed``, ``finetune``, ``trainer`` and ``data.labels_per_class``. Other
    arguments and errors as for :func:`fit`.
    """
    parent = RunFolder.open(Path(pretrained))
    if Path(out).resolve() == parent.path.resolve():
        raise StageError(f"--out and --pretrained are one folder, {out}; name another --out, or use fit")
    with reporting(progress) as reporter:
        return RunJob(
            config,
            out,
            dataset,
            rerun,
            reporter,
            finetune=True,
            parent=parent,
            test=test,
            components=components,
            parts=LightningParts(callbacks, logger, trainer, metrics),
        ).run()


def evaluate(run: str | Path, *, dataset: Dataset | None = None, root: str | None = None) -> Score | RegressionScore:
    """Return the test error of a run, computed anew from its fine-tuned weights.

    It is a RegressionScore where the run predicts numbers.

    Raises:
        StageError: the run is not fine-tuned, its weights changed, or the data did.
    """
    folder = RunFolder.open(Path(run))
    if not folder.has_done(FINETUNE):
        raise StageError(f"{run} is not fine-tuned, so there is nothing to evaluate; run its fit to the end first")
    data = run_data(folder, dataset, root)
    if not data.has_test:
        raise StageError(f"{run} has no test rows (data.split); give labelled ones: evaluate {run} --data FILE")
    return _scored(folder, data, data.load_test())


def measure_baselines(
    run: str | Path, *, dataset: Dataset | None = None, root: str | None = None, progress: bool | Reporter = True
) -> RunFolder:
    """Test what the result of a run should beat on its rows, add it to ``result.json``, and return the run folder.

    The majority class and logistic regression, or, where the run predicts numbers, the mean and ridge regression; a
    support vector machine with an RBF kernel, gradient boosting and a multilayer perceptron, each with the labels that
    the run had. What the result has already is not tested again.

    Args:
        run: folder of a finished run.
        dataset: its data, where they were given as a Dataset.
        root: folder of the data files.
        progress: as for :func:`fit`.

    Raises:
        StageError: the run has no test rows or no result, or it or the data have changed.
    """
    folder = RunFolder.open(Path(run))
    with reporting(progress) as reporter, folder.locked():
        result, config = folder.result(), folder.config()
        known = dict(result.baselines or {})
        missing = [name for name in baseline_names(config, more=True) if name not in known]
        if missing:
            data = run_data(folder, dataset, root)
            test = data.load_test()
            _scored(folder, data, test)
            classes = data.table.classes if data.table else ()
            rows = labelled_rows(data.train.counted_labels, config.data.labels_per_class, config.seed, classes)
            for name, error in baseline_errors(data, rows, test, **baseline_settings(config), names=missing):
                shown = f"RMSE {error:.4g}" if config.task == "regression" else f"{error:.2f} %"
                reporter.say(f"{name.replace('_', ' ')}: {shown}")
                # As they come, so that what was cut is not measured again.
                known[name] = error
                folder.write_result(replace(result, baselines=known))
    return folder


def _scored(folder: RunFolder, data: Dataset, test: Split) -> Score | RegressionScore:
    """Return the test error of a run on ``test``; raise StageError if it was tested on other rows."""
    found = score_split(load_stack(folder), data, test, resolve_device(folder.config().trainer))
    if folder.has_result and folder.result().test_rows != found.rows:
        raise StageError(
            f"{folder.path} was tested on other rows than {data.name!r} has now; give the data that it was tested on"
        )
    return found
