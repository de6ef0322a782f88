"""Tables of one's own: what becomes of columns and rows, what is fitted on what, and what is refused."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from helpers.tables import people, settings
from pyarrow import parquet
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from stacked_dae.cli.main import main
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Config
from stacked_dae.data.columns.fitting import RunningMoments
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.disk_array import DiskArray
from stacked_dae.data.registry import load_data
from stacked_dae.data.tabular.loading import read_table
from stacked_dae.errors import ConfigError, DataError, StageError
from stacked_dae.pipeline import api
from stacked_dae.runs.folder import RunFolder

NUMBERS = ["age", "income", "score_1", "score_2", "score_3", "score_4"]
NAMES = ["city", "member"]


@pytest.fixture
def table(tmp_path):
    return people(tmp_path / "people.csv")


def read(path, scratch=None, budget=10**9, **data):
    config = DataConfig(path=str(path), **{"target": "bought", **data})
    return read_table(config, scratch=scratch or path.parent / "scratch", budget_bytes=budget)


def frame(path):
    return pd.read_csv(path)


def split_of(path, data):
    """Return the rows of (train, valid, test), found by their own numbers in a column that is added to the file."""
    numbered = path.with_name("numbered.csv")
    pd.read_csv(path).assign(row=np.arange(len(frame(path))) + 0.5).to_csv(numbered, index=False)
    made = read(numbered, **data)
    column = made.table.names.index("row")
    at = made.table.inputs.index("row")
    numeric = made.table.columns[column]
    rows = [made.train.inputs[:, at], made.valid.inputs[:, at], made.load_test().inputs[:, at]]
    return [np.rint(part * numeric.width + numeric.shift - 0.5).astype(int) for part in rows]


@pytest.mark.parametrize("scale", ["minmax", "standard"])
def test_inputs_equal_scikit_learns_transformers_fitted_on_the_training_rows(table, scale):
    data = read(table, scale=scale)
    everything = frame(table)
    everything["member"] = everything["member"].map({True: "true", False: "false"})
    train, valid, test = split_of(table, {"scale": scale})
    scaler = MinMaxScaler(clip=True) if scale == "minmax" else StandardScaler()
    theirs = ColumnTransformer(
        [("numbers", scaler, NUMBERS), ("names", OneHotEncoder(handle_unknown="ignore", sparse_output=False), NAMES)]
    ).fit(everything.iloc[train])
    names = [name.split("__")[1] for name in theirs.get_feature_names_out()]
    for rows, split in ((train, data.train), (valid, data.valid), (test, data.load_test())):
        expected = pd.DataFrame(theirs.transform(everything.iloc[rows]), columns=names)
        for k, name in enumerate(data.table.inputs):
            column = name.split("=")[0]
            missing = everything[column].iloc[rows].isna().to_numpy()
            assert np.isnan(split.inputs[missing, k]).all(), "missing values stay marked"
            assert missing.any() or len(rows) < 50
            if not name.endswith("(unseen)"):
                wanted = expected[name.replace("=", "_")].to_numpy()[~missing]
                assert np.allclose(split.inputs[~missing, k], wanted, atol=1e-6), name


def test_rows_without_a_label_are_training_rows_and_the_others_are_dealt(table):
    labels = frame(table)["bought"]
    train, valid, test = split_of(table, {})
    assert sorted([*train, *valid, *test]) == list(range(400))
    assert labels.iloc[valid].notna().all()
    assert labels.iloc[test].notna().all()
    count = labels.notna().sum()
    assert (len(valid), len(test)) == (round(0.1 * count), round(0.2 * count))
    data = read(table)
    assert (data.train.labels == -1).sum() == labels.isna().sum()
    assert data.table.classes == ["no", "yes"]
    named = np.array(["no", "yes", None], object)
    assert list(named[data.train.labels]) == [v if isinstance(v, str) else None for v in labels.iloc[train]]


def test_changing_test_rows_changes_nothing_that_is_fitted(table, tmp_path):
    """Other inputs, other names, missing values and other labels in the test rows: the same bits everywhere else."""
    _, _, test = split_of(table, {})
    changed = frame(table).astype(object)
    random = np.random.default_rng(1)
    changed.loc[test, "age"] = random.normal(1000, 500, len(test))
    changed.loc[test, "city"] = "Atlantis"
    changed.loc[test[::2], "income"] = np.nan
    changed.loc[test, "bought"] = ["no" if v == "yes" else "yes" for v in changed.loc[test, "bought"]]
    changed["member"] = [v if v != v else str(v).lower() for v in changed["member"]]
    other = tmp_path / "other" / "people.csv"
    other.parent.mkdir()
    changed.to_csv(other, index=False)
    runs = []
    for file in (table, other):
        config = config_from_dict(settings(file))
        runs.append(api.fit(config, tmp_path / file.parent.name / "run", dataset=load_data(config.data)))
    one, two = runs
    assert one.manifest.stages.keys() == two.manifest.stages.keys()
    for stage in one.manifest.stages:
        assert one.weights_path(stage).read_bytes() == two.weights_path(stage).read_bytes(), stage
    assert (one.path / "preprocessing.json").read_bytes() == (two.path / "preprocessing.json").read_bytes()
    assert one.manifest.dataset.fingerprint == two.manifest.dataset.fingerprint
    assert one.result().test_error_percent != two.result().test_error_percent, "the test rows are others"


def test_a_training_row_does_change_what_is_fitted(table, tmp_path):
    train, _, _ = split_of(table, {})
    changed = frame(table)
    changed.loc[train[0], "age"] = 500.0
    changed.to_csv(tmp_path / "other.csv", index=False)
    assert read(tmp_path / "other.csv").fingerprint != read(table).fingerprint


def test_one_file_in_four_formats_is_one_data_set(tmp_path):
    random = np.random.default_rng(0)
    x, y = random.random((80, 3)).round(6), random.integers(0, 3, 80)
    frame = pd.DataFrame(x, columns=["x_0", "x_1", "x_2"]).assign(y=y)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", x=x, y=y)
    np.save(tmp_path / "t.npy", np.column_stack([x, y]))
    marks = {read(tmp_path / f"t.{kind}", target="y").fingerprint for kind in ("csv", "parquet", "npz")}
    assert len(marks) == 1
    assert read(tmp_path / "t.npy", target="3").train.inputs.shape == (56, 3)


def test_columns_are_kept_dropped_and_named_as_asked(table):
    assert read(table, keep=["age", "city"]).table.names == ["age", "city"]
    assert "city" not in read(table, drop=["city"]).table.names
    forced = read(table, keep=["age"], categorical=["age"])
    assert forced.table.categorical() == ["age"]
    assert all(name.startswith("age=") for name in forced.table.inputs)


def test_a_column_can_say_which_rows_are_which(table, tmp_path):
    wanted = frame(table).assign(fold=np.resize(["train", "train", "valid", "test"], 400))
    wanted = wanted[wanted.bought.notna() | (wanted.fold == "train")]
    wanted.to_csv(tmp_path / "folds.csv", index=False)
    data = read(tmp_path / "folds.csv", split="fold")
    assert len(data.train) == (wanted.fold == "train").sum()
    assert len(data.load_test()) == (wanted.fold == "test").sum()
    assert "fold" not in data.table.names


def test_inputs_beyond_the_budget_stay_on_disk_and_are_the_same(table, tmp_path):
    in_memory, on_disk = read(table), read(table, scratch=tmp_path / "scratch", budget=100)
    assert isinstance(on_disk.train.inputs, DiskArray)
    assert np.array_equal(on_disk.train.inputs[:], in_memory.train.inputs, equal_nan=True)
    assert on_disk.fingerprint == in_memory.fingerprint
    assert not list((tmp_path / "scratch").iterdir()), "no file is left to be forgotten"


def test_moments_are_numpys_block_by_block():
    values = np.random.default_rng(0).normal(1e6, 2.0, 10_000)
    values[::7] = np.nan
    moments = RunningMoments()
    for block in np.array_split(values, 23):
        moments.add(block)
    assert moments.mean == pytest.approx(np.nanmean(values), rel=1e-12)
    assert moments.deviation == pytest.approx(np.nanstd(values), rel=1e-9)
    assert (moments.low, moments.high) == (np.nanmin(values), np.nanmax(values))


def test_preprocessing_goes_through_json(table):
    made = read(table, scale="standard").table
    assert Preprocessing.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize("scale", ["minmax", "standard"])
def test_a_missing_value_enters_as_zero_and_not_into_the_loss(table, scale):
    from stacked_dae.training.builders import build_layers

    config = config_from_dict(settings(table, scale=scale))
    data = load_data(config.data)
    layer = build_layers(config, data.inputs, data.table)[0].double()
    x = torch.from_numpy(data.train.inputs[:50]).double()
    missing = x.isnan()
    assert missing.any()
    assert torch.equal(layer.encode(x), layer.encode(torch.where(missing, 0.0, x)))
    rebuilt = layer.decode(layer.encode(x))
    squared = torch.from_numpy(data.table.standardised)
    each = torch.where(
        squared,
        (rebuilt - x) ** 2,
        torch.nn.functional.binary_cross_entropy(
            rebuilt.clamp(1e-12, 1 - 1e-12), torch.where(squared | missing, 0.5, x), reduction="none"
        ),
    )
    each[missing] = 0.0
    assert torch.allclose(layer.loss(x), each.sum(1), rtol=1e-9)
    # What a missing value would have been changes no gradient.
    corrupted, weight = layer.corrupt(x, torch.Generator().manual_seed(0))
    assert torch.equal(weight == 0, missing)
    assert (corrupted[missing] == 0).all()


def test_loss_follows_the_columns_and_can_be_set(table):
    assert [layer.loss for layer in config_from_dict(settings(table)).layers()] == ["cross_entropy"] * 2
    standard = config_from_dict(settings(table, scale="standard"))
    assert [layer.loss for layer in standard.layers()] == ["by_column", "cross_entropy"]
    squared = replace(standard.pretrain, loss="squared_error")
    assert [layer.loss for layer in replace(standard, pretrain=squared).layers()] == ["squared_error"] * 2
    assert [layer.loss for layer in Config().layers()] == ["cross_entropy"] * 3


def test_a_table_without_target_is_pretrained_and_encoded(table, tmp_path, capsys):
    out = tmp_path / "run"
    layers = ["--pretrain.units", "6", "--pretrain.epochs", "1"]
    assert main(["pretrain", "--data.path", str(table), "--data.drop", "[bought]", *layers, "--out", str(out)]) == 0
    codes = tmp_path / "codes.npy"
    assert main(["encode", str(out), "--data", str(table), "--out", str(codes)]) == 0
    assert np.load(codes).shape == (400, 6)
    capsys.readouterr()
    assert main(["predict", str(out), "--data", str(table), "--out", str(tmp_path / "p.csv")]) == 2
    assert "never fine-tuned" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_a_run_of_a_table_goes_on_and_is_evaluated(table, tmp_path):
    config = config_from_dict(settings(table))
    run = api.fit(config, tmp_path / "run")
    before = (run.path / "result.json").read_bytes()
    assert api.fit(config, tmp_path / "run").path == run.path
    assert (run.path / "result.json").read_bytes() == before
    assert api.evaluate(run.path).error_percent == run.result().test_error_percent
    (run.path / "preprocessing.json").write_text("{}")
    with pytest.raises(StageError, match=r"preprocessing.json is damaged"):
        RunFolder.open(run.path).preprocessing()


def write(path, text):
    path.write_text(text)
    return path


GOOD = "a,b,y\n" + "".join(f"{i},{i % 3}.5,{'pq'[i % 2]}\n" for i in range(40))
BAD = {
    "empty": ("", {}, ["the file is empty"]),
    "header only": ("a,b,y\n", {}, ["it has no rows"]),
    "a column all missing": (GOOD.replace("a,b,y", "a,b,y,c").replace("p\n", "p,\n").replace("q\n", "q,\n"), {}, ["'c'", "no value", "--data.drop '[c]'"]),  # noqa: E501
    "a constant column": (GOOD.replace("a,b,y", "a,b,y,c").replace("p\n", "p,7\n").replace("q\n", "q,7\n"), {}, ["'c'", "is 7 in every", "--data.drop '[c]'"]),  # noqa: E501
    "mixed": (GOOD.replace("\n17,", "\nnone of these,"), {}, ["'a'", "row 1 is 0", "row 18 is 'none of these'", "--data.categorical '[a]'"]),  # noqa: E501
    "infinite": (GOOD.replace("\n17,", "\n1e999,"), {}, ["'a'", "row 18", "infinite"]),
    "a class of one row": (GOOD.replace("39,0.5,q", "39,0.5,z"), {}, ["'y'", "one row of class 'z'", "join it"]),
    "one class": (GOOD.replace("q\n", "p\n"), {}, ["'y'", "one class only"]),
    "labels that are floats": (GOOD.replace("p\n", "0.25\n"), {}, ["'y'", "row 1 is 0.25", "whole numbers"]),
    "no label": (GOOD.replace("p\n", "\n").replace("q\n", "\n"), {}, ["'y'", "no value in any row"]),
    "duplicate names": (GOOD.replace("a,b,y", "a,a,y"), {}, ["two columns are named 'a'"]),
    "a short row": (GOOD.replace("\n17,2.5,q\n", "\n17,2.5\n"), {}, ["Expected 3 columns, got 2", "#19"]),
    "no such target": (GOOD, {"target": "yy"}, ["data.target", "no column 'yy'", "did you mean 'y'"]),
    "no such column": (GOOD, {"drop": ["bb"]}, ["data.drop", "no column 'bb'", "did you mean 'b'"]),
    "target kept": (GOOD, {"keep": ["y"]}, ["data.keep", "'y'"]),
    "nothing left": (GOOD, {"drop": ["a", "b"]}, ["no column", "left to learn from"]),
    "an identifier": ("a,b,y\n" + "".join(f"{i},n{i},{'pq'[i % 2]}\n" for i in range(2000)), {}, ["'b'", "identifier"]),
    "too few rows": ("a,b,y\n1,2,p\n2,3,q\n3,4,p\n", {}, ["too few for a validation row"]),
    "a fold that is none": (GOOD, {"split": "b"}, ["'b'", "row 1", "train, valid, test"]),
    "not text": ("a,b,y\n" + "1,2,p\n" * 20000 + "\xff\xfe,1,p\n", {}, ["not readable as CSV"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_one_line_and_write_nothing(case, tmp_path, capsys):
    text, data, words = BAD[case]
    file = tmp_path / "table.csv"
    file.write_bytes(text.encode("latin-1"))
    before = sorted(tmp_path.iterdir())
    options = [f"--data.{k}={json.dumps(v) if isinstance(v, list) else v}" for k, v in {"target": "y", **data}.items()]
    out = ["--out", str(tmp_path / "run"), "--data.root", str(tmp_path / "root")]
    assert main(["fit", "--data.path", str(file), *options, *out]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error, error
    assert "table.csv" in error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.txt", b"a\n1\n", "ends in .csv, .tsv, .csv.gz, .tsv.gz, .parquet, .feather, .arrow, .jsonl"),
        ("t.parquet", b"PAR1 and more of it", "not readable as Parquet"),
        ("t.npz", b"PK\x03\x04 and more of it", "not readable as npz"),
        ("t.npy", b"\x93NUMPY\x01\x00 and more of it", "not readable as npy"),
    ],
)
def test_files_that_are_no_table_are_named(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read(tmp_path / name)


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    np.save(tmp_path / "t.npy", np.array([[Bomb()]], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"t\.npy: not readable"):
        read(tmp_path / "t.npy")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.slow
def test_a_long_line_is_refused_without_being_read_whole(tmp_path):
    """A sparse file that says to be one line of 2 GB."""
    file = tmp_path / "long.csv"
    with file.open("wb") as opened:
        opened.write(b"a,b,y\n1,2,p\n")
        opened.truncate(2 * 10**9)
    code = f"""
