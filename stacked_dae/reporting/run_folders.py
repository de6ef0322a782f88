"""Run folders as the runs of a comparison."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from stacked_dae.config.schema import Config
from stacked_dae.data.registry import DATASETS
from stacked_dae.errors import StageError
from stacked_dae.reporting.columns import Compared
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.manifest import RegressionResult, Result, StageRecord
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.utils.nested import flatten

# Where a command that trains a run again puts it.
_NEW = "runs/again"


def find_runs(places: Sequence[str]) -> list[RunFolder]:
    """Return the run folders that ``places`` name: run folders, folders above them, or patterns of either.

    Raises:
        StageError: one names none, or a folder is damaged.
    """
    found: dict[Path, RunFolder] = {}
    for place in places:
        matches = [Path(place)] if Path(place).exists() else [Path(name) for name in sorted(glob.glob(place))]
        here = [run for match in matches for run in runs_below(match)]
        if not here:
            raise StageError(
                f"{place}: there is no run folder; name the --out folders of earlier runs, or one above them"
            )
        found |= {path.resolve(): RunFolder.open(path) for path in here if path.resolve() not in found}
    return list(found.values())


def runs_below(place: Path) -> list[Path]:
    """Return the run folders at or below ``place``; inside a run folder there are no others."""
    if (place / "manifest.json").is_file():
        return [place]
    if not place.is_dir():
        return []
    return [
        run
        for child in sorted(place.iterdir())
        if child.is_dir() and (not child.is_symlink() or (child / "manifest.json").is_file())
        for run in runs_below(child)
    ]


def _above(folder: RunFolder) -> RunFolder | None:
    """Return the other run that trained the layers of this one, where there is one that still holds them."""
    parent = folder.manifest.parent
    if not parent or not (Path(parent) / "manifest.json").is_file():
        return None
    above = RunFolder.open(Path(parent))
    last = above.manifest.stages.get(stage_name(len(folder.config().layers())))
    return above if last is not None and last.fingerprint == folder.manifest.layers else None


def _callbacks(records: Mapping[str, StageRecord]) -> str | None:
    """Return the user's callbacks and Trainer arguments, by stage; None without any."""
    return "; ".join(f"{name}: {', '.join(record.parts)}" for name, record in records.items() if record.parts) or None


def _facts(folder: RunFolder, config: Config, result: Result | RegressionResult | None) -> dict[str, str]:
    """Return the command that trains the same again, and what it was trained by."""
    manifest, verb = folder.manifest, "fit"
    parent = ""
    if manifest.parent:
        verb, parent = "finetune", f" --pretrained {quote(manifest.parent)}"
    elif FINETUNE not in manifest.stages:
        verb = "pretrain"
    command = f"stacked-dae {verb} --config {quote(str(folder.path / 'config.yaml'))}{parent} --out {_NEW}"
    # Custom objects, and data that were given from Python, are in no file that a command reads.
    named = config.data.title
    given = manifest.dataset.name != named or (not config.data.path and named not in DATASETS)
    facts = {} if given or manifest.components or _callbacks(manifest.stages) else {"command": command}
    if manifest.stages:
        facts["fingerprint"] = list(manifest.stages.values())[-1].fingerprint
    if result:
        facts["versions"] = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return facts


def _measures(result: Result | RegressionResult) -> dict[str, float]:
    """Return the further measures of the test, by name."""
    found = dict(result.metrics or {})
    if isinstance(result, RegressionResult):
        found |= {"mae": result.test_mae, **({} if result.test_r2 is None else {"r2": result.test_r2})}
    return found


def read_run(folder: RunFolder, *, pictures: bool = False) -> Compared:
    """Return what a run folder holds, with its filters where ``pictures`` are wanted.

    Raises:
        StageError: a file of it is damaged.
    """
    stages, config = folder.manifest.stages, folder.config()
    histories = {name: folder.metrics(name).rows() for name in stages}
    records = dict(stages)
    place = folder.path / "figures" / "filters.png"
    above = _above(folder)
    if above is not None:
        layers = {name: record for name, record in above.manifest.stages.items() if name != FINETUNE}
        records = {**layers, **records}
        histories = {**{name: above.metrics(name).rows() for name in layers}, **histories}
        place = place if place.exists() else above.path / "figures" / "filters.png"
    result = folder.result() if folder.has_result else None
    cut = next((name for name, record in stages.items() if not record.is_done), None)
    untested = FINETUNE in stages and not result
    return Compared(
        name=str(folder.path),
        settings={
            **flatten(config.to_dict()),
            "parts": folder.manifest.components,
            "callbacks": _callbacks(records),
        },
        losses={
            name: rows[-1]["valid_loss"]
            for name, rows in histories.items()
            if name != FINETUNE and rows and "valid_loss" in rows[-1]
        },
        valid_error_percent=records[FINETUNE].best_valid_error_percent if FINETUNE in records else None,
        test_error_percent=result.test_error_percent if isinstance(result, Result) else None,
        test_error_ci95_percent=result.test_error_ci95_percent if isinstance(result, Result) else None,
        valid_rmse=folder.best_valid_rmse(),
        test_rmse=result.test_rmse if isinstance(result, RegressionResult) else None,
        n_test=result.n_test if result else 0,
        seconds=round(sum(record.seconds or 0.0 for record in records.values()), 1),
        state=f"cut in {cut}" if cut else "not tested" if untested else "done",
        histories={name: rows for name, rows in histories.items() if rows},
        metrics=_measures(result) if result else {},
        baselines=(result.baselines or {}) if result else {},
        facts=_facts(folder, config, result),
        filters=place.read_bytes() if pictures and place.is_file() else None,
    )
