"""Names that look like numbers are what the user wrote, from the file to the prediction and ONNX."""

from __future__ import annotations

import csv

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from helpers.tables import SETTINGS

from stacked_dae import StackedDAE
from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.tabular.loading import read_table
from stacked_dae.pipeline import api

CODES = ["007", "010", "10", "100", "1E2", "7"]
ROWS = 240


def frame(codes=CODES):
    random = np.random.default_rng(0)
    at = random.integers(0, len(codes), ROWS)
    zips = np.array(["0150", "150", "1.50"])[random.integers(0, 3, ROWS)]
    return pd.DataFrame(
        {
            "a": at + random.normal(0, 0.1, ROWS),
            "b": random.normal(0, 1, ROWS),
            "zip": zips,
            "code": np.array(codes, dtype=object)[at],
        }
    )


def written(rows, path):
    if path.suffix == ".csv":
        rows.to_csv(path, index=False)
    elif path.suffix == ".feather":
        rows.to_feather(path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: rows[name].to_numpy(float if name in ("a", "b") else str) for name in rows})
    else:
        rows.to_parquet(path)
    return path


def settings(path):
    data = {"path": str(path), "target": "code", "categorical": ["zip"]}
    return config_from_dict({**SETTINGS, "data": data})


def table(path, known=None):
    return read_table(settings(path).data, scratch=path.parent / "scratch", budget_bytes=10**9, known=known).table


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "npz"])
def test_spellings_are_different_classes_and_names(tmp_path, ending):
    found = table(written(frame(), tmp_path / f"t.{ending}"))
    assert found.classes == CODES
    (zips,) = (column for column in found.columns if column.name == "zip")
    assert zips.values == ["0150", "1.50", "150"]
    assert Preprocessing.from_dict(found.to_dict()) == found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return api.fit(settings(written(frame(), folder / "t.csv")), folder / "run")


def test_predictions_are_spelled_alike(run, tmp_path):
    rows = frame()
    model = StackedDAE.from_run(run.path)
    assert model.classes == CODES
    expected = model.predict(rows)
    assert set(expected) <= set(CODES)
    for ending in ("csv", "parquet"):
        out = tmp_path / f"{ending}.csv"
        file = written(rows, tmp_path / f"t.{ending}")
        assert main(["predict", str(run.path), "--data", str(file), "--out", str(out)]) in (0, None)
        with out.open() as opened:
            lines = list(csv.DictReader(opened))
        assert [line["class"] for line in lines] == expected.tolist()
        assert {f"p_{code}" for code in CODES} <= lines[0].keys()
    # 150 and 0150 are two names.
    one, other = rows.assign(zip="150"), rows.assign(zip="0150")
    assert not np.allclose(model.predict_proba(one), model.predict_proba(other))
    assert main(["export", str(run.path), "--out", str(tmp_path / "model.onnx")]) in (0, None)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    feeds = {name: rows[[name]].to_numpy("float64") for name in ("a", "b")}
    answers, p = session.run(["class", "probabilities"], {**feeds, "zip": rows[["zip"]].to_numpy(object)})
    assert answers.tolist() == expected.tolist()
    assert p == pytest.approx(model.predict_proba(rows), abs=1e-5)
    model.save(tmp_path / "model.safetensors")
    assert StackedDAE.load(tmp_path / "model.safetensors").predict(rows).tolist() == expected.tolist()


def test_it_is_finished_and_evaluated_with_its_spellings(run, tmp_path, capsys):
    before = run.result()
    assert api.fit(run.config(), run.path).result() == before
    assert main(["evaluate", str(run.path), "--data", run.config().data.path]) in (0, None)
    assert "1E2" in capsys.readouterr().out


def test_a_table_without_such_names_is_what_it_was(tmp_path):
    rows = frame(["7", "10", "100"])
    rows["zip"] = np.where(rows["b"] > 0, "150", "2.0")
    found = table(written(rows, tmp_path / "t.csv"))
    assert "as_written" not in found.to_dict()
    assert found.classes == ["7", "10", "100"]


def test_a_run_of_an_earlier_version_keeps_its_names(tmp_path):
    file = written(frame(), tmp_path / "t.csv")
    earlier = Preprocessing(table(file).columns, "code", ["7", "10", "100"])
    found = table(file, earlier)
    assert found.classes == ["7", "10", "100"]
    assert "as_written" not in found.to_dict()
