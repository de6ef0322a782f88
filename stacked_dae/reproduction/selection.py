"""A search by validation error: every configuration is trained, the best alone is tested."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacked_dae.config.identity import first_difference
from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset
from stacked_dae.errors import DivergedError, StageError
from stacked_dae.pipeline.api import finetune, fit
from stacked_dae.pipeline.results import diverged_stage, selection_score
from stacked_dae.runs.fingerprints import result_fingerprint
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.utils.files import write_text
from stacked_dae.utils.terminal.progress import Reporter
from stacked_dae.utils.type_hints import field_types, matches_type

# What tries.json holds of each.
_ENTRIES = ("valid_error_percent", "valid_loss", "seconds", "diverged")


@dataclass(frozen=True)
class Trial:
    """A configuration that was trained: its folder, the folder of its layers, and its lowest validation error.

    The error is in percent, with the validation loss of the same epoch; both None where the training diverged, and
    ``diverged`` is then the stage, else empty. ``seconds`` are those of its training.
    """

    folder: Path
    layers: Path
    valid_error_percent: float | None
    valid_loss: float | None
    seconds: float
    diverged: str


def select_best(
    configs: Sequence[Config], out: Path, dataset: Dataset, reporter: Reporter
) -> tuple[Trial, list[Trial]]:
    """Train each configuration, test the one of the lowest validation error, and return it and all tries.

    Each has a run folder of its own under ``out``, named by its settings, and a line in ``out/tries.json``: a search
    that was killed resumes, and a larger one begins with what a smaller one has done. One that differs
    from an earlier one in fine-tuning alone takes that one's layers. Of equals the one of
    the lower validation loss is taken.

    Raises:
        StageError: all diverged, or ``tries.json`` is damaged.
    """
    file = out / "tries.json"
    known = _known(file)
    tries: list[Trial] = []
    for k, config in enumerate(configs, 1):
        name = f"try_{result_fingerprint(config, dataset.fingerprint)[:10]}"
        sibling = _same_layers(config, list(zip(configs, tries, strict=False)))
        if sibling and sibling.diverged not in ("", FINETUNE):
            # Its layers diverged, and these are the same.
            known.setdefault(name, _entry(diverged=sibling.diverged))
        layers = sibling.layers if sibling else out / name
        if name not in known:
            reporter.say(f"{out}: configuration {k} of {len(configs)}")
            known[name] = _train(config, out / name, layers, dataset, reporter)
            write_text(file, json.dumps(known, indent=2) + "\n")
        tries.append(Trial(out / name, layers, **{entry: known[name][entry] for entry in _ENTRIES}))
    trained = [k for k, t in enumerate(tries) if t.valid_error_percent is not None]
    if not trained:
        raise StageError(f"{out}: every configuration diverged; give a larger --budget")
    best = min(trained, key=lambda k: (tries[k].valid_error_percent, tries[k].valid_loss))
    _run(configs[best], tries[best].folder, tries[best].layers, dataset, reporter, test=True)
    return tries[best], tries


def _same_layers(config: Config, before: list[tuple[Config, Trial]]) -> Trial | None:
    """Return the first earlier try that has the very layers of ``config``, if there is one."""
    if config.model == "mlp":
        return None
    return next((t for other, t in before if first_difference(other, config, ("finetune.",)) is None), None)


def _known(file: Path) -> dict[str, Any]:
    """Return what was tried already, by folder."""
    if not file.exists():
        return {}
    try:
        known: dict[str, Any] = json.loads(file.read_text())
        hints = field_types(Trial)
        for entry in known.values():
            judged_by = entry["valid_error_percent"], entry["valid_loss"]
            if not all(matches_type(hints[name], entry[name]) for name in _ENTRIES) or judged_by.count(None) == 1:
                raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StageError(
            f"{file} is damaged; remove it, and the same command writes it again from the runs beside it"
        ) from None
    return known


def _run(config: Config, folder: Path, layers: Path, dataset: Dataset, reporter: Reporter, *, test: bool) -> RunFolder:
    if layers == folder:
        return fit(config, folder, dataset=dataset, progress=reporter, test=test)
    return finetune(config, folder, layers, dataset=dataset, progress=reporter, test=test)


def _train(config: Config, folder: Path, layers: Path, dataset: Dataset, reporter: Reporter) -> dict[str, Any]:
    error = loss = None
    diverged = ""
    try:
        run = _run(config, folder, layers, dataset, reporter, test=False)
        error, loss = selection_score(run)
    except DivergedError as failure:
        reporter.say(str(failure))
        run = RunFolder.open(folder)
        diverged = diverged_stage(run)
    seconds = sum(record.seconds or 0.0 for record in run.manifest.stages.values())
    return _entry(error, loss, round(seconds, 1), diverged)


def _entry(
    error: float | None = None, loss: float | None = None, seconds: float = 0.0, diverged: str = ""
) -> dict[str, Any]:
    return dict(zip(_ENTRIES, (error, loss, seconds, diverged), strict=True))
