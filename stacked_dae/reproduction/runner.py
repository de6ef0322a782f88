"""The paper's Table 1: every model on every problem, each chosen by validation error in a declared budget."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stacked_dae.config.identity import fingerprint
from stacked_dae.config.schema import Config
from stacked_dae.data import registry
from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.errors import StageError
from stacked_dae.inference.loading import load_layers
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.reproduction import published
from stacked_dae.reproduction.models import DEPTH, MODERN_MODELS
from stacked_dae.reproduction.rendering import draw_table, write_table
from stacked_dae.reproduction.search_space import check_request, search_candidates
from stacked_dae.reproduction.selection import select_best
from stacked_dae.reproduction.svm import support_vector_machine
from stacked_dae.reproduction.table import TableRow
from stacked_dae.runs.fingerprints import result_fingerprint
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.manifest import Result
from stacked_dae.training.codes import encode_inputs
from stacked_dae.training.trainer import resolve_device
from stacked_dae.utils.files import lock_folder, write_text
from stacked_dae.utils.hardware import describe_hardware
from stacked_dae.utils.intervals import interval
from stacked_dae.utils.terminal.progress import Reporter


@dataclass(frozen=True)
class ReproductionRequest:
    """A request for rows of the table.

    Args:
        problems, models: names of :data:`~stacked_dae.reproduction.published.PROBLEMS` and
            :data:`~stacked_dae.reproduction.models.MODELS`.
        preset: quick, paper or authors: the ranges of the search.
        budget: configurations a problem and model.
        seed: seeds the search, and every run.
        source: regenerated or original problems.
        root: the data folder.
    """

    problems: Sequence[str]
    models: Sequence[str]
    preset: str
    budget: int
    seed: int
    source: str
    root: str | None


def reproduce(request: ReproductionRequest, out: Path, reporter: Reporter) -> list[TableRow]:
    """Measure the requested rows that are not measured yet, and return all rows of ``out``.

    Each new row is kept in ``out/rows.json``, and the table is written anew (``table.md``, ``table.csv``,
    ``table.png``). After a kill the same command resumes: at the last epoch of a network, at the beginning of a support
    vector machine. A row stands until a larger budget, other data or other ranges are requested; another preset or seed
    makes another row. Several processes may
    share ``out``, each with problems or models of its own.

    Raises:
        ConfigError: the request names an unknown problem or model.
        DataError: a problem cannot be prepared; nothing was measured.
        StageError: every configuration of a search diverged, or a file in ``out`` is damaged.
    """
    todo = pending_rows(request, out)
    out.mkdir(parents=True, exist_ok=True)
    for problem, model in todo:
        data = registry.load_dataset(problem, request.root, request.source)
        reporter.say(f"{problem}: {model}")
        for row in _measure(problem, model, data, request, out, reporter):
            _keep(out, row)
    return _keep(out)


def pending_rows(request: ReproductionRequest, out: Path) -> list[tuple[str, str]]:
    """Return each problem and model that is asked for and has no row yet, made from these data and ranges.

    Each problem is prepared first: an absent file is reported before anything is measured. Nothing is written to
    ``out``. Raises what :func:`reproduce` raises.
    """
    check_request(request.problems, request.models, request.budget, request.seed)
    rows = _rows(out)
    todo = []
    for problem in dict.fromkeys(request.problems):
        data = registry.load_dataset(problem, request.root, request.source)
        for model in dict.fromkeys(request.models):
            if len(_measured(rows, problem, model, data, request)) < (DEPTH if model == "svm-codes" else 1):
                todo.append((problem, model))
    return todo


def _keep(out: Path, *new: TableRow) -> list[TableRow]:
    """Write the table with the ``new`` rows in the place of those of the same keys, and return all rows."""
    # Other processes may measure other rows of this table meanwhile.
    lock = lock_folder(out, wait=True)
    try:
        rows = [*(row for row in _rows(out) if row.key not in [other.key for other in new]), *new]
        if rows:
            _write(out, rows)
        return rows
    finally:
        os.close(lock)


def _rows(out: Path) -> list[TableRow]:
    file = out / "rows.json"
    if not file.exists():
        return []
    try:
        rows = [TableRow(**row) for row in json.loads(file.read_text())]
        if all(row.holds() for row in rows):
            return rows
        raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise StageError(f"{file} is damaged; move it away, and the same command writes it again") from None


def _write(out: Path, rows: list[TableRow]) -> None:
    write_text(out / "rows.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    write_table(rows, out)
    draw_table(rows, out / "table.png")


def _measured(
    rows: list[TableRow], problem: str, model: str, data: Dataset, request: ReproductionRequest
) -> list[TableRow]:
    """Return the rows of this order that are there, made from these data and these ranges."""
    own = [row for row in rows if (row.problem, row.source, row.asked) == (problem, request.source, model)]
    if model != "svm-rbf":
        own = [
            row
            for row in own
            if (row.preset, row.seed) == (request.preset, request.seed) and row.budget >= request.budget
        ]
    return [row for row in own if row.made_from == _made_from(data, model, replace(request, budget=row.budget))]


def _configs(problem: str, model: str, request: ReproductionRequest) -> list[Config]:
    return search_candidates(problem, model, request.preset, request.budget, request.seed, request.source)


def _made_from(data: Dataset, model: str, request: ReproductionRequest) -> str:
    """Return the fingerprint of what decides a row: the data, and the configurations that are searched."""
    if model == "svm-rbf":
        return fingerprint(data.fingerprint)
    searched = _configs(data.name, "sda-3" if model == "svm-codes" else model, request)
    return fingerprint([result_fingerprint(config, data.fingerprint) for config in searched])


def _measure(
    problem: str, model: str, data: Dataset, request: ReproductionRequest, out: Path, reporter: Reporter
) -> Iterator[TableRow]:
    if model == "svm-rbf":
        row = _by_machine(problem, model, data, data, request, reporter)
        yield replace(row, preset="", budget=row.tried, seed=0)
    elif model == "svm-codes":
        yield from _on_codes(problem, data, request, out, reporter)
    else:
        chosen, tries = select_best(
            _configs(problem, model, request), _folder(out, problem, model, request), data, reporter
        )
        folder = RunFolder.open(chosen.folder)
        result = folder.result()
        assert isinstance(result, Result)
        yield replace(
            _row(problem, model, data, request, result.test_error_percent, result.n_test),
            valid_error_percent=result.best_valid_error_percent,
            tried=len(tries),
            diverged=sum(t.valid_error_percent is None for t in tries),
            settings=_settings(folder.config()),
            seconds=round(sum(t.seconds for t in tries), 1),
        )


def _by_machine(
    problem: str, model: str, data: Dataset, inputs: Dataset, request: ReproductionRequest, reporter: Reporter
) -> TableRow:
    """Return the row of a support vector machine on ``inputs``, made from ``data``."""
    started = time.perf_counter()
    found = support_vector_machine(inputs, reporter)
    return replace(
        _row(problem, model, data, request, found.test_error_percent, found.n),
        valid_error_percent=round(found.valid_error_percent, 3),
        tried=found.tried,
        settings={"gamma": float(f"{found.gamma:.3g}"), "C": float(f"{found.c:.3g}")},
        seconds=round(time.perf_counter() - started, 1),
    )


def _folder(out: Path, problem: str, model: str, request: ReproductionRequest) -> Path:
    return out / (problem if request.source == "regenerated" else f"{problem}-{request.source}") / model


def _row(problem: str, model: str, data: Dataset, request: ReproductionRequest, error: float, n: int) -> TableRow:
    there = (
        published.best_published_error(problem) if model in MODERN_MODELS else published.published_error(problem, model)
    )
    row = TableRow(
        problem=problem,
        model=model,
        source=request.source,
        test_error_percent=round(error, 3),
        ci95_percent=round(interval(error, n), 3),
        n_test=n,
        paper_percent=there[0] if there else None,
        paper_ci95_percent=there[1] if there else None,
        preset=request.preset,
        budget=request.budget,
        seed=request.seed,
        machine=describe_hardware(torch.cuda.get_device_name() if torch.cuda.is_available() else ""),
        date=time.strftime("%Y-%m-%d"),
    )
    return replace(row, made_from=_made_from(data, row.asked, request))


def _settings(config: Config) -> dict[str, Any]:
    """Return what a search draws, as it was chosen."""
    first = config.layers()[0]
    chosen: dict[str, Any] = {"units": first.units}
    if config.model != "mlp":
        chosen |= {"nu": first.nu, "pretrain_lr": first.lr, "pretrain_epochs": first.epochs}
    tuning = config.finetune.optimizer
    return chosen | {"finetune_lr": tuning.lr} | ({"finetune_decay": tuning.decay} if tuning.decay else {})


def _on_codes(
    problem: str, data: Dataset, request: ReproductionRequest, out: Path, reporter: Reporter
) -> Iterator[TableRow]:
    """Give a row for each pre-trained layer of the chosen sda-3, which is searched for first where it is not yet.

    Layers whose row is there already are passed over.
    """
    there = [row.model for row in _measured(_rows(out), problem, "svm-codes", data, request)]
    chosen, _ = select_best(
        _configs(problem, "sda-3", request), _folder(out, problem, "sda-3", request), data, reporter
    )
    folder = RunFolder.open(chosen.layers)
    codes = data
    for k, layer in enumerate(load_layers(folder), 1):
        codes = _coded(codes, layer, folder)
        if f"svm-codes-{k}" not in there:
            yield _by_machine(problem, f"svm-codes-{k}", data, codes, request, reporter)


def _coded(data: Dataset, layer: DenoisingAutoencoder, folder: RunFolder) -> Dataset:
    """Return the data with the codes of ``layer`` for inputs; those of the test rows are made when they are read."""
    device = resolve_device(folder.config().trainer)
    encode, units = layer.to(device).encode, len(layer.bias)

    def codes(split: Split) -> Split:
        # Never larger than what fits: at most 50000 rows.
        made = encode_inputs(encode, split.inputs, units, device, file=Path("unused"), budget_bytes=2**62)
        return Split(np.asarray(made), split.labels)

    load_test = data.load_test
    with torch.no_grad():
        return Dataset(data.name, data.classes, codes(data.train), codes(data.valid), lambda: codes(load_test()))
