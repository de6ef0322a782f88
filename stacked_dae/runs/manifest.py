"""The records of a run folder: its manifest, an entry for each stage, and its result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.utils.type_hints import field_types, matches_type

LAYOUT_VERSION = 4
"""Version of what a run folder holds; ``format`` in its manifest."""
Status = Literal["pending", "running", "done"]
_STAGE_NAME = re.compile(r"layer_[1-9]\d{0,3}|finetune")
# What a stage that is done has beside its fingerprint and status, and what fine-tuning adds.
_WHEN_DONE = {"sha256": str, "metrics_sha256": str, "epochs": int, "seconds": float}
_WHEN_FINETUNED = {"best_epoch": int}
_BEST = ("best_valid_error_percent", "best_valid_loss")


class RecordError(ValueError):
    """Values that are not those of a record; ``key`` is the dotted key of the first wrong one."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass
class StageRecord:
    """The manifest's entry of a stage.

    Args:
        fingerprint: of the stage (:mod:`stacked_dae.runs.fingerprints`).
        status: pending, running or done.
        sha256, metrics_sha256: of its weights and its ``metrics.csv``; when done.
        epochs: number of epochs made; when done.
        seconds: of its training; when done.
        best_epoch: of fine-tuning, when done.
        best_valid_error_percent: of that epoch (classification only).
        best_valid_loss: of that epoch, the squared error in variances of the target (regression only).
        parts: names of the user's callbacks and Trainer arguments that could change the training; None without any.
        dead_units: units of a layer, when done, with the same code for each of the first 4096 training rows; None for
            a layer of an earlier version.
        saturated_percent: share of these rows' codes at an end of the activation, when done; None likewise.
    """

    fingerprint: str
    status: Status = "pending"
    sha256: str | None = None
    metrics_sha256: str | None = None
    epochs: int | None = None
    seconds: float | None = None
    best_epoch: int | None = None
    best_valid_error_percent: float | None = None
    best_valid_loss: float | None = None
    parts: list[str] | None = None
    dead_units: int | None = None
    saturated_percent: float | None = None

    @property
    def is_done(self) -> bool:
        """True if the stage is trained to its end."""
        return self.status == "done"

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as the manifest holds it, without what is not known yet."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class DatasetRecord:
    """The data of a run.

    Args:
        name: of the data set, or of the table.
        inputs: number of inputs d.
        fingerprint: SHA-256 of the training and validation rows.
        preprocessing: fingerprint of a table's preprocessing.
    """

    name: str
    inputs: int
    fingerprint: str
    preprocessing: str | None = None


