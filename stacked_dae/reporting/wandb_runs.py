"""Runs of Weights & Biases side by side: what compare shows of run folders, out of the public API."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from stacked_dae.errors import ConfigError, StageError
from stacked_dae.reporting.columns import INTERVAL, TEST, TEST_RMSE, VALID, VALID_RMSE, Compared, baseline_of
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.tracking.base import PRETRAIN
from stacked_dae.tracking.wandb_api import WandbRun, read_runs
from stacked_dae.utils.nested import flatten


def read_wandb(path: str) -> list[Compared]:
    """Return the runs of ``ENTITY/PROJECT`` or ``ENTITY/PROJECT/GROUP``: one for each classifier.

    The layers of a classifier are those of the W&B run that its configuration names as its parent.

    Raises:
        ConfigError: ``path`` has another form.
        StageError: the project has no runs, or W&B does not answer.
    """
    parts = path.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise ConfigError(f"--wandb must be ENTITY/PROJECT or ENTITY/PROJECT/GROUP, not {path!r}")
    project = f"{parts[0]}/{parts[1]}"
    found = read_runs(project, {"group": parts[2]} if len(parts) > 2 else {})
    if not found:
        raise StageError(f"--wandb {path}: there are no runs")
    others = [run for run in found if run.job_type != PRETRAIN]
    used = {id_ for run in others if (id_ := _lineage(run).get("parent_run"))}
    layers = {run.id: run for run in found if run.job_type == PRETRAIN}
    elsewhere = sorted(str(id_) for id_ in used - layers.keys())
    if elsewhere:
        # Layers of another group, fine-tuned in this one.
        layers |= {run.id: run for run in read_runs(project, {"name": {"$in": elsewhere}})}
    alone = [run for run in found if run.job_type == PRETRAIN and run.id not in used]
    return [_compared(run, layers.get(str(_lineage(run).get("parent_run")))) for run in [*others, *alone]]


def _lineage(run: WandbRun) -> Mapping[str, Any]:
    found = run.config.get("lineage")
    return found if isinstance(found, Mapping) else {}


def _compared(run: WandbRun, parent: WandbRun | None) -> Compared:
    histories = {**(_histories(parent) if parent else {}), **_histories(run)}
    # A run of somebody else's has settings of its own, and none of the figures.
    settings = {key: value for key, value in run.config.items() if key != "lineage"}
    done = run.summary
    seconds = sum(row.get("seconds", 0.0) for rows in histories.values() for row in rows)
    return Compared(
        name=f"{run.group} ({run.name})" if run.group and run.group not in run.name else run.name,
        settings={key: _as_was(key, value) for key, value in flatten(settings).items()},
        losses={
            stage: rows[-1]["valid_loss"]
            for stage, rows in histories.items()
            if stage != FINETUNE and "valid_loss" in rows[-1]
        },
        valid_error_percent=_number(done.get(f"best_{VALID}")),
        test_error_percent=_number(done.get(TEST)),
        test_error_ci95_percent=_number(done.get(INTERVAL)),
        valid_rmse=_number(done.get(f"best_{VALID_RMSE}")),
        test_rmse=_number(done.get(TEST_RMSE)),
        n_test=int(_number(done.get("n_test")) or 0),
        seconds=round(seconds, 1),
        state="done" if run.state == "finished" else run.state,
        histories=histories,
        metrics={name.removeprefix("test_"): float(done[name]) for name in done if _is_measure(name, done[name])},
        baselines={
            name: value for key in done if (name := baseline_of(key)) and (value := _number(done[key])) is not None
        },
    )


def _is_measure(name: str, value: Any) -> bool:
    """Return whether a figure of a summary is a further measure of the test."""
    return name.startswith("test_") and name not in (TEST, INTERVAL, TEST_RMSE) and _number(value) is not None


def _number(value: Any) -> float | None:
    """Return a figure of a summary as it was: the server drops the point of a whole one."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _as_was(key: str, value: Any) -> Any:
    """Return a setting as the run folder has it: W&B holds options as JSON."""
    if key.endswith("options") and isinstance(value, str):
        with suppress(ValueError):
            return json.loads(value)
    return value


def _histories(run: WandbRun) -> dict[str, Sequence[Mapping[str, float]]]:
    """Return the rows of a W&B run by stage."""
    stages: dict[str, list[dict[str, float]]] = defaultdict(list)
    for row in run.history:
        named: dict[str, dict[str, float]] = defaultdict(dict)
        for key, value in row.items():
            stage, slash, name = key.partition("/")
            if slash and isinstance(value, (int, float)):
                named[stage][name] = value
        for stage, values in named.items():
            if "epoch" in values:
                stages[stage].append(values)
    return dict(stages)
