"""Table 1 on all cores: searches side by side, each the same command on a part of the table in a process of its own.

A network of these sizes in minibatches of 20 gains little from a second thread; two networks gain nearly all of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from stacked_dae.config.trainer_schema import TrainerConfig
from stacked_dae.reproduction.models import SHORT_MODELS
from stacked_dae.reproduction.runner import ReproductionRequest, pending_rows, reproduce
from stacked_dae.reproduction.search_space import NOTES
from stacked_dae.reproduction.table import TableRow
from stacked_dae.training.trainer import resolve_device
from stacked_dae.tuning.parallel import run_side_by_side
from stacked_dae.utils.terminal.progress import Reporter


def reproduce_side_by_side(request: ReproductionRequest, out: Path, reporter: Reporter) -> list[TableRow]:
    """Do what :func:`~stacked_dae.reproduction.runner.reproduce` does, on a CPU with as many processes as it has cores.

    The rows are the same but for the seconds, which are those of a process with its share of the cores.

    Raises:
        ConfigError, DataError: as there.
        StageError: as there, or a process failed for another reason; what is done is kept.
    """
    parts = _parts(pending_rows(request, out))
    count = min(len(parts), _workers())
    if count > 1:
        out.mkdir(parents=True, exist_ok=True)
        threads = max(1, torch.get_num_threads() // count)
        reporter.start("table", len(parts), "searches")
        commands = {f"{problem} {models[0]}": _words(problem, models, request, out) for problem, models in parts}
        run_side_by_side(commands, count, threads, reporter, silent=tuple(NOTES.values()))
        reporter.stop()
    return reproduce(request, out, reporter)


def _workers() -> int:
    """Return how many processes there is room for: a GPU is one process's."""
    return torch.get_num_threads() if resolve_device(TrainerConfig()).type == "cpu" else 1


def _parts(rows: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Return what one process each measures: a problem, and a model with those that need its runs; long ones first."""
    parts: dict[tuple[str, str], list[str]] = {}
    for problem, model in rows:
        parts.setdefault((problem, "sda-3" if model == "svm-codes" else model), []).append(model)
    return sorted(
        ((problem, models) for (problem, _), models in parts.items()), key=lambda part: part[1][0] in SHORT_MODELS
    )


def _words(problem: str, models: Sequence[str], request: ReproductionRequest, out: Path) -> list[str]:
    """Return the command that measures a part."""
    words = ["reproduce", "icml2008", "--problems", problem, "--models", *models, "--preset", request.preset]
    words += [
        "--budget",
        str(request.budget),
        "--seed",
        str(request.seed),
        "--source",
        request.source,
        "--out",
        str(out),
    ]
    return [sys.executable, "-m", "stacked_dae", *words, *(["--data.root", request.root] if request.root else [])]
