"""One value is one value, whatever file or frame it comes out of; and what a table may not hold is said in one line."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from helpers.tables import people, settings

from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.columns.values import name_of
from stacked_dae.errors import DataError, StageError
from stacked_dae.inference.exports import onnx_export
from stacked_dae.inference.file_rows import file_rows
from stacked_dae.inference.model import StackedDAE
from stacked_dae.pipeline import api
from stacked_dae.runs.folder import RunFolder

ROWS = 120


def mixed():
    """Return a frame with every kind of column that the readers tell apart."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": random.normal(0, 3, ROWS).round(3),
            "count": pd.array(random.integers(0, 9, ROWS), dtype="Int64"),
            "flag": random.random(ROWS) < 0.5,
            "code": random.choice([1.0, 2.0, 3.5], ROWS),
            "single": random.choice([0.1, 0.25], ROWS).astype(np.float32),
            "large": random.choice([9007199254740992, 9007199254740993], ROWS),
            "word": random.choice(["red", "blue"], ROWS),
            "answer": random.choice([0, 1], ROWS),
        }
    )
    frame.loc[::7, "number"] = np.nan
    frame.loc[::11, "count"] = pd.NA
    frame.loc[::13, "word"] = None
    return frame


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with the frame as CSV and Parquet, and a model trained on each."""
    place = tmp_path_factory.mktemp("mixed")
    frame = mixed()
    frame.to_csv(place / "t.csv", index=False)
    frame.to_parquet(place / "t.parquet")
    for kind in ("csv", "parquet"):
        config = settings(place / f"t.{kind}", target="answer", categorical=["code", "single", "large"])
        api.fit(config_from_dict(config), place / kind)
    return place


@pytest.mark.parametrize("trained", ["csv", "parquet"])
def test_csv_parquet_and_frames_give_one_answer(place, trained, tmp_path):
    model = StackedDAE.from_run(place / trained)
    frame = mixed()
    expected = model.predict_proba(frame)
    for other in (pd.read_csv(place / "t.csv"), pd.read_parquet(place / "t.parquet"), frame.convert_dtypes()):
        assert np.array_equal(model.predict_proba(other), expected)
    for kind in ("csv", "parquet"):
        out = tmp_path / f"{kind}.csv"
        assert main(["predict", str(place / trained), "--data", str(place / f"t.{kind}"), "--out", str(out)]) == 0
        assert np.allclose(pd.read_csv(out)[["p_0", "p_1"]], expected, atol=2e-6)
        inputs = np.concatenate([rows.inputs for rows in file_rows(model, place / f"t.{kind}")])
        assert np.array_equal(inputs, model.inputs_of(frame), equal_nan=True)
        assert not [new for rows in file_rows(model, place / f"t.{kind}") for new in rows.unseen], "nothing is unseen"
    assert (
        model.preprocessing == StackedDAE.from_run(place / ("csv" if trained == "parquet" else "parquet")).preprocessing
    )


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([True, np.bool_(True), "True", "TRUE", " true "], "true"),
        ([1, 1.0, "1", "1.0", "01", np.float32(1), np.int8(1), Decimal("1.0"), "1e0"], "1"),
        ([-3, "-3.", np.int64(-3)], "-3"),
        ([0.1, np.float32(0.1), "0.10", ".1", "1e-1"], "0.1"),
        ([9007199254740993, "9007199254740993"], "9007199254740993"),
        (["red", " red "], "red"),
        ([None, np.nan, pd.NA, pd.NaT, "", "  "], None),
        (["٣"], "٣"),
    ],
)
def test_a_value_has_one_name(values, name):
    assert [name_of(value, as_written=False) for value in values] == [name] * len(values)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([True, np.bool_(True), "True", "TRUE", " true "], "true"),
        ([1, 1.0, "1", "1.0", " 1 ", np.float32(1), np.int8(1), Decimal("1.0"), np.str_("1.0")], "1"),
        (["01", np.str_("01"), " 01"], "01"),
        (["1E2"], "1E2"),
        ([100, 1e2, "100", "100.0"], "100"),
        (["+5"], "+5"),
        (["1.10"], "1.10"),
        ([0.1, np.float32(0.1), "0.1"], "0.1"),
        ([None, np.nan, pd.NA, pd.NaT, "", "  "], None),
    ],
)
def test_text_is_named_as_it_is_written(values, name):
    assert [name_of(value) for value in values] == [name] * len(values)


def test_empty_and_blank_cells_of_numbers_are_missing(tmp_path):
    rows = [f"{i},{i % 5},{'pq'[i % 2]}" for i in range(60)]
    cells = {"plain": "", "quoted": '""', "blank": "  ", "quoted blank": '" "', "NA": "NA"}
    marks = {}
    for name, cell in cells.items():
        file = tmp_path / f"{name}.csv"
        lines = [f"{cell}{row[row.index(',') :]}" if k % 9 == 4 else row for k, row in enumerate(rows)]
        file.write_text("a,b,y\n" + "\n".join(lines) + "\n")
        run = api.fit(config_from_dict(settings(file, target="y")), tmp_path / name)
        marks[name] = run.weights_path("finetune").read_bytes()
    assert len(set(marks.values())) == 1


def test_numbers_as_text_in_arrays_are_numbers(tmp_path):
    x = np.random.default_rng(0).random((60, 2)).round(3)
    np.savez(tmp_path / "t.npz", x=x.astype(str), y=np.resize(["p", "q"], 60))
    np.savez(tmp_path / "n.npz", x=x, y=np.resize([b"p", b"q"], 60))
    runs = [api.fit(config_from_dict(settings(tmp_path / f"{k}.npz", target="y")), tmp_path / k) for k in "tn"]
    assert runs[0].weights_path("finetune").read_bytes() == runs[1].weights_path("finetune").read_bytes()


def test_empty_lines_of_a_single_column_are_rows(tmp_path):
    (tmp_path / "one.csv").write_text("a\n" + "".join(f"{i if i % 7 else ''}\n" for i in range(100)))
    words = ["--data.path", str(tmp_path / "one.csv"), "--pretrain.units", "3", "--pretrain.epochs", "1"]
    assert main(["pretrain", *words, "--out", str(tmp_path / "run")]) == 0
    out = tmp_path / "codes.npy"
    assert main(["encode", str(tmp_path / "run"), "--data", str(tmp_path / "one.csv"), "--out", str(out)]) == 0
    assert len(np.load(out)) == 100


def test_line_breaks_inside_quotes_are_text(tmp_path):
    lines = [f'{i},"one\nor {i % 2}",{"pq"[i % 2]}' for i in range(60)]
    (tmp_path / "t.csv").write_text("a,b,y\n" + "\n".join(lines) + "\n")
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y")), tmp_path / "run")
    # Column a is an identifier.
    assert run.preprocessing().columns[0].values == ["one\nor 0", "one\nor 1"]


def test_large_whole_labels_stay_apart(tmp_path):
    labels = [9007199254740992, 9007199254740993]
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i},{labels[i % 2]}\n" for i in range(60)))
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y")), tmp_path / "run")
    assert StackedDAE.from_run(run.path).classes == labels


def test_names_that_yaml_takes_for_numbers_come_back(tmp_path):
    (tmp_path / "t.csv").write_text("a,1e3,12e5\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(60)))
    config = config_from_dict(settings(tmp_path / "t.csv", target="12e5", drop=["1e3"]))
    run = api.fit(config, tmp_path / "run")
    assert RunFolder.open(run.path).config() == config


@pytest.mark.parametrize("column", ["class", "probabilities", "x", "node_1", "é [1], $a_{b$"])
def test_columns_may_have_any_name_in_onnx(column, tmp_path):
    (tmp_path / "t.csv").write_text(f'"{column}",b,y\n' + "".join(f"{i},{'uv'[i % 2]},{i % 2}\n" for i in range(60)))
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y")), tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    assert onnx_export.export_onnx(model, tmp_path / "m.onnx") <= 1e-5
    session = onnxruntime.InferenceSession((tmp_path / "m.onnx").read_bytes())
    assert [output.name for output in session.get_outputs()] == list(onnx_export.output_names(model)[:2])


FRAME = mixed()
BAD_FRAMES = {
    "twice": (lambda f: pd.concat([f, f[["word"]]], axis=1), "two columns 'word'"),
    "without": (lambda f: f.drop(columns="word"), "no column 'word'"),
    "empty": (lambda f: f.head(0), "one or more"),
    "unequal": (lambda f: {**{k: list(f[k]) for k in f}, "word": ["red"]}, "as many rows"),
    "scalars": (lambda f: dict.fromkeys(f, 1), "as many rows"),
    "dates": (lambda f: f.assign(number=pd.Timestamp("2020-01-01")), "'number', row 1"),
    "true": (lambda f: f.assign(number=True), "'number', row 1 is True, which is not a number"),
    "complex": (lambda f: f.assign(number=1j), "'number', row 1"),
    "underscores": (lambda f: f.assign(number="1_000"), "'number', row 1 is '1_000', which is not a number"),
    "far": (lambda f: f.assign(number=1e300), "'number', row 1 is 1e\\+300, beyond"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_frames_that_are_not_such_are_named(case, place):
    change, words = BAD_FRAMES[case]
    with pytest.raises(DataError, match=words):
        StackedDAE.from_run(place / "csv").predict(change(FRAME))


def test_frames_with_numbers_for_names_are_taken(tmp_path):
    np.save(tmp_path / "t.npy", np.column_stack([np.random.default_rng(0).random((60, 2)), np.arange(60) % 2]))
    run = api.fit(config_from_dict(settings(tmp_path / "t.npy", target="2")), tmp_path / "run")
    rows = np.load(tmp_path / "t.npy")[:, :2]
    model = StackedDAE.from_run(run.path)
    assert np.array_equal(model.predict_proba(pd.DataFrame(rows)), model.predict_proba(rows))


GOOD = "a,b,y\n" + "".join(f"{i},{i % 3}.5,{'pq'[i % 2]}\n" for i in range(40))
BAD = {
    "far": (GOOD.replace("\n17,", "\n1e300,"), {}, ["'a'", "row 18", "beyond"]),
    "target is the split": (GOOD, {"split": "y"}, ["data.split", "'y'", "is the target"]),
    "target dropped": (GOOD, {"drop": ["y"]}, ["data.drop", "'y'", "is the target"]),
    "no name": (GOOD.replace("a,b,y", "a,,y"), {}, ["column 2 has no name", "index=False"]),
    "thousands": (
        "a;y\n" + "".join(f"{i + 1},{i:03};{'pq'[i % 2]}\n" for i in range(40)),
        {},
        ["'1,000'", "--data.decimal ,"],
    ),
    "another delimiter": (GOOD, {"delimiter": ";", "target": "y"}, ["no column 'y'"]),
    "two delimiters": (GOOD, {"delimiter": ";;"}, ["data.delimiter must be one character"]),
    "delimiter and decimal": (GOOD, {"delimiter": ",", "decimal": ","}, ["must differ"]),
    "a label too large": (GOOD.replace("p\n", "9223372036854775808\n"), {}, ["'y'", "row 1", "too large"]),
    "too few labels": (GOOD, {"labels_per_class": 500}, ["class 'p' has only"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_one_line(case, tmp_path, capsys):
    text, data, words = BAD[case]
    (tmp_path / "table.csv").write_bytes(text.encode("latin-1"))
    values = {"target": "y", **data}
    options = [f"--data.{k}={json.dumps(v) if isinstance(v, list) else v}" for k, v in values.items()]
    out = ["--out", str(tmp_path / "run")]
    assert main(["fit", "--data.path", str(tmp_path / "table.csv"), *options, *out]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error, error
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_null_columns_of_parquet(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    columns = {"a": list(range(60)), "b": ["u", "v", None] * 20, "y": ["p", "q"] * 30}
    parquet.write_table(pa.table({**columns, "n": pa.nulls(60)}), tmp_path / "t.parquet")
    for data, words in (({"target": "n"}, "no value in any row"), ({"target": "y", "categorical": ["n"]}, "no value")):
        with pytest.raises(DataError, match=words):
            api.fit(config_from_dict(settings(tmp_path / "t.parquet", **data)), tmp_path / "run")
    run = api.fit(config_from_dict(settings(tmp_path / "t.parquet", target="y", drop=["n"])), tmp_path / "run")
    parquet.write_table(pa.table({**columns, "b": pa.nulls(60)}), tmp_path / "new.parquet")
    assert not [
        new for rows in file_rows(StackedDAE.from_run(run.path), tmp_path / "new.parquet") for new in rows.unseen
    ]


def test_preprocessing_of_another_run_is_told_and_made_again(tmp_path):
    first, second = people(tmp_path / "first.csv"), people(tmp_path / "second.csv", seed=1)
    runs = [api.fit(config_from_dict(settings(file)), tmp_path / file.stem) for file in (first, second)]
    kept = (runs[0].path / "preprocessing.json").read_bytes()
    for damage in (lambda file: shutil.copy(runs[1].path / "preprocessing.json", file), lambda file: file.unlink()):
        damage(runs[0].path / "preprocessing.json")
        with pytest.raises(StageError, match=r"preprocessing\.json is (damaged|gone).*give its fit again"):
            StackedDAE.from_run(runs[0].path)
        api.fit(config_from_dict(settings(first)), runs[0].path)
        assert (runs[0].path / "preprocessing.json").read_bytes() == kept
        StackedDAE.from_run(runs[0].path)


def test_test_rows_that_changed_are_told(tmp_path):
    file = people(tmp_path / "people.csv", labelled=1.0)
    run = api.fit(config_from_dict(settings(file)), tmp_path / "run")
    frame = pd.read_csv(file)
    other = frame.assign(bought=["no" if v == "yes" else "yes" for v in frame.bought])
    # Those of the test rows alone.
    from stacked_dae.utils.seeding import derive_seed

    order = np.random.Generator(np.random.PCG64(derive_seed(0, "split"))).permutation(len(frame))
    test = order[round(0.1 * len(frame)) :][: round(0.2 * len(frame))]
    frame.loc[test, "bought"] = other.loc[test, "bought"]
    frame["member"] = [v if v != v else str(v).lower() for v in frame["member"]]
    frame.to_csv(file, index=False)
    with pytest.raises(StageError, match="was tested on other rows"):
        api.evaluate(run.path)


def test_far_rows_of_a_standardised_table_are_refused(tmp_path):
    file = people(tmp_path / "people.csv")
    run = api.fit(config_from_dict(settings(file, scale="standard")), tmp_path / "run")
    frame = pd.read_csv(file).assign(income=9e29)
    frame.to_csv(tmp_path / "far.csv", index=False)
    model = StackedDAE.from_run(run.path)
    for rows in file_rows(model, tmp_path / "far.csv"):
        assert np.isfinite(rows.inputs[~np.isnan(rows.inputs)]).all()
    assert np.isfinite(model.predict_proba(frame)).all()


def test_onnx_takes_names_as_pandas_writes_them(place):
    model = StackedDAE.from_run(place / "csv")
    onnx_export.export_onnx(model, place / "m.onnx")
    frame = pd.read_csv(place / "t.csv")
    session = onnxruntime.InferenceSession((place / "m.onnx").read_bytes())
    feeds = {
        put.name: frame[[put.name]].fillna("").astype(str).to_numpy(object)
        if put.type == "tensor(string)"
        else frame[[put.name]].to_numpy("float64")
        for put in session.get_inputs()
    }
    _, probabilities = session.run(None, feeds)
    assert np.abs(probabilities - model.predict_proba(frame)).max() < 1e-5


def test_a_column_of_dates_is_refused_unless_it_is_said_to_be_names(tmp_path):
    lines = [f"{i},2024-{i % 12 + 1:02}-{i % 28 + 1:02},{'pq'[i % 2]}" for i in range(80)]
    (tmp_path / "t.csv").write_text("a,when,y\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError, match="'when' has .* different names in .* rows; is it an identifier or a date"):
        api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y")), tmp_path / "run")
    api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y", categorical=["when"])), tmp_path / "run")


def test_codes_as_csv(place, tmp_path):
    out = tmp_path / "codes.csv"
    assert main(["encode", str(place / "csv"), "--data", str(place / "t.csv"), "--out", str(out)]) == 0
    codes = StackedDAE.from_run(place / "csv").encode(mixed())
    made = pd.read_csv(out)
    assert list(made.columns) == [f"code_{k}" for k in range(1, 9)]
    assert np.array_equal(made.to_numpy(np.float32), codes)
