"""Run folders as the runs of a comparison."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stacked_dae.config.loading import flatten
from stacked_dae.errors import StageError
from stacked_dae.reporting.comparison import Compared
from stacked_dae.runs.fingerprints import FINETUNE, stage_name
from stacked_dae.runs.folder import RunFolder


def find_runs(places: Sequence[str]) -> list[RunFolder]:
    """Return the run folders that ``places`` name: run folders, folders above them, or patterns of either.

    Raises:
        StageError: one names none, or a folder is damaged.
    """
    found: dict[Path, RunFolder] = {}
    for place in places:
        matches = [Path(place)] if Path(place).exists() else [Path(name) for name in sorted(glob.glob(place))]
        here = [run for match in matches for run in _under(match)]
        if not here:
            raise StageError(
                f"{place}: there is no run folder; name the --out folders of earlier runs, or one above them"
            )
        found |= {path.resolve(): RunFolder.open(path) for path in here if path.resolve() not in found}
    return list(found.values())


def _under(place: Path) -> list[Path]:
    """Return the run folders at or below ``place``; inside a run folder there are no others."""
    if (place / "manifest.json").is_file():
        return [place]
    if not place.is_dir():
        return []
    return [
        run
        for child in sorted(place.iterdir())
        if child.is_dir() and (not child.is_symlink() or (child / "manifest.json").is_file())
        for run in _under(child)
    ]


def _above(folder: RunFolder) -> RunFolder | None:
    """Return the other run that trained the layers of this one, where there is one that still holds them."""
    parent = folder.manifest.get("parent")
    if not parent or not (Path(parent) / "manifest.json").is_file():
        return None
    above = RunFolder.open(Path(parent))
    last = above.stage(stage_name(len(folder.config().layers())))
    return above if last.get("fingerprint") == folder.manifest["layers"] else None


def read_run(folder: RunFolder, *, pictures: bool = False) -> Compared:
    """Return what a run folder holds, with its filters where ``pictures`` are wanted.

    Raises:
        StageError: a file of it is damaged.
    """
    stages: dict[str, Any] = folder.manifest["stages"]
    histories = {name: folder.metrics(name).rows() for name in stages}
    entries = dict(stages)
    place = folder.path / "figures" / "filters.png"
    above = _above(folder)
    if above is not None:
        layers = {name: entry for name, entry in above.manifest["stages"].items() if name != FINETUNE}
        entries = {**layers, **entries}
        histories = {**{name: above.metrics(name).rows() for name in layers}, **histories}
        place = place if place.exists() else above.path / "figures" / "filters.png"
    result = folder.result() if (folder.path / "result.json").exists() else {}
    cut = next((name for name, entry in stages.items() if entry["status"] != "done"), None)
    untested = FINETUNE in stages and not result
    return Compared(
        name=str(folder.path),
        settings={**flatten(folder.config().to_dict()), "parts": folder.manifest.get("own")},
        losses={
            name: rows[-1]["valid_loss"]
            for name, rows in histories.items()
            if name != FINETUNE and rows and "valid_loss" in rows[-1]
        },
        valid_error_percent=entries.get(FINETUNE, {}).get("best_valid_error_percent"),
        test_error_percent=result.get("test_error_percent"),
        test_error_ci95_percent=result.get("test_error_ci95_percent"),
        n_test=result.get("n_test", 0),
        seconds=round(sum(entry.get("seconds", 0.0) for entry in entries.values()), 1),
        state=f"cut in {cut}" if cut else "not tested" if untested else "done",
        histories={name: rows for name, rows in histories.items() if rows},
        filters=place.read_bytes() if pictures and place.is_file() else None,
    )
