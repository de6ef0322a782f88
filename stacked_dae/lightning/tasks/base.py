"""The base of the tasks: optimiser, schedule, seed, metrics and hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric, MetricCollection

from stacked_dae.errors import ConfigError, DataError
from stacked_dae.lightning.tasks.closed_form import ClosedFormTask, Fast
from stacked_dae.training.optimizers import (
    SCHEDULERS,
    build_optimizer,
    build_scheduler,
    check_optimizer,
    check_scheduler,
)
from stacked_dae.utils.seeding import derive_seed

Interval = Literal["step", "epoch"]
OptimizerLike = str | Callable[..., Optimizer]
SchedulerLike = str | Callable[..., Any]
MetricsLike = Metric | MetricCollection | Sequence[Metric] | Mapping[str, Metric]
# What a checkpoint says of the arguments that it cannot hold but that decide what the weights compute.
_GIVEN = "stacked_dae_arguments"


class Task(ClosedFormTask):
    """A LightningModule with automatic optimisation; subclasses say what its loss is.

    Args:
        optimizer: a torch optimiser by its lower-case name; an optimiser class; or a function of the parameters that
            returns an optimiser, which has its own rate (``lr`` is not used).
        lr: learning rate, above 0.
        optimizer_options: further arguments of a named optimiser or class.
        lr_scheduler: a class of ``torch.optim.lr_scheduler`` or its name; or a function of the optimiser that returns a
            scheduler or Lightning's mapping for one; None for a constant rate.
        scheduler_options: further arguments of a named scheduler. Where they are left out, CosineAnnealingLR's T_max
            and OneCycleLR's total_steps are the length of the training, and OneCycleLR's max_lr is ``lr``.
        lr_interval: whether the scheduler counts epochs or updates.
        metrics: torchmetrics computed on validation and test batches.
        seed: makes first weights and noise repeatable whatever else draws random numbers; None to draw them from
            torch's global generator, which ``seed_everything`` seeds.
        fast: auto: updates in closed form where nothing can tell; False: by autograd always.

    Raises:
        ConfigError: an unknown optimiser or scheduler, an option that it does not take, or a rate that is not above 0.
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerLike,
        lr: float,
        optimizer_options: Mapping[str, Any] | None,
        lr_scheduler: SchedulerLike | None,
        scheduler_options: Mapping[str, Any] | None,
        lr_interval: Interval,
        metrics: MetricsLike | None,
        seed: int | None,
        fast: Fast,
    ) -> None:
        super().__init__(fast)
        if not lr > 0.0:
            raise ConfigError(f"lr must be above 0, not {lr!r}")
        if lr_interval not in ("step", "epoch"):
            raise ConfigError(f"lr_interval must be step or epoch, not {lr_interval!r}")
        options = {"optimizer_options": optimizer_options or {}, "scheduler_options": scheduler_options or {}}
        if "lr" in options["optimizer_options"]:
            raise ConfigError("optimizer_options.lr: give lr instead")
        lr_scheduler = next((name for name, kind in SCHEDULERS.items() if kind is lr_scheduler), lr_scheduler)
        if isinstance(optimizer, str):
            check_optimizer(optimizer, options["optimizer_options"])
        elif options["optimizer_options"] and not isinstance(optimizer, type):
            raise ConfigError("optimizer_options applies only to a named optimiser or class; give them to the function")
        if isinstance(lr_scheduler, str):
            check_scheduler(lr_scheduler, options["scheduler_options"])
        elif options["scheduler_options"]:
            raise ConfigError("scheduler_options applies only to a named scheduler; give them to the function")
        self.lr, self.seed = lr, seed
        self._optimizer, self._optimizer_options = optimizer, dict(options["optimizer_options"])
        self._scheduler, self._scheduler_options = lr_scheduler, dict(options["scheduler_options"])
        self._interval = lr_interval
        if metrics is not None and not isinstance(metrics, MetricCollection):
            metrics = MetricCollection([metrics] if isinstance(metrics, Metric) else metrics)  # type: ignore[arg-type]
        # A pair keeps the collection itself from being registered: its copies, one per loader, are what is updated.
        self._metrics = (metrics,)
        self.metrics = nn.ModuleDict()
        self._noise: torch.Generator | None = None
        self._noise_of: tuple[Any, ...] = ()
        self._first_epoch: tuple[int, int] | None = None
        self._functions: list[str] = []

    def keep_arguments(self, arguments: Mapping[str, Any], *, modules: Sequence[str] = ()) -> None:
        """Save the arguments that are plain values as hyperparameters.

        A checkpoint that ``weights_only`` loads holds nothing else. Functions, and ``modules``, are given again when it
        is loaded; of those that decide what the weights compute it remembers the names.
        """
        plain = {name: value for name, value in arguments.items() if not callable(value)}
        self._functions = [*modules, *(n for n in ("loss", "corruption") if callable(arguments.get(n)))]
        self.save_hyperparameters(plain)
        # Lightning looks for the argument that equals the mapping, and a torchmetrics Metric claims to equal anything.
        self._hparams_name = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[_GIVEN] = self._functions

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        missing = [name for name in checkpoint.get(_GIVEN, []) if name not in self._functions]
        if missing:
            raise ConfigError(
                f"the checkpoint was saved with its own {' and '.join(missing)}, which it cannot hold; give"
                f" {', '.join(f'{name}=' for name in missing)} again"
            )

    def new_optimizer(self) -> Optimizer:
        """Return an optimiser of the parameters that train, without state."""
        parameters: list[Tensor] = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if isinstance(self._optimizer, str):
            # A fused optimiser unscales gradients itself, so Lightning could not clip them in mixed precision.
            clips = self._trainer is not None and self._trainer.gradient_clip_val
            options = {"foreach": True, **self._optimizer_options} if clips else self._optimizer_options
            return build_optimizer(self._optimizer, parameters, self.lr, options)
        of_class = {"lr": self.lr, **self._optimizer_options} if isinstance(self._optimizer, type) else {}
        return self._optimizer(parameters, **of_class)

    def configure_optimizers(self) -> Any:
        optimizer = self.new_optimizer()
        if self._scheduler is None:
            return optimizer
        if isinstance(self._scheduler, str):
            scheduler: Any = build_scheduler(
                self._scheduler, optimizer, self._scheduler_options, length=self._length, max_lr=self.lr
            )
        else:
            scheduler = self._scheduler(optimizer)
        schedule = {"interval": self._interval, "monitor": "valid_loss"}
        schedule |= scheduler if isinstance(scheduler, Mapping) else {"scheduler": scheduler}
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

    def noise(self) -> torch.Generator | None:
        """Return the generator of this epoch's noise; None, torch's global one, without a seed."""
        if self.seed is None:
            return None
        rank = (self.global_rank,) if self._trainer is not None and self.trainer.world_size > 1 else ()
        address = (id(self._trainer), self.current_epoch, *rank)
        if self._noise is None or self._noise.device != self.device or self._noise_of != address:
            # Seeded by its epoch, the noise needs no saved state: a resumed training draws the same.
            self._noise, self._noise_of = torch.Generator(self.device), address
            self._noise.manual_seed(derive_seed(self.seed, "corruption", self.current_epoch, *rank))
        return self._noise

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_noise": None}

    def must_check(self) -> bool:
        """Return whether a batch's values are to be checked.

        On a GPU a check waits for the device, so training batches are checked in the first epoch only.
        """
        if not self.training or self._trainer is None or self.device.type == "cpu":
            return True
        if self._first_epoch is None or self._first_epoch[0] != id(self._trainer):
            self._first_epoch = (id(self._trainer), self.current_epoch)
        return self.current_epoch == self._first_epoch[1]

    def check_finite(self, what: str, values: Tensor, hint: str) -> tuple[float, float]:
        """Return the least and greatest of ``values``.

        Raises:
            DataError: one of them is NaN or infinite.
        """
        low, high = (float(value) for value in values.aminmax())
        if not math.isfinite(low) or not math.isfinite(high):
            raise DataError(f"{type(self).__name__}: the batch has {what} that are NaN or infinite; {hint}")
        return low, high

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

    def log_mean(self, name: str, value: Tensor, count: Any, *, prog_bar: bool = True) -> None:
        """Log the mean over an epoch of a value that is the mean over ``count`` examples, or over such a weight."""
        results: Any = None if self._trainer is None else self.trainer._results
        key = f"{self._current_fx_name}.{name}"
        if self.training and results is not None and key in results and not results[key].has_reset:
            # What log does once it has compared everything else with the minibatch before.
            results.update_metrics(key, value, count)
            return
        self.log(name, value, on_step=False, on_epoch=True, batch_size=count, prog_bar=prog_bar, sync_dist=True)

    def has_metrics(self) -> bool:
        """Return whether the user gave metrics."""
        return self._metrics[0] is not None

    def log_metrics(self, part: str, loader: int, *arguments: Tensor) -> None:
        """Update the user's metrics of ``part``, valid or test, with a batch of a loader; log them for the epoch."""
        if self._metrics[0] is None:
            return
        key = f"{part}_{loader}"
        if key not in self.metrics:
            # Each loader has a copy of its own: Lightning resets metrics only after the last loader.
            self.metrics[key] = self._metrics[0].clone(prefix=f"{part}_").to(self.device)
            # Lightning looks up once which metrics there are.
            self._metric_attributes = None
        metrics = self.metrics[key]
        metrics.update(*arguments)  # type: ignore[operator]
        self.log_dict(metrics, on_step=False, on_epoch=True)  # type: ignore[arg-type]