@dataclass
class Manifest:
    """The content of ``manifest.json``.

    Args:
        dataset: the data.
        parent: the run folder whose layers are fine-tuned, or None.
        layers: fingerprint of that run's last layer, or None.
        components: name of the custom components, or None.
        stages: the entry of each stage, in order, by name.
    """

    dataset: DatasetRecord
    parent: str | None = None
    layers: str | None = None
    components: str | None = None
    stages: dict[str, StageRecord] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain values, for JSON."""
        return {
            "format": LAYOUT_VERSION,
            "dataset": asdict(self.dataset),
            "parent": self.parent,
            "layers": self.layers,
            # The key's name is from the time when custom components were "own" parts.
            "own": self.components,
            "stages": {name: record.to_dict() for name, record in self.stages.items()},
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Manifest:
        """Return the manifest of :meth:`to_dict`.

        Raises:
            RecordError: ``values`` are not those of a manifest.
        """
        types: dict[str, Any] = {"parent": str | None, "layers": str | None, "own": str | None}
        _check(values, {"format": int, "dataset": dict, **types, "stages": dict})
        dataset = values["dataset"]
        _check(dataset, field_types(DatasetRecord), "dataset.")
        for name, entry in values["stages"].items():
            check_stage(name, entry)
        return Manifest(
            DatasetRecord(**_known(DatasetRecord, dataset)),
            values["parent"],
            values["layers"],
            values["own"],
            {name: StageRecord(**_known(StageRecord, entry)) for name, entry in values["stages"].items()},
        )


_OPTIONAL = ("metrics", "baselines", "mixture")


@dataclass(frozen=True, kw_only=True)
class ResultRecord:
    """What every result of a test holds.

    Args:
        dataset, model, seed: as in the settings.
        n_test: number of test examples.
        best_epoch: the epoch whose weights were kept.
        parameters: number of parameters of the stack.
        seconds: of training.
        weights_sha256: SHA-256 of the tested weights.
        test_rows: SHA-256 of the test rows.
        versions: of the libraries.
        metrics: further measures of the test, by name; None without any.
        baselines: test error in percent, or RMSE (regression only), of each baseline, by name; None where none was
            tested.
    """

    dataset: str
    model: str
    seed: int
    n_test: int
    best_epoch: int
    parameters: int
    seconds: float
    weights_sha256: str
    test_rows: str
    versions: dict[str, Any]
    metrics: dict[str, float] | None = None
    baselines: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        return {name: value for name, value in asdict(self).items() if name not in _OPTIONAL or value is not None}


@dataclass(frozen=True, kw_only=True)
class Result(ResultRecord):
    """The content of ``result.json``: the test of a fine-tuned classifier.

    Args:
        labels_per_class: as in the settings.
        test_error_percent, test_error_ci95_percent: test error and half its 95 % binomial interval.
        best_valid_error_percent: of the epoch whose weights were kept.
        confusion: ``confusion[i][j]`` counts the test examples of class i that were predicted as j.
        mixture: shares, of sum 1, of the heads on the inputs, on the codes, and of the fine-tuned networks
            (finetune.head mixed only).
    """

    labels_per_class: int | None
    test_error_percent: float
    test_error_ci95_percent: float
    best_valid_error_percent: float
    confusion: list[list[int]]
    mixture: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class RegressionResult(ResultRecord):
    """The content of ``result.json`` of a regression: the test of a stack that predicts numbers.

    Args:
        test_rmse, test_mae: root of the mean squared error, and mean absolute error, in the units of the target.
        test_r2: share of the variance that is explained, at most 1; None where all test rows have the same target.
        best_valid_rmse: of the epoch whose weights were kept.
    """

    test_rmse: float
    test_mae: float
    test_r2: float | None
    best_valid_rmse: float


def result_of(values: Mapping[str, Any], weights: str | None) -> Result | RegressionResult:
    """Return the result of :meth:`ResultRecord.to_dict`, of the weights with the SHA-256 ``weights``.

    Raises:
        RecordError: ``values`` are not those of a result, or of other weights.
    """
    cls = RegressionResult if isinstance(values, Mapping) and "test_rmse" in values else Result
    _check(values, field_types(cls))
    if values["weights_sha256"] != weights:
        raise RecordError("weights_sha256")
    return cls(**_known(cls, values))


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are fields of ``cls``."""
    return {f.name: values[f.name] for f in fields(cls) if f.name in values}


def _check(values: Any, types: Mapping[str, Any], prefix: str = "") -> None:
    """Raise RecordError for the first of the keys of ``types`` whose value is of another type."""
    if not isinstance(values, Mapping):
        raise RecordError(prefix.rstrip("."))
    for name, hint in types.items():
        if not matches_type(hint, values.get(name)):
            raise RecordError(f"{prefix}{name}")


def check_stage(name: str, entry: Any) -> None:
    """Raise RecordError unless ``entry`` holds the values of a stage's record."""
    prefix = f"stages.{name}."
    if not _STAGE_NAME.fullmatch(name):
        raise RecordError(prefix.rstrip("."))
    _check(entry, {"fingerprint": str, "status": Status, "parts": list[str] | None}, prefix)
    if entry["status"] == "done":
        best = {next((key for key in _BEST if key in entry), _BEST[0]): float}
        _check(entry, {**_WHEN_DONE, **({**_WHEN_FINETUNED, **best} if name == FINETUNE else {})}, prefix)
