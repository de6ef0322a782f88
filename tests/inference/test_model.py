"""A trained model on raw rows: predict, encode, export, one file to keep it in."""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import replace

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from helpers.small_runs import blobs
from pyarrow import parquet
from safetensors.torch import load_file, save

from stacked_dae.cli.main import main
from stacked_dae.errors import ConfigError, DataError, StackedDAEError, StageError
from stacked_dae.inference.exports import onnx_export, torch_export
from stacked_dae.inference.model import StackedDAE
from stacked_dae.nn.activations import ACTIVATIONS


def by_hand(run, table):
    """Return the probabilities of every row of the table, by the files of the run and torch's own functions."""
    kept = json.loads((run / "preprocessing.json").read_text())
    weights = load_file(run / "finetune" / "weights.safetensors")
    with table.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    inputs = []
    for row in rows:
        values = []
        for column in kept["columns"]:
            text = row[column["name"]]
            if "values" in column:
                one_hot = [float(text == value) for value in column["values"]]
                values += [0.0] * (len(one_hot) + 1) if not text else [*one_hot, float(text not in column["values"])]
            else:
                scaled = 0.0 if not text else (float(text) - column["shift"]) / column["width"]
                values.append(scaled if column["standardised"] or not text else min(max(scaled, 0.0), 1.0))
        inputs.append(values)
    y = torch.tensor(inputs, dtype=torch.float64)
    for k in range(2):
        y = torch.sigmoid(y @ weights[f"encoders.{k}.weight"].double().t() + weights[f"encoders.{k}.bias"].double())
    return (y @ weights["head.weight"].double().t() + weights["head.bias"].double()).softmax(1).numpy()


