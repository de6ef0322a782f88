"""A run tested on the rows of a file."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helpers.small_runs import blobs, small
from helpers.tables import people, settings
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from stacked_dae import StackedDAE
from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.errors import DataError
from stacked_dae.inference.reports.class_report import score_file
from stacked_dae.inference.run_data import run_data
from stacked_dae.pipeline import api
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.intervals import wilson_interval


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    people(folder / "people.csv", rows=600)
    return api.fit(config_from_dict(settings(folder / "people.csv")), folder / "run").path


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return pd.read_csv(people(tmp_path_factory.mktemp("new") / "new.csv", rows=300, seed=1))


def test_figures_are_those_of_scikit_learn(run, new, tmp_path, capsys):
    new.to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(run), "--data", str(tmp_path / "new.csv"), "--out", str(out)]) == 0
    figures, said = json.loads(out.read_text()), capsys.readouterr().out
    known = new[new["bought"].notna()]
    model = StackedDAE.from_run(run)
    y, p = known["bought"].astype(str).to_numpy(), model.predict_proba(known).astype(float)
    called = model.predict(known)
    assert figures["n"] == len(known)
    assert figures["unlabelled"] == len(new) - len(known)
    assert figures["error_percent"] == pytest.approx(100 * np.mean(y != called))
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, called))
    assert figures["macro_f1"] == pytest.approx(f1_score(y, called, average="macro"))
    assert figures["auroc"] == pytest.approx(roc_auc_score(y == model.classes[1], p[:, 1]), abs=1e-6)
    assert figures["log_loss"] == pytest.approx(
        log_loss(y, p / p.sum(1, keepdims=True), labels=model.classes), rel=1e-5
    )
    assert sum(map(sum, figures["confusion"])) == len(known)
    assert f"n = {len(known)}" in said
    assert f"{len(new) - len(known)} rows without a label" in said


def test_columns_go_by_name(run, new, tmp_path):
    new.to_csv(tmp_path / "new.csv", index=False)
    new[[*reversed(new.columns)]].assign(more="x").to_csv(tmp_path / "other.csv")
    model = StackedDAE.from_run(run)
    assert score_file(model, tmp_path / "other.csv") == score_file(model, tmp_path / "new.csv")


def test_a_class_of_its_own_and_one_that_is_never_predicted(run, new, tmp_path, capsys):
    known = new[new["bought"].notna()]
    one = known[known["bought"] == known["bought"].iloc[0]]
    one.to_csv(tmp_path / "one.csv", index=False)
    found = score_file(StackedDAE.from_run(run), tmp_path / "one.csv")
    assert found.auroc is None
    assert 0.0 <= found.balanced_accuracy <= 1.0
    low, high = wilson_interval(0, 20)
    assert (low, round(high, 1)) == (0.0, 16.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda f: f.assign(bought="perhaps"),
            "row 1 is 'perhaps', a class that the model was not trained on; it knows",
        ),
        (lambda f: f.drop(columns="bought"), "no column 'bought'"),
        (lambda f: f.assign(bought=None), "no row has a label"),
        (lambda f: f.drop(columns="age"), "no column 'age'"),
    ],
)
def test_bad_files_are_one_line_and_write_nothing(change, words, run, new, tmp_path, capsys):
    change(new).to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(run), "--data", str(tmp_path / "new.csv"), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_the_test_rows_of_a_run_are_reported_class_by_class(run, tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(run), "--out", str(out)]) == 0
    said, figures, result = capsys.readouterr().out, json.loads(out.read_text()), RunFolder.open(run).result()
    assert said.startswith("test error ")
    assert figures["n"] == result.n_test
    assert figures["confusion"] == result.confusion
    assert figures["error_percent"] == pytest.approx(result.test_error_percent)
    test = run_data(RunFolder.open(run)).load_test()
    expected = log_loss(test.labels, StackedDAE.from_run(run).probabilities_of(test.inputs))
    assert figures["log_loss"] == pytest.approx(expected, rel=1e-4)
    for row in figures["classes"]:
        assert row["class"] in said
    assert "balanced accuracy" in said


def test_arrays_have_their_classes_in_y(tmp_path):
    data = blobs()
    run = api.fit(small(), tmp_path / "run", dataset=data)
    test = data.load_test()
    np.savez(tmp_path / "test.npz", x=test.inputs, y=test.labels)
    model = StackedDAE.from_run(run.path)
    assert score_file(model, tmp_path / "test.npz").error_percent == pytest.approx(run.result().test_error_percent)
    assert main(["predict", str(run.path), "--data", str(tmp_path / "test.npz"), "--out", str(tmp_path / "p.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "p.csv")) == len(test)
    np.savez(tmp_path / "none.npz", x=test.inputs)
    with pytest.raises(DataError, match="no column 'y'"):
        score_file(model, tmp_path / "none.npz")
