"""The greedy recipe in memory: nothing is written, nothing resumed. The run folder's is in workflow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stacked_dae.config.schema import FinetuneConfig, LayerConfig, TrainerConfig
from stacked_dae.nn.autoencoder import DenoisingLayer
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.runs.fingerprints import FINETUNE, stage_name
from stacked_dae.training.codes import make_codes
from stacked_dae.training.loader import ChunkLoader
from stacked_dae.training.optimizers import make_optimizer
from stacked_dae.training.stage import fit_in_memory
from stacked_dae.training.tasks.finetune import FinetuneTask, RegressTask
from stacked_dae.training.tasks.pretrain import PretrainTask
from stacked_dae.training.trainer import device_of
from stacked_dae.utils.progress import Reporter

Rows = NDArray[np.float32]


def pretrain_layers(
    layers: Sequence[DenoisingLayer],
    settings: Sequence[LayerConfig],
    train: Rows,
    valid: Rows,
    *,
    seed: int,
    trainer: TrainerConfig,
    reporter: Reporter,
) -> None:
    """Train each layer, in place, on the codes of the one below, made once from clean inputs.

    Args:
        layers: lowest first.
        settings: those of each layer.
        train, valid: inputs, (n, d).
        seed: of the shuffling and the corruption.
        trainer: where to compute.
        reporter: shows progress.

    Raises:
        DivergedError: the training diverged.
    """
    device = device_of(trainer)
    rows = [train, valid]
    for k, (layer, config) in enumerate(zip(layers, settings, strict=True), 1):
        optimizer = partial(make_optimizer, config.optimizer, lr=config.lr, options=config.options)
        task = PretrainTask(layer, stage_name(k), seed, optimizer)
        loaders = [ChunkLoader(part, None, config.batch_size, device) for part in rows]
        fit_in_memory(task, *loaders, epochs=config.epochs, trainer=trainer, reporter=reporter)
        if k < len(layers):
            rows = [_codes(layer, part, device) for part in rows]


def _codes(layer: DenoisingLayer, rows: Rows, device: torch.device) -> Rows:
    units = len(layer.bias)
    nowhere = Path()
    codes = make_codes(layer.to(device).encode, rows, units, device, file=nowhere, budget_bytes=4 * len(rows) * units)
    assert isinstance(codes, np.ndarray)
    return codes


def finetune_stack(
    stack: EncoderStack,
    config: FinetuneConfig,
    train: tuple[Rows, NDArray[Any]],
    valid: tuple[Rows, NDArray[Any]] | None,
    *,
    seed: int,
    trainer: TrainerConfig,
    reporter: Reporter,
) -> None:
    """Train the stack, in place, and leave the best epoch's weights in it; without ``valid``, the last one's.

    Args:
        stack: the stack, its encoders taken from pre-trained layers.
        config: how.
        train, valid: (inputs (n, d), labels (n,) int64); of a regression targets (n, outputs) float32.
            Without ``valid`` all epochs are made.
        seed: of the shuffling and dropout.
        trainer: where to compute.
        reporter: shows progress.

    Raises:
        DivergedError: the training diverged.
    """
    device = device_of(trainer)
    chosen = config.optimizer
    optimizer = partial(make_optimizer, chosen.name, lr=chosen.lr, options=chosen.options)
    kind = RegressTask if stack.regression else FinetuneTask
    patience = config.epochs if valid is None else config.patience
    task = kind(stack, FINETUNE, seed, optimizer, patience, config.dropout)
    loaders = [ChunkLoader(x, y, config.batch_size, device) for x, y in (train, valid or train)]
    fit_in_memory(task, *loaders, epochs=config.epochs, trainer=trainer, reporter=reporter)
    if valid is not None:
        stack.load_state_dict(task.best_weights, strict=True)
