"""A table's columns are matched by their names, whatever library the table is of."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from helpers.tables import people, settings

from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.errors import DataError
from stacked_dae.inference.model import StackedDAE
from stacked_dae.pipeline import api


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a table whose columns hold every kind of value, and a run on it."""
    place = tmp_path_factory.mktemp("frames")
    frame = mixed()
    frame.to_parquet(place / "t.parquet")
    config = settings(place / "t.parquet", target="answer", categorical=["count", "single"])
    api.fit(config_from_dict(config), place / "run")
    return place


def mixed():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": random.normal(0, 3, 90).round(3),
            "count": pd.array(random.integers(0, 5, 90), dtype="Int64"),
            "single": random.choice([0.1, 0.25], 90).astype(np.float32),
            "flag": random.random(90) < 0.5,
            "word": random.choice(["red", "blue"], 90),
            "answer": random.choice([0, 1], 90),
        }
    )
    frame.loc[::7, "number"] = np.nan
    frame.loc[::11, "count"] = pd.NA
    frame.loc[::13, "word"] = None
    return frame


def dictionary_encoded(frame):
    table = pa.Table.from_pandas(frame, preserve_index=False)
    at = table.column_names.index("word")
    return table.set_column(at, "word", table["word"].dictionary_encode())


KINDS = {
    "pandas": lambda frame: frame,
    "pandas with categories": lambda frame: frame.astype({"word": "category"}),
    "pandas on arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow").astype({"single": "float[pyarrow]"}),
    "polars": pl.from_pandas,
    "polars with categories": lambda frame: pl.from_pandas(frame).with_columns(pl.col("word").cast(pl.Categorical)),
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "pyarrow in dictionaries": dictionary_encoded,
    "a record batch": lambda frame: pa.RecordBatch.from_pandas(frame, preserve_index=False),
    # Python's floats are of 64 bits: 0.1 as it is written, not as 32 bits hold it.
    "a mapping of lists": lambda frame: {
        name: frame[name].astype(str).astype(float).tolist() if name == "single" else frame[name].tolist()
        for name in frame
    },
    "a mapping of arrays": lambda frame: {name: frame[name].to_numpy() for name in frame},
    "a structured array": lambda frame: frame.astype({"count": object, "word": object}).to_records(index=False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_in_another_order_give_the_same_answers(kind, place):
    model, frame = StackedDAE.from_run(place / "run"), mixed()
    expected = model.predict_proba(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.predict_proba(KINDS[kind](frame[list(reversed(frame.columns))]))
    assert np.array_equal(found, expected)
    assert np.array_equal(model.encode(KINDS[kind](frame)), model.encode(frame))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_is_named(kind, place):
    model = StackedDAE.from_run(place / "run")
    with pytest.raises(DataError, match="have no column 'number'"):
        model.predict(KINDS[kind](mixed().drop(columns="number").assign(other=1.0)))


@pytest.mark.parametrize("kind", KINDS)
def test_other_columns_are_passed_over_and_named(kind, place):
    model, frame = StackedDAE.from_run(place / "run"), mixed()
    with pytest.warns(UserWarning, match="the model has no columns 'id', 'note'; passed over") as said:
        found = model.predict_proba(KINDS[kind](frame.assign(id=range(90), note="x")))
    assert np.array_equal(found, model.predict_proba(frame))
    assert said[0].filename == __file__


def test_a_query_that_has_not_run_is_refused(place):
    model = StackedDAE.from_run(place / "run")
    with pytest.raises(DataError, match=r"the rows are a LazyFrame, a query that has not run; give rows\.collect\(\)"):
        model.predict(pl.from_pandas(mixed()).lazy())


def test_predict_names_the_columns_of_a_file_that_it_passes_over(tmp_path, capsys):
    file = people(tmp_path / "people.csv")
    run = api.fit(config_from_dict(settings(file)), tmp_path / "run")
    frame = pd.read_csv(file)
    frame.assign(row=range(len(frame)), note="x", other=1).to_csv(tmp_path / "new.csv", index=False)
    command = ["predict", str(run.path), "--data", str(tmp_path / "new.csv"), "--out", str(tmp_path / "out.csv")]
    assert main([*command, "--keep-columns", "row"]) == 0
    said = capsys.readouterr()
    assert "new.csv: the model has no columns 'note', 'other'; passed over" in said.out + said.err
    assert main([*command[:2], "--data", str(file), *command[4:]]) == 0
    said = capsys.readouterr()
    assert "passed over" not in said.out + said.err
