"""The closed-form step inside a task: taken only where nothing can tell it from autograd's.

Each minibatch stays one batch of Lightning's, so its counters, limits, schedules and callbacks see what they always
see. Only the update itself goes another way: without a graph, and for plain SGD straight into the weights.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning import Callback, callbacks
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from stacked_dae.errors import ConfigError
from stacked_dae.nn.updates import ParameterUpdater

Fast = Literal["auto", False]
_log = logging.getLogger(__name__)

# Hooks that are called between the loss and the update, of a callback or of a subclass.
_IN_BETWEEN = frozenset(
    "on_before_backward on_after_backward on_before_optimizer_step on_before_zero_grad backward optimizer_step"
    " optimizer_zero_grad configure_gradient_clipping clip_gradients".split()
)
# Hooks of a single batch, in which a callback may look at gradients or change what trains.
_BY_BATCH = frozenset(("on_train_batch_start", "on_train_batch_end"))
# Callbacks of Lightning's that have such hooks and only look at rates, losses, times or finished weights.
_OBSERVERS = (
    callbacks.ProgressBar,
    callbacks.LearningRateMonitor,
    callbacks.ModelCheckpoint,
    callbacks.DeviceStatsMonitor,
    callbacks.Timer,
)
# Callbacks of Lightning's that change how the training goes, in whatever hooks.
_CHANGE = (
    callbacks.BaseFinetuning,
    callbacks.GradientAccumulationScheduler,
    callbacks.StochasticWeightAveraging,
    callbacks.WeightAveraging,
    callbacks.ModelPruning,
)
# What a subclass may override without a change to the update.
_FREE = frozenset(
    "validation_step test_step predict_step predicted log_error configure_optimizers configure_callbacks"
    " lr_scheduler_step train_dataloader val_dataloader test_dataloader predict_dataloader prepare_data setup teardown"
    " state_dict load_state_dict example_input_array log_mean log_metrics".split()
)


def reasons(task: ClosedFormTask) -> Iterator[str]:
    """Yield in words each reason why the closed-form step is not taken; those of the Trainer once there is one."""
    if not task.fast:
        yield "fast is False"
    module = task.closed_form()
    if isinstance(module, str):
        yield module
    yield from _overrides(task)
    if not task.automatic_optimization:
        yield "the optimisation is manual"
    if isinstance(module, nn.Module):
        yield from _watched(module, task)
    if task._trainer is not None:
        yield from _of_trainer(task)


def _overrides(task: ClosedFormTask) -> Iterator[str]:
    """Yield what subclasses, or the object itself, have in place of this package's methods."""
    kinds = type(task).__mro__
    ours = next(i for i, kind in enumerate(kinds) if kind.__module__.startswith("stacked_dae."))
    known = {name for kind in kinds[ours:] for name in vars(kind) if not name.startswith("__")}
    for kind in kinds[:ours]:
        for name in sorted(known.intersection(vars(kind)) - _FREE):
            if name in _IN_BETWEEN or not name.startswith(("on_", "_abc")):
                yield f"{kind.__name__} overrides {name}"
    for name in sorted(known.intersection(vars(task))):
        if callable(vars(task)[name]) and name not in _FREE:
            yield f"its {name} was replaced"


def _watched(module: nn.Module, task: ClosedFormTask) -> Iterator[str]:
    """Yield what would notice that autograd is not used, or train something else."""
    for name, part in [("the task", task), *((name or "its layer", part) for name, part in module.named_modules())]:
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks:
            yield f"{name} has a hook"
        if part is not task and any(callable(vars(part)[name]) for name in vars(part) if hasattr(type(part), name)):
            yield f"a method of {name} was replaced"
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            yield f"{name} does not train"
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            yield f"{name} has a gradient hook"


def _of_trainer(task: ClosedFormTask) -> Iterator[str]:
    trainer: Any = task.trainer
    if trainer.accumulate_grad_batches != 1:
        yield "gradients are accumulated"
    if trainer.gradient_clip_val is not None:
        yield "gradients are clipped"
    if trainer.precision not in ("32-true", "64-true"):
        yield f"the precision is {trainer.precision}"
    if type(trainer.strategy) is not SingleDeviceStrategy or trainer.world_size > 1:
        yield f"the strategy is {type(trainer.strategy).__name__}"
    if trainer._detect_anomaly:
        yield "anomalies are detected in autograd"
    if getattr(task, "_compiler_ctx", None) is not None:
        yield "the task is compiled"
    for callback in trainer.callbacks:
        yield from _of_callback(callback)
    if trainer.strategy.optimizers:
        yield from _of_optimizers(task, trainer.strategy.optimizers)


def _of_callback(callback: Callback) -> Iterator[str]:
    name = type(callback).__name__
    if isinstance(callback, _CHANGE):
        yield f"{name} changes the training"
        return
    hooks = _overridden(callback)
    if _IN_BETWEEN & hooks:
        yield f"{name} has {sorted(_IN_BETWEEN & hooks)[0]}"
    elif _BY_BATCH & hooks and not isinstance(callback, _OBSERVERS):
        yield f"{name} has {sorted(_BY_BATCH & hooks)[0]}"


