"""Fine-tuning of networks that each leave out one fold of the labels, side by side."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.nn import functional

from stacked_dae.config.schema import FinetuneConfig
from stacked_dae.nn.mixed_classifier import Members
from stacked_dae.training.mixing.epoch_log import EpochLog, HeldOut
from stacked_dae.training.optimizers import build_optimizer

_UPDATES_PER_EPOCH = 100
_MASKED_INPUTS = 0.1


def finetune_members(
    members: Members,
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    folds: Tensor,
    settings: FinetuneConfig,
    generator: torch.Generator,
    log: EpochLog,
) -> tuple[HeldOut, int]:
    """Train member m on the rows outside fold m, in place, and keep the epoch with the greatest held-out likelihood.

    Epoch 0, before any update, is one of those to choose from. The likelihood is pooled: every row is held out by one
    member.

    Args:
        members: as many as there are folds.
        inputs: (n, d) float32, without missing values.
        labels: (n,) int64.
        weights: (n,) of the rows, at least 0.
        folds: (n,) the fold of each row.
        settings: of fine-tuning.
        generator: of the order, the noise and the dropout.
        log: takes the figures of each epoch.

    Returns:
        What each member says of the rows that it did not see, and the epoch.
    """
    count = len(members.heads.bias)
    rows = [torch.nonzero(folds != m)[:, 0] for m in range(count)]
    held = [torch.nonzero(folds == m)[:, 0] for m in range(count)]
    size = max(map(len, rows))
    batch_size = max(settings.batch_size, size // _UPDATES_PER_EPOCH)
    # Padded with row 0 to one length, for all members at once.
    longest = max(map(len, held))
    padded = torch.stack([functional.pad(found, (0, longest - len(found))) for found in held])
    real = torch.stack([torch.arange(longest) < len(found) for found in held])
    chosen = settings.optimizer
    optimizer = build_optimizer(chosen.name, list(members.parameters()), chosen.lr, chosen.options)
    kept = 1.0 - settings.dropout
    width = members.heads.code_weight.shape[1]

    @torch.no_grad()
    def held_out() -> HeldOut:
        log_p = members(inputs[padded]).log_softmax(2)
        found = weights.new_empty(len(labels), log_p.shape[2])
        found[padded[real]] = log_p[real].to(found.dtype)
        return HeldOut(found, labels, weights)

    best, best_epoch = held_out(), 0
    state = {name: value.clone() for name, value in members.state_dict().items()}
    for epoch in range(1, settings.epochs + 1):
        begun, losses_sum, seen = time.perf_counter(), 0.0, 0.0
        # A member with fewer rows sees some of them twice.
        order = torch.stack(
            [found[torch.randperm(len(found), generator=generator)][torch.arange(size) % len(found)] for found in rows]
        )
        for batch in torch.split(order, batch_size, dim=1):
            x, y, w = inputs[batch], labels[batch], weights[batch].to(inputs.dtype)
            x = x * torch.empty_like(x).bernoulli_(1.0 - _MASKED_INPUTS, generator=generator)
            mask = x.new_empty(count, batch.shape[1], width).bernoulli_(kept, generator=generator).div_(kept)
            with torch.enable_grad():
                losses = functional.cross_entropy(members(x, mask).flatten(0, 1), y.flatten(), reduction="none")
                # Members share nothing, so that the sum trains each by the mean over its own minibatch.
                weighted = (losses * w.flatten()).sum()
                loss = weighted / batch.shape[1]
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses_sum, seen = losses_sum + float(weighted.detach()), seen + float(w.sum())
        found = held_out()
        log.add(epoch, found, losses_sum / seen, time.perf_counter() - begun)
        if found.loss < best.loss:
            best, best_epoch = found, epoch
            state = {name: tensor.clone() for name, tensor in members.state_dict().items()}
        if epoch - best_epoch >= settings.patience:
            break
    members.load_state_dict(state, strict=True)
    return best, best_epoch
