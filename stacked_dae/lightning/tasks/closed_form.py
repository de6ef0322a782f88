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
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from stacked_dae.errors import ConfigError
from stacked_dae.nn.updates import ParameterUpdater, is_plain_sgd

Fast = Literal["auto", False]
_log = logging.getLogger(__name__)

# Hooks that are called between the loss and the update, of a callback or of a subclass.
_IN_BETWEEN = frozenset(
    "on_before_backward on_after_backward on_before_optimizer_step on_before_zero_grad backward optimizer_step"
    " optimizer_zero_grad configure_gradient_clipping clip_gradients".split()
)
# Hooks of a single batch, in which somebody may look at gradients or change what trains.
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
    " train_dataloader val_dataloader test_dataloader predict_dataloader prepare_data setup teardown"
    " state_dict load_state_dict example_input_array log_mean log_metrics".split()
)
# Where the methods come from that the closed form knows.
_KNOWN = ("stacked_dae.", "pytorch_lightning.", "lightning_fabric.", "torch.", "builtins")


def reasons(task: ClosedFormTask, module: nn.Module | str) -> Iterator[str]:
    """Yield in words each reason why the closed-form step is not taken; those of the Trainer once there is one.

    ``module`` is what the task's :meth:`ClosedFormTask.closed_form` returned.
    """
    if not task.fast:
        yield "fast is False"
    if isinstance(module, str):
        yield module
    yield from _overrides(task)
    if not task.automatic_optimization:
        yield "the optimisation is manual"
    if isinstance(module, nn.Module):
        yield from _watched(module, task)
    if task._trainer is not None:
        yield from _of_trainer(task, module)


def _overrides(task: ClosedFormTask) -> Iterator[str]:
    """Yield what subclasses, mixins or the object itself have in place of the methods that are known."""
    kinds = type(task).__mro__
    known = {name for kind in kinds if _is_known(kind) for name in vars(kind) if not name.startswith("__")}
    for kind in kinds:
        if _is_known(kind):
            continue
        for name in sorted(known.intersection(vars(kind)) - _FREE):
            # Of a name that several classes have, the first one counts.
            first = next(other for other in kinds if name in vars(other))
            if first is kind and (name in _IN_BETWEEN | _BY_BATCH or not name.startswith(("on_", "_abc"))):
                yield f"{kind.__name__} overrides {name}"
    for name in sorted(known.intersection(vars(task))):
        if callable(vars(task)[name]) and name not in _FREE:
            yield f"its {name} was replaced"


def _is_known(kind: type) -> bool:
    return f"{kind.__module__}.".startswith(_KNOWN)


def _watched(module: nn.Module, task: ClosedFormTask) -> Iterator[str]:
    """Yield what would notice that autograd is not used, or train something else."""
    for name, part in [("the task", task), *((name or "its layer", part) for name, part in module.named_modules())]:
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks:
            yield f"{name} has a hook"
        if part is not task and any(callable(vars(part)[name]) for name in vars(part) if hasattr(type(part), name)):
            yield f"a method of {name} was replaced"
    parameters = list(module.named_parameters(remove_duplicate=False))
    for name, parameter in parameters:
        if not parameter.requires_grad:
            yield f"{name} does not train"
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            yield f"{name} has a gradient hook"
    if len({id(parameter) for _, parameter in parameters}) < len(parameters):
        yield "layers share weights"
    hooks = nn.modules.module
    if hooks._global_forward_hooks or hooks._global_forward_pre_hooks or hooks._global_backward_hooks:
        yield "all modules have a hook"


def _of_trainer(task: ClosedFormTask, module: nn.Module | str) -> Iterator[str]:
    trainer: Any = task.trainer
    if trainer.accumulate_grad_batches != 1:
        yield "gradients are accumulated"
    if trainer.gradient_clip_val is not None:
        yield "gradients are clipped"
    if trainer.precision not in task.closed_precisions:
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
        yield from _of_optimizers(module, trainer.strategy.optimizers)


def _of_callback(callback: Callback) -> Iterator[str]:
    name = type(callback).__name__
    if isinstance(callback, _CHANGE):
        yield f"{name} changes the training"
        return
    for hook in sorted((_IN_BETWEEN | _BY_BATCH) & vars(Callback).keys()):
        owner = next(kind for kind in type(callback).__mro__ if hook in vars(kind))
        if hook in vars(callback) or not (owner is Callback or (hook in _BY_BATCH and _observes(owner))):
            yield f"{name} has {hook}"


def _observes(kind: type) -> bool:
    """Return whether a class is one of Lightning's that only look on; a subclass of one is not."""
    return kind.__module__.startswith("pytorch_lightning.") and issubclass(kind, _OBSERVERS)


