"""Rows rebuilt by the pre-trained layers, and how unusual each row and value is: in Python and by command."""

from __future__ import annotations

import html
import shutil

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from helpers.small_runs import blobs
from helpers.tables import settings
from safetensors.torch import load_file
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from stacked_dae import StackedDAE, StackedDAETransformer, load_data
from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.errors import ConfigError, DataError, StageError
from stacked_dae.pipeline import api
from stacked_dae.runs.folder import RunFolder


def by_hand(run, inputs, outputs):
    """Return inputs, (n, d), rebuilt by the layers' files and torch's own functions; ``outputs`` ends layer 1."""
    weights = [load_file(run / f"layer_{k}" / "weights.safetensors") for k in (1, 2)]
    y = torch.nan_to_num(torch.from_numpy(inputs))
    for layer in weights:
        y = torch.sigmoid(torch.nn.functional.linear(y, layer["weight"], layer["bias"]))
    y = torch.sigmoid(torch.nn.functional.linear(y, weights[1]["weight"].t(), weights[1]["decoder_bias"]))
    return outputs(torch.nn.functional.linear(y, weights[0]["weight"].t(), weights[0]["decoder_bias"])).numpy()


def test_inputs_are_encoded_upwards_and_decoded_downwards(plain_run):
    model, x = StackedDAE.from_run(plain_run), blobs().train.inputs[:50]
    expected = by_hand(plain_run, x, torch.sigmoid)
    assert model.reconstruct(x) == pytest.approx(expected, abs=1e-6)
    codes = StackedDAE.from_run(plain_run, "pretrained").encode(x)
    assert model.decode(codes) == pytest.approx(expected, abs=1e-6)
    lower = model.reconstruct(x, layer=1)
    assert model.decode(StackedDAE.from_run(plain_run, "pretrained").encode(x, 1), 1) == pytest.approx(lower, abs=1e-6)
    assert not np.allclose(lower, expected, atol=1e-3)


def test_a_table_comes_back_in_its_own_units_and_names(run, table):
    model, frame = StackedDAE.from_run(run), pd.read_csv(table)
    standardised = torch.from_numpy(model.preprocessing.standardised)
    inputs = by_hand(run, model.inputs_of(frame), lambda a: torch.where(standardised, a, a.sigmoid()))
    found = model.reconstruct(frame.set_index(frame.index + 7))
    assert list(found.columns) == model.columns
    assert list(found.index) == list(frame.index + 7)
    age = model.preprocessing.columns[0]
    assert found["age"].to_numpy() == pytest.approx(inputs[:, 0] * age.width + age.shift, rel=1e-4)
    cities = model.preprocessing.columns[2]
    assert list(found["city"]) == [cities.values[k] for k in inputs[:, 2:5].argmax(1)]
    assert not found.isna().any().any(), "missing values are rebuilt too"
    for kind, other in ((pl.DataFrame, pl.from_pandas(frame)), (pa.Table, pa.Table.from_pandas(frame))):
        rebuilt = model.reconstruct(other)
        assert isinstance(rebuilt, kind)
        assert list(rebuilt["city"].to_pylist() if kind is pa.Table else rebuilt["city"]) == list(found["city"])
    columns = model.reconstruct({name: frame[name].to_numpy() for name in model.columns})
    assert isinstance(columns, dict)
    assert np.array_equal(columns["age"], found["age"])


def test_the_error_of_a_value_is_that_of_its_column_rebuilt_from_the_others(run, table):
    model, frame = StackedDAE.from_run(run), pd.read_csv(table)
    errors = model.reconstruction_errors(frame)
    assert np.array_equal(np.isnan(errors), frame[model.columns].isna()), "a missing value has no error"
    for k, column in enumerate(model.preprocessing.columns):
        # A value that is not there enters as a destroyed one does.
        if hasattr(column, "width"):
            rebuilt = model.reconstruct(frame.assign(**{column.name: None}))[column.name]
            expected = ((frame[column.name] - rebuilt) / column.width) ** 2
            assert errors[:, k] == pytest.approx(expected.to_numpy(), rel=1e-3, abs=1e-5, nan_ok=True)
        else:
            own = model.preprocessing.column_of_input == k
            hidden = model.inputs_of(frame.assign(**{column.name: None}))
            apart = (model.inputs_of(frame) - model.pretrained_layers().reconstruct(hidden))[:, own]
            assert errors[:, k] == pytest.approx((apart**2).sum(1) / 2, rel=1e-3, abs=1e-5, nan_ok=True)
    assert model.anomaly_scores(frame) == pytest.approx(np.nanmean(errors, 1))


