"""What stores of layers hold that no run needs, and its removal."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.files import lock_folder

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredLayer:
    """A layer of a store.

    Args:
        folder: where it lies.
        size_bytes: of its files.
        is_linked: whether a run folder somewhere shares its files.
    """

    folder: Path
    size_bytes: int
    is_linked: bool


def unused_layers(place: Path, runs: Iterable[RunFolder]) -> tuple[list[StoredLayer], int]:
    """Return the layers of the stores at or below a folder that no run needs, and how many there are in all.

    A run needs a layer that its manifest names; a layer whose files have a second link is needed by a run elsewhere.

    Args:
        place: the folder.
        runs: the run folders at or below it.
    """
    named = {record.fingerprint for run in runs for record in run.manifest.stages.values()}
    layers = [_layer(folder) for folder in _stored(place)]
    return [layer for layer in layers if layer.folder.name not in named and not layer.is_linked], len(layers)


def remove_layers(layers: Sequence[StoredLayer]) -> list[StoredLayer]:
    """Remove layers from their stores, but for those that a process is at work on, and return the removed ones."""
    removed = []
    for layer in layers:
        try:
            lock = lock_folder(layer.folder)
        except (BlockingIOError, FileNotFoundError):
            continue
        try:
            # The record first: what has one is whole.
            (layer.folder / "record.json").unlink(missing_ok=True)
            shutil.rmtree(layer.folder)
            removed.append(layer)
        finally:
            os.close(lock)
    return removed


def _stored(place: Path) -> list[Path]:
    """Return the folders of layers at or below a folder; links are not followed."""
    found = []
    for folder, inner, _ in os.walk(place):
        for name in list(inner):
            if _FINGERPRINT.fullmatch(name):
                found.append(Path(folder, name))
                inner.remove(name)
    return sorted(found)


def _layer(folder: Path) -> StoredLayer:
    states = [file.stat() for file in folder.iterdir() if file.is_file()]
    return StoredLayer(folder, sum(state.st_size for state in states), any(state.st_nlink > 1 for state in states))
