"""The store of the greedy recipe in a run folder: stages that are done stay, a stage that was killed is resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from safetensors.torch import load_file, save
from torch import nn

from stacked_dae.config.schema import Config
from stacked_dae.pipeline.parts import LightningParts
from stacked_dae.runs.experiment import Stage
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.layer_store import LayerStore
from stacked_dae.runs.metrics import Metrics, epoch_row
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.tracking.base import Tracker
from stacked_dae.training.evaluation import Measures
from stacked_dae.training.loader import ChunkLoader
from stacked_dae.training.mixing.epoch_log import EpochLog, HeldOut
from stacked_dae.training.stage import StageLoader, fit_stage
from stacked_dae.training.tasks.base import ChunkedTask
from stacked_dae.training.trainer import build_logger
from stacked_dae.utils import distributed
from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.terminal.progress import Reporter


class RunStore:
    """Store of the stages in a run folder, which logs them.

    Args:
        folder: the run folder.
        config: the settings.
        stages: those of the run, done or not.
        pending: those of them that are still to be done.
        tracker: logs them.
        reporter: shows progress.
        parts: what the user brings.
        measures: stage → its further measures, or None.
        layers: trained layers of other runs, None without.
        route: task, training and validation loader → what Lightning trains with which loaders: the same, or others.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Config,
        stages: Sequence[Stage],
        pending: Sequence[Stage],
        tracker: Tracker,
        reporter: Reporter,
        parts: LightningParts,
        measures: Callable[[str], Measures | None],
        layers: LayerStore | None,
        route: Callable[[ChunkedTask, ChunkLoader, ChunkLoader], tuple[pl.LightningModule, StageLoader, StageLoader]],
    ) -> None:
        self._parts, self._measures, self._layers, self._route = parts, measures, layers, route
        self.reporter, self.budget_bytes = reporter, config.data.budget_bytes
        self._folder, self._config, self._tracker = folder, config, tracker
        self._fingerprints = {stage.name: stage.fingerprint for stage in stages}
        self._pending = {stage.name for stage in pending}

    def is_done(self, stage: str) -> bool:
        """Return whether the stage was done before this command, or is by now."""
        return stage not in self._pending

    def take_layers(self) -> None:
        """Take those layers of other runs that are there, as far as they follow from each other."""
        for stage in self._fingerprints:
            if self._layers is None or stage == FINETUNE:
                return
            if not self.is_done(stage):
                if not self._layers.take(self._folder, stage):
                    return
                self._pending.discard(stage)

    @contextmanager
    def shared(self, stage: str) -> Iterator[None]:
        """Keep other processes that share layers from training this one in the block."""
        if self._layers is None or self.is_done(stage):
            yield
            return
        with self._layers.reserved(self._folder, stage):
            if self._layers.take(self._folder, stage):
                self._pending.discard(stage)
            yield

    def load(self, stage: str, module: nn.Module) -> None:
        """Load the weights of a stage, and log its metrics again."""
        load_weights(self._folder, stage, module)
        self.relog_metrics(stage)

    def relog_metrics(self, stage: str) -> None:
        """Log the rows of a stage that is done already."""
        for row in self._folder.metrics(stage).rows():
            self._tracker.log(stage, row)

    def train(self, task: ChunkedTask, train: ChunkLoader, valid: ChunkLoader, *, epochs: int) -> None:
        """Train the task of a stage to its end, from its last checkpoint if there is one."""
        self._folder.update_stage(task.stage, status="running")
        config, parts = self._config, self._parts.of(task.stage)
        measures = self._measures(task.stage)
        if measures is not None:
            task.observe(measures)
        metrics = self._folder.metrics(task.stage)
        module, *loaders = self._route(task, train, valid)
        fit_stage(
            module,
            *loaders,
            epochs=epochs,
            metrics=metrics,
            trainer=config.trainer,
            reporter=self.reporter,
            tracker=self._tracker,
            fingerprint=self._fingerprints[task.stage],
            loggers=[
                *(build_logger(name, metrics.path.parent) for name in config.tracking.loggers),
                *parts.loggers,
            ],
            callbacks=parts.callbacks,
            arguments=parts.arguments,
        )
        # Run folders hold float32, whatever the training computed in.
        module.to(torch.float32)

    def epochs(self, stage: str) -> EpochLog:
        """Return what keeps, logs and shows the epochs of a stage that no Trainer trains, from its first one."""
        self._folder.update_stage(stage, status="running")
        metrics = self._folder.metrics(stage)
        if distributed.is_rank_zero():
            metrics.path.parent.mkdir(parents=True, exist_ok=True)
            metrics.restore("")
        named = (build_logger(name, metrics.path.parent) for name in self._config.tracking.loggers)
        loggers = [*named, *self._parts.of(stage).loggers]
        return _RunEpochs(stage, self.reporter, metrics, self._tracker, loggers, self._measures(stage))

    def save(self, stage: str, module: nn.Module, **record: Any) -> None:
        """Write a stage's weights, mark it done, and delete its checkpoint."""
        directory = self._folder.stage_dir(stage)
        weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
        if distributed.is_rank_zero():
            write_atomically(directory / "weights.safetensors", lambda file: file.write(save(weights)))
        distributed.barrier()
        rows = self._folder.metrics(stage).rows()
        seconds = round(sum(row["seconds"] for row in rows), 3)
        self._folder.mark_done(stage, epochs=int(rows[-1]["epoch"]) if rows else 0, seconds=seconds, **record)
        (directory / "checkpoint.ckpt").unlink(missing_ok=True)
        self._pending.discard(stage)
        if self._layers is not None and stage != FINETUNE:
            self._layers.keep(self._folder, stage)

    def codes_path(self, stage: str, part: str) -> Path:
        """Return the file for the codes of a stage."""
        return self._folder.stage_dir(stage) / f"codes_{part}.npy"

    def delete_codes(self) -> None:
        """Delete the codes on disk, once no process reads them."""
        distributed.barrier()
        for stage in self._fingerprints:
            for file in self._folder.stage_dir(stage).glob("codes_*.npy"):
                file.unlink(missing_ok=True)


class _RunEpochs(EpochLog):
    """Keeps the epochs of a stage in its ``metrics.csv``, and tells the tracker and Lightning's loggers."""

    def __init__(
        self,
        stage: str,
        reporter: Reporter,
        metrics: Metrics,
        tracker: Tracker,
        loggers: Sequence[Logger],
        measures: Measures | None,
    ) -> None:
        super().__init__(stage, reporter)
        self._metrics, self._tracker, self._loggers, self._measures = metrics, tracker, loggers, measures

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        for logger in self._loggers:
            logger.finalize("success" if kind is None else "failed")

    def add(self, epoch: int, held_out: HeldOut, train_loss: float, seconds: float) -> None:
        super().add(epoch, held_out, train_loss, seconds)
        figures = held_out.figures(train_loss)
        if self._measures is not None:
            self._measures.update(held_out.log_p, held_out.labels)
            figures |= {f"valid_{name}": value for name, value in self._measures.take().items()}
        row = epoch_row(epoch, figures, seconds)
        if distributed.is_rank_zero():
            self._metrics.append(row)
            for logger in self._loggers:
                logger.log_metrics(figures, epoch)
        self._tracker.log(self._stage, row)


def load_weights(folder: RunFolder, stage: str, module: nn.Module) -> None:
    """Load the weights of a stage that is done into ``module``; their names and shapes must be the same."""
    module.load_state_dict(load_file(folder.weights_path(stage)), strict=True)
