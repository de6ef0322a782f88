"""Progress of a job: bars in a terminal and in a notebook, lines where a command writes to a file, log records."""

from __future__ import annotations

import html
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from typing_extensions import Self

from stacked_dae.utils import distributed
from stacked_dae.utils.terminal.console import Terminal
from stacked_dae.utils.terminal.text import printable

# Seconds between two lines of one stage where there is no terminal, and between two changes of a notebook's page.
_QUIET = 10.0
_REDRAWN = 0.2
# Lines of a notebook's cell that are kept.
_MOST_LINES = 60
_log = logging.getLogger("stacked_dae")


def _record(text: str, level: int = logging.INFO) -> None:
    _log.log(level, "%s", printable(text))


class Reporter:
    """Says nothing; what shows progress derives from it."""

    _expected: Sequence[str] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, text: str) -> None:
        """Say a line."""

    def warn(self, text: str) -> None:
        """Say a line that nobody should miss: something is not as it was asked for."""
        self.say(text)

    def expect(self, stages: Sequence[str]) -> None:
        """Tell which stages come, in their order."""
        self._expected = stages

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        """Begin a stage of ``total`` units (epochs, rows), of which ``done`` are done already."""

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        """Tell that ``units`` more are done, and the figures so far."""

    def stop(self) -> None:
        """End the stage."""


class LogReporter(Reporter):
    """Leaves a record of each line and of each stage's end with the logger ``stacked_dae``, and shows nothing."""

    def say(self, text: str) -> None:
        _record(text)

    def warn(self, text: str) -> None:
        _record(text, logging.WARNING)

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        self._stage = StageProgress(name, total, unit, done)

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        self._stage.advance(units, metrics)

    def stop(self) -> None:
        _record(self._stage.line())


class StageProgress:
    """How far a stage is."""

    def __init__(self, name: str, total: int, unit: str, done: int) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self.metrics: Mapping[str, float] = {}
        self.began = time.monotonic()

    def advance(self, units: int, metrics: Mapping[str, float] | None) -> None:
        """Count ``units`` more, and keep the latest figures."""
        self.done += units
        self.metrics = metrics or self.metrics

    @property
    def latest(self) -> str:
        """The figure that the stage is judged by, which comes last."""
        if not self.metrics:
            return ""
        name, value = list(self.metrics.items())[-1]
        unit = " %" if name.endswith("_percent") else ""
        return f"{name.removeprefix('valid_').removesuffix('_percent')} {value:.4g}{unit}"

    def line(self) -> str:
        """Return all of it as a line."""
        figures = "  ".join(f"{name} {value:.5g}" for name, value in self.metrics.items())
        return f"{self.name}: {self.done}/{self.total} {self.unit}  {figures}".rstrip()


class TerminalReporter(Reporter):
    """Shows bars (or lines) on standard error."""

    def __init__(self) -> None:
        self._console = Terminal(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}", table_column=Column(min_width=21)),
            BarColumn(bar_width=14),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[latest]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._lines = not self._console.is_terminal
        self._task: TaskID | None = None
        # Others than the thread that works may have something to say.
        self._speaking = threading.RLock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        with self._speaking:
            self._print(text)

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        self._stage = StageProgress(name, total, unit, done)
        self._spoke = time.monotonic()
        with self._speaking:
            self._task = self._bars.add_task(
                printable(titled(name, self._expected)), total=total, completed=done, latest=""
            )

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        assert self._task is not None, "start comes first"
        self._stage.advance(units, metrics)
        self._bars.update(self._task, advance=units, latest=self._stage.latest)
        if self._lines and time.monotonic() - self._spoke > _QUIET:
            self._spoke = time.monotonic()
            self._print(self._stage.line())

    def stop(self) -> None:
        assert self._task is not None, "start comes first"
        with self._speaking:
            # A bar that has ended stays where it is, as a line: those of a long search would fill the screen.
            self._bars.stop_task(self._task)
            (ended,) = self._bars.tasks
            self._bars.remove_task(self._task)
            self._task = None
            if self._lines:
                self._print(self._stage.line())
            else:
                self._console.print(self._bars.make_tasks_table([ended]))

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)


class _LoggedTerminalReporter(TerminalReporter):
    """Shows bars, and leaves its lines with the logger too; a warning comes from the logger alone, once."""

    def say(self, text: str) -> None:
        super().say(text)
        _record(text)

    def warn(self, text: str) -> None:
        _record(text, logging.WARNING)

    def stop(self) -> None:
        super().stop()
        _record(self._stage.line())


