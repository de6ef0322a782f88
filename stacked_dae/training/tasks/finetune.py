"""Fine-tuning of the stacked encoders under a softmax head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from stacked_dae.config.schema import Monitor
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.training.checkpoints import same_shapes
from stacked_dae.training.tasks.averaging import WeightAverage
from stacked_dae.training.tasks.base import ChunkedTask
from stacked_dae.utils.type_hints import matches_type


class ChunkedFinetuneTask(ChunkedTask):
    """Trains an :class:`~stacked_dae.nn.stack.EncoderStack` with labels and keeps the weights of the best epoch.

    ``dropout`` is the share, in [0, 1), of each layer's codes that a training minibatch does without. With an
    ``average``, in (0, 1), the stack that is validated and kept has the moving average of the weights.

    The best epoch is the first that ``monitor`` puts before all others; training stops after ``patience`` further
    epochs without a better one. ``best_score`` is the validation error of that epoch. Logs, each epoch,
    ``train_loss``, ``valid_loss`` and ``valid_error_percent``.
    """

    def __init__(
        self,
        stack: EncoderStack,
        stage: str,
        seed: int,
        optimizer: Callable[[list[Tensor]], Optimizer],
        patience: int,
        *,
        dropout: float = 0.0,
        monitor: Monitor = "error",
        decay: float = 0.0,
        average: float = 0.0,
    ) -> None:
        super().__init__(stage, seed, optimizer, decay)
        self.averaged = WeightAverage(stack, average) if average else None
        self.stack = stack
        self.patience = patience
        self.dropout = dropout
        self.monitor = monitor
        self.best_epoch = 0
        self.best_score = self.best_loss = float("inf")
        self.best_weights: dict[str, Tensor] = {}

    valid_sums: tuple[int, ...] = (2,)

    @property
    def evaluated(self) -> EncoderStack:
        """The stack that is validated and kept: that of the average, if there is one."""
        return self.stack if self.averaged is None else self.averaged.stack

    def new_optimizer(self) -> Optimizer:
        return self._make_optimizer(list(self.stack.parameters()))

    def after_update(self) -> None:
        """Take the weights into the average, if there is one."""
        if self.averaged is not None:
            self.averaged.update(self.stack)

    def prepare(self, x: Tensor, labels: Tensor | None, noise: torch.Generator) -> tuple[Tensor, ...]:
        assert labels is not None
        kept = 1.0 - self.dropout
        widths = self.stack.widths if self.dropout else ()
        masks = (x.new_empty(len(x), width).bernoulli_(kept, generator=noise).div_(kept) for width in widths)
        return x, labels, *masks

    def minibatch(self, *rows: Tensor) -> Tensor:
        x, labels, *masks = rows
        loss = self.stack.step(x, labels, self._descent, masks)
        self.after_update()
        return loss

    def evaluate(self, x: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        logits = self.evaluated(x)
        self.measure(logits, labels)
        wrong = (logits.argmax(1) != labels).sum()
        return torch.stack([functional.cross_entropy(logits, labels, reduction="sum"), wrong])

    def valid_metrics(self, sums: Tensor, count: int) -> dict[str, float]:
        loss, wrong = sums.tolist()
        error_percent = 100.0 * wrong / count
        self._keep_if_best(error_percent, loss / count)
        return {"valid_loss": loss / count, "valid_error_percent": error_percent}

    def _keep_if_best(self, score: float, loss: float) -> None:
        if self._key(score, loss) < self._key(self.best_score, self.best_loss):
            self.best_score, self.best_loss, self.best_epoch = score, loss, self.current_epoch + 1
            self.best_weights = {name: value.detach().clone() for name, value in self.evaluated.state_dict().items()}

    def _key(self, score: float, loss: float) -> tuple[float, ...]:
        """Return what the monitor orders epochs by, the best first."""
        return {"error": (score,), "error_then_loss": (score, loss), "loss": (loss,)}[self.monitor]

    def on_train_start(self) -> None:
        super().on_train_start()
        # A stage that was killed after its last epoch has nothing left to do when it is resumed.
        self.end_if_done(self.current_epoch)

    def on_train_epoch_end(self) -> None:
        self.end_if_done(self.current_epoch + 1)

    def end_if_done(self, epochs_done: int) -> None:
        if epochs_done - self.best_epoch >= self.patience:
            self.trainer.should_stop = True

    def accepts(self, checkpoint: Mapping[str, Any]) -> bool:
        best = checkpoint.get("best")
        if not isinstance(best, tuple) or len(best) != 3:
            return False
        epoch, figure, weights = best
        # A checkpoint of a version that knew no other monitor has no loss.
        loss = checkpoint.get("best_loss", self.best_loss if self.monitor == "error" else None)
        plain = matches_type(int, epoch) and matches_type(float, figure) and matches_type(float, loss)
        return plain and (weights == {} or same_shapes(weights, self.stack.state_dict()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["best"] = (self.best_epoch, self.best_score, self.best_weights)
        checkpoint["best_loss"] = self.best_loss

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best_epoch, self.best_score, self.best_weights = checkpoint["best"]
        self.best_loss = checkpoint.get("best_loss", self.best_loss)


class ChunkedRegressionTask(ChunkedFinetuneTask):
    """The same for a regression: ``labels`` are targets, (B, outputs) float32, and the lowest squared error is best."""

    valid_sums = ()

    def evaluate(self, x: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        outputs = self.evaluated(x)
        self.measure(outputs, labels)
        error: Tensor = outputs - labels
        return error.square().sum()

    def valid_metrics(self, sums: Tensor, count: int) -> dict[str, float]:
        loss = float(sums) / count
        self._keep_if_best(loss, loss)
        return {"valid_loss": loss}