def _of_optimizers(module: nn.Module | str, optimizers: list[Optimizer]) -> Iterator[str]:
    if len(optimizers) > 1:
        yield "there are several optimisers"
        return
    (optimizer,) = optimizers
    kind = type(optimizer)
    if not kind.__module__.startswith("torch.optim") or kind is LBFGS:
        yield f"{kind.__name__} is none of torch's optimisers of one step"
        return
    of_all = _global_optimizer_pre_hooks or _global_optimizer_post_hooks
    of_this = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    if of_all or of_this or "step" in _own(optimizer):
        yield "the optimiser has a hook"
    if isinstance(module, nn.Module):
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if trained != {id(p) for p in module.parameters()}:
            yield "the optimiser has other parameters than the layers"


def _own(optimizer: Optimizer) -> Iterable[str]:
    """Return the attributes that replace a method of the optimiser; a scheduler's own wrapper is none."""
    step = vars(optimizer).get("step")
    return () if step is None or hasattr(step, "_wrapped_by_lr_sched") else ("step",)


class ClosedForm:
    """Makes updates in closed form, from one check of everything to the next.

    Args:
        task: the task, under its Trainer, in a training: a resumed optimiser has its state by then.
        module: what the task's :meth:`ClosedFormTask.closed_form` returned.
    """

    def __init__(self, task: ClosedFormTask, module: nn.Module) -> None:
        (self._optimizer,) = task.trainer.strategy.optimizers
        self.updater = ParameterUpdater(self._optimizer)
        self._task, self.module = task, module
        self._progress = task.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer
        self._groups = list(self._optimizer.param_groups)
        self._parameters = list(module.parameters())

    def applies(self) -> bool:
        """Return whether everything is as it was when this was made."""
        optimizer, groups = self._optimizer, self._optimizer.param_groups
        return (
            self._task.trainer.strategy.optimizers == [optimizer]
            and len(groups) == len(self._groups)
            and all(a is b for a, b in zip(groups, self._groups, strict=True))
            and is_plain_sgd(optimizer) == self.updater.in_place
            # Somebody may have set the gradients to None.
            and (self.updater.in_place or all(parameter.grad is not None for parameter in self._parameters))
            and not any(_watched(self.module, self._task))
        )

    def prepare(self) -> None:
        """Get ready for a minibatch; after an epoch's last one the gradients can be looked at, as autograd's can."""
        self.updater.keeps_gradients = self._task.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch

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
        self._checked_at: tuple[int, int, int] | None = None
        self._said: list[str] | None = None

    closed_precisions: tuple[str, ...] = ("32-true", "64-true")
    """The precisions in which the closed form is used."""

    def closed_form(self) -> nn.Module | str:
        """Return the module whose ``step`` makes an update of this task in closed form, or why there is none."""
        return "its loss has no closed form"

    @property
    def fast_reasons(self) -> list[str]:
        """Why updates are made by autograd and not in closed form, in words; empty where they are in closed form.

        Reasons that lie with the Trainer are among them once it trains the task.
        """
        return self._reasons(self.closed_form())

    def _reasons(self, module: nn.Module | str) -> list[str]:
        return list(dict.fromkeys(reasons(self, module)))

    def on_train_start(self) -> None:
        self._checked_at = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        loop = self.trainer.fit_loop.epoch_loop
        # Between epochs, and in a validation, anything may have changed. Within an epoch little can: who looks at
        # single batches is a reason for autograd.
        now = (id(self._trainer), self.current_epoch, loop.val_loop.batch_progress.total.ready)
        if now != self._checked_at or (self._route is not None and not self._route.applies()):
            self._checked_at, self._route = now, self._closed_form()
        # Lightning runs the next training_step as manual optimisation; that step turns it back at once, so whatever
        # else asks finds automatic optimisation.
        if self._route is not None:
            self._route.prepare()
            self.automatic_optimization = False

    def takes_fast_route(self) -> bool:
        """Return whether the training step that has just begun makes its update in closed form."""
        taken = self._route is not None and not self.automatic_optimization
        if taken:
            self.automatic_optimization = True
        return taken

    def __getstate__(self) -> dict[str, Any]:
        # A copy, such as an average of the weights, is no part of this training.
        return {**super().__getstate__(), "_route": None}

    def teardown(self, stage: str) -> None:
        if self._route is not None:
            self._route, self.automatic_optimization = None, True

    def _closed_form(self) -> ClosedForm | None:
        """Return the closed form that is used from now on; None, and a line in the log, where autograd trains."""
        module = self.closed_form()
        found = self._reasons(module)
        if found != self._said and (found or self._said):
            how = "by autograd, not in closed form: " + "; ".join(found) if found else "in closed form again"
            _log.info("%s trains %s", type(self).__name__, how)
        self._said = found
        if found:
            return None
        assert isinstance(module, nn.Module)
        return ClosedForm(self, module)
