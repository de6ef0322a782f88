"""One stage in one fresh Trainer: epochs, records, checkpoints. The only builder of Trainers."""

from __future__ import annotations

import logging
import math
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from stacked_dae.config import TrainerConfig
from stacked_dae.errors import ConfigError, DivergedError
from stacked_dae.files import write_atomically
from stacked_dae.loader import ChunkLoader
from stacked_dae.manifest import Metrics
from stacked_dae.progress import Reporter
from stacked_dae.tasks.chunked import ChunkedTask
from stacked_dae.tracking.subject import Job


class _AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written to a temporary name and renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_atomically(Path(path), lambda file: torch.save(checkpoint, file))


class _EndOfEpoch(pl.Callback):
    """Writes an epoch's row, then its checkpoint, and shows it."""

    def __init__(self, stage: str, metrics: Metrics, checkpoint: Path, reporter: Reporter, job: Job) -> None:
        self._stage, self._metrics, self._checkpoint = stage, metrics, checkpoint
        self._reporter, self._job = reporter, job

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ChunkedTask)
        seconds = time.perf_counter() - self._started
        epoch = trainer.current_epoch + 1
        if not math.isfinite(pl_module.metrics["train_loss"]):
            part = "finetune" if self._stage == "finetune" else "pretrain"
            raise DivergedError(
                f"{self._stage} diverged: its training loss is {pl_module.metrics['train_loss']} in epoch {epoch};"
                f" lower {part}.optimizer.lr"
            )
        row = {"epoch": epoch, **pl_module.metrics, "seconds": round(seconds, 4)}
        self._metrics.append(row)
        trainer.save_checkpoint(self._checkpoint)
        self._job.log(self._stage, row)
        self._reporter.advance(1, pl_module.metrics)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's remarks on data loaders and devices, which do not apply to chunks, out of the terminal."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _logger(name: str, stage: Path) -> Logger:
    """Return Lightning's logger of this name, which writes into a folder of this name beside the stage's."""
    folder = stage.parent / name
    return CSVLogger(folder, stage.name) if name == "csv" else TensorBoardLogger(folder, stage.name)


def check_loggers(names: Sequence[str]) -> None:
    """Raise ConfigError unless each of these loggers can be used here."""
    if "tensorboard" in names and not (find_spec("tensorboard") or find_spec("tensorboardX")):
        raise ConfigError("tracking.loggers: tensorboard is not installed; pip install tensorboard")


def _trainer(config: TrainerConfig, **arguments: Any) -> pl.Trainer:
    try:
        return pl.Trainer(
            accelerator=config.accelerator,
            # TF32 is how a GPU multiplies float32 matrices, no precision of Lightning's.
            precision="32-true" if config.precision == "tf32" else config.precision,
            devices=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            inference_mode=False,
            **arguments,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"trainer.accelerator: {config.accelerator} cannot be used here: {reason}") from None


def device_of(config: TrainerConfig) -> torch.device:
    """Return the device that Lightning's accelerator stands for on this machine.

    Raises:
        ConfigError: there is no such device here.
    """
    with _quiet_lightning():
        return _trainer(config, logger=False).strategy.root_device


def fit_stage(
    task: ChunkedTask,
    train: ChunkLoader,
    valid: ChunkLoader,
    *,
    epochs: int,
    metrics: Metrics,
    trainer: TrainerConfig,
    reporter: Reporter,
    job: Job,
    loggers: Sequence[str] = (),
) -> None:
    """Train ``task`` to the end of its stage, going on from the stage's checkpoint where there is one.

    Each epoch ends with a row in ``metrics``, which ``job`` is told, and a checkpoint beside it. ``loggers`` names
    Lightning's own, csv or tensorboard, checked by :func:`check_loggers`.

    Raises:
        DivergedError: the loss is no longer finite.
        KeyboardInterrupt: the user asked to stop.
    """
    checkpoint = metrics.path.with_name("checkpoint.ckpt")
    resume = str(checkpoint) if checkpoint.exists() else None
    done = int(torch.load(checkpoint, weights_only=True)["epoch"]) + 1 if resume else 0
    metrics.path.parent.mkdir(parents=True, exist_ok=True)
    metrics.keep(done)
    for row in metrics.rows():
        job.log(task.stage, row)
    reporter.start(task.stage, epochs, "epochs", done)
    with _quiet_lightning():
        lightning = _trainer(
            trainer,
            max_epochs=epochs,
            default_root_dir=str(metrics.path.parent),
            logger=[_logger(name, metrics.path.parent) for name in loggers],
            callbacks=[_EndOfEpoch(task.stage, metrics, checkpoint, reporter, job)],
            plugins=[_AtomicCheckpoints()],
        )
        try:
            with _interrupts(lightning), _tf32(trainer.precision == "tf32"):
                lightning.fit(task, train, valid, ckpt_path=resume, weights_only=True)
        finally:
            reporter.stop()


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Let a GPU that has TF32 multiply float32 matrices with it, or not."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def _interrupts(trainer: pl.Trainer) -> Iterator[None]:
    """Give back the KeyboardInterrupt that Lightning turns into an exit, and the handler that it takes away."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from None
    finally:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)
