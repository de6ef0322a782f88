"""JSON lines, and folders that hold the parts of a table."""

from __future__ import annotations

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest
from helpers.tables import people, settings

from stacked_dae.cli.main import main
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.tabular.loading import read_table
from stacked_dae.errors import DataError
from stacked_dae.inference.model import StackedDAE
from stacked_dae.pipeline import api


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    frame = pd.read_csv(people(tmp_path_factory.mktemp("people") / "people.csv", rows=300))
    return frame.assign(count=pd.array(np.arange(300) % 7, dtype="Int64"))


def read(path, **data):
    return read_table(
        DataConfig(path=str(path), **{"target": "bought", **data}), scratch=path.parent / "scratch", budget_bytes=10**9
    )


def in_parts(write):
    def written(frame, path):
        path.mkdir()
        for k in range(3):
            part = frame[100 * k : 100 * k + 100]
            write(part if k else part[list(reversed(part.columns))], path / f"part-{k}")
        (path / "_SUCCESS").touch()
        (path / ".part-0.csv.crc").write_bytes(b"x")

    return written


def to_lines(frame, path):
    rows = json.loads(frame.to_json(orient="records"))
    # A key that is left out is a missing value, like null.
    rows = [{k: v for k, v in row.items() if v is not None or i % 2} for i, row in enumerate(rows)]
    text = "\n".join(map(json.dumps, rows)) + "\n\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


WRITERS = {
    "t.jsonl": to_lines,
    "t.ndjson": to_lines,
    "t.jsonl.gz": to_lines,
    "parquet": in_parts(lambda part, path: part.to_parquet(path.with_suffix(".parquet"))),
    "csv": in_parts(lambda part, path: part.to_csv(path.with_suffix(".csv"), index=False)),
    "lines": in_parts(lambda part, path: to_lines(part, path.with_suffix(".jsonl"))),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_data_are_those_of_one_csv_file(name, frame, tmp_path):
    frame.to_csv(tmp_path / "plain.csv", index=False)
    WRITERS[name](frame, tmp_path / name)
    expected, found = (
        read(tmp_path / "plain.csv", keep=list(frame.columns[:8])),
        read(tmp_path / name, keep=list(frame.columns[:8])),
    )
    assert sorted(found.table.names) == sorted(expected.table.names)
    order = [found.table.inputs.index(column) for column in expected.table.inputs]
    for split in ("train", "valid"):
        ours, theirs = getattr(found, split), getattr(expected, split)
        assert np.array_equal(ours.inputs[:, order], theirs.inputs, equal_nan=True)
        assert np.array_equal(ours.labels, theirs.labels)


@pytest.mark.parametrize("name", ["t.jsonl", "parquet"])
def test_a_model_is_trained_on_them_and_reads_them(name, frame, tmp_path):
    WRITERS[name](frame, tmp_path / name)
    run = api.fit(config_from_dict(settings(tmp_path / name)), tmp_path / "run")
    out = tmp_path / "out.csv"
    command = ["predict", str(run.path), "--data", str(tmp_path / name), "--out", str(out), "--keep-columns", "age"]
    assert main(command) == 0
    found = pd.read_csv(out)
    assert found["age"].to_numpy() == pytest.approx(frame["age"].to_numpy(), nan_ok=True)
    expected = StackedDAE.from_run(run.path).predict_proba(frame)
    assert found[["p_no", "p_yes"]].to_numpy() == pytest.approx(expected, abs=1e-5)


def test_a_part_that_changes_while_it_is_read_is_told(frame, tmp_path):
    WRITERS["parquet"](frame, tmp_path / "parquet")
    data = read(tmp_path / "parquet")
    file = tmp_path / "parquet" / "part-1.parquet"
    os.utime(file, ns=(1, 1))
    with pytest.raises(DataError, match="the file was changed while it was in use"):
        data.load_test()


BAD_LINES = {
    '{"a": 1}\n{"a": \n': "line 2 is not readable as JSON",
    '{"a": 1, "a": 2}\n': "line 1 is not readable as JSON (the key 'a' stands there twice)",
    '{"a": 1}\n[1, 2]\n': "line 2 is no object of columns",
    '{"a": [1], "b": 2, "bought": "x"}\n': "column 'a' holds lists",
    "": "the file is empty",
}


@pytest.mark.parametrize("text", BAD_LINES)
def test_lines_that_are_no_table_are_one_line(text, tmp_path, capsys):
    (tmp_path / "t.jsonl").write_text(text)
    assert main(["data", "check", str(tmp_path / "t.jsonl")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert BAD_LINES[text] in error


def test_json_keeps_whole_labels_and_text_apart(tmp_path):
    rows = [{"a": i, "y": 9007199254740993 if i % 2 else 9007199254740992} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read(tmp_path / "t.jsonl", target="y", keep=["a"]).table.classes == ["9007199254740992", "9007199254740993"]
    rows = [{"a": i, "y": ["007", "7"][i % 2]} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read(tmp_path / "t.jsonl", target="y", keep=["a"]).table.classes == ["007", "7"]


def test_folders_that_hold_no_table_are_named(frame, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file in this folder holds a table"):
        read(tmp_path / "empty")
    WRITERS["csv"](frame, tmp_path / "csv")
    frame.drop(columns="age").to_csv(tmp_path / "csv" / "part-9.csv", index=False)
    with pytest.raises(DataError, match=r"part-0\.csv and part-9\.csv are no parts of one table: column 'age'"):
        read(tmp_path / "csv")
    (tmp_path / "hive" / "year=2026").mkdir(parents=True)
    frame.to_csv(tmp_path / "hive" / "year=2026" / "0.csv", index=False)
    with pytest.raises(DataError, match="the values in the names of its folders, such as year=2026, are not read"):
        read(tmp_path / "hive")
    with pytest.raises(DataError, match="there is no such file"):
        api.fit(config_from_dict(settings(tmp_path / "nowhere")), tmp_path / "run")