def _overridden(callback: Callback) -> frozenset[str]:
    hooks = _IN_BETWEEN | _BY_BATCH
    return frozenset(
        name
        for name in hooks
        if hasattr(Callback, name)
        and (getattr(type(callback), name) is not getattr(Callback, name) or name in vars(callback))
    )


def _of_optimizers(task: ClosedFormTask, optimizers: list[Optimizer]) -> Iterator[str]:
    if len(optimizers) > 1:
        yield "there are several optimisers"
        return
    (optimizer,) = optimizers
    kind = type(optimizer)
    if not kind.__module__.startswith("torch.optim") or kind is LBFGS:
        yield f"{kind.__name__} is none of torch's optimisers of one step"
        return
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks or "step" in _own(optimizer):
        yield "the optimiser has a hook"
    module = task.closed_form()
    if isinstance(module, nn.Module):
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if trained != {id(p) for p in module.parameters()}:
            yield "the optimiser has other parameters than the layers"


def _own(optimizer: Optimizer) -> Iterable[str]:
    """Return the attributes that replace a method of the optimiser; a scheduler's own wrapper is none."""
    step = vars(optimizer).get("step")
    return () if step is None or hasattr(step, "_wrapped_by_lr_sched") else ("step",)


class ClosedForm:
    """Makes the updates of one training in closed form.

    Args:
        task: the task, under its Trainer, at the start of the training: a resumed optimiser has its state by then.
        module: what the task's :meth:`ClosedFormTask.closed_form` returned.
    """

    def __init__(self, task: ClosedFormTask, module: nn.Module) -> None:
        (self._optimizer,) = task.trainer.strategy.optimizers
        self.updater = ParameterUpdater(self._optimizer)
        self._task, self.module = task, module
        self._progress = task.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer

    def applies(self) -> bool:
        """Return whether a callback has left everything as it was since the training began."""
        return self._task.trainer.strategy.optimizers == [self._optimizer] and not any(
            _watched(self.module, self._task)
        )

    def finish(self, loss: Tensor) -> Tensor:
        """Count an update where Lightning counts autograd's, and return its loss."""
        step, zero_grad = self._progress.step, self._progress.zero_grad
        step.increment_ready()
        step.increment_completed()
        zero_grad.increment_ready()
        zero_grad.increment_started()
        zero_grad.increment_completed()
        # Of an update in place torch would say that the schedule came before it.
        self._optimizer._opt_called = True  # type: ignore[attr-defined]
        return loss


class ClosedFormTask(pl.LightningModule):
    """A LightningModule that updates in closed form where nothing can tell that from automatic optimisation.

    Both give the same weights but for rounding; the closed form takes less time.

    Args:
        fast: auto, or False for autograd always.

    Raises:
        ConfigError: another value.
    """

    def __init__(self, fast: Fast) -> None:
        super().__init__()
        if fast not in ("auto", False):
            raise ConfigError(f"fast must be auto or False, not {fast!r}")
        self.fast = fast
        self._route: ClosedForm | None = None

    def closed_form(self) -> nn.Module | str:
        """Return the module whose ``step`` makes an update of this task in closed form, or why there is none."""
        return "its loss has no closed form"

    @property
    def fast_reasons(self) -> list[str]:
        """Why updates are made by autograd and not in closed form, in words; empty where they are in closed form.

        Reasons that lie with the Trainer are among them once it trains the task.
        """
        return list(dict.fromkeys(reasons(self)))

    def on_train_start(self) -> None:
        self._route = self._closed_form()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self._route is not None and not self._route.applies():
            # A callback has frozen a layer, hung a hook on it or changed the optimiser: autograd trains from here on.
            self._route = self._closed_form()
        # Lightning runs the next training_step as manual optimisation; that step turns it back at once, so whatever
        # else asks finds automatic optimisation.
        if self._route is not None:
            self.automatic_optimization = False

    def takes_fast_route(self) -> bool:
        """Return whether the training step that has just begun makes its update in closed form."""
        taken = self._route is not None and not self.automatic_optimization
        if taken:
            self.automatic_optimization = True
        return taken

    def on_validation_model_zero_grad(self) -> None:
        # The closed-form step keeps the memory of its gradients.
        if self._route is None:
            super().on_validation_model_zero_grad()

    def __getstate__(self) -> dict[str, Any]:
        # A copy, such as an average of the weights, is no part of this training.
        return {**super().__getstate__(), "_route": None}

    def teardown(self, stage: str) -> None:
        if self._route is not None:
            self._route, self.automatic_optimization = None, True

    def _closed_form(self) -> ClosedForm | None:
        """Return the closed form of a training that begins; None, and a line in the log, where autograd trains."""
        found = self.fast_reasons
        if found:
            _log.info("%s trains by autograd, not in closed form: %s", type(self).__name__, "; ".join(found))
            return None
        module = self.closed_form()
        assert isinstance(module, nn.Module)
        return ClosedForm(self, module)
