"""What data check says of a table before any training, and that fit agrees with it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from stacked_dae.cli.main import main
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.data.tabular.report import check_table

QUICK = ["--pretrain.units", "[3, 3]", "--pretrain.epochs", "1", "--finetune.epochs", "1", "--finetune.head", "softmax"]
ROWS = 150


def people():
    """Return a table in which nothing is wrong."""
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": random.normal(40, 9, ROWS).round(1),
            "city": random.choice(["Bern", "Oslo"], ROWS, p=[0.8, 0.2]),
            "y": random.choice(["no", "yes"], ROWS, p=[0.7, 0.3]),
        }
    )


def messy():
    """Return a table with one column for each finding."""
    table = people()
    table.insert(0, "it's id", range(1000, 1000 + ROWS))
    table["const"], table["nothing"] = 7, np.nan
    table["mix"] = ["5 kg", *np.arange(ROWS - 1) % 9]
    table["far"] = [1e40, *np.arange(ROWS - 1) * 0.5]
    table["mostly"] = [*np.arange(20) * 0.5, *[np.nan] * (ROWS - 20)]
    table["reply"] = np.where(table["y"] == "yes", "oui", "non")
    table["score"] = np.where(table["y"] == "yes", 2.0, 0.0) + np.arange(ROWS) / ROWS
    return table


def report_of(table, tmp_path, **settings):
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    return check_table(DataConfig(path=str(path), **{"target": "y", **settings}))


def test_a_good_table_is_described(tmp_path):
    table = people()
    table.loc[:9, "y"], table.loc[20:24, "age"] = None, None
    report = report_of(table, tmp_path)
    assert (report.error, report.notices, report.rows, report.unlabelled, report.inputs) == (None, [], ROWS, 10, 4)
    assert report.classes == table["y"].value_counts().to_dict()
    assert sum(report.splits.values()) == ROWS
    age, city, y = report.columns
    assert (age.role, age.holds, age.missing) == ("input", "numbers", 5)
    assert (city.role, city.holds, city.missing) == ("input", "names", 0)
    assert city.values.startswith("Bern ")
    assert y.role == "target"


def test_every_finding_is_in_one_report(tmp_path):
    report = report_of(messy(), tmp_path)
    roles = {column.name: column.role for column in report.columns}
    assert roles == {
        "it's id": "identifier",
        "age": "input",
        "city": "input",
        "y": "target",
        **dict.fromkeys(["const", "nothing", "mix", "far"], "refused"),
        **dict.fromkeys(["mostly", "reply", "score"], "input"),
    }
    for words in ("'const' is 7", "'nothing' has no value", "'mix' holds numbers and text", "'far' is 1e+40, beyond"):
        assert words in report.error
    noted = "\n".join(report.notices)
    for words in (
        '"it\'s id" has another',
        "'reply' alone tells",
        "'score' alone tells",
        "'mostly' is missing in 87 %",
    ):
        assert words in noted
    assert len(report.notices) == 4


def test_rare_classes_and_columns_are_said_together(tmp_path):
    table = messy()
    table.loc[0, "y"], table.loc[1, "y"] = "z1", "z2"
    report = report_of(table, tmp_path)
    for words in ("class 'z1'", "class 'z2'", "'const' is 7"):
        assert words in report.error
    assert report.command is None
    report = report_of(table.assign(y=0.5), tmp_path)
    for words in ("row 1 is 0.5, but the target names classes", "'const' is 7"):
        assert words in report.error


@pytest.mark.parametrize("make", [people, messy])
def test_fit_agrees_and_the_command_can_be_pasted(make, tmp_path, capsys, monkeypatch):
    path = tmp_path / "it's a table.csv"
    make().to_csv(path, index=False)
    code = main(["data", "check", str(path), "--target", "y", "--out", str(tmp_path / "check.json")])
    said = capsys.readouterr()
    fit = ["fit", "--data.path", str(path), "--data.target", "y", *QUICK, "--out", str(tmp_path / "run")]
    assert main(fit) == code == (0 if make is people else 2)
    refused = capsys.readouterr().err
    report = json.loads((tmp_path / "check.json").read_text())
    if make is messy:
        assert refused.strip() == f"stacked-dae: error: {report['error']}"
        assert refused.count("\n") == said.err.count("\n") == 1
    assert said.out.splitlines()[-1] == f"to train: {report['command']}"
    pasted = shlex.split(report["command"])
    assert main([*pasted[1:], *QUICK, "--out", str(tmp_path / "pasted")]) == 0


def test_a_frame_with_dates_and_a_semicolon_file(tmp_path):
    dates = people().assign(when=pd.date_range("2020", periods=ROWS))
    dates.to_parquet(tmp_path / "t.parquet")
    report = check_table(DataConfig(path=str(tmp_path / "t.parquet"), target="y"))
    assert "column 'when' holds timestamp" in report.error
    dates.drop(columns="when").to_csv(tmp_path / "t.csv", sep=";", decimal=",", index=False)
    report = check_table(DataConfig(path=str(tmp_path / "t.csv"), target="y"))
    assert (report.error, report.columns[0].holds) == (None, "numbers")


def test_a_date_as_target_is_refused_as_such(tmp_path):
    people().assign(y=pd.date_range("2020", periods=ROWS)).to_parquet(tmp_path / "t.parquet")
    report = check_table(DataConfig(path=str(tmp_path / "t.parquet"), target="y"))
    assert "column 'y' holds timestamp" in report.error
    assert "names classes" in report.error


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, True),
        ({"noise": 1}, True),
        ({"noise": 20}, False),
        ({"column": "continuous"}, False),
        ({"column": "constant"}, False),
        ({"rare": True}, False),
    ],
)
def test_copies_of_the_target(change, told, tmp_path):
    random = np.random.default_rng(0)
    y = random.choice(["no", "yes"], 600)
    if change.get("rare"):
        y = np.array(["no"] * 594 + ["yes"] * 6)
    copy = np.where(y == "yes", "1 of them", "none")
    copy[: change.get("noise", 0)] = "none"
    if change.get("column") == "continuous":
        copy = random.normal(0, 1, 600)
    if change.get("column") == "constant" or change.get("rare"):
        copy = random.choice(["a", "b"], 600)
    report = report_of(pd.DataFrame({"x": random.normal(0, 1, 600), "copy": copy, "y": y}), tmp_path)
    assert any("'copy' alone tells" in notice for notice in report.notices) == told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "data check needs the name of a file"),
        (["none.csv"], "none.csv: there is no such file"),
        (["{file}", "--target", "z"], "data.target: "),
        (["{file}", "--data.drop", "[agee]"], "did you mean 'age'"),
        (["{file}", "--data.delimiter", ";;"], "data.delimiter must be one character"),
    ],
)
def test_bad_options_are_one_line(arguments, words, tmp_path, capsys):
    people().to_csv(tmp_path / "t.csv", index=False)
    assert main(["data", "check", *(a.format(file=tmp_path / "t.csv") for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error


def test_options_of_check_are_refused_elsewhere(capsys):
    assert main(["data", "list", "--data.drop", "[a]"]) == 2
    assert "--data.drop is an option of data check, not of data list" in capsys.readouterr().err


def test_check_imports_no_torch(tmp_path):
    people().to_csv(tmp_path / "t.csv", index=False)
    code = (
        "import sys; from stacked_dae.cli.main import main; code = main(sys.argv[1:]);"
        " sys.exit(code or ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, "data", "check", str(tmp_path / "t.csv"), "--target", "y"])
    assert done.returncode == 0
