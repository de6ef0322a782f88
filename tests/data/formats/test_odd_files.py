"""Files that are damaged, written by other programs, or named otherwise: read, or refused in one line."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from helpers.tables import people, settings
from pyarrow import parquet

from stacked_dae.cli.main import main
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.tabular.loading import read_table
from stacked_dae.inference.file_rows import file_rows
from stacked_dae.inference.model import StackedDAE
from stacked_dae.pipeline import api


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return pd.read_csv(people(tmp_path_factory.mktemp("people") / "people.csv", rows=200))


def read(path, **data):
    return read_table(
        DataConfig(path=str(path), **{"target": "bought", **data}), scratch=path.parent / "scratch", budget_bytes=10**9
    )


@pytest.mark.parametrize("name", ["T.CSV.GZ", "T.CSV", "T.Parquet", "T.TSV.gz"])
def test_endings_may_be_in_capitals(name, frame, tmp_path):
    frame.to_csv(tmp_path / "plain.csv", index=False)
    if "arquet" in name:
        frame.to_parquet(tmp_path / name)
    else:
        text = frame.to_csv(index=False, sep="\t" if "TSV" in name else ",").encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.lower().endswith(".gz") else text)
    assert read(tmp_path / name).fingerprint == read(tmp_path / "plain.csv").fingerprint


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz"])
@pytest.mark.parametrize("at", [30, 300, 900, -6])
def test_a_damaged_archive_is_one_line(name, at, frame, tmp_path, capsys):
    text = frame.to_csv(index=False) if "csv" in name else frame.to_json(orient="records", lines=True)
    damaged = bytearray(gzip.compress(text.encode()))
    damaged[at] ^= 0xFF
    (tmp_path / name).write_bytes(bytes(damaged))
    assert main(["data", "check", str(tmp_path / name), "--target", "bought"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert name in error


def test_files_that_polars_wrote_are_read(frame, tmp_path):
    frame.to_csv(tmp_path / "plain.csv", index=False)
    pl.read_csv(tmp_path / "plain.csv").write_ipc(tmp_path / "t.arrow")
    pl.read_csv(tmp_path / "plain.csv").write_parquet(tmp_path / "t.parquet")
    expected = read(tmp_path / "plain.csv").fingerprint
    assert read(tmp_path / "t.arrow").fingerprint == expected
    assert read(tmp_path / "t.parquet").fingerprint == expected


def test_a_column_of_nulls_is_missing_whatever_its_type(frame, tmp_path):
    frame.to_csv(tmp_path / "t.csv", index=False)
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv")), tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    expected = model.predict_proba(frame.assign(age=None))
    for kind in (pa.bool_(), pa.string(), pa.int64(), pa.null()):
        nulls = pa.array([None] * len(frame), kind)
        parquet.write_table(table.set_column(0, "age", nulls), tmp_path / "n.parquet")
        rows = np.concatenate([rows.inputs for rows in file_rows(model, tmp_path / "n.parquet")])
        assert np.array_equal(model.probabilities_of(rows), expected), kind


def test_brackets_in_names_are_shown_as_they_are(frame, tmp_path, capsys):
    named = frame.assign(copy=frame["bought"].map({"yes": 1.0, "no": 0.0})).rename(columns={"copy": "a[b]"})
    named.to_csv(tmp_path / "t.csv", index=False)
    command = ["fit", "--data.path", str(tmp_path / "t.csv"), "--data.target", "bought", "--pretrain.units", "[4]"]
    command += ["--pretrain.epochs", "1", "--finetune.epochs", "1", "--out", str(tmp_path / "run")]
    assert main(command) == 0
    assert """--data.drop '["a[b]"]'""" in capsys.readouterr().err
    frame.assign(city="[/x]", **{"a[b]": 1.0}).to_csv(tmp_path / "new.csv", index=False)
    predict = ["predict", str(tmp_path / "run"), "--data", str(tmp_path / "new.csv"), "--out", str(tmp_path / "o.csv")]
    assert main(predict) == 0
    assert "'[/x]', unseen in training" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["gaussian", "masking"])
def test_scores_of_layers_that_never_saw_a_hidden_value_are_said_to_say_little(kind, frame, tmp_path, capsys):
    frame.to_csv(tmp_path / "t.csv", index=False)
    values = settings(tmp_path / "t.csv")
    values = {**values, "pretrain": {**values["pretrain"], "corruption": {"kind": kind, "nu": 0.3}}}
    run = api.fit(config_from_dict(values), tmp_path / "run")
    out = tmp_path / "scores.csv"
    assert main(["anomalies", str(run.path), "--data", str(tmp_path / "t.csv"), "--out", str(out)]) == 0
    assert ("not pre-trained with masking noise" in capsys.readouterr().err) == (kind == "gaussian")
    assert len(pd.read_csv(out)) == len(frame)


def test_a_split_column_that_holds_dates_is_one_line(frame, tmp_path, capsys):
    frame.assign(split=pd.Timestamp("2026-01-01")).to_parquet(tmp_path / "t.parquet")
    assert main(["data", "check", str(tmp_path / "t.parquet"), "--target", "bought", "--data.split", "split"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "column 'split' holds timestamp" in error


def test_parts_agree_on_the_decimal_mark(tmp_path):
    (tmp_path / "d").mkdir()
    first = "\n".join(f"{k},{10 + k % 80};{'pq'[k % 2]}" for k in range(60))
    second = "\n".join([*(f"{100 + k};{'pq'[k % 2]}" for k in range(300)), *(f"1,{234 + k};p" for k in range(20))])
    (tmp_path / "d" / "0.csv").write_text(f"a;y\n{first}\n")
    (tmp_path / "d" / "1.csv").write_text(f"a;y\n{second}\n")
    assert read(tmp_path / "d", target="y", keep=["a"]).table.columns[0].width < 500


def test_a_first_line_of_whole_numbers_is_asked_about(tmp_path):
    rows = np.random.default_rng(0).integers(0, 9, (60, 4))
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False, header=False)
    assert "--data.header false" in " ".join(read(tmp_path / "t.csv", target=None).notices)
    pd.DataFrame(rows).to_csv(tmp_path / "named.csv", index=False)
    assert not read(tmp_path / "named.csv", target=None).notices


@pytest.mark.parametrize("text", ["sep=;\n", "\ufeffsep=;\r\n"])
def test_excel_s_line_for_the_delimiter_is_no_row(text, frame, tmp_path):
    frame.to_csv(tmp_path / "plain.csv", index=False)
    body = frame.to_csv(index=False, sep=";")
    (tmp_path / "t.csv").write_text(text + body, encoding="utf-8", newline="")
    assert read(tmp_path / "t.csv").fingerprint == read(tmp_path / "plain.csv").fingerprint


def test_data_check_takes_shares_and_says_them_again(frame, tmp_path, capsys):
    frame.to_csv(tmp_path / "t.csv", index=False)
    command = ["data", "check", str(tmp_path / "t.csv"), "--target", "bought", "--data.split"]
    assert main([*command, "[0.8, 0, 0.2]"]) == 0
    said = capsys.readouterr().out
    assert "--data.split '[0.8, 0.0, 0.2]'" in said
    assert "/ 0 /" in said
    assert main([*command, "[0.8, x]"]) == 2
    assert "data.split must be three shares" in capsys.readouterr().err
