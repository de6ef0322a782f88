"""The public tasks as the stages of a run: the same random numbers and figures as without the user's parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from stacked_dae.config.optimizer_schema import LayerOptimizerConfig, OptimizerConfig
from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError
from stacked_dae.lightning.tasks.base import Task
from stacked_dae.lightning.tasks.finetune import FinetuneTask, RegressionTask
from stacked_dae.lightning.tasks.pretrain import PretrainTask
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.components import Components
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.pipeline.parts import LightningParts
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.training.loader import ChunkLoader
from stacked_dae.training.stage import StageLoader
from stacked_dae.training.tasks.base import ChunkedTask, decayed_rates
from stacked_dae.training.tasks.finetune import ChunkedFinetuneTask
from stacked_dae.training.tasks.pretrain import ChunkedPretrainTask
from stacked_dae.utils import distributed, signals
from stacked_dae.utils.seeding import derive_seed
from stacked_dae.utils.type_hints import matches_type


class MinibatchLoader:
    """Goes through the minibatches of a chunked task's training, [x] or [x, labels], with its order and its noise.

    ``drawn`` is what the task has drawn for the minibatch that was yielded last: x̃ and the weights of the loss, if
    there are some; or the masks of dropout. ``inputs`` are that minibatch's.

    Args:
        chunks: the rows.
        task: says what the minibatches of a chunk are cut from.
        device: of the rows.
    """

    def __init__(self, chunks: ChunkLoader, task: ChunkedTask, device: torch.device) -> None:
        self.count, self.batch_size = chunks.count, chunks.batch_size
        self._chunks, self._task, self._device = chunks, task, device
        self._epoch = 0
        # Lightning calls set_epoch of the samplers of a loader.
        self.sampler, self.batch_sampler = self, None

    def set_epoch(self, epoch: int) -> None:
        """Take the order and the noise of ``epoch``."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    inputs: Tensor | None = None
    drawn: tuple[Tensor, ...] = ()

    def __iter__(self) -> Iterator[list[Tensor]]:
        task = self._task
        noise = torch.Generator(self._device)
        noise.manual_seed(derive_seed(task.seed, task.stage, self._epoch, "corruption"))
        self._chunks.shuffle(derive_seed(task.seed, task.stage, self._epoch, "shuffle"))
        for chunk in self._chunks:
            x, labels = chunk.read()
            rows = task.prepare(x, labels, noise)
            given = 1 if labels is None else 2
            for start in range(0, len(x), self.batch_size):
                cut = [tensor[start : start + self.batch_size] for tensor in rows]
                self.inputs, self.drawn = cut[0], tuple(cut[given:])
                yield cut[:given]


class ValidationLoader:
    """Goes through the validation rows in chunks: [x], or [x, labels]."""

    def __init__(self, chunks: ChunkLoader) -> None:
        self.count, self.batch_size = chunks.count, chunks.batch_size
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[list[Tensor]]:
        for chunk in self._chunks:
            yield [tensor for tensor in chunk.read() if tensor is not None]


