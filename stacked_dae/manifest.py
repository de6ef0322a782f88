"""What a run folder holds, and how it is written: to a temporary name, then renamed."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from stacked_dae.config import Config
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.files import checksum, read_yaml, write_text
from stacked_dae.hints import fits
from stacked_dae.settings import from_dict

FORMAT = 2
_STAGE = re.compile(r"layer_[1-9]\d{0,3}|finetune")
# What the files hold, by key.
_MANIFEST = {"format": int, "dataset": dict, "parent": str | None, "stages": dict}
_DATASET = {"name": str, "inputs": int, "fingerprint": str}
_ENTRY = {"fingerprint": str, "status": Literal["pending", "running", "done"]}
_DONE = {"sha256": str, "epochs": int, "seconds": float}
_FINETUNED = {"best_epoch": int, "best_valid_error_percent": float}
_RESULT = {
    "test_error_percent": float,
    "test_error_ci95_percent": float,
    "n_test": int,
    "best_valid_error_percent": float,
    "best_epoch": int,
    "seconds": float,
    "confusion": list[list[int]],
}
# The stage that trains the stack; those of the layers are named by their numbers.
FINETUNE = "finetune"


def stage_name(k: int) -> str:
    """Return the name of the stage that trains layer ``k``, from 1."""
    return f"layer_{k}"


class Metrics:
    """A stage's ``metrics.csv``: a row an epoch, written before the epoch's checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, float]]:
        """Return the rows so far; none where there is no file."""
        if not self.path.exists():
            return []
        try:
            with self.path.open(newline="") as file:
                return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (ValueError, TypeError, csv.Error):
            raise StageError(f"{self.path} is damaged; run again with --rerun to train its stage again") from None

    def keep(self, epochs: int) -> None:
        """Drop the rows after the first ``epochs``: those of epochs that were cut before their checkpoint."""
        if self.path.exists():
            lines = self.path.read_text().splitlines(keepends=True)
            write_text(self.path, "".join(lines[: epochs + 1]))

    def append(self, row: Mapping[str, float]) -> None:
        """Add the row of one more epoch."""
        lines = [",".join(str(value) for value in row.values())]
        if not self.path.exists() or not self.path.stat().st_size:
            lines.insert(0, ",".join(row))
        with self.path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))


def _is_of_a_beginning(file: Path) -> bool:
    """Whether a run that was killed before its first manifest leaves such a file."""
    return file.name == "config.yaml" or (file.name.startswith(".") and file.name.endswith(".tmp"))


