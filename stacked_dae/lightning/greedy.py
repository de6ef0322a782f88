"""Greedy layer-wise pre-training with the user's own Trainers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from stacked_dae.errors import ConfigError, lightning_hint
from stacked_dae.lightning.codes import Cache, CodesDataModule, as_data_module
from stacked_dae.lightning.tasks.pretrain import PretrainTask


def pretrain_greedy(
    layers: Sequence[PretrainTask],
    data: pl.LightningDataModule | DataLoader[Any],
    trainer: Callable[[int], pl.Trainer],
    *,
    weights: Literal["last", "best"] = "last",
    ckpt_paths: Sequence[str | None] = (),
    cache: Cache = "memory",
) -> list[PretrainTask]:
    """Train each layer, in place, on the codes of those below it (ICML 2008, section 2.4), and return them.

    Args:
        layers: lowest first.
        data: the inputs of the first layer: a data module, or a DataLoader of training batches.
        trainer: returns a new Trainer for layer k, from 0. Its callbacks and loggers must be new too.
        weights: last: those after the last epoch; best: those that the Trainer's first ModelCheckpoint with a
            ``monitor`` found best.
        ckpt_paths: of each layer, a checkpoint to resume from, or None.
        cache: where the codes are kept, as for :class:`CodesDataModule`.

    Raises:
        ConfigError: two layers were given one Trainer or one callback, layers do not fit on each other, or there is no
            best checkpoint.
    """
    if not layers:
        raise ConfigError("layers is empty; give at least one PretrainTask")
    if weights not in ("last", "best"):
        raise ConfigError(f"weights must be last or best, not {weights!r}")
    if len(set(map(id, layers))) < len(layers):
        raise ConfigError("layers: each must be a PretrainTask of its own")
    layers = list(layers)
    for k, (below, above) in enumerate(itertools.pairwise(layers), 1):
        units, inputs = below.hparams.get("units"), above.hparams.get("inputs")
        if units is not None and inputs is not None and units != inputs:
            raise ConfigError(f"layers: layer {k} has {units} units, but layer {k + 1} takes {inputs} inputs")
    if any(not isinstance(layer, PretrainTask) for layer in layers):
        raise ConfigError("layers: each must be a PretrainTask")
    if isinstance(trainer, pl.Trainer) or not callable(trainer):
        raise ConfigError(
            "trainer must be a function that returns a new Trainer for each layer, such as lambda k: Trainer(…)"
        )
    if isinstance(ckpt_paths, (str, Path)):
        raise ConfigError(f"ckpt_paths must be a list, one path or None per layer, not {str(ckpt_paths)!r}")
    module = as_data_module(data)
    used: list[Any] = []
    for k, layer in enumerate(layers):
        lightning = trainer(k)
        if not isinstance(lightning, pl.Trainer):
            raise ConfigError(
                f"trainer must return a Trainer for layer {k}, not"
                f" {type(lightning).__name__}{lightning_hint(lightning)}"
            )
        objects = [lightning, *lightning.callbacks]  # type: ignore[attr-defined]
        for thing in objects:
            if any(thing is other for other in used):
                raise ConfigError(
                    f"trainer: layer {k} was given the {type(thing).__name__} of an earlier layer, which has ended;"
                    " make a new one for each, such as lambda k: Trainer(callbacks=[EarlyStopping(…)])"
                )
        used += objects
        codes = module if k == 0 else CodesDataModule(layers[:k], module, cache=cache)
        if weights == "best" and not _monitoring(lightning):
            raise ConfigError(
                f"weights='best': the Trainer of layer {k} has no ModelCheckpoint that monitors anything; give it"
                " ModelCheckpoint(monitor='valid_loss')"
            )
        lightning.fit(layer, datamodule=codes, ckpt_path=ckpt_paths[k] if k < len(ckpt_paths) else None)
        # A fast_dev_run keeps no checkpoint, since it is there to try the code.
        if weights == "best" and not lightning.fast_dev_run:  # type: ignore[attr-defined]
            _load_best(layer, lightning, k)
        layer.eval()
    return list(layers)


def _monitoring(trainer: pl.Trainer) -> ModelCheckpoint | None:
    """Return the first ModelCheckpoint that looks for a best epoch."""
    found = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor is not None]
    return found[0] if found else None


def _load_best(layer: PretrainTask, trainer: pl.Trainer, k: int) -> None:
    checkpoint = _monitoring(trainer)
    if checkpoint is None or not checkpoint.best_model_path:
        raise ConfigError(f"weights='best': the Trainer of layer {k} kept no best checkpoint; let it validate")
    try:
        state = torch.load(checkpoint.best_model_path, map_location=layer.device, weights_only=True)["state_dict"]
    except UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"weights='best': {checkpoint.best_model_path} holds more than plain values; keep hyperparameters plain"
            f" ({reason})"
        ) from None
    layer.load_state_dict(state, strict=True)
