"""The base of the tasks: optimiser, schedule, seed, metrics, and what a batch may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import Metric, MetricCollection

from stacked_dae.errors import ConfigError, DataError
from stacked_dae.training.optimizers import build_optimizer, build_scheduler, check_optimizer, check_scheduler
from stacked_dae.utils.seeding import derive_seed

Interval = Literal["step", "epoch"]

# The keys under which a batch that is a mapping holds its inputs and its labels, in the order of preference.
INPUT_KEYS = ("x", "inputs", "image", "pixel_values", "features")
LABEL_KEYS = ("y", "label", "labels", "target", "targets")


class Task(pl.LightningModule):
    """A LightningModule with automatic optimisation; subclasses say what its loss is.

    Args:
        optimizer: a torch optimiser by its lower-case name, or a function of the parameters that returns one.
        lr: learning rate, above 0.
        optimizer_options: further arguments of the named optimiser.
        lr_scheduler: a class of ``torch.optim.lr_scheduler`` by its name, or a function of the optimiser that returns
            one; None for a constant rate.
        scheduler_options: further arguments of the named scheduler. Where they are left out, CosineAnnealingLR's T_max
            and OneCycleLR's total_steps are the length of the training, and OneCycleLR's max_lr is ``lr``.
        lr_interval: whether the scheduler counts epochs or updates.
        metrics: a torchmetrics Metric or MetricCollection, computed on validation and test batches.
        seed: makes first weights and noise repeatable whatever else draws random numbers; None to draw them from
            torch's global generator, which ``seed_everything`` seeds.

    Raises:
        ConfigError: an unknown optimiser or scheduler, an option that it does not take, or a rate that is not above 0.
    """

    def __init__(
        self,
        *,
        optimizer: str | Callable[[list[Tensor]], Optimizer],
        lr: float,
        optimizer_options: Mapping[str, Any] | None,
        lr_scheduler: str | Callable[[Optimizer], Any] | None,
        scheduler_options: Mapping[str, Any] | None,
        lr_interval: Interval,
        metrics: Metric | MetricCollection | None,
        seed: int | None,
    ) -> None:
        super().__init__()
        if not lr > 0.0:
            raise ConfigError(f"lr must be above 0, not {lr!r}")
        if lr_interval not in ("step", "epoch"):
            raise ConfigError(f"lr_interval must be step or epoch, not {lr_interval!r}")
        if isinstance(optimizer, str):
            check_optimizer(optimizer, optimizer_options or {})
        if isinstance(lr_scheduler, str):
            check_scheduler(lr_scheduler, scheduler_options or {})
        self.lr, self.seed = lr, seed
        self._optimizer, self._optimizer_options = optimizer, dict(optimizer_options or {})
        self._scheduler, self._scheduler_options = lr_scheduler, dict(scheduler_options or {})
        self._interval = lr_interval
        if isinstance(metrics, Metric):
            metrics = MetricCollection([metrics])
        self.valid_metrics = None if metrics is None else metrics.clone(prefix="valid_")
        self.test_metrics = None if metrics is None else metrics.clone(prefix="test_")
        self._noise: torch.Generator | None = None
        self._unchecked = True

    def configure_optimizers(self) -> Any:
        parameters: list[Tensor] = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if isinstance(self._optimizer, str):
            # A fused optimiser unscales gradients itself, so Lightning could not clip them in mixed precision.
            clips = self._trainer is not None and self._trainer.gradient_clip_val
            options = {"foreach": True, **self._optimizer_options} if clips else self._optimizer_options
            optimizer = build_optimizer(self._optimizer, parameters, self.lr, options)
        else:
            optimizer = self._optimizer(parameters)
        if self._scheduler is None:
            return optimizer
        if isinstance(self._scheduler, str):
            scheduler = build_scheduler(
                self._scheduler, optimizer, self._scheduler_options, length=self._length, max_lr=self.lr
            )
        else:
            scheduler = self._scheduler(optimizer)
        schedule = {"scheduler": scheduler, "interval": self._interval, "monitor": "valid_loss"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _length(self) -> int:
        """Return how often the scheduler is stepped in the whole training."""
        updates = self.trainer.estimated_stepping_batches
        length = updates if self._interval == "step" else self.trainer.max_epochs
        if length is None or length < 1 or length == float("inf"):
            raise ConfigError(
                f"lr_scheduler: {self._scheduler} must know how long the training is; give it in scheduler_options, or"
                " give the Trainer max_epochs"
            )
        return int(length)

    def on_train_epoch_start(self) -> None:
        if self.seed is not None:
            # Seeded by its epoch, the noise needs no saved state: a resumed training draws the same.
            self._noise = torch.Generator(self.device)
            rank = (self.global_rank,) if self.trainer.world_size > 1 else ()
            self._noise.manual_seed(derive_seed(self.seed, "corruption", self.current_epoch, *rank))

    def on_train_epoch_end(self) -> None:
        self._unchecked = False

    def as_floats(self, x: Tensor) -> Tensor:
        """Return inputs in the precision of the weights; bytes are used as 0 to 1.

        Raises:
            DataError: whole numbers other than bytes.
        """
        if x.dtype == torch.uint8:
            return x.to(self.dtype).div_(255.0)
        if not x.is_floating_point():
            raise DataError(
                f"{type(self).__name__}: inputs must be floating-point numbers or uint8, not {x.dtype}; convert them:"
                " x.float()"
            )
        return x.to(self.dtype)

    def log_loss(self, part: str, loss: Tensor, count: int) -> None:
        """Log the mean loss of a batch of ``count`` examples as ``train_loss``, ``valid_loss`` or ``test_loss``."""
        self.log_mean(f"{part}_loss", loss, count, prog_bar=True)

    def log_mean(self, name: str, value: Tensor, count: int, *, prog_bar: bool = False) -> None:
        """Log the mean over an epoch's examples of a value that is the mean over ``count`` of them."""
        # Several processes are averaged where there are any; with one, Lightning has nothing to synchronise.
        self.log(
            name, value, on_step=False, on_epoch=True, batch_size=count, prog_bar=prog_bar,
            sync_dist=self.trainer.world_size > 1,
        )  # fmt: skip

    def log_metrics(self, part: str, *arguments: Tensor) -> None:
        """Update the user's metrics of ``part``, valid or test, with a batch, and log them for the epoch."""
        metrics = self.valid_metrics if part == "valid" else self.test_metrics
        if metrics is not None:
            metrics.update(*arguments)
            self.log_dict(metrics, on_step=False, on_epoch=True)


