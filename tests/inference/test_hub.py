"""A run as a folder for the Hugging Face Hub: loaded again as the same, with a card that says what was measured."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.small_runs import blobs, small

from stacked_dae import StackedDAE, fit
from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.errors import ConfigError, DataError
from stacked_dae.runs.folder import RunFolder


@pytest.fixture
def hub(run, tmp_path, capsys):
    assert main(["export", str(run), "--format", "hub", "--out", str(tmp_path / "hub")]) == 0
    assert "hf upload OWNER/NAME" in capsys.readouterr().out
    return tmp_path / "hub"


def card(folder):
    """Return the header of a model card, as the Hub reads it, and its text."""
    _, header, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(header), text


def test_it_is_loaded_again_as_the_same(run, hub, table):
    rows = pd.read_csv(table)
    there, here = StackedDAE.from_hub(hub), StackedDAE.from_run(run)
    assert np.array_equal(there.predict_proba(rows), here.predict_proba(rows))
    assert {file.name for file in hub.iterdir()} == {"model.safetensors", "settings.yaml", "README.md"}


def test_its_card_says_what_was_measured_and_where_nothing_lies(run, hub, table):
    header, text = card(hub)
    result = RunFolder.open(run).result()
    (measured,) = header["model-index"][0]["results"]
    assert measured["task"]["type"] == "tabular-classification"
    assert measured["metrics"] == [
        {"type": "accuracy", "value": pytest.approx(1 - result.test_error_percent / 100, abs=1e-6)}
    ]
    assert f"{result.test_error_percent:.2f}" in text
    assert f"n = {result.n_test}" in text
    assert "stacked_dae.StackedDAE" in text or "from stacked_dae import StackedDAE" in text
    everything = (hub / "README.md").read_text() + (hub / "settings.yaml").read_text()
    assert str(table) not in everything
    assert str(table.parent) not in everything


def test_its_settings_train_the_same_again(run, hub, table, tmp_path):
    values = yaml.safe_load((hub / "settings.yaml").read_text())
    values["data"]["path"] = str(table)
    again = fit(config_from_dict(values), tmp_path / "again")
    before = RunFolder.open(run)
    assert again.stage("finetune").sha256 == before.stage("finetune").sha256


def test_a_run_without_a_table_or_a_test_has_a_card_too(tmp_path):
    from stacked_dae.inference.exports.hub_export import export_hub

    run = fit(small(), tmp_path / "run", dataset=blobs(), test=False)
    folder = export_hub(run, tmp_path / "hub")
    header, text = card(folder)
    assert "model-index" not in header
    assert not {"image", "tabular"} & set(header["tags"]), "nobody said what the rows are"
    assert "Nothing: the run was not tested." in text
    export_hub(fit(small(), tmp_path / "run", dataset=blobs()), folder)
    assert "Test error" in card(folder)[1]
    control = fit(replace(small(), model="mlp"), tmp_path / "control", dataset=blobs())
    text = card(export_hub(control, tmp_path / "control_hub"))[1]
    assert "A network without pre-training" in text
    assert "Layers pre-trained" not in text


def test_folders_of_others_are_left_alone(run, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    for place in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        assert main(["export", str(run), "--format", "hub", "--out", str(place)]) == 2
        assert "name a new folder" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_the_hub_is_asked_where_no_folder_is(hub, table, monkeypatch):
    asked = []

    def fetch(name, file, revision):
        asked.append((name, file, revision))
        if name == "some/where":
            return str(hub / file)
        raise OSError("404: no such repository\nand more")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=fetch))
    rows = pd.read_csv(table)
    there = StackedDAE.from_hub("some/where", revision="v1")
    assert np.array_equal(there.predict(rows), StackedDAE.from_hub(hub).predict(rows))
    assert asked == [("some/where", "model.safetensors", "v1")]
    with pytest.raises(
        DataError, match=r"^no/where is neither a folder nor a repository .*\(404: no such repository\)$"
    ):
        StackedDAE.from_hub("no/where")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="pip install huggingface_hub"):
        StackedDAE.from_hub("some/where")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(DataError, match=r"holds no model\.safetensors; stacked-dae export RUN --format hub"):
        StackedDAE.from_hub(tmp_path)
