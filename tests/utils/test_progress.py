"""What a person sees while a job works."""

from __future__ import annotations

import threading

from stacked_dae.utils import progress
from stacked_dae.utils.progress import TerminalReporter


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


def test_a_line_lets_the_bars_go_that_are_finished():
    with TerminalReporter() as reporter:
        reporter.start("layer_1", 3, "epochs")
        reporter.advance(3)
        reporter.stop()
        reporter.start("layer_2", 3, "epochs")
        reporter.say("another run")
        assert [task.description for task in reporter._bars.tasks] == ["layer_2"]
        reporter.advance(3)
        reporter.stop()
