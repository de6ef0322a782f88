"""The run folder: its files, each written to a temporary name, then renamed."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked_dae.config.identity import fingerprint
from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Config
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.runs import integrity
from stacked_dae.runs.fingerprints import stage_fingerprints
from stacked_dae.runs.integrity import is_intact, parse_checksummed, read_small, with_checksum
from stacked_dae.runs.manifest import (
    LAYOUT_VERSION,
    Manifest,
    RecordError,
    RegressionResult,
    Result,
    ResultRecord,
    StageRecord,
    result_of,
)
from stacked_dae.runs.metrics import Metrics
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.utils import distributed
from stacked_dae.utils.files import checksum, dump_checksummed, lock_folder, write_text
from stacked_dae.utils.yaml_io import dump_yaml, read_yaml

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

_TRAIN_AGAIN = "train the run again in a new folder"


class RunFolder:
    """A run folder: ``config.yaml``, ``manifest.json``, a folder for each stage, ``figures/``, ``result.json``.

    A run on a table also has ``preprocessing.json``. The files carry their own checksums, or the manifest holds one,
    and a whole file of another run does not match the fingerprints: a change is found when the file is read.

    Args:
        path: the folder.
        manifest: the content of its ``manifest.json``; None for a new folder.
    """

    def __init__(self, path: Path, manifest: Manifest | None = None) -> None:
        self.path = path
        self._manifest = manifest
        self._as_read = ""

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def is_new(self) -> bool:
        """True if the folder has no manifest yet."""
        return self._manifest is None

    @property
    def manifest(self) -> Manifest:
        """The content of ``manifest.json``."""
        assert self._manifest is not None, f"{self.path} has no manifest yet"
        return self._manifest

    @manifest.setter
    def manifest(self, manifest: Manifest) -> None:
        self._manifest = manifest

    @staticmethod
    def open(path: str | Path) -> RunFolder:
        """Return the run folder at ``path``.

        Raises:
            StageError: there is none, or its manifest cannot be read.
        """
        path = Path(path)
        file = path / "manifest.json"
        if not file.is_file() or not (path / "config.yaml").is_file():
            what = "holds no manifest.json and config.yaml" if path.is_dir() else "is not there"
            raise StageError(f"{path} is not a run folder: it {what}; name the --out folder of an earlier run")
        text = read_small(file)
        written = re.search(r'^  "format": (\d{1,9}),', text, re.MULTILINE)
        if written and int(written[1]) != LAYOUT_VERSION:
            raise StageError(
                f"{file} has format {written[1]}, but this version reads {LAYOUT_VERSION}; use the version it came from"
            )
        try:
            folder = RunFolder(path, Manifest.from_dict(parse_checksummed(file, text, _TRAIN_AGAIN)))
        except RecordError as error:
            raise StageError(f"{file} is damaged: its {error.key} is not a run's; {_TRAIN_AGAIN}") from None
        folder._as_read = text
        link = integrity.link_out_of(path)
        if link is not None:
            raise StageError(f"{link} is a link to elsewhere; put the folder itself there")
        return folder

    @staticmethod
    def open_or_create(path: Path) -> RunFolder:
        """Return the run folder at ``path``, or a new one where nothing is there yet; writes nothing.

        Raises:
            StageError: something else is there.
            ConfigError: the folder cannot be written to.
        """
        if path.exists() and not (path.is_dir() and all(map(integrity.is_left_by_start, path.iterdir()))):
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
        if not distributed.is_rank_zero():
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
        if not is_intact(read_small(file)):
            raise StageError(f"{file} is damaged: it is not as it was written; {_TRAIN_AGAIN}")
        try:
            config = config_from_dict(read_yaml(file), str(file))
        except ConfigError as error:
            raise StageError(f"{error}; the run folder is damaged") from None
        there = self.manifest
        parts = {name: record.parts or [] for name, record in there.stages.items()}
        found = stage_fingerprints(
            config, there.dataset.fingerprint, there.layers, there.components, lambda stage: parts.get(stage, [])
        )
        for name, value in found.items():
            # A whole file of another run is found by what it would have trained.
            if name in there.stages and there.stages[name].fingerprint != value:
                raise StageError(f"{file} is damaged: {_of_another_run(self.path)}; {_TRAIN_AGAIN}")
        return config

    def write_config(self, config: Config) -> None:
        """Write ``config.yaml``."""
        if not distributed.is_rank_zero():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.yaml", with_checksum(dump_yaml(config.to_dict())))

    def write_manifest(self) -> None:
        """Write ``manifest.json``; of several processes, the first does."""
        if distributed.is_rank_zero():
            write_text(self.path / "manifest.json", dump_checksummed(self.manifest.to_dict()))

    def write_preprocessing(self, table: Preprocessing | None) -> None:
        """Write ``preprocessing.json`` of a table; without one there is none."""
        if not distributed.is_rank_zero():
            return
        file = self.path / "preprocessing.json"
        if table is None:
            file.unlink(missing_ok=True)
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(file, dump_checksummed(table.to_dict()))

    def preprocessing(self) -> Preprocessing | None:
        """Return how the table of the run became inputs; None where it was trained on no table.

        Raises:
            StageError: ``preprocessing.json`` is gone or damaged.
        """
        if self.config().data.path is None:
            return None
        file = self.path / "preprocessing.json"
        remedy = "give its fit again, which writes it from the table"
        if not file.is_file():
            raise StageError(f"{file} is gone; {remedy}")
        values = parse_checksummed(file, read_small(file), remedy)
        if fingerprint(values) != self.manifest.dataset.preprocessing:
            raise StageError(f"{file} is damaged: {_of_another_run(self.path)}; {remedy}")
        return Preprocessing.from_dict(values)

    def stage(self, name: str) -> StageRecord:
        """Return the manifest's entry of a stage.

        Raises:
            StageError: the run has no such stage.
        """
        if name not in self.manifest.stages:
            raise StageError(f"{self.path} has no stage {name}; it has {', '.join(self.manifest.stages)}")
        return self.manifest.stages[name]

    def has_done(self, name: str, fingerprint: str | None = None) -> bool:
        """Return whether the stage is trained to its end, with this fingerprint if one is given."""
        record = None if self.is_new else self.manifest.stages.get(name)
        return record is not None and record.is_done and fingerprint in (None, record.fingerprint)

    def update_stage(self, name: str, **values: Any) -> None:
        """Update a stage's entry in the manifest and write it."""
        self.manifest.stages[name] = replace(self.stage(name), **values)
        self.write_manifest()

    def mark_done(self, name: str, **values: Any) -> None:
        """Mark a stage done, with the SHA-256 of the weights and the metrics in its folder."""
        # Appended rows need not have survived a power cut; the checkpoint, which holds them too, is deleted after this.
        metrics = self.metrics(name)
        metrics.restore(metrics.text)
        sums = {
            key: checksum(self.stage_dir(name) / file)
            for key, file in (("sha256", "weights.safetensors"), ("metrics_sha256", "metrics.csv"))
        }
        self.update_stage(name, status="done", **sums, **values)

    def check_components(self, components: str | None) -> None:
        """Raise ConfigError unless the layers were trained with the custom components of this name; None for none."""
        theirs = self.manifest.components
        if theirs != components:
            how = (
                f"custom components ({theirs}); give them in Python: components=Components(…)"
                if theirs
                else "no custom components; leave them out"
            )
            raise ConfigError(f"{self.path} was trained with {how}")

    def stage_dir(self, name: str) -> Path:
        """Return the folder of a stage."""
        return self.path / name

    def delete_stage(self, name: str) -> None:
        """Remove the folder of a stage."""
        if distributed.is_rank_zero():
            if self.stage_dir(name).is_dir():
                shutil.rmtree(self.stage_dir(name), ignore_errors=True)
            else:
                self.stage_dir(name).unlink(missing_ok=True)

    def metrics(self, name: str) -> Metrics:
        """Return the metrics of a stage; those of a done one are checked against the manifest when they are read."""
        sha256 = self.stage(name).metrics_sha256 if self.has_done(name) else None
        return Metrics(self.stage_dir(name) / "metrics.csv", sha256)

    def history(self) -> pd.DataFrame:
        """Return the epochs of all stages as a tidy frame (pandas): stage, epoch, name and value of each figure."""
        import pandas as pd

        rows = (
            (stage, int(row["epoch"]), name, value)
            for stage in self.manifest.stages
            for row in self.metrics(stage).rows()
            for name, value in row.items()
            if name != "epoch"
        )
        return pd.DataFrame(rows, columns=["stage", "epoch", "name", "value"])

    def weights_path(self, name: str) -> Path:
        """Return the weights file of a done stage, checked against the manifest.

        Raises:
            StageError: the file is gone or changed.
        """
        file = self.stage_dir(name) / "weights.safetensors"
        if not file.is_file():
            raise StageError(f"{file} is gone; run the command again with --rerun to train {name} again")
        if checksum(file) != self.stage(name).sha256:
            raise StageError(f"{file} has changed since it was written; run again with --rerun to train {name} again")
        return file

    def best_valid_rmse(self) -> float | None:
        """Return the lowest validation RMSE, in the units of the target; None where no number is predicted yet."""
        tuned = self.manifest.stages.get(FINETUNE)
        if tuned is None or tuned.best_valid_loss is None:
            return None
        table = self.preprocessing()
        target = table.target_column if table is not None else None
        if target is None:
            return None
        return target.width * math.sqrt(tuned.best_valid_loss)

    def write_result(self, result: ResultRecord) -> None:
        """Write ``result.json``; of several processes, the first does."""
        if distributed.is_rank_zero():
            write_text(self.path / "result.json", dump_checksummed(result.to_dict()))

    def delete_result(self) -> None:
        """Remove ``result.json``."""
        if distributed.is_rank_zero():
            (self.path / "result.json").unlink(missing_ok=True)

    @property
    def has_result(self) -> bool:
        """True if there is a ``result.json``, damaged or not."""
        return (self.path / "result.json").exists()

    def result(self) -> Result | RegressionResult:
        """Return what ``result.json`` holds.

        Raises:
            StageError: the run has none yet, or it is damaged.
        """
        file = self.path / "result.json"
        if not file.is_file():
            if self.has_done(FINETUNE):
                raise StageError(
                    f"{self.path} has no result.json: it was not tested, or has no test rows (data.split);"
                    f" evaluate {self.path} --data FILE tests it on labelled rows"
                )
            raise StageError(f"{self.path} has no result.json: the run is not finished; run its fit again")
        remedy = "give its fit again, which tests again and trains nothing"
        values = parse_checksummed(file, read_small(file), remedy)
        record = self.manifest.stages.get(FINETUNE)
        try:
            return result_of(values, record.sha256 if record else None)
        except RecordError as error:
            raise StageError(f"{file} is damaged: its {error.key} is not a result's; {remedy}") from None


def _of_another_run(path: Path) -> str:
    return f"it belongs to another run than {path / 'manifest.json'}"
