"""Runs that predict a number: task regression from the table to the prediction, against scikit-learn."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
import yaml
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torchmetrics import MeanSquaredError
from torchmetrics.classification import MulticlassAccuracy

from stacked_dae import DAEDataModule, RegressionTask, StackedDAE, StackedDAERegressor
from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.errors import ConfigError, DataError, StageError
from stacked_dae.pipeline import api
from stacked_dae.runs.folder import RunFolder


class Observer(pl.Callback):
    """Callback that does nothing, so that Lightning's own loop trains."""


RECIPE = yaml.safe_load(Path("configs/regression.yaml").read_text())


def houses(file, rows=300, missing=0.1, seed=0, **columns):
    """Write a CSV file whose ``price`` is a function of its columns, with noise; some prices are missing."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "area": random.normal(100, 20, rows).round(1),
            "rooms": random.integers(1, 7, rows),
            "city": random.choice(["Bern", "Oslo"], rows),
        }
    )
    price = 3000 * table["area"] + 20000 * table["rooms"] * (table["city"] == "Oslo") + random.normal(0, 9000, rows)
    table["price"] = price.round(2)
    table.loc[random.random(rows) < missing, "price"] = np.nan
    for name, values in columns.items():
        table[name] = values(table)
    table.to_csv(file, index=False)
    return file


def settings(file, **changes):
    finetune = {**RECIPE["finetune"], "epochs": 30, "patience": 30, "batch_size": 32, "dropout": 0.0}
    values = {
        "task": "regression",
        "data": {"path": str(file), "target": "price", "scale": "standard", **changes.pop("data", {})},
        "pretrain": {**RECIPE["pretrain"], "units": [12, 8], "epochs": 5},
        "finetune": {**finetune, "optimizer": {"name": "adam", "lr": 0.01}, **changes.pop("finetune", {})},
    }
    return config_from_dict({**values, **changes})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return houses(tmp_path_factory.mktemp("houses") / "houses.csv")


@pytest.fixture(scope="module")
def run(table):
    return api.fit(settings(table), table.parent / "run")


def rows_of(table, folder, which):
    """Return the rows of a split, in the units of the file."""
    everything = pd.read_csv(table)
    data = DAEDataModule.from_table(str(table), "price", task="regression", scale="standard")
    data.setup("test" if which == "test" else "fit")
    loader = data.test_dataloader() if which == "test" else data.val_dataloader()
    targets = torch.cat([y for _, y in loader])[:, 0].double().numpy()
    scale = RunFolder.open(folder).preprocessing().target_column
    prices = targets * scale.width + scale.shift
    return everything.iloc[[int((everything["price"] - price).abs().argmin()) for price in prices]]


def test_the_recipe_of_the_file_is_that_of_the_estimator():
    config = config_from_dict({**RECIPE, "data": {**RECIPE["data"], "path": "t.csv", "target": "y"}})
    model = StackedDAERegressor()
    layers, _ = model._settings(500, 7)
    first, second = config.layers()
    assert replace(first, loss="squared_error", decoder="identity") == layers[0]
    assert second == layers[1]
    assert config.data.scale == model.scale
    assert config.finetune == model._finetune_settings()


def test_the_errors_are_those_of_scikit_learn_in_the_units_of_the_target(table, run):
    rows = rows_of(table, run.path, "test")
    predicted = StackedDAE.from_run(run.path).predict(rows.drop(columns="price"))
    result = run.result()
    assert result.n_test == len(rows)
    assert result.test_rmse == pytest.approx(root_mean_squared_error(rows["price"], predicted), rel=1e-5)
    assert result.test_mae == pytest.approx(mean_absolute_error(rows["price"], predicted), rel=1e-5)
    assert result.test_r2 == pytest.approx(r2_score(rows["price"], predicted), abs=1e-5)
    assert result.test_r2 > 0.9, "a linear function and a product, 18 standard deviations of the noise wide"
    valid = rows_of(table, run.path, "valid")
    predicted = StackedDAE.from_run(run.path).predict(valid)
    assert result.best_valid_rmse == pytest.approx(root_mean_squared_error(valid["price"], predicted), rel=1e-5)
    losses = [row["valid_loss"] for row in run.metrics("finetune").rows()]
    assert result.best_epoch == int(np.argmin(losses)) + 1
    assert api.evaluate(run.path).rmse == result.test_rmse


def test_the_labels_are_standardised_by_the_labelled_training_rows(table, run):
    scale = run.preprocessing().target_column
    data = DAEDataModule.from_table(str(table), "price", task="regression", scale="standard")
    data.setup("fit")
    labels = torch.cat([y for _, y in data.train_dataloader()])[:, 0]
    known = labels[~labels.isnan()]
    assert len(known) < len(labels), "rows without a price serve pre-training"
    assert float(known.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(known.std(correction=0)) == pytest.approx(1.0, abs=1e-5)
    prices = pd.read_csv(table)["price"]
    assert prices.min() < scale.shift < prices.max()


def test_the_baselines_are_scikit_learns(table, run):
    found = api.measure_baselines(run.path).result()
    assert set(found.baselines) == {"mean", "ridge_regression", "rbf_svm", "gradient_boosting", "mlp"}
    test = rows_of(table, run.path, "test")
    scale = run.preprocessing().target_column
    assert found.baselines["mean"] == pytest.approx(
        root_mean_squared_error(test["price"], np.full(len(test), scale.shift))
    )
    # On the same inputs, standardised: its own intercept takes their means.
    model = StackedDAE.from_run(run.path)
    everything = pd.read_csv(table)
    rest = everything[everything["price"].notna() & ~everything["price"].isin(test["price"])]
    rest = rest[~rest["price"].isin(rows_of(table, run.path, "valid")["price"])]
    x, z = model.inputs_of(rest), model.inputs_of(test)
    centre, width = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1.0)
    ridge = RidgeCV(np.logspace(-3, 3, 7)).fit((x - centre) / width, rest["price"])
    theirs = root_mean_squared_error(test["price"], ridge.predict((z - centre) / width))
    assert found.baselines["ridge_regression"] == pytest.approx(theirs, rel=1e-3)


def test_the_command_line_from_check_to_export(table, tmp_path, capsys):
    assert main(["data", "check", str(table), "--target", "price", "--task", "regression"]) == 0
    said = capsys.readouterr().out
    assert "the target is " in said
    line = said.split("to train: stacked-dae ")[1].split()
    out = tmp_path / "run"
    quick = ["--finetune.epochs", "3", "--pretrain.epochs", "2", "--out", str(out)]
    assert main([*line, *quick]) == 0
    said = capsys.readouterr().out
    assert "RMSE" in said
    assert "R²" in said
    assert "ridge regression" in said
    assert (out / "figures" / "predictions.png").stat().st_size > 5000
    assert not (out / "figures" / "confusion.png").exists()
    assert main([*line, *quick]) == 0
    assert "finished already" in capsys.readouterr().err
    predictions = tmp_path / "p.csv"
    assert main(["predict", str(out), "--data", str(table), "--out", str(predictions), "--keep-columns", "price"]) == 0
    written = pd.read_csv(predictions)
    assert list(written) == ["price", "prediction"]
    np.testing.assert_allclose(written["prediction"], StackedDAE.from_run(out).predict(pd.read_csv(table)), rtol=1e-5)
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", str(table), "--out", str(tmp_path / "e.json")]) == 0
    figures = json.loads((tmp_path / "e.json").read_text())
    known = written.dropna()
    assert figures["n"] == len(known)
    assert figures["rmse"] == pytest.approx(root_mean_squared_error(known["price"], known["prediction"]), rel=1e-4)
    assert main(["evaluate", str(out)]) == 0
    assert f"test RMSE {RunFolder.open(out).result().test_rmse:.4g}" in capsys.readouterr().out
    for command in ("summary", "baselines", "plot"):
        assert main([command, str(out)]) == 0
    assert "predicts price" in capsys.readouterr().out


def test_comparisons_choose_by_the_rmse(table, run, tmp_path, capsys):
    worse = api.fit(settings(table, finetune={"epochs": 1}), tmp_path / "worse")
    page = tmp_path / "runs.html"
    places = [str(worse.path), str(run.path)]
    assert main(["compare", *places, "--csv", str(tmp_path / "c.csv"), "--out", str(page), "--sort", "valid"]) == 0
    said = capsys.readouterr().out
    assert "valid RMSE" in said
    assert "valid %" not in said
    with (tmp_path / "c.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["run"], first["best"], second["best"]) == (str(run.path), "True", "False")
    assert float(first["test_rmse"]) == run.result().test_rmse
    assert float(first["test_r2"]) == run.result().test_r2
    assert float(first["baseline_mean_rmse"]) == run.result().baselines["mean"]
    assert "error (%)" not in page.read_text()
    assert "valid RMSE" in page.read_text()


def test_a_saved_model_and_its_exports_predict_the_same_numbers(table, run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, rows = StackedDAE.from_run(run.path), pd.read_csv(table).drop(columns="price")
    numbers = model.predict(rows)
    model.save(tmp_path / "m.safetensors")
    again = StackedDAE.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict(rows), numbers)
    assert again.classes == []
    with pytest.raises(StageError, match="predicts numbers"):
        model.predict_proba(rows)
    assert main(["export", str(run.path), "--format", "onnx", "--out", str(tmp_path / "m.onnx")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    feeds = {
        "area": rows[["area"]].to_numpy(np.float64),
        "rooms": rows[["rooms"]].to_numpy(np.float64),
        "city": rows[["city"]].to_numpy(object),
    }
    theirs = session.run(["prediction"], feeds)[0]
    assert theirs.shape == numbers.shape
    np.testing.assert_allclose(theirs, numbers, rtol=1e-5)
    assert main(["export", str(run.path), "--format", "torch", "--out", str(tmp_path / "m.pt2")]) == 0
    program = torch.export.load(tmp_path / "m.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(model.inputs_of(rows))).numpy(), numbers, rtol=1e-5)


@pytest.mark.parametrize("scheduler", [None, "StepLR"])
def test_the_public_task_trains_the_same_bits(scheduler, table, tmp_path):
    changes = {"finetune": {"epochs": 3, "dropout": 0.2}}
    plain = api.fit(settings(table, **changes), tmp_path / "plain")
    if scheduler is not None:
        optimizer = {"name": "adam", "lr": 0.01, "scheduler": scheduler, "scheduler_options": {"step_size": 100}}
        changes["finetune"]["optimizer"] = optimizer
    other = api.fit(settings(table, **changes), tmp_path / "other", callbacks=None if scheduler else Observer())
    assert other.stage("finetune").sha256 == plain.stage("finetune").sha256
    assert other.result().test_rmse == plain.result().test_rmse


def test_metrics_of_the_users_are_of_predictions_and_targets(table, run, tmp_path):
    measured = api.fit(settings(table), tmp_path / "run", metrics={"mse": MeanSquaredError()})
    result, scale = measured.result(), measured.preprocessing().target_column
    assert result.metrics["mse"] == pytest.approx(result.test_rmse**2, rel=1e-5)
    row = measured.metrics("finetune").rows()[0]
    assert row["valid_mse"] == pytest.approx(row["valid_loss"] * scale.width**2, rel=1e-5)
    assert measured.stage("finetune").sha256 == run.stage("finetune").sha256
    with pytest.raises(ConfigError, match="predictions and targets"):
        api.fit(settings(table), tmp_path / "no", metrics=MulticlassAccuracy(3))


def test_layers_of_another_table_predict_numbers_too(table, tmp_path, capsys):
    file = tmp_path / "all.csv"
    pd.read_csv(table).drop(columns="price").to_csv(file, index=False)
    quick = ["--pretrain.units", "[6]", "--pretrain.epochs", "2", "--finetune.epochs", "2", "--data.scale", "standard"]
    assert main(["pretrain", "--data.path", str(file), *quick, "--out", str(tmp_path / "layers")]) == 0
    command = [
        "finetune",
        "--pretrained",
        str(tmp_path / "layers"),
        "--data.path",
        str(table),
        "--data.target",
        "price",
    ]
    assert main([*command, "--task", "regression", "--finetune.epochs", "3", "--out", str(tmp_path / "run")]) == 0
    assert RunFolder.open(tmp_path / "run").result().test_rmse > 0
    assert api.evaluate(tmp_path / "run").rmse == RunFolder.open(tmp_path / "run").result().test_rmse
    # Layers that a classifier was pre-trained with, on the same table.
    digits = houses(tmp_path / "both.csv", rooms=lambda table: table["rooms"] % 2)
    layers = ["--data.path", str(digits), "--data.target", "rooms", *quick, "--out", str(tmp_path / "classes")]
    assert main(["pretrain", *layers]) == 0
    command = [
        "finetune",
        "--pretrained",
        str(tmp_path / "classes"),
        "--task",
        "regression",
        "--out",
        str(tmp_path / "n"),
    ]
    assert main(command) == 0
    assert RunFolder.open(tmp_path / "n").preprocessing().target_column.name == "rooms"


def test_a_public_task_goes_on_from_a_run(run, table):
    task = RegressionTask.from_run(run.path, lr=0.001)
    data = DAEDataModule.from_table(str(table), "price", task="regression", scale="standard").labelled()
    trainer = pl.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    (before,) = trainer.validate(task, data, verbose=False)
    best = run.result().best_valid_rmse / run.preprocessing().target_column.width
    assert before["valid_loss"] == pytest.approx(best**2, rel=1e-4)
    trainer.fit(task, data)


def test_written_amounts_are_numbers_from_the_file_to_the_report(tmp_path):
    file = houses(tmp_path / "houses.csv", missing=0.0)
    plain = pd.read_csv(file)
    written = tmp_path / "written.csv"
    plain.assign(price=[f"${price:,.2f}" for price in plain["price"]]).to_csv(written, index=False)
    out = tmp_path / "run"
    run = api.fit(settings(written, finetune={"epochs": 2}), out)
    same = api.fit(settings(file, finetune={"epochs": 2}), tmp_path / "same")
    assert run.stage("finetune").sha256 == same.stage("finetune").sha256
    assert api.fit(settings(written, finetune={"epochs": 2}), out).result() == run.result()
    assert main(["evaluate", str(out), "--data", str(written)]) == 0
    plain.assign(price=[f"£{price:,.2f}" for price in plain["price"]]).to_csv(written, index=False)
    assert main(["evaluate", str(out), "--data", str(written)]) == 2


REFUSED = {
    "text": (lambda t: t["price"].where(t.index != 7, "cheap"), ["column 'price', row 8 is 'cheap'", "correct it"]),
    "an infinite number": (lambda t: t["price"].where(t.index != 7, np.inf), ["row 8 is 'inf', which is not a number"]),
    "one value": (lambda t: t["price"] * 0 + 5, ["is 5 in every training row", "nothing to predict"]),
    "one value that is no binary fraction": (lambda t: t["price"] * 0 + 0.1, ["is 0.1 in every training row"]),
    "numbers too small": (lambda t: t["price"] * 1e-175, ["which cannot be scaled"]),
    "a mark": (lambda t: t["price"].where(t.index != 7, "?"), ["row 8 is '?'", "--data.na_values '[\"?\"]'"]),
    "no value": (lambda t: t["price"] * np.nan, ["no value in any row"]),
    "dates": (lambda t: ["2026-01-01"] * len(t), ["'2026-01-01', which is not a number"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_targets_that_are_no_numbers_are_one_line_and_write_nothing(case, tmp_path, capsys):
    values, words = REFUSED[case]
    file = houses(tmp_path / "houses.csv", missing=0.0, price=values)
    for command in (
        ["fit", "--config", "configs/regression.yaml", "--data.path", str(file), "--data.target", "price"],
        ["data", "check", str(file), "--target", "price", "--task", "regression"],
    ):
        more = ["--out", str(tmp_path / "run")] if command[0] == "fit" else []
        assert main([*command, *more]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert all(word in said for word in words), said
    assert [path.name for path in tmp_path.iterdir()] == ["houses.csv"]


SETTINGS = {
    "no table": ({"data": {"name": "digits"}}, "task: regression applies only to a table"),
    "a mixed head": ({"finetune": {"head": "mixed"}}, "--config regression in place of --config table"),
    "labels of each class": ({"data": {"path": "t.csv", "labels_per_class": 5}}, "data.labels_per_class"),
    "measures of classes": ({"finetune": {"metrics": ["f1"]}}, "finetune.metrics"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_of_classes_are_refused(case):
    values, message = SETTINGS[case]
    with pytest.raises(ConfigError, match=message):
        config_from_dict({"task": "regression", "data": {"path": "t.csv"}, **values})


def test_a_target_of_numbers_suggests_the_task(tmp_path, capsys):
    file = houses(tmp_path / "houses.csv", missing=0.0)
    for values in (lambda t: t["price"], lambda t: t["price"].round().astype(int)):
        file = houses(tmp_path / "houses.csv", missing=0.0, price=values)
        assert main(["data", "check", str(file), "--target", "price"]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "to predict numbers: --config regression" in said
        assert len(said) < 500


def test_another_task_is_another_experiment(table, run):
    fit = ["fit", "--data.path", str(table), "--data.target", "rooms", "--data.drop", "[price]"]
    assert main([*fit, "--out", str(run.path)]) == 2
    with pytest.raises(StageError, match="task is 'regression' there and 'classification' here"):
        api.fit(config_from_dict({"data": {"path": str(table), "target": "city"}}), run.path)


def test_rows_without_a_target_are_tested_on_nothing(run, table, tmp_path):
    rows = pd.read_csv(table).assign(price=np.nan)
    rows.to_csv(tmp_path / "none.csv", index=False)
    assert main(["evaluate", str(run.path), "--data", str(tmp_path / "none.csv")]) == 2
    rows.drop(columns="price").to_csv(tmp_path / "less.csv", index=False)
    assert main(["evaluate", str(run.path), "--data", str(tmp_path / "less.csv")]) == 2
    with pytest.raises(DataError, match="no column 'price'"):
        main_error(run, tmp_path / "less.csv")


def main_error(run, file):
    from stacked_dae.inference.reports.regression_report import score_number_file

    return score_number_file(StackedDAE.from_run(run.path), file)


def test_no_training_row_with_a_target(tmp_path, capsys):
    def fold(table):
        return np.where(table.index % 3 == 0, "train", np.where(table.index % 3 == 1, "valid", "test"))

    file = houses(
        tmp_path / "houses.csv",
        missing=0.0,
        fold=fold,
        price=lambda table: table["price"].where(table["fold"] != "train"),
    )
    words = ["--target", "price", "--task", "regression", "--data.split", "fold"]
    assert main(["data", "check", str(file), *words]) == 2
    assert "has no value in any training row" in capsys.readouterr().err


def test_a_fill_value_among_validation_rows_is_one_line(tmp_path, capsys):
    def fold(table):
        return np.where(table.index % 3 == 0, "train", np.where(table.index % 3 == 1, "valid", "test"))

    price = lambda table: table["price"].where(table.index != 7, 1e21)  # noqa: E731
    file = houses(tmp_path / "houses.csv", missing=0.0, fold=fold, price=price)
    words = ["fit", "--config", "configs/regression.yaml", "--data.path", str(file), "--data.target", "price"]
    words += ["--data.split", "fold", "--finetune.epochs", "1", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "row 8 is 1e+21, too far from the training rows" in said
    words += ["--data.na_values", said.split("--data.na_values ")[1].strip("'")]
    assert main(words) == 2, "a validation row must have a target"
    assert "row 8 is a valid row" in capsys.readouterr().err


def test_predictions_are_written_as_exact_as_they_are(tmp_path):
    file = houses(tmp_path / "houses.csv", missing=0.0, price=lambda table: 1e6 + table["price"] / 1e5)
    run = api.fit(settings(file, finetune={"epochs": 2}), tmp_path / "run")
    out = tmp_path / "p.csv"
    assert main(["predict", str(run.path), "--data", str(file), "--out", str(out)]) == 0
    written = pd.read_csv(out)["prediction"].to_numpy()
    np.testing.assert_array_equal(written, StackedDAE.from_run(run.path).predict(pd.read_csv(file)))
    assert len(np.unique(written)) > 250
    assert main(["reconstruct", str(run.path), "--data", str(file), "--out", str(tmp_path / "r.csv")]) == 0


def test_layers_of_classes_take_the_regressions_settings(table, tmp_path, capsys):
    layers = ["--config", "configs/table.yaml", "--data.path", str(table), "--data.drop", "[price]"]
    assert main(["pretrain", *layers, "--pretrain.epochs", "1", "--out", str(tmp_path / "layers")]) == 0
    written = tmp_path / "written.csv"
    prices = pd.read_csv(table)["price"]
    pd.read_csv(table).assign(price=[f"${v:,.2f}" if v == v else "" for v in prices]).to_csv(written, index=False)
    finetune = ["finetune", "--pretrained", str(tmp_path / "layers"), "--data.path", str(written)]
    finetune += ["--data.target", "price", "--data.drop", "[]", "--finetune.epochs", "2"]
    assert main([*finetune, "--task", "regression", "--out", str(tmp_path / "no")]) == 2
    assert "--finetune.head softmax" in capsys.readouterr().err
    recipe = ["--config", "configs/regression.yaml", "--pretrain.epochs", "1"]
    for k, more in enumerate((["--finetune.head", "softmax"], recipe)):
        assert main([*finetune, "--task", "regression", *more, "--out", str(tmp_path / f"run{k}")]) == 0
        # Its sign is that of the target, which the layers never saw.
        assert RunFolder.open(tmp_path / f"run{k}").preprocessing().target_column.sign == "$"


def test_figures_of_another_task_are_removed(tmp_path):
    file, out = houses(tmp_path / "houses.csv", missing=0.0), tmp_path / "run"
    quick = ["--data.path", str(file), "--pretrain.units", "[4]", "--pretrain.epochs", "1", "--finetune.epochs", "1"]
    assert main(["fit", *quick, "--data.target", "city", "--out", str(out)]) == 0
    assert (out / "figures" / "confusion.png").exists()
    assert main(["fit", *quick, "--data.target", "price", "--task", "regression", "--rerun", "--out", str(out)]) == 0
    assert not (out / "figures" / "confusion.png").exists()
    assert (out / "figures" / "predictions.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "Regression"}, "task must be one of"),
        ({"task": None}, "task must be one of"),
        ({"task": "regression", "stratify": True}, "data.stratify"),
        ({"weights": "area"}, "weights has no meaning for a data module"),
        ({"labels_per_class": 3}, r"labelled\(per_class=…\)"),
    ],
)
def test_a_data_module_refuses_what_it_would_ignore(arguments, message, table):
    with pytest.raises(ConfigError, match=message):
        DAEDataModule.from_table(str(table), "price", **arguments)


def test_a_target_with_and_without_a_sign_is_one_line_that_can_be_followed(tmp_path, capsys):
    folder = tmp_path / "parts"
    folder.mkdir()
    houses(folder / "a.csv", missing=0.0)
    houses(folder / "b.csv", missing=0.0, price=lambda table: [f"${v:.2f}" for v in table["price"]])
    assert main(["data", "check", str(folder), "--target", "price", "--task", "regression"]) == 2
    said = capsys.readouterr().err
    assert "write them alike" in said
    assert "data.drop" not in said
