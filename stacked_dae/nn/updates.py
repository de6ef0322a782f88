"""Where closed-form gradients go: to the optimiser, without a copy to spare.

At the paper's batch sizes a step is bound by passes over the weights. Autograd allocates every weight
gradient anew and the optimiser reads it back; here a gradient that is a matrix product is accumulated by the
product itself, into a buffer that is kept, or, for plain SGD, straight into the weights:
θ ← θ − η LᵀR is one ``addmm``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from stacked_dae.utils import distributed


def is_plain_sgd(optimizer: Optimizer) -> bool:
    """Return whether θ ← θ − η ∇L is all that the optimiser does."""
    return type(optimizer) is torch.optim.SGD and all(
        group["momentum"] == 0 and group["weight_decay"] == 0 and not group["maximize"]
        for group in optimizer.param_groups
    )


class ParameterUpdater:
    """Takes the gradients of one minibatch and makes one update of the optimiser's parameters.

    With several processes each takes the gradients of its own rows of the minibatch, ``share`` of all (0 to 1), and
    the update is that of all rows.

    A step calls :meth:`weight` and :meth:`bias` once for each parameter, after every delta that needs the old
    weights has been computed, then :meth:`update`.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.in_place = is_plain_sgd(optimizer) and distributed.world_size() == 1
        self.share = 1.0
        # Whether plain SGD leaves the gradients in .grad too, as for whoever looks at them after the step.
        self.keeps_gradients = False
        self._groups = {p: group for group in optimizer.param_groups for p in group["params"]}
        self._gradients = torch.empty(0)
        if not self.in_place:
            # Views of one piece of memory, which several processes add up in one go.
            first = next(iter(self._groups))
            self._gradients = torch.zeros(sum(p.numel() for p in self._groups), device=first.device, dtype=first.dtype)
            pieces = torch.split(self._gradients, [p.numel() for p in self._groups])
            for p, piece in zip(self._groups, pieces, strict=True):
                p.grad = piece.view_as(p)

    def _target(self, parameter: Tensor) -> tuple[Tensor, float, float]:
        """Return where the gradient goes, the factor of what is there, and the factor of the gradient."""
        if self.in_place:
            return parameter, 1.0, -self._groups[parameter]["lr"]
        assert parameter.grad is not None
        return parameter.grad, 0.0, 1.0

    def weight(self, parameter: Tensor, *products: tuple[Tensor, Tensor]) -> None:
        """Take Σ left @ right over ``products`` as the gradient of a weight matrix."""
        target, keep, scale = self._target(parameter)
        if self.in_place and self.keeps_gradients:
            gradient = sum((left @ right for left, right in products[1:]), products[0][0] @ products[0][1])
            parameter.grad = gradient.to(parameter.dtype)
        for left, right in products:
            if torch.is_autocast_enabled(target.device.type):
                # Lower precision applies to products only: the sum stays in the weights' own.
                target.mul_(keep).add_(left @ right, alpha=scale)
            else:
                target.addmm_(left, right, beta=keep, alpha=scale)
            keep = 1.0

    def bias(self, parameter: Tensor, delta: Tensor) -> None:
        """Take the sum of ``delta`` (B, n) over its examples as the gradient of a bias (n,)."""
        target, keep, scale = self._target(parameter)
        if self.in_place and self.keeps_gradients:
            parameter.grad = delta.sum(0).to(parameter.dtype)
        if keep:
            target.add_(delta.sum(0), alpha=scale)
        else:
            torch.sum(delta, 0, out=target)

    def rates(self) -> tuple[float, ...]:
        """Return the learning rates of the parameter groups."""
        return tuple(float(group["lr"]) for group in self.optimizer.param_groups)

    def update(self) -> None:
        """Make the update (for plain SGD it has been made already, in place)."""
        if not self.in_place:
            if distributed.world_size() > 1:
                distributed.all_reduce_sum(self._gradients.mul_(self.share))
            self.optimizer.step()
