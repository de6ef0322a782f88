"""Which rows are training, validation and test rows: by chance, by groups that stay together, or by an order."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.values import NUMBER
from stacked_dae.utils.seeding import derive_seed

SPLITS = ("train", "valid", "test")
"""Names of the splits, in the order of their numbers."""
UNUSED = len(SPLITS)
"""Of a row in no split."""
_DATE = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d:\d\d.*)?)?", re.ASCII)
Parts = NDArray[np.uint8]


def split_by_chance(labelled: NDArray[np.bool_], shares: Sequence[float]) -> Parts:
    """Deal the labelled rows by a shuffle that is always the same; the others are training rows.

    Args:
        labelled: (n,) which rows have a label.
        shares: of training, validation and test rows, of sum 1.

    Returns:
        (n,) the place of each row in :data:`SPLITS`.
    """
    part = np.zeros(len(labelled), np.uint8)
    rows = np.flatnonzero(labelled)
    _shuffle(rows)
    valid, test = (round(share * len(rows)) for share in shares[1:])
    part[rows[:valid]] = 1
    part[rows[valid : valid + test]] = 2
    return part


def split_by_group(groups: NDArray[np.int64], labelled: NDArray[np.bool_], shares: Sequence[float]) -> Parts:
    """Deal whole groups, by a shuffle that is always the same, so that each share of the labelled rows is nearly met.

    Args:
        groups: (n,) from 0, the group of each row.
        labelled: (n,) which rows have a label; those without one are unused, unless their group is for training.
        shares: of training, validation and test rows, of sum 1.

    Returns:
        (n,) the place of each row in :data:`SPLITS`, or :data:`UNUSED`.
    """
    sizes = np.bincount(groups, weights=labelled).astype(np.int64)
    order = np.flatnonzero(sizes)
    _shuffle(order)
    # A group is where its middle is, so that none is parted.
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    of_group = np.zeros(len(sizes), np.uint8)
    _, valid, test = (share * sizes.sum() for share in shares)
    of_group[order[middle < valid + test]] = 2
    of_group[order[middle < valid]] = 1
    return _without_unlabelled(of_group[groups], labelled)


def split_by_order(keys: NDArray[np.int64], labelled: NDArray[np.bool_], shares: Sequence[float]) -> Parts:
    """Take the first rows for training, the next for validation, and the last for the test; equal ones together.

    Args:
        keys: (n,) from 0, the rank of each row.
        labelled: (n,) which rows have a label; of those without one, the ones before the validation rows are used.
        shares: of training, validation and test rows, of sum 1.

    Returns:
        (n,) the place of each row in :data:`SPLITS`, or :data:`UNUSED`.
    """
    sizes = np.bincount(keys, weights=labelled).astype(np.int64)
    middle = np.cumsum(sizes) - sizes / 2
    train, valid, _ = (share * sizes.sum() for share in shares)
    of_key = np.zeros(len(sizes), np.uint8)
    of_key[middle > train] = 1
    of_key[middle > train + valid] = 2
    return _without_unlabelled(of_key[keys], labelled)


def ranks(names: Sequence[str]) -> NDArray[np.int64] | int:
    """Return the rank of each number or date, (n,) from 0; the place of the first name that is neither.

    Dates begin with the year: 2026-11-29, and perhaps a time.
    """
    kinds = (NUMBER, _DATE)
    for kind in kinds:
        if all(kind.fullmatch(name) for name in names):
            keys = np.array([float(name) for name in names]) if kind is NUMBER else np.array(names)
            return np.unique(keys, return_inverse=True)[1].astype(np.int64)
    first = next(kind for kind in (*kinds, None) if kind is None or kind.fullmatch(names[0]))
    return next(k for k, name in enumerate(names) if first is None or not first.fullmatch(name))


def _shuffle(rows: NDArray[np.intp]) -> None:
    np.random.Generator(np.random.PCG64(derive_seed(0, "split"))).shuffle(rows)


def _without_unlabelled(part: Parts, labelled: NDArray[np.bool_]) -> Parts:
    part[(part > 0) & ~labelled] = UNUSED
    return part
