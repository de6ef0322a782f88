"""Layers that were pre-trained on one table and are fine-tuned on another, whose columns are found by name."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from stacked_dae.cli.main import main
from stacked_dae.runs.folder import RunFolder

QUICK = ["--pretrain.units", "[5]", "--pretrain.epochs", "2", "--finetune.epochs", "2"]


def people(rows, seed):
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": random.normal(40, 9, rows).round(1),
            "income": random.normal(2000, 500, rows).round(),
            "city": random.choice(["Bern", "Oslo"], rows),
        }
    )


def labelled(rows=90, seed=1):
    table = people(rows, seed)
    # Other least and greatest values than those that the layers know.
    table["age"] = table["age"] / 2 + 30
    return table.assign(y=np.where(table["age"] + np.random.default_rng(seed).normal(0, 4, rows) > 50, "old", "young"))


@pytest.fixture(scope="module", params=["minmax", "standard"])
def layers(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    people(300, 0).to_parquet(folder / "all.parquet")
    out = folder / "layers"
    scale = ["--data.scale", request.param]
    assert main(["pretrain", "--data.path", str(folder / "all.parquet"), *scale, *QUICK, "--out", str(out)]) == 0
    return out


def finetune(layers, table, *more):
    out = table.parent / "run"
    command = ["finetune", "--pretrained", str(layers), "--data.path", str(table), "--data.target", "y"]
    code = main([*command, *more, "--out", str(out)])
    return code, RunFolder.open(out) if code == 0 else None


def test_columns_are_found_by_name_and_scaled_as_for_the_layers(layers, tmp_path, capsys):
    table = labelled().assign(id=range(90))
    table.loc[3, "city"] = "Atlantis"
    file = tmp_path / "labelled.csv"
    table[["y", "city", "id", "income", "age"]].to_csv(file, index=False, sep=";")
    code, run = finetune(layers, file)
    said = " ".join(capsys.readouterr().err.split())
    assert code == 0
    assert "columns left out, since the layers do not know them: id" in said
    assert "column 'city' has values that the layers do not know and that share one input: Atlantis" in said
    there, here = RunFolder.open(layers).preprocessing(), run.preprocessing()
    assert here.columns == there.columns
    assert (here.target, here.classes, there.target) == ("y", ["old", "young"], None)
    # The run stands alone: it is found finished, tested again, and predicts.
    result = run.result()
    assert finetune(layers, file)[0] == 0
    assert run.result() == result
    moved = layers.with_name("moved")
    shutil.move(layers, moved)
    try:
        assert main(["evaluate", str(run.path)]) == 0
        assert f"{result.test_error_percent:.2f}" in capsys.readouterr().out
        out = tmp_path / "p.csv"
        command = ["predict", str(run.path), "--data", str(file), "--out", str(out), "--keep-columns", "id"]
        assert main(command) == 0
        capsys.readouterr()
        assert main(["evaluate", str(run.path), "--data", str(file)]) == 0
        said = capsys.readouterr().out
    finally:
        shutil.move(moved, layers)
    assert pd.read_csv(out)["id"].tolist() == list(range(90))
    wrong = (pd.read_csv(out)["class"] != table["y"]).mean()
    assert f"{100 * wrong:.2f}" in said


def test_the_same_table_with_a_target_is_another_one(layers, tmp_path):
    table = labelled(300, 0)
    table.loc[90:, "y"] = None
    file = tmp_path / "t.csv"
    table.to_csv(file, index=False)
    assert main(["pretrain", "--data.path", str(file), "--data.drop", "[y]", *QUICK, "--out", str(tmp_path / "l")]) == 0
    code, run = finetune(tmp_path / "l", file)
    assert code == 0
    assert run.preprocessing().columns == RunFolder.open(tmp_path / "l").preprocessing().columns
    assert run.result().n_test == 18


def test_classes_are_as_written(layers, tmp_path):
    table = labelled().replace({"y": {"old": "007", "young": "7"}})
    table.to_csv(tmp_path / "t.csv", index=False)
    code, run = finetune(layers, tmp_path / "t.csv")
    assert code == 0
    assert run.preprocessing().classes == ["007", "7"]
    assert main(["evaluate", str(run.path)]) == 0


BAD = {
    "no column": (lambda t: t.rename(columns={"income": "incom"}), [], ["no column 'income'", "did you mean 'incom'"]),
    "text": (lambda t: t.assign(age=["old", *t["age"][1:]]), [], ["column 'age', row 1 is 'old'"]),
    "infinite": (lambda t: t.assign(age=[np.inf, *t["age"][1:]]), [], ["column 'age', row 1 is"]),
    "one class": (lambda t: t.assign(y="old"), [], ["one class only"]),
    "no target": (lambda t: t.drop(columns="y"), [], ["data.target", "no column 'y'"]),
    "an input as target": (lambda t: t, ["--data.target", "city"], ["data.target: the layers were pre-trained on age"]),
    "dropped": (lambda t: t, ["--data.drop", "[age]"], ["data.drop: the layers", "'age'"]),
    "others kept": (lambda t: t, ["--data.keep", "[age]"], ["data.keep: the layers", "'city'"]),
    "numbers as names": (lambda t: t, ["--data.categorical", "[age]"], ["data.categorical: the layers", "'age'"]),
    "another network": (lambda t: t, ["--pretrain.units", "[6]"], ["does not match", "pretrain.units"]),
}


@pytest.mark.parametrize("case", BAD)
def test_tables_that_do_not_fit_are_one_line_and_write_nothing(case, layers, tmp_path, capsys):
    change, more, words = BAD[case]
    change(labelled()).to_csv(tmp_path / "t.csv", index=False)
    code, _ = finetune(layers, tmp_path / "t.csv", *more)
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error, error
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_scaling_belongs_to_the_layers(layers, tmp_path, capsys):
    labelled().to_csv(tmp_path / "t.csv", index=False)
    here = RunFolder.open(layers).config().data.scale
    code, _ = finetune(layers, tmp_path / "t.csv", "--data.scale", {"minmax": "standard", "standard": "minmax"}[here])
    assert code == 2
    assert "data.scale" in capsys.readouterr().err


def test_a_model_on_its_own_table_has_no_new_key(layers):
    assert "from_layers" not in json.loads((layers / "preprocessing.json").read_text())
