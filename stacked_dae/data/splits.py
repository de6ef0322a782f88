"""The rows of each split, and the labels that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.errors import DataError
from stacked_dae.utils.seeding import derive_seed


def interleaved_split(labels: NDArray[np.int64], pattern: str) -> tuple[NDArray[np.intp], ...]:
    """Return the rows of (train, valid, test), in file order.

    The rows of each class are dealt in file order along ``pattern``, a string of the letters T (train), V (valid) and
    E (test) that is repeated: a stratified split that no random generator can change.
    """
    letters = np.empty(len(labels), dtype="U1")
    for c in np.unique(labels):
        rows = np.flatnonzero(labels == c)
        letters[rows] = np.array(list(pattern))[np.arange(len(rows)) % len(pattern)]
    return tuple(np.flatnonzero(letters == letter) for letter in "TVE")


def labelled_rows(
    labels: NDArray[Any], per_class: int | None, seed: int, names: Sequence[str] = ()
) -> NDArray[np.int64] | None:
    """Return the rows whose labels are kept: ``per_class`` of each class, drawn with ``seed``, all of them if None.

    None stands for every row. Rows of the label −1 have none, nor those of the target NaN, (n, 1) of a regression.
    ``names`` are those of the classes, where they have some.

    Raises:
        DataError: a class has fewer than ``per_class`` rows.
    """
    if per_class is None:
        known = labels >= 0 if labels.dtype.kind == "i" else ~np.isnan(labels).reshape(len(labels), -1).any(1)
        return None if known.all() else np.flatnonzero(known)
    draw = np.random.Generator(np.random.PCG64(derive_seed(seed, "labels")))
    kept = []
    for c in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == c)
        if len(rows) < per_class:
            name = repr(names[c]) if names else c
            raise DataError(
                f"data.labels_per_class is {per_class}, but class {name} has only {len(rows)} training rows; ask for at"
                f" most {len(rows)}"
            )
        kept.append(draw.permutation(rows)[:per_class])
    return np.sort(np.concatenate(kept))