import resource
import pyarrow, stacked_dae.pipeline.api
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 10**9, size + 10**9))
from stacked_dae.cli.main import main
raise SystemExit(main(["fit", "--data.path", {str(file)!r}, "--data.target", "y", "--out", {str(tmp_path / "run")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr[-500:]
    assert done.stderr.count("\n") == 1
    assert "longer than 4 MiB" in done.stderr


def test_dates_are_refused_by_name(tmp_path):
    parquet.write_table(
        pa.table({"when": pa.array(range(40), pa.timestamp("s")), "y": ["p", "q"] * 20}), tmp_path / "dates.parquet"
    )
    with pytest.raises(DataError, match=r"dates\.parquet: column 'when' holds timestamp"):
        read(tmp_path / "dates.parquet", target="y")


def test_settings_of_tables_want_a_table():
    for name, value in (("scale", "standard"), ("split", [0.5, 0.25, 0.25]), ("keep", ["age"])):
        with pytest.raises(ConfigError, match=rf"data\.{name} applies only to a table"):
            config_from_dict({"data": {"name": "digits", name: value}})
    with pytest.raises(ConfigError, match=r"data\.source applies only to the ICML 2007 data sets"):
        config_from_dict({"data": {"path": "x.csv", "source": "original"}})
    with pytest.raises(ConfigError, match=r"data\.target applies only to a table"):
        DataConfig(target="y")
    with pytest.raises(ConfigError, match=r"data\.name and data\.path: give one"):
        DataConfig(name="mnist", path="t.csv")
    with pytest.raises(ConfigError, match=r"data\.split must be three shares"):
        DataConfig(path="t.csv", split=[0.5, 0.5, 0.5])
    with pytest.raises(ConfigError, match=r"pretrain\.loss: by_column applies only to a table"):
        config_from_dict({"pretrain": {"loss": "by_column", "units": [5]}})


def test_a_missing_file_is_told_before_anything_is_imported(tmp_path, capsys):
    assert main(["fit", "--data.path", str(tmp_path / "no.csv"), "--data.target", "y"]) == 2
    assert "no.csv does not exist" in capsys.readouterr().err


def test_a_file_that_changes_during_the_training_is_refused(table):
    data = read(table)
    with table.open("a", newline="") as file:
        csv.writer(file).writerow(["50", "20000", "Oslo", "true", "0", "0", "0", "0", "yes"])
    with pytest.raises(DataError, match="was changed while it was in use"):
        data.load_test()
