"""The greedy recipe (ICML 2008, section 2.4): train each layer on the codes of the one below, then fine-tune."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from stacked_dae.config.optimizer_schema import OptimizerConfig
from stacked_dae.config.schema import FinetuneConfig, LayerConfig
from stacked_dae.config.trainer_schema import TrainerConfig
from stacked_dae.data.disk_array import Inputs
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.training.builders import first_rows, scale_first_weights
from stacked_dae.training.codes import dead_units, encode_inputs, saturated_percent
from stacked_dae.training.loader import ChunkLoader
from stacked_dae.training.optimizers import build_optimizer
from stacked_dae.training.stage import fit_in_memory
from stacked_dae.training.tasks.base import ChunkedTask
from stacked_dae.training.tasks.finetune import ChunkedFinetuneTask, ChunkedRegressionTask
from stacked_dae.training.tasks.pretrain import ChunkedPretrainTask
from stacked_dae.training.trainer import resolve_device
from stacked_dae.utils.terminal.progress import Reporter

# Shares of the units that are dead, and of the codes that are saturated, beyond which a line says so.
_MOST, _ALMOST_ALL = 0.5, 0.9
Labelled = tuple[Inputs, NDArray[Any], NDArray[np.int64] | None]
"""Inputs (n, d), labels (n,) int64 or targets (n, outputs) float32, and the numbers of the rows to use (None: all)."""


class StageStore(Protocol):
    """Where the greedy recipe keeps what it trains: in memory, or in a run folder, where a killed stage is resumed."""

    reporter: Reporter
    budget_bytes: int
    """Codes, and inputs on disk, that need more than this stay on disk."""

    def is_done(self, stage: str) -> bool:
        """Return whether the stage need not be trained."""

    def shared(self, stage: str) -> AbstractContextManager[None]:
        """Keep other processes from training the same layer in the block; it may be done once the block begins."""

    def load(self, stage: str, module: nn.Module) -> None:
        """Load the weights of a stage that is done into ``module``."""

    def train(self, task: ChunkedTask, train: ChunkLoader, valid: ChunkLoader, *, epochs: int) -> None:
        """Train the task of a stage to its end, from where it was interrupted if it was."""

    def save(self, stage: str, module: nn.Module, **record: Any) -> None:
        """Keep the weights of a stage and mark it done; ``record`` is what its entry in the manifest gains."""

    def codes_path(self, stage: str, part: str) -> Path:
        """Return the file for the codes of a stage that exceed the budget; ``part`` is train or valid."""

    def delete_codes(self) -> None:
        """Delete the codes on disk."""


class MemoryStore:
    """Keeps nothing but the modules themselves, and writes no file.

    Args:
        trainer: where to compute.
        reporter: shows progress.
    """

    # As much as there is: codes never go to disk.
    budget_bytes = 2**62

    def __init__(self, trainer: TrainerConfig, reporter: Reporter) -> None:
        self.trainer, self.reporter = trainer, reporter

    def is_done(self, stage: str) -> bool:
        """Return False: nothing is kept from an earlier call."""
        return False

    def shared(self, stage: str) -> AbstractContextManager[None]:
        """Return a block without a meaning: there are no other processes."""
        return nullcontext()

    def load(self, stage: str, module: nn.Module) -> None:
        """Raise KeyError: no stage is kept."""
        raise KeyError(stage)

    def train(self, task: ChunkedTask, train: ChunkLoader, valid: ChunkLoader, *, epochs: int) -> None:
        """Train the task of a stage to its end."""
        fit_in_memory(task, train, valid, epochs=epochs, trainer=self.trainer, reporter=self.reporter)

    def save(self, stage: str, module: nn.Module, **record: Any) -> None:
        """Do nothing: the module is the caller's."""

    def codes_path(self, stage: str, part: str) -> Path:
        """Return a path that is never used."""
        return Path()

    def delete_codes(self) -> None:
        """Do nothing."""


def pretrain_layers(
    layers: Sequence[DenoisingAutoencoder],
    settings: Sequence[LayerConfig],
    train: Inputs,
    valid: Inputs,
    *,
    seed: int,
    trainer: TrainerConfig,
    store: StageStore,
) -> None:
    """Train each layer, in place, on the codes of the one below, which are made once from clean inputs.

    Args:
        layers: lowest first, with their first weights.
        settings: those of each layer.
        train, valid: inputs, (n, d).
        seed: of the shuffling and the corruption.
        trainer: where to compute.
        store: keeps the layers; those that it has done already are loaded.

    Raises:
        DivergedError: the training diverged.
        Interrupted: a signal stopped the training.
    """
    device = resolve_device(trainer)
    names = [stage_name(k) for k in range(1, len(layers) + 1)]
    rows = {"train": train, "valid": valid}
    for name, layer, config in zip(names, layers, settings, strict=True):
        with store.shared(name):
            if store.is_done(name):
                store.load(name, layer)
            else:
                _train_layer(layer, name, config, rows, seed, device, store)
        if not all(store.is_done(later) for later in names[names.index(name) + 1 :]):
            rows = {part: _codes(layer, name, part, inputs, device, store) for part, inputs in rows.items()}
    store.delete_codes()