class StageTask(Task):
    """What a stage adds to a public task: figures, the best epoch and stopping as without the user's parts.

    Subclasses call :meth:`begin` at the end of their constructors.
    """

    settings_move = True

    def begin(self, chunked: ChunkedTask) -> None:
        """Take the place of ``chunked``, whose modules are trained."""
        # In a tuple it is no submodule: its modules are this task's already.
        self._chunked = (chunked,)
        self.stage = chunked.stage
        self.figures: dict[str, float] = {}
        self.stop = signals.StopRequest()
        self.interrupted_state: dict[str, Any] | None = None
        self.resume: dict[str, Any] | None = None
        self._plateau: float | None = None
        self._ended = False
        self._valid: dict[str, float] = {}

    # What the chunks are trained with, so that an observer changes no bit.
    closed_precisions = ("32-true", "64-true", "bf16-mixed")

    def accepts(self, checkpoint: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint holds what this task keeps in it beside its weights."""
        kept = matches_type(float, checkpoint.get("valid_loss")) and matches_type(bool, checkpoint.get("ended"))
        return kept and self._chunked[0].accepts(checkpoint)

    def on_train_start(self) -> None:
        self.stop.reinstall_handlers()
        # What asks the chunked task for the epoch, or for an end, asks this training.
        self._chunked[0].trainer = self.trainer
        self._step_plateau()
        self._chunked[0].end_if_done(self.current_epoch)
        # A callback asked for the end, and the process was killed before the stage was done.
        self.trainer.should_stop = self.trainer.should_stop or self._ended
        super().on_train_start()

    def _step_plateau(self) -> None:
        """Let ReduceLROnPlateau see the figure of the last epoch: Lightning saves an epoch before it does."""
        value, self._plateau = self._plateau, None
        for config in self.trainer.lr_scheduler_configs:
            if value is not None and config.reduce_on_plateau:
                config.scheduler.step(torch.tensor(value))  # type: ignore[arg-type]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Counted before the closed form makes Lightning take this minibatch for manual optimisation.
        updates = self.trainer.global_step
        super().on_train_batch_start(batch, batch_idx)
        (optimizer,) = self.trainer.optimizers
        self._rates = ExitStack()
        self._rates.enter_context(decayed_rates(optimizer, self._chunked[0].decay, updates))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._rates.close()
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        signum = self.stop.pending_signal()
        if signum:
            # The next call begins the epoch again.
            raise signals.Interrupted(signum)

    def on_validation_epoch_start(self) -> None:
        self._sums: Tensor | None = None

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._stop_if_asked()
        x, *labels = batch
        sums = self._chunked[0].evaluate(x, labels[0] if labels else None)
        self._sums = sums if self._sums is None else self._sums + sums
        loader: Any = self.trainer.val_dataloaders
        if batch_idx + 1 == len(loader):
            # Here, not at the end of the validation, when a callback has put other weights than the measured ones back.
            chunked = self._chunked[0]
            self._valid = {**chunked.valid_metrics(self._sums, loader.count), **chunked.measured()}
            self.log_dict(self._valid, on_step=False, on_epoch=True, batch_size=1, prog_bar=True)

    def on_train_epoch_end(self) -> None:
        self.figures = {"train_loss": float(self.trainer.callback_metrics["train_loss"]), **self._valid}
        self._chunked[0].end_if_done(self.current_epoch + 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        self._chunked[0].on_save_checkpoint(checkpoint)
        checkpoint |= {"valid_loss": self._valid.get("valid_loss"), "ended": self.trainer.should_stop}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._chunked[0].on_load_checkpoint(checkpoint)
        self._plateau, self._ended = checkpoint["valid_loss"], checkpoint["ended"]


class StagePretrainTask(StageTask, PretrainTask):
    """A PretrainTask that trains the layer of a run."""

    def __init__(self, chunked: ChunkedPretrainTask, config: LayerOptimizerConfig, lr: float) -> None:
        layer = chunked.layer
        units, inputs = layer.weight.shape
        known_loss = callable(layer.criterion) or layer.criterion in ("cross_entropy", "squared_error")
        super().__init__(
            inputs,
            units,
            corruption=layer.corruption or "masking",
            nu=0.0,
            activation=layer.activation,
            loss=layer.criterion if known_loss else "squared_error",
            tied=layer.decoder_weight is None,
            missing=layer.missing,
            alpha=layer.alpha,
            beta=layer.beta,
            seed=chunked.seed,
            **_optimizer_arguments(config, lr),
        )
        self.autoencoder = layer
        if layer.criterion != "cross_entropy" and layer.decoder == "sigmoid":
            # The arguments of the public task do not describe this decoder.
            self._functions = [*self._functions, "encoder", "decoder"]
        self.begin(chunked)

    def closed_form(self) -> nn.Module | str:
        # Components are checked before the run for what their closed form does.
        return self.autoencoder

    def corrupted(self, batch: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
        loader: Any = self.trainer.train_dataloader
        if batch[0] is not loader.inputs:
            # A callback has put other inputs in their place, or the precision has.
            return super().corrupted(batch, x)
        corrupted, *weight = loader.drawn
        return corrupted, weight[0] if weight else None


class StageFinetuneTask(StageTask, FinetuneTask):
    """A FinetuneTask that trains the stack of a run."""

    def __init__(self, chunked: ChunkedFinetuneTask, config: OptimizerConfig) -> None:
        stack = chunked.stack
        super().__init__(
            stack,
            len(stack.head.bias),
            dropout=chunked.dropout,
            seed=chunked.seed,
            **_optimizer_arguments(config, config.lr),
        )
        self.encoders, self.head = stack.encoders, stack.head
        self._stack = (stack,)
        # A submodule, so that it moves and is saved with the weights.
        self.averaged = chunked.averaged
        self.begin(chunked)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        # Where gradients are accumulated, not every minibatch ends in an update.
        if self.averaged is not None and self.trainer.global_step > self.averaged.count:
            self.averaged.update(self._stack[0])
        super().on_train_batch_end(outputs, batch, batch_idx)

    _stack: tuple[EncoderStack, ...]

    def as_floats(self, x: Tensor) -> Tensor:
        return self._stack[0].fill(super().as_floats(x))

    def _known(self, x: Tensor) -> Tensor:
        return x if self._stack[0].missing else super()._known(x)

    def dropout_mask(self, k: int, like: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
        loader: Any = self.trainer.train_dataloader
        mask: Tensor = loader.drawn[k].to(like.dtype)
        return mask if mask.shape == shape else super().dropout_mask(k, like, shape)


class StageRegressionTask(StageFinetuneTask, RegressionTask):
    """A RegressionTask that trains the stack of a run."""


def _optimizer_arguments(config: LayerOptimizerConfig | OptimizerConfig, lr: float) -> dict[str, Any]:
    return {
        "optimizer": config.name,
        "lr": lr,
        "optimizer_options": config.options,
        "lr_scheduler": config.scheduler,
        "scheduler_options": config.scheduler_options,
        "lr_interval": config.scheduler_interval,
    }


def needs_task(config: Config, parts: LightningParts, stage: str) -> bool:
    """Return whether a stage asks for what only a public task under Lightning's own loop does."""
    return not parts.of(stage).is_empty or _changes_training(config, parts, stage)


def _changes_training(config: Config, parts: LightningParts, stage: str) -> bool:
    """Return whether a stage asks for more of a Trainer than to tell loggers and measures of its epochs."""
    given, trainer = parts.of(stage), config.trainer
    scheduler = (config.finetune if stage == FINETUNE else config.pretrain).optimizer.scheduler
    asked = any(value is not None for value in (scheduler, trainer.gradient_clip_val, trainer.max_time))
    usual = trainer.precision in ("32-true", "tf32", "bf16-mixed")
    return bool(given.callbacks or given.arguments) or asked or not usual


def check_route(config: Config, stages: Sequence[str], components: Components | None, parts: LightningParts) -> None:
    """Raise ConfigError where a stage needs a public task, but cannot be trained by one."""
    for stage in stages:
        mixed = stage == FINETUNE and config.finetune.head == "mixed"
        # Loggers and measures are told of the epochs of a mixed head too.
        if not (_changes_training if mixed else needs_task)(config, parts, stage):
            continue
        what = "callbacks and Trainer arguments, optimizer.scheduler, trainer.gradient_clip_val, max_time and precision"
        if mixed:
            raise ConfigError(
                f"finetune.head mixed is not trained by a Lightning Trainer, so that {what} do not apply to it; give"
                " callbacks and arguments of the layers as a function of the stage's name, or set finetune.head to"
                " softmax"
            )
        if distributed.world_size() > 1:
            raise ConfigError(
                f"{stage}: {what} apply to one process only; with several use PretrainTask and FinetuneTask with a"
                " Trainer of your own"
            )
        layer = components.layer if components is not None else DenoisingAutoencoder
        if stage != FINETUNE and layer.step is not DenoisingAutoencoder.step:
            raise ConfigError(
                f"components.layer: {layer.__name__} has a step of its own, which {what} would leave out; leave one of"
                " them out"
            )


def stage_route(
    config: Config, parts: LightningParts, device: torch.device
) -> Callable[[ChunkedTask, ChunkLoader, ChunkLoader], tuple[pl.LightningModule, StageLoader, StageLoader]]:
    """Return what chooses the route of each stage of a run on ``device``.

    It gets the chunked task of a stage and its loaders. Where nothing asks for more it returns the same; else the
    public task that trains the same modules, and loaders of minibatches.
    """

    def route(
        chunked: ChunkedTask, train: ChunkLoader, valid: ChunkLoader
    ) -> tuple[pl.LightningModule, StageLoader, StageLoader]:
        stage = chunked.stage
        if not needs_task(config, parts, stage):
            return chunked, train, valid
        module: pl.LightningModule
        if isinstance(chunked, ChunkedFinetuneTask):
            task = StageRegressionTask if chunked.stack.regression else StageFinetuneTask
            module = task(chunked, config.finetune.optimizer)
        else:
            assert isinstance(chunked, ChunkedPretrainTask)
            layers = {stage_name(k): layer for k, layer in enumerate(config.layers(), 1)}
            lr = layers[stage].lr_on(len(chunked.layer.decoder_bias))
            module = StagePretrainTask(chunked, config.pretrain.optimizer, lr)
        if config.trainer.precision == "64-true":
            # Lightning would read a checkpoint first, and so round what it holds.
            module.double()
        return module, MinibatchLoader(train, chunked, device), ValidationLoader(valid)

    return route
