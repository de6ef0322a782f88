"""Lightning's Trainer as this package uses it: devices, precision, loggers, interrupts."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from stacked_dae.config.trainer_schema import TrainerConfig
from stacked_dae.errors import ConfigError
from stacked_dae.utils import distributed
from stacked_dae.utils.signals import Interrupted, StopRequest


@contextmanager
def quiet_lightning() -> Iterator[None]:
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


def build_logger(name: str, stage: Path) -> Logger:
    """Return Lightning's logger of this name, which writes into a folder of this name beside the stage's."""
    folder = stage.parent / name
    return CSVLogger(folder, stage.name) if name == "csv" else TensorBoardLogger(folder, stage.name)


def check_loggers(names: Sequence[str]) -> None:
    """Raise ConfigError unless each of these loggers can be used here."""
    if "tensorboard" in names and not (find_spec("tensorboard") or find_spec("tensorboardX")):
        raise ConfigError("tracking.loggers: tensorboard is not installed; pip install tensorboard")


def build_trainer(config: TrainerConfig, **arguments: Any) -> pl.Trainer:
    """Return a fresh Trainer for one stage; ``arguments`` are Lightning's.

    Raises:
        ConfigError: the accelerator or the precision cannot be used here.
    """
    here, machines = distributed.launch_topology()
    # TF32 is how a GPU multiplies float32 matrices, no precision of Lightning's.
    precision = "32-true" if config.precision == "tf32" else config.precision
    defaults: dict[str, Any] = {
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    if distributed.is_alone_in_slurm():
        # Lightning would wait for tasks that nobody starts.
        arguments = {**arguments, "plugins": [*arguments.get("plugins", ()), LightningEnvironment()]}
    try:
        trainer = pl.Trainer(
            accelerator=config.accelerator,
            precision=precision,
            devices=here,
            num_nodes=machines,
            strategy="ddp" if here * machines > 1 else "auto",
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            inference_mode=False,
            **{**defaults, **arguments},
        )
    except (MisconfigurationException, ValueError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        if precision == "32-true":
            raise ConfigError(f"trainer.accelerator: {config.accelerator} cannot be used here: {reason}") from None
        raise ConfigError(
            f"trainer: accelerator {config.accelerator} with precision {precision} cannot be used here: {reason}"
        ) from None
    if trainer.precision != precision:
        raise ConfigError(f"trainer.precision: {precision} cannot be used on this accelerator; {trainer.precision} can")
    return trainer


def resolve_device(config: TrainerConfig) -> torch.device:
    """Return the device of Lightning's accelerator on this machine, after all processes have met.

    Raises:
        ConfigError: this machine has no such device.
    """
    with quiet_lightning():
        strategy = build_trainer(config, logger=False).strategy
        if distributed.world_size() > 1:
            strategy.setup_environment()
        return strategy.root_device


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let a GPU that has TF32 multiply float32 matrices with it, or not."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def returned_interrupts(stop: StopRequest) -> Iterator[None]:
    """Give back the KeyboardInterrupt that Lightning turns into an exit, and the handler that it takes away."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise end.__context__ from None
        signum = stop.pending_signal()
        if signum is None:
            raise
        raise Interrupted(signum) from None
    finally:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)
