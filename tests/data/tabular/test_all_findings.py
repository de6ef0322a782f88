"""What is wrong with the columns of a file: said at once, with an option that can be pasted."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pandas as pd
import pytest
import yaml

from stacked_dae.cli.main import main
from stacked_dae.data.columns.errors import list_option

FIT = ["fit", "--pretrain.units", "[3]", "--pretrain.epochs", "1", "--finetune.epochs", "1"]


def messy(names):
    """Return a table in which the columns of these four names cannot be inputs."""
    random = np.random.default_rng(0)
    rows = 120
    note = [f"note {k // 2} of {'abc'[k % 3]}" for k in range(rows)]
    note[-1] = note[0]
    mixed = ["5", *["low"] * (rows - 1)]
    values = {"a": random.normal(0, 1, rows), "b": random.random(rows)}
    values |= dict(zip(names, (np.full(rows, 7), np.full(rows, np.nan), note, mixed), strict=True))
    return pd.DataFrame({**values, "y": np.array(["p", "q"])[random.integers(0, 2, rows)]})


@pytest.mark.parametrize(
    "names",
    [
        ("c", "d", "e", "f"),
        ("it's", "two, three", "no", "0x1"),
        ("a: b", '"quoted"', "# hash", "[list]"),
        ("größe", "$HOME", "`id`", "back\\slash"),
        ("null", "~", "-", "with space"),
    ],
)
def test_all_are_said_at_once_and_the_option_can_be_pasted(names, tmp_path, capsys):
    file = tmp_path / "t.csv"
    messy(names).to_csv(file, index=False)
    command = [
        *FIT,
        "--data.path",
        str(file),
        "--data.target",
        "y",
        "--data.drop",
        "[b]",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(command) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "4 columns cannot be inputs" in said[0]
    whats = ("is 7 in every", "has no value", "has ", "holds numbers and text")
    for name, what in zip(names, whats, strict=True):
        assert f"column {name!r} {what}" in said[0]
    assert not (tmp_path / "run").exists()
    pasted = shlex.split(re.search(r"--data\.drop .*$", said[0])[0])
    assert yaml.safe_load(pasted[1]) == ["b", *names]
    at = command.index("--data.drop")
    assert main([*command[:at], *pasted, *command[at + 2 :]]) in (0, None)


def test_one_is_said_with_its_own_remedy(tmp_path, capsys):
    file = tmp_path / "t.csv"
    messy(("c d", "d", "e", "f")).drop(columns=["d", "e", "f"]).to_csv(file, index=False)
    assert main([*FIT, "--data.path", str(file), "--data.target", "y", "--out", str(tmp_path / "run")]) == 2
    assert "column 'c d' is 7 in every training row; leave it out: --data.drop '[c d]'" in capsys.readouterr().err


def test_a_mistyped_number_among_different_ones_is_no_identifier(tmp_path, capsys):
    file = tmp_path / "t.csv"
    table = messy(("c", "d", "e", "f")).drop(columns=["c", "d", "e", "f"])
    table["number"] = ["5 kg", *(str(k) for k in range(len(table) - 1))]
    table.to_csv(file, index=False)
    assert main([*FIT, "--data.path", str(file), "--data.target", "y", "--out", str(tmp_path / "run")]) == 2
    assert "column 'number' holds numbers and text: row 2 is 0, row 1 is '5 kg'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["a", "yes", "On", "n", "1", "1e3", "", " a", "a ", "a:b", "'", "x\ty", "é", "_", "=", "<<"]
)
def test_names_come_back_from_a_shell_and_yaml(name):
    option, value = shlex.split(list_option("data.keep", [name, "plain"]))
    assert option == "--data.keep"
    assert yaml.safe_load(value) == [name, "plain"]
