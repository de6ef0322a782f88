"""Table 1 by several processes: how it is shared out, what they say, what happens when one fails or all are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.small_runs import ROOT, MessageRecorder

from stacked_dae.errors import StageError
from stacked_dae.reproduction import parallel
from stacked_dae.reproduction.runner import ReproductionRequest
from stacked_dae.reproduction.search_space import NOTES


class Listener(MessageRecorder):
    def __init__(self):
        super().__init__()
        self.done, self.figures = 0, {}

    def advance(self, units, metrics=None):
        self.done += units
        self.figures.update(metrics or {})


def python(code):
    return [sys.executable, "-c", code]


def say(*lines):
    return python(f"import sys\nfor line in {lines!r}: print(line, file=sys.stderr)")


def test_long_searches_come_first_and_codes_stay_with_their_layers():
    rows = [(p, m) for p in ("basic", "rect") for m in ("mlp-3", "sda-3", "svm-codes", "svm-rbf")]
    assert parallel._parts(rows) == [
        ("basic", ["sda-3", "svm-codes"]),
        ("rect", ["sda-3", "svm-codes"]),
        ("basic", ["mlp-3"]),
        ("basic", ["svm-rbf"]),
        ("rect", ["mlp-3"]),
        ("rect", ["svm-rbf"]),
    ]


def test_a_part_is_the_command_of_its_rows(tmp_path):
    request = ReproductionRequest(["basic", "rect"], ["sda-3", "mlp-3"], "paper", 7, 2, "original", "data")
    words = parallel._words("rect", ["sda-3", "svm-codes"], request, tmp_path)
    assert " ".join(words[3:]) == (
        "reproduce icml2008 --problems rect --models sda-3 svm-codes --preset paper --budget 7 --seed 2"
        f" --source original --out {tmp_path} --data.root data"
    )


def test_what_they_say_is_told_and_progress_is_a_figure():
    heard = Listener()
    code = (
        "from stacked_dae.utils.terminal.progress import command_reporter\n"
        "reporter = command_reporter()\n"
        f"reporter.say({NOTES['quick']!r}); reporter.say('basic: sda-3')\n"
        "reporter.start('layer_1', 50, 'epochs', 5); reporter.advance(1, {'train_loss': 61.0}); reporter.stop()"
    )
    commands = {"one": python(code), "two": say("two: a library's warning")}
    parallel.run_side_by_side(commands, 2, 1, heard, silent=[NOTES["quick"]])
    assert sorted(heard.lines) == ["basic: sda-3", "two: a library's warning"]
    assert heard.figures == {"one layer_1 epochs": 6.0}
    assert heard.done == 2


def test_each_has_its_share_of_the_threads_and_so_many_run_at_once(tmp_path):
    code = (
        "import os, sys, time, pathlib\n"
        "assert os.environ['OMP_NUM_THREADS'] == '3'\n"
        f"here = pathlib.Path({str(tmp_path)!r}, str(os.getpid()))\n"
        "here.touch(); time.sleep(0.3)\n"
        "print(len(list(here.parent.iterdir())), file=sys.stderr); here.unlink()"
    )
    heard = Listener()
    parallel.run_side_by_side({str(k): python(code) for k in range(5)}, 2, 3, heard)
    assert heard.done == 5
    assert max(map(int, heard.lines)) == 2


def test_the_first_that_fails_stops_the_others(tmp_path):
    ends = python(f"import time, pathlib; time.sleep(20); pathlib.Path({str(tmp_path / 'ended')!r}).touch()")
    fails = python("import sys; print('stacked-dae: error: no such thing', file=sys.stderr); sys.exit(2)")
    heard = Listener()
    commands = {
        "one": ends,
        "two": fails,
        "three": ends,
    }
    with pytest.raises(StageError, match="^two: no such thing$"):
        parallel.run_side_by_side(commands, 2, 1, heard)
    assert not (tmp_path / "ended").exists()
    assert heard.lines == []


@pytest.mark.slow
def test_a_table_by_two_processes_is_stopped_and_goes_on(tmp_path):
    """The original command line, on rect made here: a signal stops both parts, and the same command ends the table.

    Slow: two searches are trained to their end, by processes that must be caught at work.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = [sys.executable, "-m", "stacked_dae", "reproduce", "icml2008", "--problems", "rect", "--budget", "1"]
    words += ["--models", "sda-3", "mlp-3", "--out", "table"]
    first = subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    folders = [tmp_path / "table" / "rect" / model for model in ("sda-3", "mlp-3")]
    until = time.monotonic() + 300
    while not all(list(folder.glob("try_*/*/metrics.csv")) for folder in folders):
        assert time.monotonic() < until
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=120)[1]
    assert first.returncode == 128 + signal.SIGTERM, said
    assert said.count("run the same command again") == 1
    assert not (tmp_path / "table" / "rows.json").exists()
    # Nobody is left at work on the folders.
    words[words.index("sda-3") : words.index("mlp-3") + 1] = ["mlp-3", "svm-rbf"]
    second = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    assert second.returncode == 0, second.stderr
    table = (tmp_path / "table" / "table.csv").read_text()
    assert [line.split(",")[1] for line in table.splitlines()[1:]] == ["svm-rbf", "mlp-3"]