def inputs_of(batch: Any) -> Tensor:
    """Return the inputs of a batch.

    A batch is a tensor, a sequence that begins with the inputs, a mapping with one of :data:`INPUT_KEYS`, or a
    collection of such batches (Lightning's CombinedLoader), whose inputs are joined.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(batch, Tensor):
        return batch
    found = _under(batch, INPUT_KEYS, 0)
    if found is not None:
        return found
    if parts := _batches_in(batch):
        return torch.cat([inputs_of(part) for part in parts])
    if isinstance(batch, Mapping):
        raise DataError(
            f"the batch has the keys {', '.join(map(repr, batch))}; the inputs must be a tensor under one of"
            f" {', '.join(INPUT_KEYS)}"
        )
    raise DataError(f"a batch must be a tensor, (inputs, labels) or a mapping, not {type(batch).__name__}")


def targets_of(batch: Any) -> Tensor | None:
    """Return the labels of a batch, which are its second item or under one of :data:`LABEL_KEYS`; None without."""
    found = _under(batch, LABEL_KEYS, 1)
    if found is not None or _under(batch, INPUT_KEYS, 0) is not None:
        return found
    targets = [target for part in _batches_in(batch) if (target := targets_of(part)) is not None]
    return torch.cat(targets) if targets and len(targets) == len(_batches_in(batch)) else None


def labelled(batch: Any) -> tuple[Tensor, Tensor]:
    """Return the inputs and the labels of a batch.

    Raises:
        DataError: it has no labels.
    """
    inputs, targets = inputs_of(batch), targets_of(batch)
    if targets is None:
        raise DataError(
            "fine-tuning needs labels: a batch must be (inputs, labels), or a mapping with one of"
            f" {', '.join(LABEL_KEYS)}"
        )
    return inputs, targets


def _under(batch: Any, keys: Iterable[str], position: int) -> Tensor | None:
    """Return the tensor of a mapping under one of ``keys``, or of a sequence that begins with one at ``position``."""
    if isinstance(batch, Mapping):
        return next((batch[key] for key in keys if isinstance(batch.get(key), Tensor)), None)
    if isinstance(batch, (list, tuple)) and len(batch) > position and isinstance(batch[0], Tensor):
        found = batch[position]
        return found if isinstance(found, Tensor) else None
    return None


def _batches_in(batch: Any) -> list[Any]:
    """Return the batches of a collection of batches."""
    if isinstance(batch, Mapping):
        parts = list(batch.values())
    else:
        parts = list(batch) if isinstance(batch, (list, tuple)) else []
    return [part for part in parts if _under(part, INPUT_KEYS, 0) is not None]
