"""Fine-tuning of stacked encoders as a LightningModule."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from stacked_dae.errors import ConfigError, DataError
from stacked_dae.inference.loading import load_network
from stacked_dae.lightning.batches import inputs_of, labelled
from stacked_dae.lightning.tasks.base import Interval, MetricsLike, OptimizerLike, SchedulerLike, Task
from stacked_dae.lightning.tasks.closed_form import ClosedForm, Fast
from stacked_dae.lightning.tasks.encoders import EncoderLike, encoders_of
from stacked_dae.nn.stack import Encoder, EncoderStack, LinearHead
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.seeding import derive_seed


class FinetuneTask(Task):
    """Stacked encoders under a softmax classifier, trained with labels (ICML 2008, section 2.4).

    Calling it returns logits, (B, num_classes). Logs ``train_loss``, ``valid_loss``, ``valid_error_percent`` and the
    same for ``test``; ``predict`` returns probabilities. It keeps the last weights: stopping early and keeping the
    best are EarlyStopping's and ModelCheckpoint's.

    Args:
        encoders: lowest first: trained PretrainTasks, modules of any kind, or (inputs, units, activation) for a dense
            encoder that was never pre-trained. Their weights are copied, so pre-training stays as it was.
        num_classes: number of classes, at least 2; labels are 0 to num_classes − 1.
        head: the module on top, codes → (B, num_classes); None for a linear one that starts at 0.
        dropout: share, in [0, 1), of each encoder's codes that training sets to 0.
        freeze: train the head only.
        class_weight: weight of each class in the loss.
        metrics: torchmetrics of the logits and the labels.
        optimizer, lr, optimizer_options, lr_scheduler, scheduler_options, lr_interval, seed, fast: as for
            :class:`~stacked_dae.lightning.tasks.base.Task`.

    Raises:
        ConfigError: arguments are missing, unknown or out of range, or the encoders' widths do not meet.
    """

    def __init__(
        self,
        encoders: nn.Module | Sequence[EncoderLike],
        num_classes: int,
        *,
        head: nn.Module | None = None,
        dropout: float = 0.0,
        freeze: bool = False,
        class_weight: Sequence[float] | Tensor | None = None,
        optimizer: OptimizerLike = "sgd",
        lr: float = 0.1,
        optimizer_options: Mapping[str, Any] | None = None,
        lr_scheduler: SchedulerLike | None = None,
        scheduler_options: Mapping[str, Any] | None = None,
        lr_interval: Interval = "epoch",
        metrics: MetricsLike | None = None,
        seed: int | None = None,
        fast: Fast = "auto",
    ) -> None:
        self._check(num_classes)
        weights = None if class_weight is None else [float(value) for value in class_weight]
        if weights is not None and not (len(weights) == num_classes and min(weights) >= 0.0 and max(weights) > 0.0):
            raise ConfigError(
                f"class_weight must have {num_classes} numbers of at least 0, one per class, not {weights}"
            )
        # Lightning compares the arguments with the hyperparameters, and an array has no truth value.
        class_weight = weights
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout must be at least 0 and below 1, not {dropout!r}")
        super().__init__(
            optimizer=optimizer,
            lr=lr,
            optimizer_options=optimizer_options,
            lr_scheduler=lr_scheduler,
            scheduler_options=scheduler_options,
            lr_interval=lr_interval,
            metrics=metrics,
            seed=seed,
            fast=fast,
        )
        generator = None if seed is None else torch.Generator().manual_seed(derive_seed(seed, "weights"))
        parts = list(encoders) if isinstance(encoders, (list, tuple, nn.ModuleList)) else [encoders]
        modules = [module for part in parts for module in encoders_of(part, generator)]
        if not modules:
            raise ConfigError("encoders is empty; give at least one")
        dense = [module for module in modules if isinstance(module, Encoder)]
        for below, above in itertools.pairwise(dense):
            if len(dense) == len(modules) and above.weight.shape[1] != len(below.bias):
                raise ConfigError(
                    f"encoders: one returns {len(below.bias)} codes, but the next takes {above.weight.shape[1]} inputs"
                )
        self.encoders = nn.ModuleList(modules)
        if freeze:
            self.encoders.requires_grad_(False)
        if head is None:
            if not isinstance(modules[-1], Encoder):
                raise ConfigError(
                    "head must be given when the last encoder is not a dense layer of this package, such as"
                    f" nn.Sequential(nn.Flatten(), nn.Linear(CODES, {num_classes}))"
                )
            head = LinearHead(len(modules[-1].bias), num_classes)
        own_head = not isinstance(head, LinearHead)
        self.head = head
        self.num_outputs, self.dropout, self.freeze_encoders = num_classes, dropout, freeze
        self.register_buffer("class_weight", None if weights is None else torch.tensor(weights), persistent=False)
        if isinstance(modules[0], Encoder):
            self.example_input_array = torch.zeros(2, modules[0].weight.shape[1])
        shapes = [(m.weight.shape[1], len(m.bias), m.activation, m.missing) for m in dense]
        arguments: dict[str, Any] = {
            "encoders": shapes, self._size: num_classes, "dropout": dropout, "freeze": freeze, "class_weight": weights,
            "optimizer": optimizer, "lr": lr,
            "optimizer_options": None if optimizer_options is None else dict(optimizer_options),
            "lr_scheduler": lr_scheduler,
            "scheduler_options": None if scheduler_options is None else dict(scheduler_options),
            "lr_interval": lr_interval, "seed": seed, "fast": fast,
        }  # fmt: skip
        if len(dense) < len(modules):
            del arguments["encoders"]
        if weights is None:
            del arguments["class_weight"]
        self.keep_arguments(arguments, modules=["head"] if own_head else [])

    class_weight: Tensor | None
    _size, _regression = "num_classes", False

    @classmethod
    def from_run(cls, run: str | Path, **arguments: Any) -> FinetuneTask:
        """Return a task on the encoders of a run folder, to be trained further; of a fine-tuned run, on its head too.

        Args:
            run: the folder of a pretrain, finetune or fit command; the encoders are those that ``encode`` uses.
            **arguments: as for the class. ``num_classes`` may be left out where the run was fine-tuned; a ``head``, or
                another ``num_classes``, takes the place of the run's head.

        Raises:
            StageError: it is not a run folder, or its files have changed.
            ConfigError: as for the class.
        """
        stack = load_network(RunFolder.open(Path(run)))
        outputs = stack.outputs
        # A mixed classifier knows the classes, but has no one head.
        regression = isinstance(stack, EncoderStack) and stack.regression
        continues = outputs > 0 and regression == cls._regression
        if not continues and cls._size not in arguments:
            raise ConfigError(f"{run} was not fine-tuned for this task, so {cls._size} must be given")
        same = continues and arguments.setdefault(cls._size, outputs) == outputs
        if same and isinstance(stack, EncoderStack) and arguments.get("head") is None:
            arguments["head"] = copy.deepcopy(stack.head).requires_grad_(True)
        return cls(stack, **arguments)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: (B, d) → (B, num_classes)."""
        y = self.as_floats(x)
        if self.freeze_encoders:
            # Frozen layers of the user's may have statistics of their own.
            self.encoders.eval()
        if isinstance(self.encoders[0], Encoder):
            y = y.flatten(1)
        for k, encoder in enumerate(self.encoders):
            self._fits(k, y)
            y = encoder(y)
            if self.dropout and self.training:
                y = y * self.dropout_mask(k, y, y.shape)
        outputs: Tensor = self.head(y)
        return outputs

    def _fits(self, k: int, y: Tensor) -> None:
        """Raise DataError unless encoder ``k`` takes ``y``, as far as its width is known."""
        encoder = self.encoders[k]
        if isinstance(encoder, Encoder) and (y.ndim != 2 or y.shape[1] != encoder.weight.shape[1]):
            raise DataError(
                f"{type(self).__name__}: encoder {k + 1} takes {encoder.weight.shape[1]} inputs per example, but was"
                f" given the shape {tuple(y.shape)}"
            )

    def dropout_mask(self, k: int, like: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Return what the codes of encoder ``k`` (from 0) are multiplied by in training: 0, or 1 / (1 − dropout)."""
        kept = 1.0 - self.dropout
        return (
            torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(kept, generator=self.noise()).div_(kept)
        )

    def closed_form(self) -> nn.Module | str:
        if any(type(encoder) is not Encoder for encoder in self.encoders) or type(self.head) is not LinearHead:
            return "its encoders and head are not all dense ones of this package"
        if self.class_weight is not None:
            return "the loss is weighted by class"
        encoders = cast(list[Encoder], list(self.encoders))
        sizes = [encoders[0].weight.shape[1], *(len(encoder.bias) for encoder in encoders)]
        # The stack is another view of the same encoders and head.
        stack = EncoderStack(
            sizes,
            [encoder.activation for encoder in encoders],
            self.num_outputs,
            missing=encoders[0].missing,
            regression=self._regression,
        )
        stack.encoders, stack.head = self.encoders, self.head
        return stack

    def _fast_step(self, batch: Any, route: ClosedForm) -> tuple[Tensor, Tensor]:
        """Make an update in closed form; return its mean loss before it, (), and the labels."""
        stack = route.module
        assert isinstance(stack, EncoderStack)
        x, y = labelled(batch)
        x = self.as_floats(self._known(x)).flatten(1)
        self._fits(0, x)
        y = self._right(y, (len(x), self.num_outputs), x.dtype)
        widths = stack.widths if self.dropout else []
        masks = [self.dropout_mask(k, x, (len(x), width)) for k, width in enumerate(widths)]
        return route.finish(stack.step(x, y, route.updater, masks) / len(x)), y

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.takes_fast_route() and self._route is not None:
            loss, y = self._fast_step(batch, self._route)
        else:
            outputs, y = self._answered(batch)
            loss = self.loss(outputs, y)
        self.log_mean("train_loss", loss.detach(), self._weight_of(y))
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("valid", batch, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("test", batch, dataloader_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        return self.predicted(self(self._known(inputs_of(batch))))

    def _evaluate(self, part: str, batch: Any, loader: int) -> None:
        outputs, y = self._answered(batch)
        self.log_mean(f"{part}_loss", self.loss(outputs, y), self._weight_of(y))
        self.log_error(part, outputs, y)
        self.log_metrics(part, loader, outputs, y)

    def _answered(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the outputs and the labels of a batch, checked."""
        x, y = labelled(batch)
        return self._checked(self(self._known(x)), y)

    def _known(self, x: Tensor) -> Tensor:
        """Return inputs, checked to be finite where the first encoder does not know missing values."""
        first = self.encoders[0]
        if self.must_check() and x.is_floating_point() and not (isinstance(first, Encoder) and first.missing):
            self.check_finite("inputs", x, "train the first layer with missing=True, or fill them")
        return x

    def _weight_of(self, y: Tensor) -> Any:
        """Return the weight of a batch's mean loss in that of an epoch."""
        return len(y) if self.class_weight is None else float(self.class_weight[y].sum())

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean of −log softmax(logits)[label], weighted by class: ()."""
        if self.class_weight is None:
            return functional.cross_entropy(outputs, y)
        losses = functional.cross_entropy(outputs, y, weight=self.class_weight, reduction="none")
        # As torch's weighted mean, but for a batch of weight 0.
        return losses.sum() / self.class_weight[y].sum().clamp_min(torch.finfo(losses.dtype).tiny)

    def predicted(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of the classes, (B, num_classes)."""
        return outputs.softmax(1)

    def log_error(self, part: str, outputs: Tensor, y: Tensor) -> None:
        """Log the percentage of wrong predictions."""
        error = 100.0 * (outputs.argmax(1) != y).to(torch.float32).mean()
        self.log_mean(f"{part}_error_percent", error, len(y))

    def _checked(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs and the labels."""
        return outputs, self._right(y, tuple(outputs.shape), outputs.dtype)

    def _right(self, y: Tensor, outputs: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return the labels, int64, checked against the shape of the outputs."""
        if outputs != (len(y), self.num_outputs):
            raise ConfigError(
                f"head: it must return ({len(y)}, {self.num_outputs}) for this batch, but returned {outputs}"
            )
        if y.ndim != 1 or y.is_floating_point():
            raise DataError(f"labels must be whole numbers of shape (B,), not {y.dtype} of shape {tuple(y.shape)}")
        if self.must_check() and len(y):
            low, high = (int(value) for value in y.aminmax())
            if low < 0 or high >= self.num_outputs:
                hint = "; leave out the rows without a label" if low == -1 else ""
                raise DataError(
                    f"labels must be 0 to {self.num_outputs - 1} (num_classes={self.num_outputs}), but this batch has"
                    f" {low} to {high}{hint}"
                )
        return y.long()

    @staticmethod
    def _check(outputs: int) -> None:
        if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 2:
            raise ConfigError(f"num_classes must be a whole number of at least 2, not {outputs!r}")


class RegressionTask(FinetuneTask):
    """Stacked encoders under a linear regression, trained with targets.

    As :class:`FinetuneTask`, with these differences: labels are numbers, (B,) or (B, ``num_outputs``); the loss is the
    squared error summed over the outputs; no error is logged; ``predict`` returns the outputs.
    """

    _size, _regression = "num_outputs", True

    def __init__(self, encoders: nn.Module | Sequence[EncoderLike], num_outputs: int = 1, **arguments: Any) -> None:
        if "class_weight" in arguments:
            raise ConfigError("class_weight applies only to FinetuneTask")
        super().__init__(encoders, num_outputs, **arguments)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the examples of Σ (outputs − targets)²: ()."""
        return (outputs - y).square().sum(1).mean()

    def predicted(self, outputs: Tensor) -> Tensor:
        """Return the outputs, (B, num_outputs)."""
        return outputs

    def log_error(self, part: str, outputs: Tensor, y: Tensor) -> None:
        """Log nothing: the loss is the squared error."""

    def _right(self, y: Tensor, outputs: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        y = y.to(dtype)
        y = y[:, None] if y.ndim == 1 else y
        if tuple(y.shape) != outputs:
            raise DataError(
                f"targets must have the shape (B, {self.num_outputs}), but this batch has {tuple(y.shape)} for outputs"
                f" of shape {outputs}"
            )
        if self.must_check():
            self.check_finite("targets", y, "leave out such rows")
        return y

    @staticmethod
    def _check(outputs: int) -> None:
        if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1:
            raise ConfigError(f"num_outputs must be a whole number of at least 1, not {outputs!r}")
