"""One trial of a search: trained, scored by its validation, stopped where the pruner says so."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacked_dae.config.identity import identity_settings
from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset
from stacked_dae.data.registry import load_data
from stacked_dae.pipeline.api import fit
from stacked_dae.pipeline.results import selection_score
from stacked_dae.runs.experiment import Experiment
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.layer_store import LayerStore
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.utils.terminal.progress import Reporter


class PrunedError(Exception):
    """A trial was stopped early."""


@dataclass(frozen=True)
class Score:
    """What a trial is judged by: the lowest validation error (%), or RMSE of a regression, and the loss beside it."""

    value: float
    valid_loss: float


class DataCache:
    """The data set that was loaded last, for the trials that have the same data settings.

    Args:
        dataset: the data of every trial; loaded as each trial's settings say if None.
    """

    def __init__(self, dataset: Dataset | None) -> None:
        self._given, self._key, self._loaded = dataset, "", dataset

    def preload(self, config: Config) -> None:
        """Load the data of a trial before it is known which one it is."""
        if self._given is None:
            self._load(config)

    def _load(self, config: Config) -> None:
        key = data_key(config)
        if key != self._key:
            # Before the next is loaded, so that never two are in memory.
            self._loaded = None
            self._loaded, self._key = load_data(config.data, task=config.task), key

    def of(self, config: Config, folder: RunFolder) -> Dataset | None:
        """Return the data of a trial; None where its run folder says how they are to be read: as a table was."""
        if self._given is not None:
            return self._given
        if not folder.is_new and config.data.path is not None:
            return None
        self._load(config)
        return self._loaded

    def layer_fingerprints(self, config: Config) -> list[str]:
        """Return the fingerprints of the layers of a trial; empty where its data are not those that are loaded."""
        known = self._given is not None or data_key(config) == self._key
        if self._loaded is None or not known or config.model == "mlp":
            return []
        stages = Experiment(config, self._loaded).stages(finetune=False)
        return [stage.fingerprint for stage in stages]


def data_key(config: Config) -> str:
    """Return the settings that decide the data of a trial, as text."""
    settings = {key: value for key, value in identity_settings(config).items() if key.startswith(("data.", "task"))}
    return json.dumps(settings, sort_keys=True, default=str)


def train_trial(
    config: Config,
    folder: Path,
    dataset: Dataset | None,
    *,
    layers: LayerStore,
    reporter: Reporter,
    on_epoch: Callable[[int, float], bool] | None = None,
) -> Score:
    """Train a trial in its run folder, test nothing, and return its score.

    Args:
        config: its settings.
        folder: its run folder, resumed where it was cut.
        dataset: what it is trained on; loaded as the settings and the run folder say if None.
        layers: where trials share layers.
        reporter: shows progress.
        on_epoch: gets each epoch of fine-tuning, from 1, and the lowest validation figure so far, and returns
            whether the trial is to be stopped there.

    Raises:
        PrunedError: ``on_epoch`` said so.
        DivergedError: the training diverged.
    """
    watching = reporter if on_epoch is None else _EpochReporter(reporter, folder, on_epoch)
    run = fit(config, folder, dataset=dataset, progress=watching, test=False, layers=layers)
    value, loss = selection_score(run)
    return Score(_in_units(value, _target_width(run)), loss)


def _target_width(run: RunFolder) -> float | None:
    """Return the width of the target that a regression's errors are divided by; None of a classification."""
    if run.config().task != "regression":
        return None
    table = run.preprocessing()
    return table.target_column.width if table is not None and table.target_column is not None else 1.0


def _in_units(value: float, width: float | None) -> float:
    """Return a validation figure as it is shown: an error in %, or of a regression the RMSE in the target's units."""
    return value if width is None else math.sqrt(value) * width


class _EpochReporter(Reporter):
    """Passes on what a training reports, and the lowest validation figure after each epoch of fine-tuning."""

    def __init__(self, reporter: Reporter, folder: Path, on_epoch: Callable[[int, float], bool]) -> None:
        self._reporter, self._folder, self._on_epoch = reporter, folder, on_epoch
        self._tunes = False

    def say(self, text: str) -> None:
        self._reporter.say(text)

    def warn(self, text: str) -> None:
        self._reporter.warn(text)

    def expect(self, stages: Sequence[str]) -> None:
        self._reporter.expect(stages)

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        self._reporter.start(name, total, unit, done)
        self._tunes, self._total = name == FINETUNE and unit == "epochs", total
        if not self._tunes:
            return
        run = RunFolder.open(self._folder)
        self._epoch, self._lowest, self._width = 0, math.inf, _target_width(run)
        if done:
            # A trial that was cut: the pruner may not know of its last epoch.
            stops = [self._reported(row) for row in run.metrics(FINETUNE).rows()[:done]]
            if stops[-1]:
                self._reporter.stop()
                raise PrunedError

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        self._reporter.advance(units, metrics)
        if self._tunes and metrics and self._reported(metrics):
            raise PrunedError

    def stop(self) -> None:
        self._reporter.stop()

    def _reported(self, figures: Mapping[str, Any]) -> bool:
        self._epoch += 1
        value = figures["valid_error_percent" if self._width is None else "valid_loss"]
        self._lowest = min(self._lowest, _in_units(value, self._width))
        # After its last epoch there is nothing to save.
        return self._on_epoch(self._epoch, self._lowest) and self._epoch < self._total
