"""Commands side by side, each in a process of its own, and what they report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import torch

from stacked_dae.errors import StageError
from stacked_dae.utils.terminal.progress import Reporter, read_report

_ERROR = "stacked-dae: error: "


@contextmanager
def workers_beside(out: Path, trials: int, workers: int, storage: str | None, reporter: Reporter) -> Iterator[None]:
    """Let other processes train trials of the search in ``out`` while the block does, and wait for them at its end.

    Each process, this one too, has its share of the cores. One that is killed is named: its trial is left to the
    others. Where the block raises, the others are stopped after their minibatches.

    Args:
        out: folder of the search.
        trials: how many it has.
        workers: processes in all; this one is the first.
        storage: URL of the search's Optuna storage, if it is not in ``out``.
        reporter: says what the others say.

    Raises:
        StageError: one of them failed; the text is its last line.
    """
    count, before = min(workers, trials), torch.get_num_threads()
    if count == 1:
        yield
        return
    threads = max(1, before // workers)
    words = [sys.executable, "-m", "stacked_dae.tuning.worker", str(out), str(trials), *([storage] if storage else [])]
    children = [_start(words, threads) for _ in range(1, count)]
    last = [""] * len(children)

    def relay(k: int) -> None:
        for line in map(str.rstrip, children[k].stderr or ()):
            last[k] = line or last[k]
            report = read_report(line)
            text = line if report is None else report.get("say", "")
            if text and not text.startswith(_ERROR):
                reporter.say(text)

    listeners = [threading.Thread(target=relay, args=(k,), daemon=True) for k in range(len(children))]
    for listener in listeners:
        listener.start()
    torch.set_num_threads(threads)
    try:
        yield
        codes = [child.wait() for child in children]
    except BaseException:
        for child in children:
            if child.poll() is None:
                child.terminate()
        for child in children:
            child.wait()
        raise
    finally:
        torch.set_num_threads(before)
        for listener in listeners:
            listener.join()
    for k, code in enumerate(codes):
        if code < 0:
            reporter.warn(f"worker {k + 2} was killed ({signal.Signals(-code).name}); its trial goes on here")
        elif code:
            raise StageError(f"worker {k + 2}: {last[k].removeprefix(_ERROR)}")


def _start(words: Sequence[str], threads: int) -> subprocess.Popen[str]:
    """Start a process that reports as JSON, on so many threads."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "STACKED_DAE_PROGRESS": "json",
    }
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        environment.pop(name, None)
    # In a session of its own, so that Ctrl-C reaches it once, from here.
    # One that outlives this process ends at the next line that nobody reads.
    return subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def run_side_by_side(
    commands: dict[str, list[str]],
    count: int,
    threads: int,
    reporter: Reporter,
    silent: Sequence[str] = (),
) -> None:
    """Run commands, by name, ``count`` at a time with ``threads`` each, and give ``reporter`` what they report.

    When one fails, or this process is stopped, the others are stopped too, after their minibatches.

    Args:
        commands: the words of each.
        count: how many run at a time.
        threads: of each process.
        reporter: shows their progress and what they say.
        silent: lines that are not shown.

    Raises:
        StageError: one failed; the text is its last line.
    """
    speaking = threading.Lock()
    running: list[subprocess.Popen[str]] = []
    stopped = threading.Event()

    def begun(words: list[str]) -> subprocess.Popen[str] | None:
        with speaking:
            if stopped.is_set():
                return None
            child = _start(words, threads)
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


def _relay(name: str, line: str, silent: Sequence[str], reporter: Reporter) -> None:
    """Give ``reporter`` a line of the process ``name``: its progress, what it says, or what a library wrote."""
    report = read_report(line)
    if report is not None and "stage" in report:
        reporter.advance(0, {f"{name} {report['stage']} {report['unit']}": float(report["done"])})
        return
    text = line if report is None else str(report["say"])
    if text not in silent and not text.startswith(_ERROR):
        reporter.say(text)
