"""The baselines beside a result."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.small_runs import blobs, small
from helpers.tables import people, settings
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.pipeline import api
from stacked_dae.pipeline.baselines import MORE_BASELINES, baseline_errors
from stacked_dae.reporting.columns import baseline_key, baseline_of
from stacked_dae.reporting.run_summary import never_predicted


def asking(wanted, **changes):
    config = small(**changes)
    return replace(config, finetune=replace(config.finetune, baselines=wanted))


def test_errors_are_those_of_scikit_learn():
    data = blobs()
    errors = dict(baseline_errors(data, None, data.load_test()))
    x, y, test = data.train.inputs, data.train.labels, data.load_test()
    most = np.bincount(y).argmax()
    assert errors["majority_class"] == pytest.approx(100 * np.mean(test.labels != most))
    scaler = StandardScaler().fit(x)
    candidates = [
        100 * np.mean(LogisticRegression(C=c, max_iter=5000).fit(scaler.transform(x), y).predict(
            scaler.transform(test.inputs)) != test.labels)
        for c in np.logspace(-3, 3, 7)
    ]  # fmt: skip
    assert any(errors["logistic_regression"] == pytest.approx(error, abs=1.2) for error in candidates)
    assert errors["logistic_regression"] < errors["majority_class"] / 2


def test_they_learn_from_the_labels_that_the_stack_has():
    data = blobs()
    one = np.array([int(np.flatnonzero(data.train.labels == label)[0]) for label in range(3)])
    few = dict(baseline_errors(data, one, data.load_test()))
    assert few["logistic_regression"] > dict(baseline_errors(data, None, data.load_test()))["logistic_regression"]
    same = np.flatnonzero(data.train.labels == 1)[:5]
    assert dict(baseline_errors(data, same, data.load_test())).keys() == {"majority_class"}


def test_tables_have_them_unless_they_are_not_wanted_and_others_if_they_are(tmp_path):
    people(tmp_path / "people.csv")
    table = config_from_dict(settings(tmp_path / "people.csv"))
    tested = api.fit(table, tmp_path / "table").result().baselines
    assert tested.keys() == {"majority_class", "logistic_regression"}
    without = replace(table, finetune=replace(table.finetune, baselines=False))
    assert api.fit(without, tmp_path / "without").result().baselines is None
    assert "baselines" not in json.loads((tmp_path / "without" / "result.json").read_text())
    assert api.fit(small(), tmp_path / "blobs", dataset=blobs()).result().baselines is None
    assert api.fit(asking(True), tmp_path / "asked", dataset=blobs()).result().baselines is not None


def test_asked_for_later_they_are_added_and_nothing_is_trained_again(tmp_path):
    first = api.fit(small(), tmp_path / "run", dataset=blobs())
    before = first.weights_path("finetune").stat().st_mtime_ns
    again = api.fit(asking(True), tmp_path / "run", dataset=blobs())
    assert again.result().baselines is not None
    assert again.weights_path("finetune").stat().st_mtime_ns == before
    assert again.result().test_error_percent == first.result().test_error_percent
    # A result that has them keeps them.
    assert api.fit(small(), tmp_path / "run", dataset=blobs()).result().baselines == again.result().baselines


def test_the_terminal_and_compare_show_them(tmp_path, capsys):
    people(tmp_path / "people.csv")
    table = ["--data.path", str(tmp_path / "people.csv"), "--data.target", "bought", "--pretrain.units", "[4]"]
    assert main(["fit", *table, "--pretrain.epochs", "1", "--finetune.epochs", "1", "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "baselines on the same rows: majority class" in said
    assert "; the stack does not beat" in said
    assert main(["compare", str(tmp_path / "a"), "--csv", str(tmp_path / "c.csv")]) == 0
    (row,) = csv.DictReader((tmp_path / "c.csv").read_text().splitlines())
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    for name, error in result["baselines"].items():
        assert float(row[f"baseline_{name}_error_percent"]) == pytest.approx(error, abs=0.01)


def test_a_class_that_is_never_predicted_is_said(tmp_path, capsys):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 3)), columns=list("abc"))
    frame["y"] = np.where(np.arange(400) % 10 == 0, "[rare]", "common")
    frame.to_csv(tmp_path / "t.csv", index=False)
    table = ["--data.path", str(tmp_path / "t.csv"), "--data.target", "y", "--pretrain.units", "[4]"]
    assert main(["fit", *table, "--pretrain.epochs", "1", "--finetune.epochs", "1", "--out", str(tmp_path / "a")]) == 0
    assert "never predicted: [rare]" in capsys.readouterr().out
    frame.tail(40).to_csv(tmp_path / "new.csv", index=False)
    assert main(["evaluate", str(tmp_path / "a"), "--data", str(tmp_path / "new.csv")]) == 0
    assert "never predicted: [rare]" in capsys.readouterr().out
    assert never_predicted([[3, 0], [1, 0]]) == ["1"]
    assert never_predicted([[3, 1], [1, 0]]) == never_predicted([[3, 0], [0, 0]]) == []


def test_their_names_in_wandb_come_back():
    assert baseline_of(baseline_key("logistic_regression", "error_percent")) == "logistic_regression"
    assert baseline_of(baseline_key("mean", "rmse")) == "mean"
    assert baseline_of("test_rmse") is None
    assert baseline_of("best_valid_error_percent") is None
    assert baseline_of("test_error_percent") is None


def test_missing_values_and_bytes_are_inputs_too(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 3)), columns=list("abc"))
    frame["y"] = np.where(frame["a"] > 0, "p", "q")
    frame.loc[frame.index % 5 == 0, "b"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y")), tmp_path / "run")
    assert run.result().baselines["logistic_regression"] < 10
    pixels = blobs()
    whole = replace(pixels, train=replace(pixels.train, inputs=(pixels.train.inputs * 255).astype(np.uint8)))
    test = replace(pixels.load_test(), inputs=(pixels.load_test().inputs * 255).astype(np.uint8))
    expected = dict(baseline_errors(pixels, None, pixels.load_test()))
    assert dict(baseline_errors(whole, None, test))["logistic_regression"] == pytest.approx(
        expected["logistic_regression"], abs=2.3
    )


def test_more_of_them_are_tested_later_and_kept(tmp_path, capsys):
    people(tmp_path / "people.csv")
    table = config_from_dict(settings(tmp_path / "people.csv"))
    run = api.fit(table, tmp_path / "run")
    first = run.result()
    assert main(["baselines", str(run.path)]) == 0
    said = capsys.readouterr().out
    for name in ("stack", "logistic regression", "RBF SVM", "gradient boosting", "MLP", "majority class"):
        assert name in said
    after = run.result()
    assert after.baselines.keys() == {*first.baselines, "rbf_svm", "gradient_boosting", "mlp"}
    assert replace(after, baselines=first.baselines) == first
    for name, error in after.baselines.items():
        assert f"{error:.2f}" in said, name
    # A test of further measures does not lose them.
    more = replace(table, finetune=replace(table.finetune, metrics=["f1"]))
    assert api.fit(more, run.path).result().baselines == after.baselines


def test_more_of_them_are_those_of_scikit_learn():
    data = blobs()
    x, y, test = data.train.inputs, data.train.labels, data.load_test()
    scaler = StandardScaler().fit(x)
    errors = dict(baseline_errors(data, None, test, names=MORE_BASELINES))
    for name, model in zip(
        MORE_BASELINES,
        (SVC(), HistGradientBoostingClassifier(random_state=0), MLPClassifier(random_state=0)),
        strict=True,
    ):
        found = model.fit(scaler.transform(x), y).predict(scaler.transform(test.inputs))
        assert errors[name] == pytest.approx(100 * np.mean(found != test.labels), abs=1.2)


def test_a_cut_baseline_is_not_tested_again(tmp_path, monkeypatch):
    run = api.fit(small(), tmp_path / "run", dataset=blobs())
    made = api.baseline_errors

    def cut(*arguments, names, **settings):
        for found in made(*arguments, names=names, **settings):
            yield found
            if found[0] == "rbf_svm":
                raise KeyboardInterrupt

    monkeypatch.setattr(api, "baseline_errors", cut)
    with pytest.raises(KeyboardInterrupt):
        api.measure_baselines(run.path, dataset=blobs())
    assert set(run.result().baselines) == {"majority_class", "logistic_regression", "rbf_svm"}
    asked = []
    monkeypatch.setattr(
        api, "baseline_errors", lambda *a, names, **s: asked.extend(names) or made(*a, names=names, **s)
    )
    assert set(api.measure_baselines(run.path, dataset=blobs()).result().baselines) >= {"gradient_boosting", "mlp"}
    assert asked == ["gradient_boosting", "mlp"]


def test_a_run_without_a_result_is_one_line(tmp_path, capsys):
    people(tmp_path / "people.csv")
    run = api.pretrain(config_from_dict(settings(tmp_path / "people.csv")), tmp_path / "run")
    assert main(["baselines", str(run.path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "has no result.json" in error
