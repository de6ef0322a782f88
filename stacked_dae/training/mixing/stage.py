"""The mixed classifier as the last stage of a run."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked_dae.config.schema import ClassWeight, FinetuneConfig
from stacked_dae.data.dataset import Dataset
from stacked_dae.nn.mixed_classifier import MixedClassifier
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.training.loader import DeviceRows
from stacked_dae.training.mixing.classifier import Mixture, fit_mixed_classifier
from stacked_dae.training.mixing.epoch_log import EpochLog
from stacked_dae.utils.seeding import derive_seed

_CPU = torch.device("cpu")


def labelled_examples(
    data: Dataset, labelled: NDArray[np.int64] | None, *, with_validation: bool
) -> tuple[Tensor, NDArray[np.int64]]:
    """Return the labelled training rows, and the validation rows where they are learnt from too.

    Args:
        data: the data.
        labelled: the training rows with a label; None for all.
        with_validation: whether the validation rows follow.

    Returns:
        (n, d) float32, NaN for missing, and (n,) int64, or targets, (n, 1) float32 (regression only).
    """
    rows = np.arange(len(data.train)) if labelled is None else labelled
    inputs = [DeviceRows(data.train.inputs, _CPU).read(torch.from_numpy(rows))]
    labels = [data.train.labels[rows]]
    if with_validation:
        inputs.append(DeviceRows(data.valid.inputs, _CPU).read(slice(None)))
        labels.append(data.valid.labels)
    return torch.cat(inputs), np.concatenate(labels)


def label_weights(labels: NDArray[np.int64], class_weight: ClassWeight | None) -> NDArray[np.float64]:
    """Return the weight of each label, (n,), of mean 1: 1 for None; n / (classes · its class's labels) for balanced."""
    if class_weight is None:
        return np.ones(len(labels))
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return (len(labels) / (len(counts) * counts))[places]


def row_weights(
    data: Dataset, labelled: NDArray[np.int64] | None, *, with_validation: bool
) -> NDArray[np.float64] | None:
    """Return the weights of the rows of :func:`labelled_examples`, (n,); None where all count alike."""
    if data.train.weights is None or data.valid.weights is None:
        return None
    own = data.train.weights if labelled is None else data.train.weights[labelled]
    return np.concatenate([own, data.valid.weights]) if with_validation else own


def train_mixture(
    stack: EncoderStack,
    settings: FinetuneConfig,
    data: Dataset,
    labelled: NDArray[np.int64] | None,
    *,
    with_validation: bool,
    seed: int,
    log: EpochLog,
) -> tuple[MixedClassifier, Mixture]:
    """Return a mixed classifier, float32, that is trained on pre-trained layers.

    Args:
        stack: its encoders copied from pre-trained layers; they are the classifier's from here on.
        settings: of fine-tuning.
        data: training rows without a label count in the scale of the codes.
        labelled: the training rows with a label; None for all.
        with_validation: whether the labels of the validation rows are learnt from too.
        seed: of the folds and of fine-tuning.
        log: takes the figures of the epochs.
    """
    x, y = labelled_examples(data, labelled, with_validation=with_validation)
    weights = label_weights(y, settings.class_weight)
    own = row_weights(data, labelled, with_validation=with_validation)
    weights = weights if own is None else weights * own
    known = np.zeros(len(data.train), np.bool_)
    known[slice(None) if labelled is None else labelled] = True
    others = DeviceRows(data.train.inputs, _CPU).read(torch.from_numpy(np.flatnonzero(~known)))
    classifier, mixture = fit_mixed_classifier(
        stack.layers,
        torch.cat([x, others]),
        torch.arange(len(x)),
        torch.from_numpy(y),
        torch.from_numpy(weights),
        data.classes,
        settings,
        torch.Generator().manual_seed(derive_seed(seed, "mixture")),
        log,
    )
    # Run folders hold float32, whatever the training computed in.
    return classifier.float(), mixture
