"""Which rows are training, validation and test rows: by chance, by groups that stay together, or by an order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.values import NUMBER
from stacked_dae.utils.seeding import derive_seed

SPLITS = ("train", "valid", "test")
"""Names of the splits, in the order of their numbers."""
UNUSED = len(SPLITS)
"""Place of a row that is in no split."""
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


def split_by_class(labels: NDArray[np.int64], shares: Sequence[float]) -> Parts:
    """Deal the rows of each class by a shuffle that is always the same, so that each class has the shares.

    A class keeps at least one training row. What one class has too much, because its rows cannot be halved, the next
    has too little: all classes together have the shares too.

    Args:
        labels: (n,) int64, −1 for a row without a label, which is a training row.
        shares: of training, validation and test rows, of sum 1.

    Returns:
        (n,) the place of each row in :data:`SPLITS`.
    """
    part = np.zeros(len(labels), np.uint8)
    _, valid, test = shares
    before = 0
    for label in range(int(labels.max(initial=-1)) + 1):
        rows = np.flatnonzero(labels == label)
        _shuffle(rows)
        after = before + len(rows)
        ends = [[round(share * count) for count in (before, after)] for share in (valid, test)]
        count_valid, count_test = (end - start for start, end in ends)
        while count_valid + count_test >= len(rows) > 0:
            count_valid, count_test = (count_valid, count_test - 1) if count_test else (count_valid - 1, 0)
        part[rows[:count_valid]] = 1
        part[rows[count_valid : count_valid + count_test]] = 2
        before = after
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
    """Return the rank of each number or date, (n,) from 0; the place of the first name that is no such thing.

    All are numbers, or all are dates in ISO 8601: 2026-11-29, perhaps with a time, and then all or none with an offset.
    """
    different = dict.fromkeys(names)
    read = _number if NUMBER.fullmatch(names[0]) else _date
    values = {name: read(name) for name in different}
    first = values[names[0]]
    wrong = next((name for name, value in values.items() if value is None or value[0] != first[0]), None)  # type: ignore[index]
    if wrong is not None:
        return list(names).index(wrong)
    order = {value: rank for rank, value in enumerate(sorted(set(values.values())))}  # type: ignore[type-var]
    return np.array([order[values[name]] for name in names], np.int64)


def _number(name: str) -> tuple[str, float] | None:
    return ("number", float(name)) if NUMBER.fullmatch(name) else None


def _date(name: str) -> tuple[str, datetime] | None:
    try:
        # Python 3.10 does not know Z.
        found = datetime.fromisoformat(f"{name[:-1]}+00:00" if name.endswith("Z") else name)
    except ValueError:
        return None
    return ("date" if found.tzinfo is None else "date with an offset"), found


def _shuffle(rows: NDArray[np.intp]) -> None:
    np.random.Generator(np.random.PCG64(derive_seed(0, "split"))).shuffle(rows)


def _without_unlabelled(part: Parts, labelled: NDArray[np.bool_]) -> Parts:
    part[(part > 0) & ~labelled] = UNUSED
    return part