class RunFolder:
    """A run folder: ``config.yaml``, ``manifest.json``, a folder for each stage, ``figures/``, ``result.json``.

    ``manifest.json`` holds ``format``, ``dataset`` (name, inputs, fingerprint), ``parent`` (the run whose layers were
    fine-tuned, or null) and ``stages``: for each its ``fingerprint``, ``status`` (pending, running, done) and, when
    done, ``seconds``, ``epochs`` and the SHA-256 of its weights.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] = {}
        self._as_read = ""

    @staticmethod
    def open(path: Path) -> RunFolder:
        """Return the run folder at ``path``.

        Raises:
            StageError: there is none, or its manifest cannot be read.
        """
        folder = RunFolder(path)
        file = path / "manifest.json"
        if not file.is_file() or not (path / "config.yaml").is_file():
            what = "holds no manifest.json and config.yaml" if path.is_dir() else "is not there"
            raise StageError(f"{path} is not a run folder: it {what}; name the --out folder of an earlier run")
        folder._as_read, folder.manifest = _read_json(file, "train the run again in a new folder")
        written = folder.manifest.get("format")
        if fits(int, written) and written != FORMAT:
            raise StageError(
                f"{file} has format {written}, but this version reads {FORMAT}; use the version it came from"
            )
        wrong = _wrong(folder.manifest, _MANIFEST) or _wrong_part(folder.manifest)
        if wrong is not None:
            raise StageError(f"{file} is damaged: its {wrong} is not a run's; train the run again in a new folder")
        return folder

    @staticmethod
    def open_or_new(path: Path) -> RunFolder:
        """Return the run folder at ``path``, or a new one where nothing is there yet; writes nothing.

        Raises:
            StageError: something else is there.
            ConfigError: the folder cannot be written to.
        """
        if path.exists() and not (path.is_dir() and all(map(_is_of_a_beginning, path.iterdir()))):
            return RunFolder.open(path)
        place = path
        while not place.exists():
            place = place.parent
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise ConfigError(f"--out {path}: no permission to write in {place}; choose another folder")
        return RunFolder(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes off the folder.

        Raises:
            StageError: another one is at work on it, or has been since it was read.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        # On the folder itself: nothing is left behind, and the system lets go when the process ends, however it ends.
        lock = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StageError(
                    f"{self.path} is in use by another process; wait for it, or choose another --out"
                ) from None
            except OSError:
                # A file system without locks.
                pass
            there = self.path / "manifest.json"
            if (there.read_text() if there.exists() else "") != self._as_read:
                raise StageError(f"{self.path} was changed by another process just now; give the command again")
            yield
        finally:
            os.close(lock)

    def config(self) -> Config:
        """Return the settings of the run.

        Raises:
            StageError: ``config.yaml`` is damaged.
        """
        file = self.path / "config.yaml"
        try:
            return from_dict(read_yaml(file), str(file))
        except ConfigError as error:
            raise StageError(f"{error}; the run folder is damaged") from None

    def write_config(self, config: Config) -> None:
        """Write ``config.yaml``."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))

    def write_manifest(self) -> None:
        """Write ``manifest.json``."""
        write_text(self.path / "manifest.json", json.dumps(self.manifest, indent=2) + "\n")

    def stage(self, name: str) -> dict[str, Any]:
        """Return the manifest's entry of a stage; empty where it has none."""
        entry: dict[str, Any] = self.manifest.get("stages", {}).get(name, {})
        return entry

    def record(self, name: str, **entry: Any) -> None:
        """Update a stage's entry in the manifest and write it."""
        self.manifest["stages"][name] = {**self.stage(name), **entry}
        self.write_manifest()

    def finish(self, name: str, **entry: Any) -> None:
        """Mark a stage done, with the SHA-256 of the weights in its folder."""
        self.record(name, status="done", sha256=checksum(self.folder(name) / "weights.safetensors"), **entry)

    def done(self, name: str, fingerprint: str) -> bool:
        """Whether the stage is done, with this fingerprint."""
        entry = self.stage(name)
        return entry.get("status") == "done" and entry.get("fingerprint") == fingerprint

    def folder(self, name: str) -> Path:
        """Return the folder of a stage."""
        return self.path / name

    def clear(self, name: str) -> None:
        """Remove the folder of a stage."""
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def metrics(self, name: str) -> Metrics:
        """Return the metrics of a stage."""
        return Metrics(self.folder(name) / "metrics.csv")

    def weights(self, name: str) -> Path:
        """Return the weights file of a done stage, checked against the manifest.

        Raises:
            StageError: the file is gone or changed.
        """
        file = self.folder(name) / "weights.safetensors"
        if not file.is_file():
            raise StageError(f"{file} is gone; run the command again with --rerun to train {name} again")
        if checksum(file) != self.stage(name).get("sha256"):
            raise StageError(f"{file} has changed since it was written; run again with --rerun to train {name} again")
        return file

    def result(self) -> dict[str, Any]:
        """Return ``result.json``.

        Raises:
            StageError: the run has none yet, or it is damaged.
        """
        file = self.path / "result.json"
        if not file.is_file():
            raise StageError(f"{self.path} has no result.json: the run is not finished; run its fit again")
        mend = "delete it and run the fit again, which tests again and trains nothing"
        _, result = _read_json(file, mend)
        wrong = _wrong(result, _RESULT)
        if wrong is not None:
            raise StageError(f"{file} is damaged: its {wrong} is not a result's; {mend}")
        return result


def _read_json(file: Path, mend: str) -> tuple[str, dict[str, Any]]:
    """Return the text of a file, and the mapping that it holds as JSON."""
    try:
        text = file.read_text()
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise StageError(f"{file} is damaged: it is no JSON mapping; {mend}")
    return text, values


def _wrong(values: Any, hints: Mapping[str, Any]) -> str | None:
    """Return the first of these keys whose value does not fit, None where all do, empty for what is no mapping."""
    if not isinstance(values, dict):
        return ""
    return next((name for name, hint in hints.items() if not fits(hint, values.get(name))), None)


def _wrong_part(manifest: dict[str, Any]) -> str | None:
    """Return the dotted key of the first value in a manifest's parts that does not fit, None where all do."""
    wrong = _wrong(manifest["dataset"], _DATASET)
    if wrong is not None:
        return f"dataset.{wrong}"
    for name, entry in manifest["stages"].items():
        wrong = _wrong_stage(name, entry) if _STAGE.fullmatch(name) else ""
        if wrong is not None:
            return f"stages.{name}.{wrong}".rstrip(".")
    return None


def _wrong_stage(name: str, entry: Any) -> str | None:
    done = isinstance(entry, dict) and entry.get("status") == "done"
    return _wrong(entry, {**_ENTRY, **(_DONE if done else {}), **(_FINETUNED if done and name == FINETUNE else {})})
