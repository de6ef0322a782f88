"""What a run folder holds, and how it is written: to a temporary name, then renamed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stacked_dae.config.identity import fingerprint
from stacked_dae.config.loading import from_dict
from stacked_dae.config.schema import Config
from stacked_dae.data.tabular.preprocessing import Preprocessing
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.runs.fingerprints import FINETUNE, FORMAT, marks
from stacked_dae.runs.manifest import config_in, is_done, seal_of, text_of, unsealed, wrong_manifest, wrong_result
from stacked_dae.runs.metrics import Metrics
from stacked_dae.utils import distributed
from stacked_dae.utils.files import LOCK, checksum, lock_folder, seal, write_text
from stacked_dae.utils.yaml_io import read_yaml, yaml_text


def _is_of_a_beginning(file: Path) -> bool:
    """Whether a run that was killed before its first manifest leaves such a file."""
    if file.name == "config.yaml":
        # A settings file of the user's own is none of ours to write over.
        return file.is_file() and config_in(text_of(file)) is not None
    return file.name in ("preprocessing.json", LOCK) or (file.name.startswith(".") and file.name.endswith(".tmp"))


class RunFolder:
    """A run folder: ``config.yaml``, ``manifest.json``, a folder for each stage, ``figures/``, ``result.json``.

    Of a table also ``preprocessing.json``.

    ``manifest.json`` holds ``format``, ``dataset`` (name, inputs, fingerprint; of a table also the fingerprint of its
    ``preprocessing``), ``parent`` (the run whose layers were
    fine-tuned, or null), ``layers`` (the fingerprint of that run's last layer, or null), ``own`` (what was
    given in Python instead of settings, or null) and ``stages``: for
    each its ``fingerprint``, ``status`` (pending, running, done) and, when done, ``seconds``, ``epochs`` and the
    SHA-256 of its weights and metrics. The files carry their own checksums, or stand in the manifest with one, and
    whole files of another run are told from this one's: what was changed is found when it is read.
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
        folder._as_read = text_of(file)
        written = re.search(r'^  "format": (\d{1,9}),', folder._as_read, re.MULTILINE)
        if written and int(written[1]) != FORMAT:
            raise StageError(
                f"{file} has format {written[1]}, but this version reads {FORMAT}; use the version it came from"
            )
        mend = "train the run again in a new folder"
        folder.manifest = unsealed(file, folder._as_read, mend)
        wrong = wrong_manifest(folder.manifest)
        if wrong is not None:
            raise StageError(f"{file} is damaged: its {wrong} is not a run's; {mend}")
        link = _link_out_of(path)
        if link is not None:
            raise StageError(f"{link} is a link to elsewhere; put the folder itself there")
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
        if not distributed.first():
            # Its first process keeps the others' place.
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = lock_folder(self.path)
        except BlockingIOError:
            raise StageError(
                f"{self.path} is in use by another process; wait for it, or choose another --out"
            ) from None
        try:
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
        mend = "train the run again in a new folder"
        if config_in(text_of(file)) is None:
            raise StageError(f"{file} is damaged: it is not as it was written; {mend}")
        try:
            config = from_dict(read_yaml(file), str(file))
        except ConfigError as error:
            raise StageError(f"{error}; the run folder is damaged") from None
        there = self.manifest["stages"]
        kept = self.manifest
        found = marks(config, kept["dataset"]["fingerprint"], kept.get("layers"), kept.get("own"))
        for name, mark in found.items():
            # A whole file of another run is found by what it would have trained.
            if there.get(name, {}).get("fingerprint", mark) != mark:
                raise StageError(f"{file} is damaged: it is of another run than {self.path / 'manifest.json'}; {mend}")
        return config

    def write_config(self, config: Config) -> None:
        """Write ``config.yaml``."""
        if not distributed.first():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml_text(config.to_dict())
        write_text(self.path / "config.yaml", f"{text}{seal_of(text)}")

    def write_manifest(self) -> None:
        """Write ``manifest.json``; of several processes, the first does."""
        if distributed.first():
            write_text(self.path / "manifest.json", seal(self.manifest))

    def write_preprocessing(self, table: Preprocessing | None) -> None:
        """Write ``preprocessing.json`` of a table; without one there is none."""
        if not distributed.first():
            return
        file = self.path / "preprocessing.json"
        if table is None:
            file.unlink(missing_ok=True)
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(file, seal(table.to_dict()))

    def preprocessing(self) -> Preprocessing | None:
        """Return how the table of the run became inputs; None where it was trained on no table.

        Raises:
            StageError: ``preprocessing.json`` is gone or damaged.
        """
        if self.config().data.path is None:
            return None
        file = self.path / "preprocessing.json"
        mend = "give its fit again, which writes it from the table"
        if not file.is_file():
            raise StageError(f"{file} is gone; {mend}")
        values = unsealed(file, text_of(file), mend)
        if fingerprint(values) != self.manifest["dataset"].get("preprocessing"):
            raise StageError(f"{file} is damaged: it is of another run than {self.path / 'manifest.json'}; {mend}")
        return Preprocessing.from_dict(values)

    def stage(self, name: str) -> dict[str, Any]:
        """Return the manifest's entry of a stage; empty where it has none."""
        entry: dict[str, Any] = self.manifest.get("stages", {}).get(name, {})
        return entry

    def record(self, name: str, **entry: Any) -> None:
        """Update a stage's entry in the manifest and write it."""
        self.manifest["stages"][name] = {**self.stage(name), **entry}
        self.write_manifest()

    def finish(self, name: str, **entry: Any) -> None:
        """Mark a stage done, with the SHA-256 of the weights and the metrics in its folder."""
        # A row was not yet asked to outlast a power cut; the checkpoint, which has them too, goes after this.
        metrics = self.metrics(name)
        metrics.restore(metrics.text)
        sums = {
            key: checksum(self.folder(name) / file)
            for key, file in (("sha256", "weights.safetensors"), ("metrics_sha256", "metrics.csv"))
        }
        self.record(name, status="done", **sums, **entry)

    def done(self, name: str, fingerprint: str) -> bool:
        """Whether the stage is done, with this fingerprint."""
        entry = self.stage(name)
        return is_done(entry) and entry.get("fingerprint") == fingerprint

    def folder(self, name: str) -> Path:
        """Return the folder of a stage."""
        return self.path / name

    def clear(self, name: str) -> None:
        """Remove the folder of a stage."""
        if distributed.first():
            if self.folder(name).is_dir():
                shutil.rmtree(self.folder(name), ignore_errors=True)
            else:
                self.folder(name).unlink(missing_ok=True)

    def metrics(self, name: str) -> Metrics:
        """Return the metrics of a stage; those of a done one are checked against the manifest when they are read."""
        entry = self.stage(name)
        return Metrics(self.folder(name) / "metrics.csv", entry["metrics_sha256"] if is_done(entry) else None)

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

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``; of several processes, the first does."""
        if distributed.first():
            write_text(self.path / "result.json", seal(result))

    def forget_result(self) -> None:
        """Remove ``result.json``."""
        if distributed.first():
            (self.path / "result.json").unlink(missing_ok=True)

    def result(self) -> dict[str, Any]:
        """Return ``result.json``.

        Raises:
            StageError: the run has none yet, or it is damaged.
        """
        file = self.path / "result.json"
        if not file.is_file():
            raise StageError(f"{self.path} has no result.json: the run is not finished; run its fit again")
        mend = "give its fit again, which tests again and trains nothing"
        result = unsealed(file, text_of(file), mend)
        wrong = wrong_result(result, self.stage(FINETUNE).get("sha256"))
        if wrong is not None:
            raise StageError(f"{file} is damaged: its {wrong} is not a result's; {mend}")
        return result


def _link_out_of(path: Path) -> Path | None:
    """Return a link in the run folder to a folder outside it, None where there is none."""
    whole = path.resolve()
    for place, folders, _ in os.walk(path):
        for name in folders:
            link = Path(place, name)
            if link.is_symlink() and not link.resolve().is_relative_to(whole):
                return link
    return None