class NotebookReporter(LogReporter):
    """Shows a bar for each stage, and the lines, below the cell of a notebook that is being run."""

    def __init__(self) -> None:
        from IPython.display import display

        self._page: list[str] = []
        self._drawn = 0.0
        self._handle = display(_Html(""), display_id=True)  # type: ignore[no-untyped-call]

    def say(self, text: str) -> None:
        super().say(text)
        self._page.append(html.escape(text))
        self._draw()

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        super().start(name, total, unit, done)
        self._title = titled(name, self._expected)
        self._draw(self._stage)

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        super().advance(units, metrics)
        if time.monotonic() - self._drawn > _REDRAWN:
            self._draw(self._stage)

    def stop(self) -> None:
        super().stop()
        self._page.append(_bar(self._title, self._stage))
        self._draw()

    def _draw(self, stage: StageProgress | None = None) -> None:
        self._drawn = time.monotonic()
        # A search has thousands; those above are in its table.
        self._page = self._page[-_MOST_LINES:]
        lines = [*self._page, _bar(self._title, stage)] if stage else self._page
        self._handle.update(_Html("".join(f"<div>{line}</div>" for line in lines)))


class _Html:
    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return f'<div style="font: 12px monospace">{self._text}</div>'

    def __repr__(self) -> str:
        return "the progress of a call, as HTML"


def titled(name: str, expected: Sequence[str]) -> str:
    """Return the name of a stage, with which of how many it is where that is known."""
    if name not in expected or len(expected) < 2:
        return name
    return f"{name} ({expected.index(name) + 1} of {len(expected)})"


def _bar(title: str, stage: StageProgress) -> str:
    """Return a stage as HTML: its title, a bar, the units done, the time since it began and the latest figure."""
    seconds = int(time.monotonic() - stage.began)
    done = f"{stage.done}/{stage.total} {stage.unit}, {seconds // 60}:{seconds % 60:02}"
    name, latest = html.escape(title), html.escape(stage.latest)
    return f'{name} <progress value="{stage.done}" max="{max(stage.total, 1)}"></progress> {done}&nbsp; {latest}'


class JsonReporter(Reporter):
    """Writes each line and each state of progress to standard error as one line of JSON, for :func:`read_report`."""

    def say(self, text: str) -> None:
        self._write({"say": text})

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        self._stage = StageProgress(name, total, unit, done)
        self._written = time.monotonic()

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        self._stage.advance(units, metrics)
        if time.monotonic() - self._written > _QUIET:
            self._written = time.monotonic()
            self._progress()

    def stop(self) -> None:
        self._progress()

    def _progress(self) -> None:
        self._write({"stage": self._stage.name, "unit": self._stage.unit, "done": self._stage.done})

    def _write(self, report: Mapping[str, Any]) -> None:
        print(json.dumps(report), file=sys.stderr, flush=True)


def read_report(line: str) -> dict[str, Any] | None:
    """Return what a :class:`JsonReporter` wrote in ``line``: ``say``, or ``stage``, ``unit``, ``done``; else None."""
    try:
        report = json.loads(line)
    except ValueError:
        return None
    return report if isinstance(report, dict) and ("say" in report or "stage" in report) else None


@contextmanager
def reporting(progress: bool | Reporter) -> Iterator[Reporter]:
    """Yield what shows the progress of a call from Python.

    Bars where there is a terminal or a notebook to show them in; the logger ``stacked_dae`` gets the lines in any case.

    Args:
        progress: False for the logger alone; a reporter, to use that.
    """
    if isinstance(progress, Reporter):
        yield progress
        return
    # Of several processes one reports.
    kind: type[Reporter] = LogReporter if distributed.is_rank_zero() else Reporter
    if progress and kind is LogReporter:
        if _in_notebook():
            kind = NotebookReporter
        elif sys.stderr is not None and sys.stderr.isatty():
            kind = _LoggedTerminalReporter
    with kind() as reporter:
        yield reporter


def _in_notebook() -> bool:
    """Return whether a notebook's kernel runs this; a shell of IPython in a terminal is none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


def command_reporter() -> Reporter:
    """Return what shows the progress of a command: as JSON if $STACKED_DAE_PROGRESS is json, else for people."""
    return JsonReporter() if os.environ.get("STACKED_DAE_PROGRESS") == "json" else TerminalReporter()
