"""What a terminal of 80 and of 40 columns shows: whole words, numbers below one another, nothing lost in silence.

The files in tests/golden/terminal are written anew by STACKED_DAE_GOLDEN=write; read them before they are committed.
"""

from __future__ import annotations

import os

import pytest
from helpers.small_runs import ROOT, blobs, small
from rich.console import Console
from rich.table import Table

from stacked_dae.cli.help import help_text
from stacked_dae.cli.main import main
from stacked_dae.pipeline import api
from stacked_dae.reporting.columns import Compared
from stacked_dae.reporting.comparison import compare
from stacked_dae.reporting.console import print_table
from stacked_dae.reporting.run_summary import print_layers, print_summary
from stacked_dae.reporting.terminal import print_comparison, print_trials
from stacked_dae.runs.folder import RunFolder

GOLDEN = ROOT / "tests" / "golden" / "terminal"


def comparison():
    runs = [
        Compared(
            f"runs/search/trial_{k}",
            {
                "data.name": "digits",
                "pretrain.corruption.nu": nu,
                "pretrain.units": [500, 500],
                "finetune.optimizer.lr": lr,
            },
            losses={"layer_1": 17.25 + k, "layer_2": 42.7 - k},
            valid_error_percent=valid,
            test_error_percent=valid + 0.5,
            test_error_ci95_percent=1.94,
            n_test=358,
            seconds=10.5 * (k + 1),
            baselines={"majority": 89.66, "logistic_regression": 4.47},
        )
        for k, (nu, lr, valid) in enumerate([(0.1, 0.05, 5.03), (0.25, 0.00123, 3.91)])
    ]
    cut = Compared("runs/search/trial_2", {**runs[0].settings, "pretrain.corruption.nu": 0.4}, state="cut in finetune")
    return compare([*runs, cut])


def trials():
    return [
        {
            "trial": k,
            "state": "pruned" if k == 3 else "complete",
            "valid_error_percent": None if k == 3 else 4.0 - 0.37 * k,
            "valid_loss": 0.2,
            "epochs": 10,
            "finetune.optimizer.lr": 0.01 * 3**k,
            "pretrain.corruption.nu": 0.1 * (k % 2),
            "run": f"trial_{k}_0123456789abcdef",
        }
        for k in range(4)
    ]


SHOWN = {
    "compare": lambda width: print_comparison(comparison()),
    "search": lambda width: print_trials(trials(), "valid_error_percent", 2),
    "help": lambda width: print(help_text(None, everything=False, width=width), end=""),
    "help_fit": lambda width: print(help_text("fit", everything=False, width=width), end=""),
    "help_predict": lambda width: print(help_text("predict", everything=False, width=width), end=""),
}


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", SHOWN)
def test_the_terminal_shows_what_it_did(name, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    SHOWN[name](width)
    out = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()) + "\n"
    file = GOLDEN / f"{name}_{width}.txt"
    if os.environ.get("STACKED_DAE_GOLDEN") == "write":
        file.write_text(out)
    assert out == file.read_text()


@pytest.mark.parametrize("width", [40, 80])
def test_tables_of_a_run_break_no_word(tmp_path, width, capsys, monkeypatch):
    run = api.fit(small(), tmp_path / "run", dataset=blobs())
    monkeypatch.setenv("COLUMNS", str(width))
    print_layers(run)
    print_summary(run)
    out = capsys.readouterr().out
    words = set(out.split())
    assert {"layer_1", "finetune", "validation", "parameters", "seconds"} <= words
    assert "…" not in out
    # A line for another program is left whole.
    tables = [line for line in out.splitlines() if not line.startswith(("test error", "baselines", "blobs"))]
    assert max(map(len, tables)) <= width


def test_a_table_that_is_too_wide_names_each_value(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    table = Table(title="a title")
    for name in ("run", "a long column [of it]", "empty"):
        table.add_column(name.replace("[", r"\["))
    table.add_row("one", "1.5", "")
    table.add_row("two", "a long value", "x", style="bold")
    print_table(Console(), table)
    assert capsys.readouterr().out.splitlines() == [
        "a title",
        "run one",
        "  a long column [of it]  1.5",
        "run two",
        "  a long column [of it]  a ",
        "long value",
        "  empty                  x",
    ]


def test_runs_below_a_folder_are_listed_the_cut_and_the_damaged_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("done", "cut", "broken"):
        run = api.fit(small(), tmp_path / "runs" / name, dataset=blobs(), test=name == "done")
        if name == "cut":
            run.update_stage("finetune", status="running")
    (tmp_path / "runs" / "broken" / "manifest.json").write_text("{}")
    assert main(["runs", "list", str(tmp_path / "runs")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "cut in finetune" in rows["cut"]
    assert " damaged " in rows["broken"]
    assert f"{tmp_path / 'runs' / 'broken' / 'manifest.json'}" in out, "and what is wrong with it"
    error = RunFolder.open(tmp_path / "runs" / "done").result().test_error_percent
    assert " done " in rows["done"]
    assert f"{error:.2f}" in rows["done"]


def test_runs_show_is_the_summary(tmp_path, capsys):
    run = api.fit(small(), tmp_path / "run", dataset=blobs())
    told = []
    for command in (["runs", "show"], ["summary"]):
        assert main([*command, str(run.path)]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] != ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "{}"], "there is no run folder in it; name a folder of runs"),
        (["show", "{}"], "is not a run folder"),
        (["list", "{}", "--dry-run"], "--dry-run is for runs clean alone; leave it out of runs list"),
        (["lists", "{}"], "runs must be followed by one of list, show, clean, not 'lists' (did you mean 'list'?)"),
    ],
)
def test_what_runs_cannot_do_is_one_line(arguments, said, tmp_path, capsys):
    assert main(["runs", *(word.format(tmp_path) for word in arguments)]) == 2
    assert said in capsys.readouterr().err
