"""A newcomer's first commands on their own table: each mistake is answered by words that can be pasted."""

from __future__ import annotations

import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.small_runs import ROOT

from stacked_dae import Config, config_from_dict, fit
from stacked_dae.cli.main import main
from stacked_dae.config.loading import RECIPES
from stacked_dae.errors import ConfigError


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Go to a folder with a table of 1200 rows: two columns that name them, three others, the answer last."""
    random = np.random.default_rng(0)
    names = [f"P{k}" for k in random.permutation(1200)]
    columns = {"id": np.arange(1200) + 5000, "a": random.normal(size=1200), "b": random.random(1200), "code": names}
    columns["city"] = np.array(["Paris", "Rome"])[random.integers(0, 2, 1200)]
    pd.DataFrame({**columns, "y": np.array(["p", "q"])[random.integers(0, 2, 1200)]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    monkeypatch.chdir(tmp_path)


def said(capsys, words, code):
    try:
        ended = main(words)
    except SystemExit as printed:
        ended = printed.code
    assert ended == code
    out, err = capsys.readouterr()
    return out + err


def options_in(text, start):
    """Return the words of the option that ``text`` offers."""
    return shlex.split(re.search(rf"{start} ('\[.*?\]'|\S+)", text).group(0).rstrip(";,"))


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_recipe_is_one_from_every_entry(recipe, tmp_path, monkeypatch, capsys):
    """The name does the same on the command line, in Python and as the file in configs/; a file of that name wins."""
    shutil.copy(ROOT / "docs/data/people.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["--data.path", "people.csv", "--data.target", "age", "--pretrain.units", "[7, 5]"]
    values = {"data": {"path": "people.csv", "target": "age"}, "pretrain": {"units": [7, 5]}}
    in_python = config_from_dict(values, recipe=recipe)
    assert in_python.task == ("regression" if recipe == "regression" else "classification")
    assert in_python.data.scale == "standard"
    assert in_python.pretrain.units == [7, 5]
    for name in (recipe, str(ROOT / "configs" / f"{recipe}.yaml")):
        printed = yaml.safe_load(said(capsys, ["fit", "--config", name, *words, "--print_config"], 0))
        assert {name: printed[name] for name in in_python.to_dict()} == in_python.to_dict()
    (tmp_path / recipe).write_text("seed: 77\n")
    printed = yaml.safe_load(said(capsys, ["fit", "--config", recipe, "--print_config"], 0))
    assert (printed["seed"], printed["data"]["scale"]) == (77, Config().data.scale)


def test_unknown_recipes_are_refused_with_the_known_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "without a file of your own: regression, table" in said(capsys, ["fit", "--config", "tables"], 2)
    with pytest.raises(ConfigError, match="recipe must be one of regression, table, not 'tables'"):
        config_from_dict({}, recipe="tables")
    with pytest.raises(ConfigError, match="data.scale must be one of minmax, standard"):
        config_from_dict({"data": {"scale": "max"}}, recipe="table")


@pytest.mark.usefixtures("table")
def test_the_mistakes_of_a_first_try(capsys):
    text = said(capsys, ["fit", "--data", "t.csv", "--out", "run"], 2)
    path = options_in(text, "--data.path")
    text = said(capsys, ["fit", *path, "--out", "run"], 2)
    assert "t.csv has id, a, b, code, city, y" in text
    target = options_in(text, "--data.target")
    assert target == ["--data.target", "y"]
    for command in (["fit", *path], ["data", "check", "t.csv"]):
        text = said(capsys, [*command, "--data.categorical", "city"], 2)
        assert options_in(text, "not 'city': --data.categorical")[-2:] == ["--data.categorical", "[city]"]
    text = said(capsys, ["data", "check", "t.csv"], 0)
    assert options_in(text, "one is: --target")[-2:] == ["--target", "y"]
    assert "every column is an input" not in said(capsys, ["data", "check", "t.csv", "--target", "y"], 0)


@pytest.mark.usefixtures("table")
def test_columns_that_name_the_rows_are_inputs_once_the_option_is_pasted(capsys):
    text = said(capsys, ["data", "check", "t.csv", "--target", "y"], 0)
    keep = options_in(text, "to use it: --data.keep")[-2:]
    assert keep[1] == "[id, a, b, city]"
    text = said(capsys, ["data", "check", "t.csv", "--target", "y", *keep], 0)
    assert "identifier" not in text
    pd.read_csv("t.csv", nrows=300).to_csv("few.csv", index=False)
    text = said(capsys, ["data", "check", "few.csv", "--target", "y"], 0)
    names = options_in(text, "to use it: --data.categorical")[-2:]
    assert names[1] == "[code]"
    text = said(capsys, ["data", "check", "few.csv", "--target", "y", *names], 0)
    assert "column 'code'" not in text


@pytest.mark.usefixtures("table")
def test_a_table_with_the_settings_of_images_is_told_so(capsys, recwarn):
    """Also in Python; not where the settings are the user's own, and not for images."""
    words = ["pretrain", "--data.path", "t.csv", "--data.drop", "[id, code]", "--pretrain.epochs", "1"]
    text = said(capsys, [*words, "--out", "plain"], 0)
    assert "the defaults, which suit images; settings that suit tables: --config table," in " ".join(text.split())
    for more in (["--config", "table"], ["--pretrain.units", "[3]"]):
        assert "which suit images" not in said(capsys, [*words, *more, "--out", f"run{len(more[1])}"], 0)
    images = np.random.default_rng(0).random((200, 4, 4)).astype(np.float32)
    np.savez("images.npz", x=images, y=np.arange(200) % 2)
    assert "which suit images" not in said(
        capsys,
        ["pretrain", "--data.path", "images.npz", "--data.target", "y", "--pretrain.epochs", "1", "--out", "i"],
        0,
    )


@pytest.mark.usefixtures("table")
def test_a_result_says_what_its_rows_can_tell(capsys):
    """The answer is chance, so no method is better; the shares say that the networks add nothing."""
    values = {"data": {"path": "t.csv", "target": "y", "drop": ["id", "code"]}}
    values |= {"pretrain": {"units": [3, 3], "epochs": 1}, "finetune": {"epochs": 1}}
    fit(config_from_dict(values, recipe="table"), "run")
    text = " ".join(said(capsys, ["summary", "run"], 0).split())
    assert "(cross-validated, epoch" in text
    assert re.search(r"240 test rows cannot tell the stack from (majority class|logistic regression)", text)
    assert re.search(r"fine-tuned networks 0.00; the networks change nothing here", text)
    # What predicts names the columns that there are.
    words = ["predict", "run", "--data", "t.csv", "--out", "p.csv", "--keep-columns", "name"]
    assert "it has id, a, b, code, city, y" in said(capsys, words, 2)