def test_values_beyond_those_of_training_are_not_clipped(run, table):
    model, frame = StackedDAE.from_run(run), pd.read_csv(table).head(3).assign(age=[50.0, 500.0, 5000.0])
    errors = model.reconstruction_errors(frame)[:, 0]
    assert errors[2] > 50 * errors[1] > 2500 * errors[0]


def test_a_row_without_any_value_has_no_score(run, table):
    model, frame = StackedDAE.from_run(run), pd.read_csv(table).head(3)
    frame.loc[1] = None
    assert list(np.isnan(model.anomaly_scores(frame))) == [False, True, False]


def test_without_a_table_each_input_is_a_column(plain_run):
    model, x = StackedDAE.from_run(plain_run), blobs().train.inputs[:20]
    errors = model.reconstruction_errors(x)
    assert errors.shape == (20, 12)
    # Of 12 inputs, the first and the ninth are hidden together.
    hidden = x.copy()
    hidden[:, [0, 8]] = 0.0
    rebuilt = by_hand(plain_run, hidden, torch.sigmoid)
    assert errors[:, [0, 8]] == pytest.approx((x - rebuilt)[:, [0, 8]] ** 2, abs=1e-6)
    as_bytes = np.round(x * 255).astype(np.uint8)
    assert model.reconstruction_errors(as_bytes) == pytest.approx(errors, abs=0.02)


def dependent(random, rows, columns=6):
    """Return rows of which two hidden numbers make all columns."""
    return random.standard_normal((rows, 2)) @ np.random.default_rng(9).standard_normal((2, columns))


def test_rows_that_break_the_dependence_of_the_columns_score_higher():
    random = np.random.default_rng(0)
    x, usual, unusual = dependent(random, 500), dependent(random, 200), dependent(random, 200)
    # Each column alone is as it was.
    unusual = random.permuted(unusual, axis=0)
    model = StackedDAETransformer(random_state=0).fit(x)
    truth = np.repeat([0, 1], 200)
    rows = np.concatenate([usual, unusual])
    area = roc_auc_score(truth, -model.score_samples(rows))
    assert area > 0.95
    assert area > roc_auc_score(truth, -IsolationForest(random_state=0).fit(x).score_samples(rows)) + 0.1


def test_a_transformer_takes_its_codes_back():
    x = dependent(np.random.default_rng(0), 400) * (1, 10, 100, 1, 1, 1) + 5
    model = StackedDAETransformer(random_state=0).fit(x)
    rebuilt = model.inverse_transform(model.transform(x))
    assert rebuilt.shape == x.shape
    assert (((rebuilt - x) ** 2).mean(0) < 0.3 * x.var(0)).all()
    with pytest.raises(ValueError, match="X has 3 columns, but the codes of the uppermost layer are 128"):
        model.inverse_transform(np.zeros((2, 3)))
    x[0, 0], x[1] = np.nan, np.nan
    assert np.isfinite(model.score_samples(x)).all()


def test_reconstruct_writes_the_columns(run, table, tmp_path, capsys):
    out, model, frame = tmp_path / "rebuilt.csv", StackedDAE.from_run(run), pd.read_csv(table)
    command = ["reconstruct", str(run), "--data", str(table), "--out"]
    assert main([*command, str(out), "--keep-columns", "bought"]) == 0
    assert "400 rows, rebuilt from the codes of layer 2" in capsys.readouterr().out
    found, expected = pd.read_csv(out), model.reconstruct(frame)
    assert list(found.columns) == ["bought", *model.columns]
    pd.testing.assert_series_equal(found["bought"], frame["bought"])
    assert found["age"].to_numpy() == pytest.approx(expected["age"].to_numpy(), rel=1e-5)
    assert list(found["city"]) == list(expected["city"])
    assert main([*command, str(tmp_path / "rebuilt.npy"), "--layer", "1"]) == 0
    inputs = np.load(tmp_path / "rebuilt.npy")
    assert (inputs.shape, inputs.dtype) == ((400, 13), np.float32)
    assert model.preprocessing.restore(inputs)["age"] == pytest.approx(model.reconstruct(frame, 1)["age"].to_numpy())


