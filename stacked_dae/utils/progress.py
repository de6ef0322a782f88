"""Progress of a job: a bar for each stage in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

# Seconds between two lines of one stage where there is no terminal.
_QUIET = 10.0


class Reporter:
    """Says nothing; what a library caller gets by default."""

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, text: str) -> None:
        """Say a line."""

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        """Begin a stage of ``total`` units (epochs, rows), of which ``done`` are done already."""

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        """Tell that ``units`` more are done, and the figures so far."""

    def stop(self) -> None:
        """End the stage."""


class TerminalReporter(Reporter):
    """Shows bars (or lines) on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=14),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[latest]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._lines = not self._console.is_terminal
        self._task: TaskID | None = None
        # Others than the thread that works may have something to say.
        self._speaking = threading.RLock()

    def __enter__(self) -> Reporter:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        # A line begins something new: finished bars go, or those of a long search would fill the screen.
        with self._speaking:
            for task in self._bars.tasks:
                if task.finished and task.id != self._task:
                    self._bars.remove_task(task.id)
            self._print(text)

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        self._name, self._total, self._unit, self._done = name, total, unit, done
        self._figures = ""
        self._spoke = time.monotonic()
        self._task = self._bars.add_task(name, total=total, completed=done, latest="")

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        self._done += units
        assert self._task is not None, "start comes first"
        self._bars.update(self._task, advance=units)
        if metrics:
            self._figures = "  ".join(f"{name} {value:.5g}" for name, value in metrics.items())
            # A bar has room for one figure: the last is what the stage is judged by.
            name, value = list(metrics.items())[-1]
            self._bars.update(self._task, latest=f"{name.removeprefix('valid_').replace('_percent', ' %')} {value:.4g}")
        if self._lines and time.monotonic() - self._spoke > _QUIET:
            self._spoke = time.monotonic()
            self._line()

    def stop(self) -> None:
        assert self._task is not None, "start comes first"
        self._bars.update(self._task, total=self._done)
        self._task = None
        if self._lines:
            self._line()

    def _line(self) -> None:
        self._print(f"{self._name}: {self._done}/{self._total} {self._unit}  {self._figures}".rstrip())

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)


class JsonReporter(Reporter):
    """Writes each line and each state of progress to standard error as one line of JSON, for :func:`read_report`."""

    def say(self, text: str) -> None:
        self._write({"say": text})

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        self._name, self._unit, self._done = name, unit, done
        self._written = time.monotonic()

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        self._done += units
        if time.monotonic() - self._written > _QUIET:
            self._written = time.monotonic()
            self._progress()

    def stop(self) -> None:
        self._progress()

    def _progress(self) -> None:
        self._write({"stage": self._name, "unit": self._unit, "done": self._done})

    def _write(self, report: Mapping[str, Any]) -> None:
        print(json.dumps(report), file=sys.stderr, flush=True)


def read_report(line: str) -> dict[str, Any] | None:
    """Return what a :class:`JsonReporter` wrote in ``line``: ``say``, or ``stage``, ``unit``, ``done``; else None."""
    try:
        report = json.loads(line)
    except ValueError:
        return None
    return report if isinstance(report, dict) and ("say" in report or "stage" in report) else None


def command_reporter() -> Reporter:
    """Return what shows the progress of a command: as JSON if $STACKED_DAE_PROGRESS is json, else for people."""
    return JsonReporter() if os.environ.get("STACKED_DAE_PROGRESS") == "json" else TerminalReporter()
