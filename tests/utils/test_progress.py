"""What a person sees while a job works."""

from __future__ import annotations

import io
import logging
import sys
import threading
import types
import warnings

import pytest
from helpers.small_runs import blobs, small

from stacked_dae import fit, measure_baselines, pretrain, search
from stacked_dae.utils.terminal import progress
from stacked_dae.utils.terminal.progress import LogReporter, TerminalReporter, reporting


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Return a call that makes standard error a terminal, for the rest of the test, and returns what it gets."""

    def start():
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return start


@pytest.fixture
def notebook(monkeypatch):
    """Return the pages of a notebook's cell, one for each time that it was drawn, in place of a kernel's."""
    pages = []
    handle = types.SimpleNamespace(update=lambda page: pages.append(page._repr_html_()))
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    display = types.ModuleType("IPython.display")
    display.display = lambda page, display_id: handle
    package = types.ModuleType("IPython")
    package.get_ipython, package.display = (lambda: shell), display
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return pages


def test_without_a_terminal_each_stage_ends_in_a_line(capsys):
    with TerminalReporter() as reporter:
        reporter.start("layer_1", 3, "epochs", done=1)
        reporter.advance(2, {"train_loss": 2.5, "valid_loss": 1.25})
        reporter.stop()
    assert capsys.readouterr().err == "layer_1: 3/3 epochs  train_loss 2.5  valid_loss 1.25\n"


def test_a_stage_that_speaks_at_its_last_unit_ends_well(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_QUIET", -1.0)
    with TerminalReporter() as reporter:
        reporter.start("layer_1", 1, "epochs")
        reporter.advance(1)
        reporter.stop()
    assert capsys.readouterr().err == 2 * "layer_1: 1/1 epochs\n"


def test_a_line_from_elsewhere_never_takes_the_bar_of_the_stage_at_work():
    with TerminalReporter() as reporter:
        reporter.start("layer_1", 1, "epochs")
        reporter.advance(1)  # full, but the stage has not ended
        speaker = threading.Thread(target=reporter.say, args=("W&B: no server answers",))
        speaker.start()
        speaker.join()
        reporter.advance(0, {"valid_loss": 1.0})
        reporter.stop()
        reporter.say("another")
        assert reporter._bars.tasks == []


def test_a_bar_that_has_ended_stays_as_a_line(terminal):
    screen = terminal()
    with TerminalReporter() as reporter:
        reporter.expect(["layer_1", "layer_2"])
        reporter.start("layer_1", 3, "epochs")
        reporter.advance(3, {"train_loss": 1.0, "valid_loss": 2.5})
        reporter.stop()
        reporter.start("layer_2", 50, "epochs")
        reporter.say("another run")
        assert [task.description for task in reporter._bars.tasks] == ["layer_2 (2 of 2)"]
        reporter.advance(39)
        reporter.stop()
    last = screen.getvalue().splitlines()
    (first,) = [line for line in last if "layer_1 (1 of 2)" in line and "loss 2.5" in line and "3/3" in line][-1:]
    assert last.index(first) < max(k for k, line in enumerate(last) if "another run" in line)
    # A stage that stops early did not have fewer epochs.
    assert "39/50" in screen.getvalue()
    assert "39/39" not in screen.getvalue()


CALLS = {
    "fit": lambda out, **how: fit(small(), out, dataset=blobs(), **how),
    "pretrain": lambda out, **how: pretrain(small(), out, dataset=blobs(), **how),
    "search": lambda out, **how: search(
        small(), {"finetune.optimizer.lr": [0.1]}, trials=1, out=out, sampler="grid", dataset=blobs(), **how
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_shows_bars_where_there_is_something_to_show_them_in(name, tmp_path, terminal):
    screen = terminal()
    CALLS[name](tmp_path / "shown")
    assert "layer_1 (1 of" in screen.getvalue()
    before = screen.getvalue()
    CALLS[name](tmp_path / "mute", progress=False)
    assert screen.getvalue() == before


def test_a_call_is_mute_in_a_script_whose_errors_go_to_a_file(tmp_path, capsys):
    run = fit(small(), tmp_path / "run", dataset=blobs())
    measure_baselines(run.path, dataset=blobs())
    assert capsys.readouterr() == ("", "")


def test_a_notebook_gets_a_bar_for_each_stage(tmp_path, notebook):
    fit(small(), tmp_path / "run", dataset=blobs())
    titles = ("layer_1 (1 of 3)", "layer_2 (2 of 3)", "finetune (3 of 3)")
    assert [f"{title} <progress" in notebook[-1] for title in titles] == 3 * [True]
    assert "finetune: epoch" in notebook[-1]
    drawn = len(notebook)
    fit(small(), tmp_path / "mute", dataset=blobs(), progress=False)
    assert len(notebook) == drawn


def test_text_of_a_notebook_is_no_html(notebook):
    with reporting(True) as reporter:
        reporter.say("<script>")
        reporter.start("<b>", 0, "rows")
        reporter.stop()
    assert "<script>" not in notebook[-1]
    assert "<b>" not in notebook[-1]
    assert "&lt;script&gt;" in notebook[-1]


def test_the_logger_gets_what_is_said_and_stays_as_it_is_set(tmp_path, caplog):
    names = ["", "stacked_dae", "pytorch_lightning", "lightning_fabric", "optuna", "wandb"]

    def settings():
        every = map(logging.getLogger, names)
        return [(one.level, list(one.handlers), one.propagate, one.disabled) for one in every], list(warnings.filters)

    before = settings()
    with caplog.at_level(logging.INFO, "stacked_dae"):
        within = settings()
        fit(small(), tmp_path / "run", dataset=blobs(), progress=False)
        fit(small(), tmp_path / "run", dataset=blobs(), progress=False)
        assert settings() == within
    assert settings() == before
    assert {record.name for record in caplog.records} == {"stacked_dae"}
    said = caplog.text
    for part in ("layer_1: 3/3 epochs", "is kept, the best of", "is finished already: nothing to train"):
        assert part in said


def test_a_warning_reaches_who_has_set_no_logger(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with reporting(True) as reporter:
        assert isinstance(reporter, LogReporter)
        reporter.say("as expected")
        reporter.warn("recorded offline")
    assert capsys.readouterr().err == "recorded offline\n"


def test_a_terminal_shows_a_warning_once(terminal, monkeypatch):
    screen = terminal()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with reporting(True) as reporter:
        reporter.warn("recorded offline")
    assert screen.getvalue().count("recorded offline") == 1
