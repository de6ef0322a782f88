"""Commands side by side, each in a process of its own, and what they report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch

from stacked_dae.errors import StageError
from stacked_dae.utils.progress import Reporter, read_report

_ERROR = "stacked-dae: error: "


def run_workers(out: Path, trials: int, workers: int, storage: str | None, reporter: Reporter) -> bool:
    """Train the trials of the search in ``out`` in several processes, which share the cores of this machine.

    Returns:
        Whether a worker was killed, so that a trial may be left.

    Raises:
        StageError: all were killed, or one failed otherwise; the text is then its last line.
    """
    words = [sys.executable, "-m", "stacked_dae.tuning.worker", str(out), str(trials), *([storage] if storage else [])]
    commands = {f"worker {k}": words for k in range(1, min(workers, trials) + 1)}
    threads = max(1, torch.get_num_threads() // workers)
    reporter.start("search", len(commands), "workers")
    try:
        killed = run_side_by_side(commands, workers, threads, reporter, outlive_kills=True)
    finally:
        reporter.stop()
    if killed == len(commands):
        raise StageError(f"{out}: every worker was killed; give the same command again, with fewer --workers")
    return killed > 0


def run_side_by_side(
    commands: dict[str, list[str]],
    count: int,
    threads: int,
    reporter: Reporter,
    silent: Sequence[str] = (),
    *,
    outlive_kills: bool = False,
) -> int:
    """Run commands, by name, ``count`` at a time with ``threads`` each, and give ``reporter`` what they report.

    When one fails, or this process is stopped, the others are stopped too, after their minibatches.

    Args:
        commands: the words of each.
        count: how many run at a time.
        threads: of each process.
        reporter: shows their progress and what they say.
        silent: lines that are not shown.
        outlive_kills: whether the others go on when one is killed by a signal, which a line says then.

    Returns:
        How many were killed.

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
    killed: list[str] = []

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
                        _relay(name, line, silent, reporter)
        if outlive_kills and child.returncode < 0 and not stopped.is_set():
            with speaking:
                killed.append(name)
                reporter.say(f"{name} was killed ({signal.Signals(-child.returncode).name}); the others go on")
        elif child.returncode and not stopped.is_set():
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
    return len(killed)


def _relay(name: str, line: str, silent: Sequence[str], reporter: Reporter) -> None:
    """Give ``reporter`` a line of the process ``name``: its progress, what it says, or what a library wrote."""
    report = read_report(line)
    if report is not None and "stage" in report:
        reporter.advance(0, {f"{name} {report['stage']} {report['unit']}": float(report["done"])})
        return
    text = line if report is None else str(report["say"])
    if text not in silent and not text.startswith(_ERROR):
        reporter.say(text)
