"""The base of the tasks: one update per minibatch, many minibatches per Lightning batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from stacked_dae.nn.updates import ParameterUpdater
from stacked_dae.training.cuda_graphs import CudaGraphRunner
from stacked_dae.training.evaluation import Measures
from stacked_dae.training.loader import Chunk, ChunkLoader
from stacked_dae.utils import distributed, signals
from stacked_dae.utils.seeding import derive_seed


@contextmanager
def decayed_rates(optimizer: Optimizer, decay: float, updates: int) -> Iterator[None]:
    """Divide the optimiser's rates by 1 + decay · updates inside the ``with`` block."""
    if not decay:
        yield
        return
    rates = [group["lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate / (1.0 + decay * updates)
    try:
        yield
    finally:
        # A checkpoint has the rates of the settings.
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


class ChunkedTask(pl.LightningModule):
    """A task whose ``training_step`` runs the minibatches of a chunk, one update each.

    Args:
        stage: the stage's name, the address of its random numbers.
        seed: the run's seed.
        optimizer: makes the optimiser of this module's parameters.
        decay: after t updates the rate is that of the optimiser divided by 1 + decay t.

    After each epoch's validation ``figures`` holds the epoch's figures by name, those of ``measures``, if there are
    any, among them. When a signal asks for a stop, the task
    ends the minibatch, puts what the rest of the epoch needs into ``interrupted_state``, and raises
    :class:`~stacked_dae.utils.signals.Interrupted`. The same state in ``resume`` before the training continues there.
    """

    def __init__(
        self, stage: str, seed: int, optimizer: Callable[[list[Tensor]], Optimizer], decay: float = 0.0
    ) -> None:
        super().__init__()
        self.decay = decay
        self.automatic_optimization = False
        self.stage, self.seed = stage, seed
        self._make_optimizer = optimizer
        self.figures: dict[str, float] = {}
        # In a tuple it is no part of the module, whose state is that of the checkpoint.
        self._measures: tuple[Measures, ...] = ()
        self.interrupted_state: dict[str, Any] | None = None
        self.resume: dict[str, Any] | None = None
        self.stop = signals.StopRequest()

    settings_move = False
    valid_sums: tuple[int, ...] = ()
    """Shape of what :meth:`evaluate` returns."""

    def prepare(self, x: Tensor, labels: Tensor | None, noise: torch.Generator) -> tuple[Tensor, ...]:
        """Return the tensors that the minibatches of a chunk are cut from, one row per example."""
        raise NotImplementedError

    def minibatch(self, *rows: Tensor) -> Tensor:
        """Make one update with a cut of :meth:`prepare`; return the summed loss of the examples before it, ()."""
        raise NotImplementedError

    def evaluate(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Return the sums, over the examples, of what the epoch's validation metrics average."""
        raise NotImplementedError

    def valid_metrics(self, sums: Tensor, count: int) -> dict[str, float]:
        """Return the validation metrics by name, from the sums of :meth:`evaluate` over ``count`` examples."""
        raise NotImplementedError

    def observe(self, measures: Measures) -> None:
        """Compute ``measures`` too, on the validation rows after each epoch."""
        self._measures = (measures,)

    def measure(self, outputs: Tensor, wanted: Tensor) -> None:
        """Update the measures with a batch's outputs and what they should be."""
        for measures in self._measures:
            measures.update(outputs, wanted)

    def measured(self) -> dict[str, float]:
        """Return what the measures are since the validation began, by name, and begin anew."""
        return {f"valid_{name}": value for measures in self._measures for name, value in measures.take().items()}

    def end_if_done(self, epochs_done: int) -> None:
        """Ask the Trainer to stop where further epochs would be of no use."""

    def new_optimizer(self) -> Optimizer:
        """Return an optimiser of this module's parameters, without state."""
        return self._make_optimizer(list(self.parameters()))

    def accepts(self, checkpoint: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint holds what this task keeps in it beside its weights."""
        return True

    def configure_optimizers(self) -> Optimizer:
        return self.new_optimizer()

    def on_train_start(self) -> None:
        # Not earlier: a resumed optimiser takes its state and its parameter groups from the checkpoint first.
        optimizer = self.optimizers(use_pl_optimizer=False)
        # Lightning would leave the epoch without a word.
        self.stop.reinstall_handlers()
        assert isinstance(optimizer, Optimizer)
        if self.resume:
            self.load_state_dict(self.resume["weights"], strict=True)
            optimizer.load_state_dict(self.resume["optimizer"])
        self._optimizer = optimizer
        if isinstance(self.trainer.strategy.model, DistributedDataParallel):
            # The gradients are added up where they are made: autograd, which it would do it from, is not used.
            self.trainer.strategy.model.require_backward_grad_sync = False
        self._descent = ParameterUpdater(optimizer)
        self._noise = torch.Generator(self.device)
        # A rate that changes with every minibatch would be captured with every minibatch.
        self._replay = CudaGraphRunner(self.minibatch, self._descent.rates, self.device, capture=not self.decay)

    def on_train_epoch_start(self) -> None:
        loader = self.trainer.train_dataloader
        assert isinstance(loader, ChunkLoader)
        loader.shuffle(derive_seed(self.seed, self.stage, self.current_epoch, "shuffle"))
        self._noise.manual_seed(derive_seed(self.seed, self.stage, self.current_epoch, "corruption"))
        self._batch_size = loader.batch_size
        self._updates_before = self.current_epoch * -(-loader.count // loader.batch_size)
        self._replay.total.zero_()
        self._minibatches = self._skipped = self._train_count = 0
        if self.resume:
            # The minibatches before the cut draw their noise again, and nothing else.
            self._skipped = self.resume["minibatches"]
            if distributed.is_rank_zero():
                self._replay.total.copy_(self.resume["total"])
            self.resume = None

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        x, labels = chunk.read()
        rows = self.prepare(x, labels, self._noise)
        starts = range(0, len(x), self._batch_size)
        for start in starts:
            self._minibatches += 1
            if self._minibatches > self._skipped:
                with decayed_rates(self._optimizer, self.decay, self._updates_before + self._minibatches - 1):
                    self._minibatch(start, rows)
                if distributed.world_size() == 1:
                    self._stop_if_asked()
        # Several processes must stop at the same place, and do not ask each other after every minibatch.
        if distributed.world_size() > 1:
            self._stop_if_asked()
        self._train_count += len(x)
        # Lightning counts the steps of its own wrapper, which would cost more than the step's mathematics; given here
        # how many were made, its global_step stays the number of updates.
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for counts in (progress.total, progress.current):
            counts.ready += len(starts)
            counts.completed += len(starts)

    def _minibatch(self, start: int, rows: tuple[Tensor, ...]) -> None:
        """Make one update with the rows from ``start`` on, or with this process's share of them."""
        if distributed.world_size() == 1:
            self._replay.run(*(tensor[start : start + self._batch_size] for tensor in rows))
            return
        size = min(self._batch_size, len(rows[0]) - start)
        mine = distributed.shard(size)
        self._descent.share = (mine.stop - mine.start) / size
        self._replay.run(*(tensor[start + mine.start : start + mine.stop] for tensor in rows))

    def _stop_if_asked(self) -> None:
        signum = distributed.all_reduce_max(self.stop.pending_signal() or 0, self.device)
        if signum:
            self.interrupted_state = {
                "epoch": self.current_epoch,
                "minibatches": self._minibatches,
                "total": distributed.all_reduce_sum(self._replay.total.clone()),
                "weights": self.state_dict(),
                "optimizer": self._optimizer.state_dict(),
            }
            raise signals.Interrupted(signum)

    def on_validation_model_zero_grad(self) -> None:
        """Keep the gradient buffers, which Lightning would free before each validation."""

    def on_validation_epoch_start(self) -> None:
        loader = self.trainer.val_dataloaders
        assert isinstance(loader, ChunkLoader)
        self._valid_total = loader.count
        self._valid_sums = torch.zeros(self.valid_sums, device=self.device)

    def validation_step(self, chunk: Chunk, batch_idx: int) -> None:
        self._stop_if_asked()
        if batch_idx % distributed.world_size() != distributed.rank():
            return
        x, labels = chunk.read()
        self._valid_sums = self._valid_sums + self.evaluate(x, labels)

    def on_validation_epoch_end(self) -> None:
        train_loss = float(distributed.all_reduce_sum(self._replay.total.clone())) / self._train_count
        sums = distributed.all_reduce_sum(self._valid_sums.clone())
        self.figures = {"train_loss": train_loss, **self.valid_metrics(sums, self._valid_total), **self.measured()}
        self.log_dict(self.figures)
        # The axis of Lightning's loggers; they would count chunks.
        self.log("step", float(self.trainer.global_step))