def test_predict_writes_the_class_and_the_probabilities_of_every_row(run, table, tmp_path, capsys):
    out = tmp_path / "preds.csv"
    assert main(["predict", str(run), "--data", str(table), "--out", str(out)]) == 0
    assert "400 rows" in capsys.readouterr().out
    made = pd.read_csv(out)
    assert list(made.columns) == ["class", "p_no", "p_yes"]
    expected = by_hand(run, table)
    assert np.allclose(made[["p_no", "p_yes"]], expected, atol=2e-6)
    assert list(made["class"]) == [["no", "yes"][k] for k in expected.argmax(1)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_are_kept_come_first_in_each_line(kind, run, table, tmp_path):
    # More rows than are read at a time.
    frame = pd.concat([pd.read_csv(table)] * 50, ignore_index=True)
    frame["id"] = [f"{k:05d}" for k in range(len(frame))]
    frame["a note"] = [None if k % 7 == 0 else f'{k}, "quoted"' for k in range(len(frame))]
    data = tmp_path / f"new.{kind}"
    frame.to_csv(data, index=False) if kind == "csv" else frame.to_parquet(data)
    command = ["predict", str(run), "--data", str(data), "--out"]
    assert main([*command, str(tmp_path / "plain.csv")]) == 0
    assert main([*command, str(tmp_path / "kept.csv"), "--keep-columns", "id", "a note"]) == 0
    kept = pd.read_csv(tmp_path / "kept.csv", dtype={"id": str})
    assert list(kept.columns) == ["id", "a note", "class", "p_no", "p_yes"]
    pd.testing.assert_frame_equal(kept[["id", "a note"]], frame[["id", "a note"]], check_dtype=False)
    plain = pd.read_csv(tmp_path / "plain.csv")
    pd.testing.assert_frame_equal(kept[list(plain.columns)], plain)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["ages"], "has no column 'ages' (did you mean 'age'?)"),
        (["age", "city", "age"], "'age' of new.parquet is named twice"),
        (["class"], "has the name of a column that is written; rename it"),
        (["waits"], "neither numbers nor text"),
    ],
)
def test_columns_that_cannot_be_kept_are_one_line(names, words, run, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = pd.read_csv(table).assign(**{"class": 1})
    frame["waits"] = pd.to_timedelta(frame.index, unit="D")
    frame.to_parquet("new.parquet")
    assert main(["predict", str(run), "--data", "new.parquet", "--out", "p.csv", "--keep-columns", *names]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert words in error
    assert [file.name for file in tmp_path.iterdir()] == ["new.parquet"]


def test_dates_are_kept_as_they_are(run, table, tmp_path):
    frame = pd.read_csv(table)
    frame["when"] = pd.date_range("2020", periods=len(frame))
    frame.to_parquet(tmp_path / "new.parquet")
    command = ["predict", str(run), "--data", str(tmp_path / "new.parquet"), "--out", str(tmp_path / "p.csv")]
    assert main([*command, "--keep-columns", "when"]) == 0
    assert (pd.to_datetime(pd.read_csv(tmp_path / "p.csv")["when"]) == frame["when"]).all()


def test_encode_writes_codes_of_each_layer_in_both_formats(run, table, tmp_path):
    for layer, units in ((1, 12), (2, 8)):
        files = [tmp_path / f"codes_{layer}.{kind}" for kind in ("npy", "parquet")]
        for file in files:
            assert main(["encode", str(run), "--data", str(table), "--layer", str(layer), "--out", str(file)]) == 0
        array, frame = np.load(files[0]), parquet.read_table(files[1]).to_pandas()
        assert array.shape == (400, units)
        assert array.dtype == np.float32
        assert list(frame.columns) == [f"code_{k}" for k in range(1, units + 1)]
        assert np.array_equal(frame.to_numpy(), array)
        assert np.array_equal(array, StackedDAE.from_run(run).encode(pd.read_csv(table), layer))


def test_encode_takes_the_pretrained_layers_where_asked(run, table, tmp_path):
    file = tmp_path / "codes.npy"
    assert (
        main(["encode", str(run), "--data", str(table), "--layer", "1", "--weights", "pretrained", "--out", str(file)])
        == 0
    )
    model = StackedDAE.from_run(run)
    inputs = torch.from_numpy(model.inputs_of(pd.read_csv(table))).nan_to_num(0.0)
    weights = load_file(run / "layer_1" / "weights.safetensors")
    expected = torch.sigmoid(inputs @ weights["weight"].t() + weights["bias"])
    assert np.allclose(np.load(file), expected.numpy(), atol=1e-6)
    assert not np.allclose(np.load(file), model.encode(pd.read_csv(table), 1), atol=1e-6)


def test_onnx_equals_ours_on_the_raw_table(run, table, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    assert main(["export", str(run), "--format", "onnx", "--out", str(out)]) == 0
    session = onnxruntime.InferenceSession(out.read_bytes())
    frame = pd.read_csv(table, dtype={"city": str, "member": str}, keep_default_na=False, na_values={"age": ""})
    feeds = {}
    for put in session.get_inputs():
        column = frame[put.name]
        if put.type == "tensor(string)":
            feeds[put.name] = column.to_numpy(object)[:, None]
        else:
            feeds[put.name] = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)[:, None]
    answers, probabilities = session.run(["class", "probabilities"], feeds)
    model = StackedDAE.from_run(run)
    rows = pd.read_csv(table)
    assert np.abs(probabilities - model.predict_proba(rows)).max() <= 1e-5
    assert list(answers) == list(model.predict(rows))
    assert np.abs(probabilities - by_hand(run, table)).max() <= 1e-5


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_model_of_arrays_is_exported(plain_run, tmp_path, kind, capsys):
    assert main(["export", str(plain_run), "--format", kind]) == 0
    x = blobs().load_test().inputs
    expected = StackedDAE.from_run(plain_run).predict_proba(x)
    if kind == "onnx":
        session = onnxruntime.InferenceSession((plain_run / "model.onnx").read_bytes())
        answers, made = session.run(["class", "probabilities"], {"x": x})
        assert np.array_equal(answers, expected.argmax(1))
    else:
        made = torch.export.load(plain_run / "model.pt2").module()(torch.from_numpy(x)).numpy()
    assert np.abs(made - expected).max() <= 1e-5


def test_an_export_that_differs_is_not_written(run, tmp_path, monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "sigmoid", replace(ACTIVATIONS["sigmoid"], onnx="Tanh"))
    with pytest.raises(StackedDAEError, match="not written"):
        onnx_export.export_onnx(StackedDAE.from_run(run), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_pretrained_model_is_exported_with_its_codes(run, tmp_path):
    model = StackedDAE.from_run(run, "pretrained")
    assert onnx_export.export_onnx(model, tmp_path / "m.onnx") <= 1e-5
    assert torch_export.export_torch(model, tmp_path / "m.pt2") <= 1e-5


def test_save_and_load_are_inverse(run, plain_run, table, tmp_path):
    rows = pd.read_csv(table)
    for weights in ("finetuned", "pretrained"):
        model = StackedDAE.from_run(run, weights)
        model.save(tmp_path / "model.safetensors")
        again = StackedDAE.load(tmp_path / "model.safetensors")
        assert again.preprocessing == model.preprocessing
        assert np.array_equal(again.encode(rows), model.encode(rows))
        if weights == "finetuned":
            assert np.array_equal(again.predict_proba(rows), model.predict_proba(rows))
    StackedDAE.from_run(plain_run).save(tmp_path / "plain.safetensors")
    assert StackedDAE.load(tmp_path / "plain.safetensors").classes == [0, 1, 2]


def test_damaged_and_foreign_model_files_are_one_line(run, tmp_path):
    file = tmp_path / "model.safetensors"
    model = StackedDAE.from_run(run)
    model.save(file)
    whole = file.read_bytes()
    state = {"head.bias": torch.zeros(2)}
    for content in (whole[:-100], b"", pickle.dumps(1), save(state), save(state, {"stacked_dae": "{}"}), whole[200:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match="is not a saved model, or is damaged") as caught:
            StackedDAE.load(file)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        StackedDAE.load(tmp_path / "none.safetensors")


def test_the_model_takes_frames_mappings_and_arrays(run, table):
    model = StackedDAE.from_run(run)
    frame = pd.read_csv(table)
    expected = model.predict_proba(frame)
    columns = {name: frame[name].to_numpy(object) for name in model.columns}
    assert np.array_equal(model.predict_proba(columns), expected)
    assert np.array_equal(model.predict_proba(frame[model.columns].to_numpy(object)), expected)
    shuffled = frame[list(reversed(frame.columns))]
    assert np.array_equal(model.predict_proba(shuffled), expected), "columns go by name"


def test_bytes_are_used_as_0_to_1(plain_run):
    model = StackedDAE.from_run(plain_run)
    x = np.arange(24, dtype=np.uint8).reshape(2, 12) * 10
    assert np.allclose(model.predict_proba(x), model.predict_proba(x / 255.0), atol=1e-6)


def test_an_unseen_name_is_told_and_shares_one_input(run, table, tmp_path, capsys):
    frame = pd.read_csv(table).head(20)
    frame.loc[[3, 4], "city"] = ["Atlantis", "Utopia"]
    frame.to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", str(run), "--data", str(tmp_path / "new.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    said = capsys.readouterr().err
    assert "column 'city', row 4 is 'Atlantis', unseen in training" in " ".join(said.split())
    model = StackedDAE.from_run(run)
    unseen = model.preprocessing.inputs.index("city=(unseen)")
    assert (model.inputs_of(frame)[[3, 4], unseen] == 1.0).all()


BAD = {
    "other columns": (lambda f: f.rename(columns={"age": "ages"}), ["no column 'age'", "did you mean 'ages'"]),
    "text": (lambda f: f.astype({"age": object}).assign(age=["old", *f.age[1:]]), ["'age'", "row 1 is 'old'"]),
    "infinite": (lambda f: f.assign(age=[1e308, *f.age[1:]]).replace(1e308, "1e999"), ["'age'", "row 1", "infinite"]),
    "no rows": (lambda f: f.head(0), ["it has no rows"]),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("command", ["predict", "encode"])
def test_rows_that_are_not_such_are_one_line_and_write_nothing(case, command, run, table, tmp_path, capsys):
    change, words = BAD[case]
    change(pd.read_csv(table)).to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / ("o.csv" if command == "predict" else "o.parquet")
    assert main([command, str(run), "--data", str(tmp_path / "new.csv"), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    for word in ["new.csv", *words]:
        assert word in error, error
    assert [file.name for file in tmp_path.iterdir()] == ["new.csv"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "RUN", "--data", "DATA"], "--out FILE is required"),
        (["predict", "RUN", "--data", "DATA", "--out", "p.txt"], "must end in .csv"),
        (["encode", "RUN", "--data", "DATA", "--out", "c.txt"], "must end in .npy or .parquet or .csv"),
        (["encode", "RUN", "--data", "DATA", "--layer", "3", "--out", "c.npy"], "layer must be from 1 to 2"),
        (["encode", "RUN", "--data", "DATA", "--layer", "two", "--out", "c.npy"], "layer must be a whole number"),
        (["encode", "RUN", "--data", "no.csv", "--out", "c.npy"], "no.csv: there is no such file"),
        (["export", "RUN", "--format", "onxx"], "format must be one of onnx, torch"),
        (["predict", "DATA", "--data", "DATA", "--out", "p.csv"], "is not a run folder"),
        (["predict", "RUN", "--data", "DATA", "--out", "no/p.csv"], "there is no folder no"),
        (["predict", "RUN", "--data", "DATA", "--out", "DATA"], "that is the file to read"),
    ],
)
def test_wrong_options_are_one_line(arguments, words, run, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([{"RUN": str(run), "DATA": str(table)}.get(word, word) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert words in error
    assert not list(tmp_path.iterdir())


def test_the_model_of_python_names_what_is_wrong(run, plain_run, tmp_path):
    model, plain = StackedDAE.from_run(run), StackedDAE.from_run(plain_run)
    with pytest.raises(DataError, match=r"the rows must be \(n, 12\) numbers"):
        plain.predict(np.zeros((2, 5)))
    with pytest.raises(DataError, match="row 1, input 2 is nan"):
        plain.predict(np.where(np.arange(24).reshape(2, 12) == 14, np.nan, 0.5))
    with pytest.raises(DataError, match=r"must be \(n, 8\)"):
        model.predict(np.zeros((2, 5)))
    with pytest.raises(ConfigError, match="from 1 to 2"):
        model.encode(np.zeros((2, 8)), 5)
    with pytest.raises(StageError, match="never fine-tuned"):
        StackedDAE.from_run(run, "pretrained").predict(np.zeros((2, 8)))


def test_summary_says_what_a_run_is(run, plain_run, capsys):
    assert main(["summary", str(run)]) == 0
    out = capsys.readouterr().out
    for words in ("13 inputs out of 8 columns", "classes of bought: no, yes", "layer_2", "test error"):
        assert words in out
    assert main(["summary", str(plain_run)]) == 0
    assert "12 inputs" in capsys.readouterr().out


@pytest.mark.parametrize("weights", ["finetuned", "pretrained"])
def test_plain_torch_modules_compute_the_same(plain_run, weights):
    model = StackedDAE.from_run(plain_run, weights)
    network = model.to_torch()
    assert {type(module).__module__.split(".")[0] for module in network} == {"torch"}
    x = blobs().valid.inputs
    with torch.no_grad():
        made = network(torch.from_numpy(np.array(x)))
    expected = model.predict_proba(x) if weights == "finetuned" else model.encode(x)
    np.testing.assert_allclose((made.softmax(1) if weights == "finetuned" else made).numpy(), expected, atol=1e-6)
    # A copy: changing it changes no model.
    for parameter in network.parameters():
        parameter.fill_(0.0)
    assert model.filters().any()


def test_a_model_says_what_it_is(plain_run, run):
    model = StackedDAE.from_run(plain_run)
    assert repr(model) == "StackedDAE(12-10-8-3)"
    assert repr(StackedDAE.from_run(plain_run, "pretrained")) == "StackedDAE(12-10-8)"
    lines = model.summary().splitlines()
    assert lines[0] == "12 inputs; a classifier"
    assert lines[1] == "layer 1: 12 -> 10, sigmoid, 130 parameters"
    assert lines[-1] == "linear head: 3 outputs, 27 parameters"
    assert model.filters(2).shape == (8, 10)
    assert "columns; a classifier" in StackedDAE.from_run(run).summary()
    with pytest.raises(ConfigError, match="layer must be from 1 to 2"):
        model.filters(3)