def test_anomalies_writes_scores_and_names_the_most_unusual(run, table, tmp_path, capsys):
    frame = pd.read_csv(table).assign(id=range(400))
    frame.loc[123, "income"] = 9e6
    frame.loc[7, frame.columns[:8]] = None
    frame.to_csv(tmp_path / "new.csv", index=False)
    out, model = tmp_path / "scores.csv", StackedDAE.from_run(run)
    command = ["anomalies", str(run), "--data", str(tmp_path / "new.csv"), "--out", str(out), "--keep-columns", "id"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "124" in said.splitlines()[3]
    assert "income" in said.splitlines()[3]
    assert "mean error by column, the greatest first: income" in said
    found = pd.read_csv(out)
    assert list(found.columns) == ["id", "score", *(f"error_{name}" for name in model.columns)]
    frame = pd.read_csv(tmp_path / "new.csv").drop(columns="id")
    assert found["score"].to_numpy() == pytest.approx(model.anomaly_scores(frame), rel=1e-5, nan_ok=True)
    assert found.iloc[:, 2:].to_numpy() == pytest.approx(model.reconstruction_errors(frame), rel=1e-5, nan_ok=True)
    assert np.isnan(found["score"][7])


def test_images_without_a_table_are_scored_too(plain_run, tmp_path):
    x = blobs().train.inputs[:20]
    np.savez(tmp_path / "new.npz", x=x, y=np.zeros(20, int))
    assert (
        main(["anomalies", str(plain_run), "--data", str(tmp_path / "new.npz"), "--out", str(tmp_path / "s.csv")]) == 0
    )
    found = pd.read_csv(tmp_path / "s.csv")
    assert found["score"].to_numpy() == pytest.approx(StackedDAE.from_run(plain_run).anomaly_scores(x), rel=1e-4)
    out = str(tmp_path / "r.csv")
    assert main(["reconstruct", str(plain_run), "--data", str(tmp_path / "new.npz"), "--out", out]) == 0
    assert pd.read_csv(out).to_numpy() == pytest.approx(StackedDAE.from_run(plain_run).reconstruct(x), rel=1e-4)


@pytest.mark.parametrize("command", ["reconstruct", "anomalies"])
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "--out FILE is required"),
        (["--out", "o.txt"], "must end in .csv"),
        (["--out", "o.csv", "--layer", "3"], "layer must be from 1 to 2"),
        (["--out", "o.csv", "--keep-columns", "agee"], "has no column 'agee' (did you mean 'age'?)"),
        (["--out", "o.csv", "--keep-columns", "age", "age"], "is named twice"),
    ],
)
def test_wrong_options_are_one_line(command, more, words, run, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if command == "reconstruct" and "age" in more:
        words = "has the name of a column that is written"
    assert main([command, str(run), "--data", str(table), *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert words in error
    assert not list(tmp_path.iterdir())


def test_models_without_decoders_say_where_they_are(run, table, tmp_path, capsys):
    rows = pd.read_csv(table)
    StackedDAE.from_run(run).save(tmp_path / "m.safetensors")
    with pytest.raises(StageError, match=r"this model has no decoders; StackedDAE"):
        StackedDAE.load(tmp_path / "m.safetensors").reconstruct(rows)
    control = api.fit(config_from_dict({**settings(table), "model": "mlp"}), tmp_path / "mlp")
    with pytest.raises(StageError, match="has no pre-trained layer_1; give a run that pre-trained its layers"):
        StackedDAE.from_run(control.path).anomaly_scores(rows)
    shutil.copytree(run, tmp_path / "layers")
    tuned = api.finetune(RunFolder.open(run).config(), tmp_path / "tuned", tmp_path / "layers")
    command = ["anomalies", str(tuned.path), "--data", str(table), "--out", str(tmp_path / "s.csv")]
    assert main(command) == 2
    asked = capsys.readouterr().err
    assert f"has no pre-trained layer_1; give the run of its layers, {tmp_path / 'layers'}" in asked
    assert not (tmp_path / "s.csv").exists()
    assert main([command[0], str(tmp_path / "layers"), *command[2:]]) == 0


def test_codes_of_another_width_are_refused(plain_run):
    model = StackedDAE.from_run(plain_run)
    with pytest.raises(DataError, match=r"the codes must be \(n, 8\), not \(2, 5\)"):
        model.decode(np.zeros((2, 5)))
    with pytest.raises(ConfigError, match="from 1 to 2"):
        model.reconstruct(np.zeros((2, 12)), 3)


def test_rows_are_rebuilt_from_noise_by_its_seed(plain_run):
    model, x = StackedDAE.from_run(plain_run), blobs().train.inputs[:50]
    noisy = model.reconstruct(x, corrupt=True, seed=4)
    assert np.array_equal(noisy, model.reconstruct(x, corrupt=True, seed=4))
    assert not np.array_equal(noisy, model.reconstruct(x, corrupt=True, seed=5))
    corrupted = model.pretrained_layers().corrupt(x, 4)
    hidden = (corrupted != x).sum(1)
    d = x.shape[1]
    nu = RunFolder.open(plain_run).config().layers()[0].nu
    assert (hidden <= round(nu * d)).all()
    assert hidden.max() == round(nu * d), "fixed masking hides so many of each row"
    assert np.array_equal(noisy, model.reconstruct(corrupted))


def test_errors_by_row_and_by_column_are_means_of_those_of_the_values(run, table):
    model, frame = StackedDAE.from_run(run), pd.read_csv(table)
    errors = model.reconstruction_errors(frame)
    assert np.isnan(errors).any()
    by_row, by_column = (model.reconstruction_errors(frame, by=by) for by in ("row", "column"))
    assert np.allclose(by_row, np.nanmean(errors, 1))
    assert np.array_equal(by_row, model.anomaly_scores(frame))
    assert list(by_column) == model.columns
    assert np.allclose(list(by_column.values()), np.nanmean(errors, 0))
    with pytest.raises(ConfigError, match="by must be row, column or None, not 'rows'"):
        model.reconstruction_errors(frame, by="rows")


def test_samples_are_more_like_the_rows_than_noise_of_the_same_means(tmp_path):
    values = {"data": {"name": "digits"}, "pretrain": {"units": [100], "epochs": 15}, "finetune": {"epochs": 1}}
    config = config_from_dict(values)
    model = StackedDAE.from_run(api.pretrain(config, tmp_path / "run").path)
    samples = model.sample(40, steps=100, seed=1)
    assert samples.shape == (40, 64)
    assert samples.dtype == np.float32
    assert samples.min() >= 0
    assert samples.max() <= 1
    assert np.array_equal(samples, model.sample(40, steps=100, seed=1))
    assert not np.array_equal(samples, model.sample(40, steps=100, seed=2))
    train = load_data(config.data).train.inputs[:].astype(np.float64)
    dice = np.random.default_rng(0)
    alone = np.stack([dice.permutation(column)[:40] for column in train.T], 1)

    def to_nearest(rows):
        return np.sqrt(((rows[:, None] - train[None]) ** 2).sum(2)).min(1).mean()

    assert to_nearest(samples) < 0.8 * to_nearest(alone), "pixels hang together"


def test_samples_of_a_table_are_its_columns(run):
    model = StackedDAE.from_run(run)
    made = model.sample(5, steps=3)
    assert list(made) == model.columns
    assert {len(values) for values in made.values()} == {5}
    for n, steps in ((0, 3), (5, 0), (2.5, 3)):
        with pytest.raises(ConfigError, match=f"n and steps must be whole numbers above 0, not {n} and {steps}"):
            model.sample(n, steps=steps)


def test_a_notebook_shows_what_a_model_is(run):
    model = StackedDAE.from_run(run)
    shown = html.unescape(model._repr_html_())
    assert repr(model) in shown
    assert all(line in shown for line in model.summary().splitlines())


def test_a_chain_that_diverges_is_refused(tmp_path):
    pretrain = {"units": [30], "activation": "relu", "decoder": "identity", "loss": "squared_error", "epochs": 2}
    config = config_from_dict({"data": {"name": "digits"}, "pretrain": {**pretrain, "optimizer": {"lr": 0.01}}})
    model = StackedDAE.from_run(api.pretrain(config, tmp_path / "run").path)
    with pytest.raises(StageError, match="the chain diverges"):
        model.sample(5, steps=2000)
