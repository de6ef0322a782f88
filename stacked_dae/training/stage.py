"""One stage in one fresh Trainer: epochs, records, checkpoints. The only builder of Trainers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torch.optim import Optimizer

from stacked_dae.config.trainer_schema import TrainerConfig
from stacked_dae.errors import DivergedError
from stacked_dae.runs.metrics import Metrics, epoch_row
from stacked_dae.tracking.base import Tracker
from stacked_dae.training.checkpoints import (
    BackgroundCheckpoints,
    holds,
    is_state_of,
    read_checkpoint,
    write_checkpoint,
)
from stacked_dae.training.loader import ChunkLoader
from stacked_dae.training.tasks.base import ChunkedTask
from stacked_dae.training.trainer import build_trainer, quiet_lightning, returned_interrupts, tf32
from stacked_dae.utils import distributed, signals
from stacked_dae.utils.terminal.progress import Reporter


class StageLoader(Protocol):
    """A loader that knows how many rows it goes through in batches of which size."""

    count: int
    batch_size: int


class StageModule(Protocol):
    """The LightningModule of a stage, as :func:`fit_stage` uses it."""

    stage: str
    figures: dict[str, float]
    """Those of the epoch that has just ended, by name."""
    stop: signals.StopRequest
    interrupted_state: dict[str, Any] | None
    resume: dict[str, Any] | None
    settings_move: bool
    """Whether the optimiser's settings may change, by a schedule or a callback."""

    def new_optimizer(self) -> Optimizer:
        """Return an optimiser of the module's parameters, without state."""

    def accepts(self, checkpoint: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint holds what the module keeps in it beside its weights."""


class _EndOfEpoch(Checkpoint):
    """Makes an epoch's row, and shows it; after all other callbacks, as Lightning's checkpoints do."""

    def __init__(self, stage: str, reporter: Reporter) -> None:
        self._stage, self._reporter = stage, reporter

    def keep(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Keep the row of an epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        figures = cast(StageModule, pl_module).figures
        seconds = time.perf_counter() - self._started
        epoch = trainer.current_epoch + 1
        if not math.isfinite(figures["train_loss"]):
            part = "finetune" if self._stage == "finetune" else "pretrain"
            raise DivergedError(
                f"{self._stage} diverged: its training loss is {figures['train_loss']} in epoch {epoch};"
                f" lower {part}.optimizer.lr"
            )
        self.keep(trainer, epoch_row(epoch, figures, seconds))
        self._reporter.advance(1, figures)


class _RunRecorder(_EndOfEpoch):
    """Writes an epoch's row, then its checkpoint."""

    def __init__(
        self,
        stage: str,
        metrics: Metrics,
        checkpoint: Path,
        fingerprint: str,
        reporter: Reporter,
        tracker: Tracker,
    ) -> None:
        super().__init__(stage, reporter)
        self._metrics, self._checkpoint, self._fingerprint, self._tracker = metrics, checkpoint, fingerprint, tracker

    def keep(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        if trainer.is_global_zero:
            self._metrics.append(row)
        trainer.save_checkpoint(self._checkpoint, weights_only=False)
        self._tracker.log(self._stage, row)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # The rows too: a metrics.csv that was cut or lost is written again.
        checkpoint |= {"stamp": self._fingerprint, "metrics": self._metrics.text}


def fit_stage(
    module: pl.LightningModule,
    train: StageLoader,
    valid: StageLoader,
    *,
    epochs: int,
    metrics: Metrics,
    trainer: TrainerConfig,
    reporter: Reporter,
    tracker: Tracker,
    fingerprint: str = "",
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[pl.Callback] = (),
    arguments: Mapping[str, Any] | None = None,
) -> None:
    """Train the module of a stage to the stage's end, from its checkpoint where there is one.

    Each epoch ends with a row in ``metrics``, which ``tracker`` logs, and a checkpoint beside it, which carries
    ``fingerprint``, that of the stage. A signal stops the training after its minibatch; the next call continues there,
    or, where the module keeps no ``interrupted_state``, at the beginning of the epoch.

    Args:
        module: a LightningModule that is a :class:`StageModule`.
        train, valid: its loaders.
        epochs: the most epochs.
        metrics: the stage's ``metrics.csv``.
        trainer: where and how to compute.
        reporter: shows progress.
        tracker: logs the rows.
        fingerprint: of the stage.
        loggers: Lightning's.
        callbacks: the user's. With any, Lightning's own messages are shown.
        arguments: further arguments of the Trainer.

    Raises:
        DivergedError: the loss is no longer finite.
        KeyboardInterrupt: the user asked to stop.
    """
    task = cast(StageModule, module)
    checkpoint = metrics.path.with_name("checkpoint.ckpt")
    minibatch = metrics.path.with_name("minibatch.ckpt")
    if distributed.is_rank_zero():
        metrics.path.parent.mkdir(parents=True, exist_ok=True)
        epochs_done = _restore_checkpoint(checkpoint, fingerprint, module, metrics, reporter)
    distributed.barrier()
    if not distributed.is_rank_zero():
        state = read_checkpoint(checkpoint)
        epochs_done = int(state["epoch"]) + 1 if state else 0
    for row in metrics.rows():
        tracker.log(task.stage, row)
    if isinstance(module, ChunkedTask):
        most = -(-train.count // train.batch_size)
        task.resume = _restore_minibatch(minibatch, fingerprint, epochs_done, module, most)
    if epochs_done or (isinstance(module, ChunkedTask) and module.resume):
        reporter.say(f"{task.stage}: continues after {epochs_done} of {epochs} epochs")
    reporter.start(task.stage, epochs, "epochs", epochs_done)
    with nullcontext() if callbacks else quiet_lightning():
        checkpoints = BackgroundCheckpoints(checkpoint, trainer.checkpoint_seconds)
        recorder = _RunRecorder(task.stage, metrics, checkpoint, fingerprint, reporter, tracker)
        lightning = build_trainer(
            trainer,
            max_epochs=epochs,
            default_root_dir=str(metrics.path.parent),
            logger=list(loggers),
            callbacks=[*callbacks, recorder],
            enable_checkpointing=True,
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            gradient_clip_val=trainer.gradient_clip_val,
            max_time=trainer.max_time,
            plugins=[checkpoints],
            **(arguments or {}),
        )
        try:
            with checkpoints:
                with (
                    signals.deferred_stop() as task.stop,
                    returned_interrupts(task.stop),
                    tf32(trainer.precision == "tf32"),
                ):
                    resume = str(checkpoint) if epochs_done else None
                    lightning.fit(module, train, valid, ckpt_path=resume, weights_only=True)
                # The weights are written next.
                checkpoints.discard()
        except KeyboardInterrupt:
            if task.interrupted_state is not None and distributed.is_rank_zero():
                write_checkpoint({**task.interrupted_state, "stamp": fingerprint}, minibatch)
            raise
        finally:
            reporter.stop()
    if lightning.current_epoch < epochs:
        reporter.say(f"{task.stage}: stopped early, after {lightning.current_epoch} of {epochs} epochs")
    if distributed.is_rank_zero():
        minibatch.unlink(missing_ok=True)


def fit_in_memory(
    task: ChunkedTask,
    train: ChunkLoader,
    valid: ChunkLoader,
    *,
    epochs: int,
    trainer: TrainerConfig,
    reporter: Reporter,
) -> None:
    """Train ``task`` to the end of its stage, and write nothing.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    reporter.start(task.stage, epochs, "epochs")
    with quiet_lightning(), returned_interrupts(task.stop), tf32(trainer.precision == "tf32"):
        lightning = build_trainer(
            trainer,
            max_epochs=epochs,
            logger=False,
            callbacks=[_EndOfEpoch(task.stage, reporter)],
            enable_checkpointing=True,
        )
        try:
            lightning.fit(task, train, valid)
        finally:
            reporter.stop()


# What is in a stage's checkpoint beside Lightning's own, and in that of a cut epoch.
_CHECKPOINT = {"epoch": int, "stamp": str, "metrics": str, "optimizer_states": list}
_CUT = {"epoch": int, "stamp": str, "minibatches": int, "total": Tensor, "optimizer": dict}


def _restore_checkpoint(
    checkpoint: Path, fingerprint: str, module: pl.LightningModule, metrics: Metrics, reporter: Reporter
) -> int:
    """Return how many epochs the checkpoint has behind it, and give ``metrics`` their rows.

    A checkpoint that is damaged, belongs to another stage, or was written by another kind of module (with callbacks, or
    without), is discarded: the stage begins anew, and says so.
    """
    task = cast(StageModule, module)
    state = read_checkpoint(checkpoint) or {}
    of_another = isinstance(state.get("stamp"), str) and state["stamp"] != fingerprint
    if not of_another and holds(state, _CHECKPOINT, "state_dict", module) and task.accepts(state):
        optimizers = state["optimizer_states"]
        same = not task.settings_move
        if len(optimizers) == 1 and is_state_of(task.new_optimizer(), optimizers[0], same_settings=same):
            metrics.restore(state["metrics"])
            return int(state["epoch"]) + 1
    if checkpoint.exists():
        weights = state.get("state_dict")
        other_kind = isinstance(weights, dict) and weights.keys() != module.state_dict().keys()
        what = "is damaged"
        if of_another:
            what = "belongs to another stage"
        elif other_kind:
            what = "was written by a training with other callbacks or Trainer arguments"
        reporter.warn(f"{checkpoint} {what}: training begins at the stage's first epoch")
        checkpoint.unlink()
    metrics.restore("")
    return 0


def _restore_minibatch(
    file: Path, fingerprint: str, epochs_done: int, task: ChunkedTask, most: int
) -> dict[str, Any] | None:
    """Return where an epoch was cut, None where none was, or it is another one; so the epoch begins anew.

    ``most`` is the number of minibatches in an epoch.
    """
    state = read_checkpoint(file)
    if state is None or not holds(state, _CUT, "weights", task):
        return None
    if not is_state_of(task.new_optimizer(), state["optimizer"]) or state["total"].dim():
        return None
    of_this = state["stamp"] == fingerprint and state["epoch"] == epochs_done and 0 <= state["minibatches"] <= most
    return state if of_this else None
