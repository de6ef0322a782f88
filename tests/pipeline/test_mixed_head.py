"""The mixed classifier as the last stage of a run folder: trained, killed, resumed, saved, exported, refused."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
import yaml
from helpers.small_runs import blobs, small
from helpers.tables import people
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from stacked_dae import FinetuneTask, StackedDAE, StackedDAEClassifier
from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.errors import ConfigError
from stacked_dae.pipeline import api
from stacked_dae.training.mixing import stage
from stacked_dae.training.mixing.epoch_log import EpochLog
from stacked_dae.training.mixing.stage import label_weights

RECIPE = yaml.safe_load(Path("configs/table.yaml").read_text())
LAYERS = {**RECIPE["pretrain"], "units": [12, 8]}


def table_config(file, **changes):
    finetune = {**RECIPE["finetune"], "epochs": 6, **changes.pop("finetune", {})}
    data = {"path": str(file), "target": "bought", "scale": "standard", **changes.pop("data", {})}
    return config_from_dict({"data": data, "pretrain": LAYERS, "finetune": finetune, **changes})


def mixed_small(**finetune):
    config = small()
    return replace(config, finetune=replace(config.finetune, head="mixed", epochs=2, **finetune))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    people(folder / "people.csv")
    return api.fit(table_config(folder / "people.csv"), folder / "run")


def test_the_recipe_of_the_file_is_that_of_the_estimators():
    config = config_from_dict({**RECIPE, "data": {**RECIPE["data"], "path": "t.csv", "target": "y"}})
    model = StackedDAEClassifier()
    layers, _ = model._settings(500, 7)
    # A table's first layer has a loss for each column: squared error where they are all numbers.
    first, second = config.layers()
    assert replace(first, loss="squared_error", decoder="identity") == layers[0]
    assert second == layers[1]
    assert (config.data.scale, config.finetune.head) == (model.scale, model.head)
    assert config.finetune == model._finetune_settings(head="mixed", batch_size=32)


def test_a_run_has_the_mixture_in_its_result_and_its_summary(run, capsys):
    result = run.result()
    assert sum(result.mixture.values()) == pytest.approx(1.0)
    assert result.mixture.keys() == {"inputs", "codes", "finetuned"}
    rows = run.metrics("finetune").rows()
    assert [row["epoch"] for row in rows] == list(range(len(rows)))
    assert {"train_loss", "valid_loss", "valid_error_percent", "seconds"} <= rows[0].keys()
    assert main(["summary", str(run.path)]) in (0, None)
    assert "mixed by likelihood on held-out labels: heads on the inputs" in capsys.readouterr().out


def test_it_is_finished_and_evaluates_to_the_same(run):
    before = (run.path / "finetune" / "weights.safetensors").read_bytes()
    again = api.fit(run.config(), run.path)
    assert again.result() == run.result()
    assert (run.path / "finetune" / "weights.safetensors").read_bytes() == before
    assert api.evaluate(run.path).error_percent == run.result().test_error_percent


def test_a_task_goes_on_from_its_encoders(run):
    task = FinetuneTask.from_run(run.path)
    assert task.hparams.num_classes == 2
    model = StackedDAE.from_run(run.path)
    assert torch.equal(task.encoders[0].weight, model.stack.layers[0].weight)


def test_saved_loaded_and_exported_it_says_the_same(run, tmp_path):
    rows = pd.read_csv(run.config().data.path).drop(columns="bought")
    model = StackedDAE.from_run(run.path)
    expected = model.predict_proba(rows)
    assert expected.sum(1) == pytest.approx(1.0, abs=1e-5)
    model.save(tmp_path / "model.safetensors")
    assert np.array_equal(StackedDAE.load(tmp_path / "model.safetensors").predict_proba(rows), expected)
    for kind, file in (("onnx", "model.onnx"), ("torch", "model.pt2")):
        assert main(["export", str(run.path), "--format", kind, "--out", str(tmp_path / file)]) in (0, None)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    feeds = {
        put.name: rows[[put.name]].fillna("").astype(str).to_numpy(object)
        if put.type == "tensor(string)"
        else rows[[put.name]].to_numpy("float64")
        for put in session.get_inputs()
    }
    classes, probabilities = session.run(["class", "probabilities"], feeds)
    assert probabilities == pytest.approx(expected, abs=1e-5)
    assert (classes == model.predict(rows)).all()
    inputs = torch.from_numpy(model.inputs_of(rows))
    assert torch.export.load(tmp_path / "model.pt2").module()(inputs).numpy() == pytest.approx(expected, abs=1e-5)


def test_the_command_line_predicts_with_it(run, tmp_path):
    out = tmp_path / "predictions.csv"
    assert main(["predict", str(run.path), "--data", run.config().data.path, "--out", str(out)]) in (0, None)
    with out.open() as file:
        found = [row["class"] for row in csv.DictReader(file)]
    assert found == StackedDAE.from_run(run.path).predict(pd.read_csv(run.config().data.path)).tolist()


def test_killed_in_an_epoch_it_is_trained_to_the_same_bits(run, tmp_path, monkeypatch):
    add, calls = EpochLog.add, []

    def killed(self, epoch, *figures):
        calls.append(epoch)
        if epoch == 2:
            raise KeyboardInterrupt
        add(self, epoch, *figures)

    monkeypatch.setattr(EpochLog, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        api.fit(run.config(), tmp_path / "run")
    monkeypatch.undo()
    assert calls[-1] == 2
    again = api.fit(run.config(), tmp_path / "run")
    assert again.stage("finetune").sha256 == run.stage("finetune").sha256
    assert again.result().test_error_percent == run.result().test_error_percent


def test_validation_labels_are_learnt_from_unless_few_labels_are_asked_for(tmp_path):
    data, other = blobs(), blobs()
    other.valid.labels[:] = (other.valid.labels + 1) % 3
    whole = mixed_small()
    few = replace(whole, data=replace(whole.data, labels_per_class=20))

    def weights(config, data, name):
        return api.fit(config, tmp_path / name, dataset=data).stage("finetune").sha256

    assert weights(few, data, "a") == weights(few, other, "b")
    assert weights(whole, data, "c") != weights(whole, other, "d")


def test_test_rows_decide_nothing(run, tmp_path):
    data = api.run_data(run)
    test = data.load_test()
    other = replace(data, load_test=lambda: replace(test, labels=1 - test.labels))
    again = api.fit(run.config(), tmp_path / "other", dataset=other)
    assert again.stage("finetune").sha256 == run.stage("finetune").sha256
    assert again.result().test_error_percent == pytest.approx(100.0 - run.result().test_error_percent)


def test_loggers_and_measures_follow_its_epochs(tmp_path):
    config = mixed_small(metrics=["f1"])
    config = replace(config, tracking=replace(config.tracking, loggers=["csv"]))
    folder = api.fit(config, tmp_path / "run", dataset=blobs())
    rows = folder.metrics("finetune").rows()
    assert all(0.0 <= row["valid_f1"] <= 1.0 for row in rows)
    (logged,) = (tmp_path / "run" / "csv" / "finetune").rglob("metrics.csv")
    with logged.open() as file:
        losses = [float(row["valid_loss"]) for row in csv.DictReader(file)]
    assert losses == pytest.approx([row["valid_loss"] for row in rows])


def test_what_it_would_not_use_is_refused(tmp_path):
    config = mixed_small()
    callback = {"callbacks": lambda stage: [pl.callbacks.Timer()]}
    for options in (callback, {"trainer": {"accumulate_grad_batches": 2}}):
        with pytest.raises(ConfigError, match="finetune.head mixed is not trained by a Lightning Trainer"):
            api.fit(config, tmp_path / "run", dataset=blobs(), **options)
    clipped = replace(config, trainer=replace(config.trainer, gradient_clip_val=1.0))
    rounded = replace(config, trainer=replace(config.trainer, precision="bf16-true"))
    for changed in (clipped, rounded):
        with pytest.raises(ConfigError, match="gradient_clip_val, max_time and precision do not apply"):
            api.fit(changed, tmp_path / "run", dataset=blobs())
    for name, value in (("monitor", "loss"), ("optimizer", {"scheduler": "ExponentialLR"})):
        with pytest.raises(ConfigError, match=re.escape(f"finetune.{name}")):
            config_from_dict({"finetune": {"head": "mixed", name: value}})
    assert not (tmp_path / "run").exists()
    layers_only = api.fit(
        config,
        tmp_path / "run",
        dataset=blobs(),
        callbacks=lambda stage: [] if stage == "finetune" else [pl.callbacks.Timer()],
    )
    assert layers_only.has_result


@pytest.mark.parametrize(
    ("rows", "inputs", "epochs", "lr"), [(100, 20, 150, 2e-3), (1000, 400, 19, 1e-3), (10**6, 100, 1, 2e-3)]
)
def test_auto_follows_the_data(rows, inputs, epochs, lr):
    auto = {"epochs": "auto", "batch_size": 64, "optimizer": {"name": "adam", "lr": "auto"}}
    (layer,) = config_from_dict({"pretrain": {**auto, "units": 5}}).layers()
    assert (layer.epochs_on(rows), layer.lr_on(inputs)) == (epochs, pytest.approx(lr))
    (given,) = config_from_dict({"pretrain": {"units": 5, "epochs": 3, "optimizer": {"lr": 0.2}}}).layers()
    assert (given.epochs_on(rows), given.lr_on(inputs)) == (3, 0.2)


def rare(place):
    """Write a table of 300 rows, of which a tenth are of the class yes, and hard to tell."""
    random = np.random.default_rng(0)
    y = random.random(300) < 0.1
    x = random.normal(size=(300, 4)) + 0.8 * y[:, None]
    pd.DataFrame(x, columns=list("abcd")).assign(bought=np.where(y, "yes", "no")).to_csv(place, index=False)
    return place


@pytest.mark.slow
def test_balanced_classes_are_seen_as_in_the_estimator(tmp_path):
    file = rare(tmp_path / "t.csv")
    plain = api.fit(table_config(file), tmp_path / "plain")
    balanced = api.fit(table_config(file, finetune={"class_weight": "balanced"}), tmp_path / "balanced")

    def called_yes(run):
        return np.array(run.result().confusion)[:, 1].sum()

    assert called_yes(balanced) > called_yes(plain) + 3
    # Logistic regression beside it has the same weights, and so the same trade.
    rows = pd.read_csv(file)
    x, y = rows[list("abcd")], (rows["bought"] == "yes").astype(int)
    estimator = StackedDAEClassifier(class_weight="balanced", random_state=0).fit(x, y)
    found = StackedDAE.from_run(balanced.path).predict_proba(rows)[:, 1]
    assert np.corrcoef(found, estimator.predict_proba(x)[:, 1])[0, 1] > 0.9
    assert found.mean() == pytest.approx(estimator.predict_proba(x)[:, 1].mean(), abs=0.1)
    assert plain.result().baselines["logistic_regression"] != balanced.result().baselines["logistic_regression"]


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.array([0, 0, 0, 2, 2, 1])
    assert label_weights(labels, "balanced") == pytest.approx(compute_sample_weight("balanced", labels))
    assert label_weights(labels, None).tolist() == [1.0] * 6


def test_balanced_classes_need_the_mixed_head():
    with pytest.raises(ConfigError, match="finetune.class_weight applies only to finetune.head mixed"):
        config_from_dict({"finetune": {"class_weight": "balanced"}})
    with pytest.raises(ConfigError, match="finetune.class_weight must be"):
        config_from_dict({"finetune": {"class_weight": "fair", "head": "mixed"}})


def weighted(tmp_path, weights):
    """Return a table with a column of weights, and the same with each row as often as its weight says."""
    random = np.random.default_rng(0)
    x = random.normal(size=(160, 3)).round(3)
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["y"] = np.where(x[:, 0] + random.normal(0, 1.5, 160) > 0, "yes", "no")
    frame["part"] = np.where(np.arange(160) % 4 == 3, "test", "train")
    frame.loc[frame.index % 16 == 0, "part"] = "valid"
    frame["w"] = weights(frame)
    frame.to_csv(tmp_path / "weighted.csv", index=False)
    return frame


def weighted_config(file, **data):
    settings = {"path": str(file), "target": "y", "split": "part", "scale": "standard", **data}
    return config_from_dict({"data": settings, "pretrain": LAYERS, "finetune": {**RECIPE["finetune"], "epochs": 3}})


@pytest.mark.slow
def test_weights_of_a_column_are_the_estimators_sample_weights(tmp_path, monkeypatch):
    frame = weighted(tmp_path, lambda frame: np.where(frame["y"] == "yes", 5.0, 1.0))
    seen = []

    def fitted(encoders, inputs, labelled, labels, weights, *others):
        seen.append((labels, weights))
        return real(encoders, inputs, labelled, labels, weights, *others)

    real = stage.fit_mixed_classifier
    monkeypatch.setattr(stage, "fit_mixed_classifier", fitted)
    run = api.fit(weighted_config(tmp_path / "weighted.csv", weights="w"), tmp_path / "run")
    labels, weights = seen[0]
    assert len(labels) == (frame["part"] != "test").sum(), "validation rows are learnt from too"
    assert (weights == torch.where(labels == 1, 5.0, 1.0)).all()
    assert "w" not in run.preprocessing().names
    plain = api.fit(weighted_config(tmp_path / "weighted.csv", drop=["w"]), tmp_path / "plain")
    yes = {folder.path.name: np.array(folder.result().confusion)[:, 1].sum() for folder in (run, plain)}
    assert yes["run"] > yes["plain"]
    assert run.result().baselines["logistic_regression"] != plain.result().baselines["logistic_regression"]
    more = api.measure_baselines(run.path).result().baselines
    # The same as scikit-learn's with sample_weight.
    train, test = frame[frame["part"] != "test"], frame[frame["part"] == "test"]
    model = StackedDAE.from_run(run.path)
    svm = make_pipeline(StandardScaler(), SVC()).fit(model.inputs_of(train), train["y"], svc__sample_weight=train["w"])
    theirs = 100 * np.mean(svm.predict(model.inputs_of(test)) != test["y"])
    assert more["rbf_svm"] == pytest.approx(theirs, abs=100 / len(test) + 1e-9)
    assert api.fit(weighted_config(tmp_path / "weighted.csv", weights="w"), tmp_path / "run").result() == (
        api.RunFolder.open(tmp_path / "run").result()
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda frame: np.where(frame.index == 4, -1.0, 1.0), "row 5 is -1, which is negative"),
        (lambda frame: np.where(frame.index == 4, np.nan, 1.0), "row 5 is empty"),
        (lambda frame: np.where(frame.index == 4, "much", "1"), "row 5 is 'much', which is not a number"),
        (lambda frame: np.zeros(len(frame)), "is 0 for every labelled training row"),
    ],
)
def test_weights_that_are_none_are_one_line(weights, message, tmp_path, capsys):
    weighted(tmp_path, weights)
    words = ["--data.path", str(tmp_path / "weighted.csv"), "--data.target", "y", "--data.weights", "w"]
    assert main(["fit", "--config", "configs/table.yaml", *words, "--out", str(tmp_path / "run")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_rows_without_a_label_need_no_weight(tmp_path):
    frame = weighted(tmp_path, lambda frame: np.where(frame.index == 4, np.nan, 1.0))
    frame.loc[4, "y"] = None
    frame.to_csv(tmp_path / "weighted.csv", index=False)
    run = api.fit(weighted_config(tmp_path / "weighted.csv", weights="w"), tmp_path / "run")
    plain = api.fit(weighted_config(tmp_path / "weighted.csv", drop=["w"]), tmp_path / "plain")
    assert run.stage("finetune").sha256 == plain.stage("finetune").sha256, "weights of 1 are none"


def test_weights_that_are_lists_are_one_line(tmp_path, capsys):
    frame = weighted(tmp_path, lambda frame: 1.0)
    frame["w"] = [[1.0]] * len(frame)
    frame.to_parquet(tmp_path / "weighted.parquet")
    words = ["--data.path", str(tmp_path / "weighted.parquet"), "--data.target", "y", "--data.weights", "w"]
    assert main(["fit", "--config", "configs/table.yaml", *words, "--out", str(tmp_path / "run")]) == 2
    assert "column 'w' holds" in capsys.readouterr().err


def test_weights_need_the_head_that_reads_them():
    with pytest.raises(ConfigError, match=r"data\.weights applies only to finetune\.head mixed"):
        config_from_dict({"data": {"path": "t.csv", "target": "y", "weights": "w"}})


@pytest.mark.parametrize("role", ["split", "groups", "order", "target"])
def test_a_column_of_weights_has_one_role(role):
    with pytest.raises(ConfigError, match="both name column 'w'"):
        config_from_dict({"data": {"path": "t.csv", "target": "y", "weights": "w", role: "w"}})


def test_written_weights_are_read_alike_each_time(tmp_path):
    weighted(tmp_path, lambda frame: [f"${k % 3 + 1},000.50" for k in range(len(frame))])
    config = weighted_config(tmp_path / "weighted.csv", weights="w")
    run = api.fit(config, tmp_path / "run")
    assert api.fit(config, tmp_path / "run").result() == run.result()
    assert api.evaluate(run.path).error_percent == run.result().test_error_percent


def test_labels_of_no_weight_are_not_drawn(tmp_path, monkeypatch):
    weighted(tmp_path, lambda frame: (frame.index % 5 == 1).astype(float))
    seen = []

    def fitted(encoders, inputs, labelled, labels, weights, *others):
        seen.append(weights)
        return real(encoders, inputs, labelled, labels, weights, *others)

    real = stage.fit_mixed_classifier
    monkeypatch.setattr(stage, "fit_mixed_classifier", fitted)
    api.fit(weighted_config(tmp_path / "weighted.csv", weights="w", labels_per_class=3), tmp_path / "run")
    assert len(seen[0]) == 6
    assert (seen[0] > 0).all()
