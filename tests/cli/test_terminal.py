"""What a terminal gets: names that hold control characters, encodings without ±, and a terminal that is closed."""

from __future__ import annotations

import io
import logging
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.table import Table

from stacked_dae.cli.main import main
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.terminal.console import Terminal
from stacked_dae.utils.terminal.progress import LogReporter, TerminalReporter
from stacked_dae.utils.terminal.text import printable, say

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b1m"
# Small settings of a table of numbers.
SMALL = (
    "--pretrain.units",
    "[4]",
    "--pretrain.epochs",
    "1",
    "--finetune.epochs",
    "1",
    *("--pretrain.loss", "squared_error", "--pretrain.decoder", "identity"),
)


def is_clean(text):
    return printable(text) == text


@pytest.fixture
def evil(tmp_path):
    """Return a table whose columns, classes and own name hold control characters."""
    dice = np.random.default_rng(0)
    a = dice.normal(size=(200, 2))
    lines = [f"a{EVIL},b,y", *(f"{p:.3f},{q:.3f},{'yes' + EVIL if p > 0 else 'no'}" for p, q in a)]
    file = tmp_path / f"evil{EVIL}.csv"
    file.write_text("\n".join(lines))
    return file


def test_names_of_a_table_command_no_terminal(evil, tmp_path, capsys):
    run = tmp_path / f"run{EVIL}"
    data = ("--data.path", str(evil), "--data.target", "y")
    commands = [
        ["data", "check", str(evil), "--target", "y"],
        ["fit", *data, *SMALL, "--out", str(run)],
        ["summary", str(run)],
        ["evaluate", str(run)],
        ["evaluate", str(run), "--data", str(evil)],
        ["baselines", str(run)],
        ["plot", str(run)],
        ["predict", str(run), "--data", str(evil), "--out", str(tmp_path / f"p{EVIL}.csv")],
        ["encode", str(run), "--data", str(evil), "--out", str(tmp_path / "codes.csv")],
        ["runs", "list", str(tmp_path)],
        ["compare", str(tmp_path), "--csv", str(tmp_path / f"c{EVIL}.csv")],
    ]
    for words in commands:
        assert main(words) in (0, 2), words
        out, err = capsys.readouterr()
        assert is_clean(out), words
        assert is_clean(err), words
    refused = [
        ["fit", *data, "--data.drop", f"['x{EVIL}']"],
        ["fit", "--data.path", str(evil), "--data.target", f"z{EVIL}"],
        ["summary", str(tmp_path / f"nothing{EVIL}")],
        ["fit", "--model", EVIL],
        [EVIL],
        ["fit", f"--x{EVIL}", "1"],
    ]
    for words in refused:
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert err.startswith("stacked-dae: error: ")
        assert is_clean(out + err), words


def test_tables_bars_and_log_records_show_them(capsys, caplog):
    console = Terminal(file=io.StringIO(), width=200)
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    console.print(table)
    console.print(EVIL)
    assert is_clean(console.file.getvalue())
    assert console.file.getvalue().count("\\x1b[2J") == 4
    say(EVIL)
    with TerminalReporter() as reporter:
        reporter.say(EVIL)
        reporter.start(EVIL, 1, "rows")
        reporter.advance(1)
        reporter.stop()
    out, err = capsys.readouterr()
    assert is_clean(out + err)
    with caplog.at_level(logging.INFO, "stacked_dae"):
        LogReporter().say(EVIL)
        LogReporter().warn(EVIL)
    assert all(is_clean(record.getMessage()) for record in caplog.records)
    assert len(caplog.records) == 2


def test_ends_of_lines_and_letters_stay():
    assert printable("Zoë\t± 1\nΩ 文 😀") == "Zoë\t± 1\nΩ 文 😀"
    assert printable("a\x00b\rc\x7fd\x85e") == "a\\x00b\\x0dc\\x7fd\\x85e"


def run_in(folder, *words, **how):
    env = {**os.environ, "OMP_NUM_THREADS": "1", **how.pop("env", {})}
    return subprocess.Popen([sys.executable, "-m", "stacked_dae", *map(str, words)], cwd=folder, env=env, **how)


DIGITS = ("--data.name", "digits", "--pretrain.units", "[8]", "--pretrain.epochs", "2", "--finetune.epochs", "1")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_that_lacks_a_letter_ends_no_training(encoding, tmp_path):
    done = run_in(
        tmp_path,
        *("fit", *DIGITS, "--out", "run"),
        env={"PYTHONIOENCODING": encoding},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err[-1000:]
    assert (b"\\xb1" if encoding == "ascii" else b"\xb1") in out, "± of the interval"


def begin_on_a_terminal(folder, *prefix):
    """Return a fit whose standard error is a terminal of its own, once a layer has trained an epoch, and that end."""
    master, slave = pty.openpty()
    words = ("fit", "--data.name", "digits", "--pretrain.units", "[300]", "--pretrain.epochs", "400", "--out", "run")
    command = [*prefix, sys.executable, "-m", "stacked_dae", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(
        command, cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    log = folder / "run" / "layer_1" / "metrics.csv"
    for _ in range(1200):
        if log.exists() and log.read_text().count("\n") > 2:
            return job, master
        time.sleep(0.05)
    raise AssertionError("it does not train")


@pytest.mark.slow
def test_a_closed_terminal_stops_a_fit_after_its_minibatch(tmp_path):
    job, master = begin_on_a_terminal(tmp_path)
    # The kernel tells the processes of the terminal as it closes; a shell passes it on.
    os.close(master)
    job.send_signal(signal.SIGHUP)
    assert job.wait(60) == 128 + signal.SIGHUP
    folder = RunFolder.open(tmp_path / "run")
    done = folder.metrics("layer_1").rows()
    assert 2 <= len(done) < 400
    assert not folder.stage("layer_1").is_done
    assert main(["runs", "list", str(tmp_path)]) == 0


@pytest.mark.slow
def test_what_nohup_ignores_goes_on(tmp_path):
    job, master = begin_on_a_terminal(tmp_path, "nohup")
    job.send_signal(signal.SIGHUP)
    time.sleep(2)
    try:
        assert job.poll() is None
    finally:
        job.kill()
        job.wait()
        os.close(master)
