"""The mixed classifier from pre-trained layers and labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stacked_dae.config.schema import FinetuneConfig
from stacked_dae.nn.activations import replace_missing
from stacked_dae.nn.mixed_classifier import Members, MixedClassifier, SkipHeads
from stacked_dae.nn.stack import Encoder
from stacked_dae.training.mixing.epoch_log import EpochLog, HeldOut
from stacked_dae.training.mixing.members import finetune_members
from stacked_dae.training.mixing.shares import is_above, mixture_shares, stratified_folds
from stacked_dae.training.mixing.softmax_heads import fit_softmax_heads

FOLDS = 5
CANDIDATES = ((False, 1.0, 0.05), (False, 1.0, 1.0), (True, 0.5, 0.1), (True, 0.5, 1.0), (True, 0.5, 10.0))
"""The heads: whether each sees the codes, the factor of its inputs, and the strength of its fit.

After them comes logistic regression as scikit-learn fits it: on inputs standardised by the labelled rows.
"""
PSEUDO_ROWS, PSEUDO_SHARE = 2.0, 1 / 20
"""Rows that count for logistic regression before any label does: so many, or that share of the labels if fewer."""
FEWEST_PER_CLASS = 3
"""Labelled rows per class below which held-out labels say nothing, and all heads have equal shares."""
STANDARD_ERRORS = 1.5
"""By how many the codes, or the fine-tuned networks, must be better on held-out labels than the inputs alone."""
FEWEST_TO_FINETUNE = 60
"""Labelled rows below which the encoders stay as pre-training left them."""
_NO_DEVIATION = 1e-9
"""Of standardised inputs: what a constant column comes to by rounding."""


@dataclass(frozen=True)
class Mixture:
    """What the mixture of a classifier came to.

    Args:
        inputs, codes, finetuned: shares, of sum 1, of the heads on the inputs alone, on inputs and codes, and of the
            fine-tuned networks.
        log_loss: held-out loss per labelled row, of the mixture.
        error_percent: share of the labelled rows that the mixture gets wrong while they are held out.
        epoch: epoch whose weights the fine-tuned networks kept; 0 where none was better than their first ones, none was
            tried, or the networks have no share.
    """

    inputs: float
    codes: float
    finetuned: float
    log_loss: float
    error_percent: float
    epoch: int


def fit_mixed_classifier(
    encoders: Sequence[Encoder],
    inputs: Tensor,
    labelled: Tensor,
    labels: Tensor,
    weights: Tensor,
    classes: int,
    settings: FinetuneConfig,
    generator: torch.Generator,
    log: EpochLog,
) -> tuple[MixedClassifier, Mixture]:
    """Fit heads on the inputs and codes, fine-tune from the best, and mix all by what they say of labels not seen.

    Each of :data:`FOLDS` members leaves out one fold of the labels, so that every label is held out once and none is
    set aside; the heads are then fitted to all labels. Codes and fine-tuned networks have a share only where they are
    better than the inputs alone by more than :data:`STANDARD_ERRORS`: where labels say little, the simplest wins. With
    fewer than :data:`FEWEST_PER_CLASS` labels per class they can't even say that, and all heads have equal shares.

    Args:
        encoders: pre-trained, lowest first; the classifier's from here on.
        inputs: (n, d) float32, standardised, NaN for missing: all rows, with a label or without.
        labelled: (m,) int64, the rows with a label.
        labels: (m,) int64, 0 to classes − 1.
        weights: (m,) float64 of the labelled rows, at least 0.
        classes: k, at least 2.
        settings: of fine-tuning.
        generator: of the folds and of fine-tuning.
        log: takes the figures of each epoch: 0 is that of the heads, before any fine-tuning.
    """
    begun = time.perf_counter()
    x = replace_missing(inputs)
    y = x
    with torch.no_grad():
        for encoder in encoders:
            y = encoder(y)
    # The block of codes weighs as much as that of the inputs, and a unit that varies more counts more.
    centre = y.double().mean(0)
    spread = y.double().var(0, correction=0).sum()
    factor = (x.double().var(0, correction=0).sum() / spread).sqrt() if spread > 0 else spread
    seen, codes = x[labelled].double(), (y[labelled].double() - centre) * factor

    folds = stratified_folds(labels, FOLDS, generator)
    outside = torch.stack([weights * (folds != m) for m in range(FOLDS)])
    problems = torch.cat([outside, weights[None]])
    every = torch.arange(len(labels))
    log.start(settings.epochs if len(labels) >= FEWEST_TO_FINETUNE else 0)
    # The penalty of two mirrored columns is half that of the one which logistic regression has for two classes.
    logistic = (False, _inverse_deviation(seen, weights), 0.5 if classes == 2 else 1.0)
    candidates = [*((codes, seen.new_tensor(scale), strength) for codes, scale, strength in CANDIDATES), logistic]
    heads = SkipHeads(x.shape[1], y.shape[1], classes, len(candidates)).double()
    fitted, held_out, learnt = [], [], []
    for k, (sees_codes, scale, strength) in enumerate(candidates):
        features = torch.cat([seen * scale, codes], 1) if sees_codes else seen * scale
        slopes, biases = fit_softmax_heads(features, labels, problems, strength, classes)
        log_p = (features @ slopes + biases[:, None]).log_softmax(2)
        held_out.append(log_p[folds, every])
        learnt.append(log_p[-1, every, labels])
        found = _on_plain_codes(slopes, biases, x.shape[1], scale, centre, factor)
        for parameter, value in zip(heads.parameters(), found, strict=True):
            parameter.data[k] = value[-1]
        fitted.append([value[:-1] for value in found])
    every_log_p = torch.stack(held_out)
    log_p = every_log_p[:, every, labels]
    prior = log_p.new_zeros(len(candidates))
    prior[-1] = min(PSEUDO_ROWS, PSEUDO_SHARE * float(weights.sum()))

    def mix(shares: Tensor) -> HeldOut:
        return HeldOut((every_log_p + shares.log()[:, None, None]).logsumexp(0), labels, weights)

    on_inputs = torch.tensor([not sees_codes for sees_codes, _, _ in candidates])
    simplest = log_p.new_zeros(len(candidates))
    simplest[on_inputs] = mixture_shares(log_p[on_inputs], weights, prior[on_inputs])
    alone = mix(simplest)

    def beats_the_inputs(found: HeldOut) -> bool:
        return is_above(found.of_labels - alone.of_labels, weights, STANDARD_ERRORS)

    few = int((weights > 0).sum()) < FEWEST_PER_CLASS * classes
    shares = torch.full_like(prior, 1 / len(prior)) if few else mixture_shares(log_p, weights, prior)
    mixed = mix(shares)
    if not few and not beats_the_inputs(mixed):
        shares, mixed = simplest, alone
    of_learnt = (torch.stack(learnt) + shares.log()[:, None]).logsumexp(0)
    train_loss = -float((of_learnt * weights).sum() / weights.sum())
    log.add(0, mixed, train_loss, time.perf_counter() - begun)

    members, tuned, epoch = None, 0.0, 0
    if len(labels) >= FEWEST_TO_FINETUNE:
        means = (log_p * weights).sum(1)
        best = max((k for k, (sees_codes, _, _) in enumerate(candidates) if sees_codes), key=lambda k: float(means[k]))
        start = SkipHeads(x.shape[1], y.shape[1], classes, FOLDS)
        for parameter, value in zip(start.parameters(), fitted[best], strict=True):
            parameter.data.copy_(value)
        networks = Members(encoders, start)
        finetuned, kept = finetune_members(networks, x[labelled], labels, weights, folds, settings, generator, log)
        share = float(mixture_shares(torch.stack([mixed.of_labels, finetuned.of_labels]), weights)[1])
        frozen = mixed.log_p + torch.tensor(1.0 - share).log()
        both = HeldOut(torch.logaddexp(frozen, finetuned.log_p + torch.tensor(share).log()), labels, weights)
        if beats_the_inputs(both):
            members, tuned, epoch, mixed = networks, share, kept, both
    final = torch.cat([shares * (1.0 - tuned), shares.new_tensor([tuned])])
    classifier = MixedClassifier([encoder.double() for encoder in encoders], heads, members, final).double()
    mixture = Mixture(**classifier.parts(), log_loss=mixed.loss, error_percent=mixed.error_percent, epoch=epoch)
    return classifier.requires_grad_(False), mixture


def _inverse_deviation(inputs: Tensor, weights: Tensor) -> Tensor:
    """Return 1 / standard deviation of each column, (d,); 1 of a constant one."""
    shares = weights / weights.sum()
    deviation = (shares @ (inputs - shares @ inputs).square()).sqrt()
    return torch.where(deviation > _NO_DEVIATION, 1.0 / deviation, 1.0)


def _on_plain_codes(
    slopes: Tensor, biases: Tensor, inputs: int, scale: Tensor, centre: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights of heads on (inputs · scale, (codes − centre) · factor) as those on inputs and codes."""
    on_codes = slopes[:, inputs:] * factor
    if on_codes.shape[1] == 0:
        on_codes = slopes.new_zeros(len(slopes), len(centre), slopes.shape[2])
    return slopes[:, :inputs] * scale[..., None], on_codes, biases - centre @ on_codes