def _train_layer(
    layer: DenoisingAutoencoder,
    name: str,
    config: LayerConfig,
    rows: Mapping[str, Inputs],
    seed: int,
    device: torch.device,
    store: StageStore,
) -> None:
    """Train a layer on the training and validation ``rows``, and keep it."""
    if config.first_weights == "scaled":
        # A stage that is resumed takes its weights from the checkpoint afterwards.
        scale_first_weights(layer.cpu(), first_rows(rows["train"]), seed, name)
    optimizer = OptimizerConfig(config.optimizer, config.lr_on(len(layer.decoder_bias)), config.options)
    task = ChunkedPretrainTask(layer, name, seed, _optimizer(optimizer), config.decay)
    loaders = [
        ChunkLoader(part, None, config.batch_size, device, budget_bytes=store.budget_bytes) for part in rows.values()
    ]
    store.train(task, *loaders, epochs=config.epochs_on(len(rows["train"])))
    store.save(name, layer, **_unit_counts(layer, name, rows["train"], store.reporter))


def _unit_counts(layer: DenoisingAutoencoder, stage: str, inputs: Inputs, reporter: Reporter) -> dict[str, Any]:
    """Return how many units are dead and codes saturated, of the first 4096 rows, for the record; say if most are."""
    x, units = first_rows(inputs), len(layer.bias)
    with torch.no_grad():
        codes = layer.encode(x.to(layer.bias.device, layer.bias.dtype))
    dead, saturated = dead_units(codes, layer.activation), saturated_percent(codes, layer.activation)
    if dead > _MOST * units or saturated > 100.0 * _ALMOST_ALL:
        reporter.warn(
            f"{stage}: {dead} of {units} units are dead, {saturated:.0f} % of the codes saturated, so they hardly tell"
            " rows apart; lower the learning rate of pre-training, or scale the first weights by the inputs"
        )
    return {"dead_units": dead, "saturated_percent": round(saturated, 2)}


def _optimizer(config: OptimizerConfig) -> Callable[[list[Tensor]], Optimizer]:
    return partial(build_optimizer, config.name, lr=config.lr, options=config.options)


def _codes(
    layer: DenoisingAutoencoder, stage: str, part: str, inputs: Inputs, device: torch.device, store: StageStore
) -> Inputs:
    store.reporter.start(f"{stage} codes ({part})", len(inputs), "rows")
    codes = encode_inputs(
        layer.to(device).encode,
        inputs,
        len(layer.bias),
        device,
        file=store.codes_path(stage, part),
        budget_bytes=store.budget_bytes,
        advance=store.reporter.advance,
    )
    store.reporter.stop()
    return codes


def finetune_stack(
    stack: EncoderStack,
    config: FinetuneConfig,
    train: Labelled,
    valid: Labelled | None,
    *,
    seed: int,
    trainer: TrainerConfig,
    store: StageStore,
) -> None:
    """Train the stack, in place, and leave the best epoch's weights in it; without ``valid``, the last epoch's.

    Args:
        stack: the stack, its encoders copied from pre-trained layers.
        config: the settings of fine-tuning.
        train, valid: labelled rows. Without ``valid`` all epochs are made.
        seed: of the shuffling and dropout.
        trainer: where to compute.
        store: keeps the stack.

    Raises:
        DivergedError: the training diverged.
        Interrupted: a signal stopped the training.
    """
    device = resolve_device(trainer)
    kind = ChunkedRegressionTask if stack.regression else ChunkedFinetuneTask
    patience = config.epochs if valid is None else config.patience
    task = kind(
        stack,
        FINETUNE,
        seed,
        _optimizer(config.optimizer),
        patience,
        dropout=config.dropout,
        monitor=config.monitor,
        decay=config.optimizer.decay,
        average=config.average,
    )
    loaders = [
        ChunkLoader(inputs, labels, config.batch_size, device, indices, store.budget_bytes)
        for inputs, labels, indices in (train, valid or train)
    ]
    store.train(task, *loaders, epochs=config.epochs)
    stack.load_state_dict(task.best_weights if valid is not None else task.evaluated.state_dict(), strict=True)
    if valid is not None:
        store.reporter.say(f"{FINETUNE}: epoch {task.best_epoch} is kept, the best of {task.current_epoch}")
    best = "best_valid_loss" if stack.regression else "best_valid_error_percent"
    store.save(FINETUNE, stack, best_epoch=task.best_epoch, **{best: task.best_score})
