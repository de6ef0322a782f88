"""What a batch may be: where its inputs and its labels are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from stacked_dae.errors import DataError

# The keys under which a batch that is a mapping holds its inputs and its labels, in the order of preference.
INPUT_KEYS = ("x", "inputs", "image", "pixel_values", "features")
LABEL_KEYS = ("y", "label", "labels", "target", "targets")


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
