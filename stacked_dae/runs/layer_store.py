"""Trained layers by their fingerprints, for every run that describes the same ones."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stacked_dae.errors import ConfigError
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.integrity import read_small
from stacked_dae.runs.manifest import StageRecord, check_stage
from stacked_dae.utils.files import checksum, dump_checksummed, load_checksummed, lock_folder, write_text
from stacked_dae.utils.terminal.progress import Reporter

_WEIGHTS, _METRICS, _RECORD = "weights.safetensors", "metrics.csv", "record.json"
_CHECKPOINTS = ("checkpoint.ckpt", "minibatch.ckpt")
# What of a stage's record says how it was trained; the rest is made anew for each run.
_KEPT = ("epochs", "seconds", "dead_units", "saturated_percent")
_WAIT = 0.2
"""Seconds between two looks for a lock."""


class LayerStore:
    """A folder with one folder for each trained layer, named by its fingerprint.

    A layer is trained by one process, while others that want it wait. Its files are hard links to those of the run
    folder, where the file system can; no file of a run folder is ever changed, only replaced.

    Args:
        path: the folder; made when a layer is first kept.
        reporter: says what is taken, waited for, or damaged.
    """

    def __init__(self, path: Path, reporter: Reporter) -> None:
        self.path, self._reporter = path, reporter
        self.taken, self.seconds_saved = 0, 0.0
        """How many layers were taken, and how long their training had taken."""

    def check(self, out: Path) -> None:
        """Raise ConfigError where the store cannot be written to, or is in the run folder ``out``."""
        if (self.path / "manifest.json").exists():
            raise ConfigError(f"--layers {self.path} is a run folder; name a folder for the layers of several runs")
        if out.resolve() in (self.path.resolve(), *self.path.resolve().parents):
            raise ConfigError(f"--layers {self.path} lies in the run folder {out}; name another folder")
        place = self.path
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise ConfigError(f"--layers {self.path}: {place} is a file; name a folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise ConfigError(f"--layers {self.path}: no permission to write in {place}; choose another folder")

    def take(self, folder: RunFolder, stage: str) -> bool:
        """Put a layer into a run folder, as trained to its end, and return whether it is there."""
        entry = self.path / folder.stage(stage).fingerprint
        record = self._record(entry, stage)
        if record is None:
            return False
        directory = folder.stage_dir(stage)
        directory.mkdir(parents=True, exist_ok=True)
        for name in (_WEIGHTS, _METRICS):
            _link(entry / name, directory / name)
        for name in _CHECKPOINTS:
            (directory / name).unlink(missing_ok=True)
        kept = {name: value for name in _KEPT if (value := getattr(record, name)) is not None}
        folder.mark_done(stage, **kept)
        self.taken += 1
        self.seconds_saved += record.seconds or 0.0
        self._reporter.say(f"{stage}: taken from {entry}, which took {record.seconds:.1f} s to train")
        return True

    def keep(self, folder: RunFolder, stage: str) -> None:
        """Keep a layer that is trained to its end."""
        record = folder.stage(stage)
        entry = self.path / record.fingerprint
        entry.mkdir(parents=True, exist_ok=True)
        for name in (_WEIGHTS, _METRICS):
            _link(folder.stage_dir(stage) / name, entry / name)
        # Last, so that what has a record is whole.
        write_text(entry / _RECORD, dump_checksummed({"layer": record.to_dict()}))

    def _record(self, entry: Path, stage: str) -> StageRecord | None:
        """Return the record of a layer that is whole; None where there is none."""
        file = entry / _RECORD
        if not file.is_file():
            return None
        try:
            values: Any = load_checksummed(read_small(file))["layer"]
            check_stage(stage, values)
            record = StageRecord(**{name: values[name] for name in asdict(StageRecord("")) if name in values})
            sums = [checksum(entry / name) for name in (_WEIGHTS, _METRICS)]
        except (OSError, ValueError, KeyError):
            sums, record = [], StageRecord("")
        if sums == [record.sha256, record.metrics_sha256] and record.fingerprint == entry.name:
            return record
        self._reporter.warn(f"{entry} is damaged; its layer is trained again")
        file.unlink(missing_ok=True)
        return None

    def is_busy(self, fingerprints: Sequence[str]) -> bool:
        """Return whether another process is training the first of these layers that is not there yet."""
        for fingerprint in fingerprints:
            entry = self.path / fingerprint
            if not entry.is_dir():
                return False
            if not (entry / _RECORD).is_file():
                try:
                    os.close(lock_folder(entry))
                except BlockingIOError:
                    return True
                return False
        return False

    @contextmanager
    def reserved(self, folder: RunFolder, stage: str) -> Iterator[None]:
        """Keep other processes from training the same layer inside the ``with`` block; wait for one that does."""
        entry = self.path / folder.stage(stage).fingerprint
        entry.mkdir(parents=True, exist_ok=True)
        waited = False
        while True:
            try:
                lock = lock_folder(entry)
                break
            except BlockingIOError:
                if not waited:
                    self._reporter.say(f"{stage}: waiting for another process, which trains it")
                waited = True
                time.sleep(_WAIT)
        try:
            yield
        finally:
            os.close(lock)


def _link(source: Path, target: Path) -> None:
    """Put a file into another folder too, by a hard link or, where there is none, a copy; never half of it."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            with suppress(FileNotFoundError):
                temporary.unlink()
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        # Two links to one file are not replaced by each other.
        temporary.unlink(missing_ok=True)
