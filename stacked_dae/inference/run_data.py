"""The data of a run folder, and their preprocessing."""

from __future__ import annotations

from dataclasses import replace

from stacked_dae.config.identity import first_difference
from stacked_dae.config.schema import Config
from stacked_dae.data import registry
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.dataset import Dataset
from stacked_dae.errors import StageError
from stacked_dae.runs.folder import RunFolder


def run_data(folder: RunFolder, dataset: Dataset | None = None, root: str | None = None) -> Dataset:
    """Return the data that a run was trained on.

    Raises:
        StageError: the data have changed since.
    """
    config = folder.config()
    data = dataset or registry.load_data(config.data, root, known_preprocessing(folder), config.task)
    if data.fingerprint != folder.manifest.dataset.fingerprint:
        path = config.data.path
        where = f"the table {path} holds now" if path else f"{data.name!r} holds now; see --data.root"
        raise StageError(f"{folder.path} was trained on other data than {where}")
    return data


def layers_preprocessing(parent: RunFolder, config: Config) -> Preprocessing | None:
    """Return the preprocessing for the table that the layers of ``parent`` are fine-tuned on; None without one.

    On another table, for another task, or with other roles of its columns and rows, the columns stay as they were
    fitted for the layers.
    """
    data = config.data
    known, there = known_preprocessing(parent), parent.config()
    if known is None or data.path is None or there.data.path is None:
        return known
    same = first_difference(there, replace(there, data=data), ("data.labels_per_class",)) is None
    same &= there.task == config.task
    return known if same else replace(known, from_layers=True)


def known_preprocessing(folder: RunFolder) -> Preprocessing | None:
    """Return the preprocessing of a run's table; None where it has no table, or is new or damaged."""
    try:
        return None if folder.is_new else folder.preprocessing()
    except StageError:
        return None
