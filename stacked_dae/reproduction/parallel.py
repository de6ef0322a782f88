"""Table 1 on all cores: searches side by side, each the same command on a part of the table in a process of its own.

A network of these sizes in minibatches of 20 gains little from a second thread; two networks gain nearly all of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch

from stacked_dae.config.trainer_schema import TrainerConfig
from stacked_dae.errors import StageError
from stacked_dae.reproduction.models import SHORT_MODELS
from stacked_dae.reproduction.runner import ReproductionRequest, pending_rows, reproduce
from stacked_dae.reproduction.search_space import NOTES
from stacked_dae.reproduction.table import TableRow
from stacked_dae.training.trainer import resolve_device
from stacked_dae.utils.progress import Reporter, read_report

_ERROR = "stacked-dae: error: "


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
        run_side_by_side(commands, count, threads, reporter)
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


def run_side_by_side(commands: dict[str, list[str]], count: int, threads: int, reporter: Reporter) -> None:
    """Run commands, by name, ``count`` at a time with ``threads`` each, and give ``reporter`` what they report.

    When one fails, or this process is stopped, the others are stopped too, after their minibatches.

    Raises:
        StageError: one failed; the text is its last line.
    """
    # A process that outlives this one ends at the next line that nobody reads.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "STACKED_DAE_PROGRESS": "json",
    }
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        environment.pop(name, None)
    speaking = threading.Lock()
    running: list[subprocess.Popen[str]] = []
    stopped = threading.Event()

    def begun(words: list[str]) -> subprocess.Popen[str] | None:
        with speaking:
            if stopped.is_set():
                return None
            # In a session of its own, so that Ctrl-C reaches it once, from here.
            child = subprocess.Popen(
                words,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=True,
            )
            running.append(child)
            return child

    def run(name: str, words: list[str]) -> None:
        child = begun(words)
        if child is None:
            return
        last = ""
        with child:
            for line in map(str.rstrip, child.stderr or ()):
                last = line or last
                with speaking:
                    if not stopped.is_set():
                        _relay(name, line, reporter)
        if child.returncode and not stopped.is_set():
            raise StageError(f"{name}: {last.removeprefix(_ERROR)}")
        with speaking:
            reporter.advance(1)

    with ThreadPoolExecutor(count) as pool:
        tasks = [pool.submit(run, name, words) for name, words in commands.items()]
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            with speaking:
                for child in running:
                    if child.poll() is None:
                        # Behind `&` a process begins with SIGINT ignored, and would pass over it while it imports.
                        child.terminate()
            raise


def _relay(name: str, line: str, reporter: Reporter) -> None:
    """Give ``reporter`` a line of the process ``name``: its progress, what it says, or what a library wrote."""
    report = read_report(line)
    if report is not None and "stage" in report:
        reporter.advance(0, {f"{name} {report['stage']} {report['unit']}": float(report["done"])})
        return
    text = line if report is None else str(report["say"])
    if text not in NOTES.values() and not text.startswith(_ERROR):
        reporter.say(text)
