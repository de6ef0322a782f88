"""Tables as people have them: other delimiters, encodings and decimal marks, compression, indexes, identifiers."""

from __future__ import annotations

import gzip
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.small_runs import MessageRecorder
from helpers.tables import people, settings

from stacked_dae import DAEDataModule, StackedDAE
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.formats.csv_dialect import find_dialect
from stacked_dae.data.tabular.loading import read_table
from stacked_dae.errors import DataError
from stacked_dae.inference.file_rows import file_rows
from stacked_dae.pipeline import api


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return pd.read_csv(people(tmp_path_factory.mktemp("people") / "people.csv", rows=200))


def read(path, known=None, **data):
    config = DataConfig(path=str(path), **{"target": "bought", **data})
    return read_table(config, scratch=path.parent / "scratch", budget_bytes=10**9, known=known)


WRITERS = {
    "semicolons.csv": lambda f, p: f.to_csv(p, index=False, sep=";"),
    "tabs.tsv": lambda f, p: f.to_csv(p, index=False, sep="\t"),
    "tabs.csv": lambda f, p: f.to_csv(p, index=False, sep="\t"),
    "bars.csv": lambda f, p: f.to_csv(p, index=False, sep="|"),
    "decimal comma.csv": lambda f, p: f.to_csv(p, index=False, sep=";", decimal=","),
    "decimal comma in quotes.csv": lambda f, p: f.to_csv(p, index=False, decimal=","),
    "zipped.csv.gz": lambda f, p: f.to_csv(p, index=False),
    "zipped.tsv.gz": lambda f, p: f.to_csv(p, index=False, sep="\t"),
    "utf-16.csv": lambda f, p: f.to_csv(p, index=False, encoding="utf-16"),
    "byte order mark.csv": lambda f, p: f.to_csv(p, index=False, encoding="utf-8-sig"),
    "windows.csv": lambda f, p: f.to_csv(p, index=False, lineterminator="\r\n"),
    "table.parquet": lambda f, p: f.to_parquet(p),
    "table.feather": lambda f, p: f.to_feather(p),
    "compressed.arrow": lambda f, p: f.to_feather(p, compression="lz4"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_way_to_write_a_table_gives_the_same_inputs(name, frame, tmp_path):
    frame.to_csv(tmp_path / "plain.csv", index=False)
    WRITERS[name](frame, tmp_path / name)
    plain, other = read(tmp_path / "plain.csv"), read(tmp_path / name)
    assert replace(other.table, reading=plain.table.reading) == plain.table
    assert other.fingerprint == plain.fingerprint
    assert other.fingerprint == plain.fingerprint
    assert not other.notices


def test_a_model_reads_another_dialect_than_that_it_was_trained_on(frame, tmp_path):
    frame.to_csv(tmp_path / "plain.csv", index=False)
    run = api.fit(config_from_dict(settings(tmp_path / "plain.csv")), tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    expected = np.concatenate([rows.inputs for rows in file_rows(model, tmp_path / "plain.csv")])
    for name, write in WRITERS.items():
        write(frame, tmp_path / name)
        found = np.concatenate([rows.inputs for rows in file_rows(model, tmp_path / name)])
        assert np.array_equal(found, expected, equal_nan=True), name


def test_latin_1_is_read_and_said(frame, tmp_path):
    towns = np.where(np.arange(len(frame)) % 2, "Köln", "Zürich")
    frame.assign(city=towns).to_csv(tmp_path / "latin.csv", index=False, encoding="latin-1")
    data = read(tmp_path / "latin.csv")
    assert data.table.columns[data.table.names.index("city")].values == ["Köln", "Zürich"]
    assert "Windows-1252" in data.notices[0]


@pytest.mark.parametrize(
    ("text", "delimiter", "decimal"),
    [
        ("a,b\n1,2\n3,4\n", ",", "."),
        ("a;b\n1,5;2\n2,5;3\n", ";", ","),
        ("a;b\n1,5;x\n2.5;y\n", ";", "."),
        ('a,b\n"x;y",1\n"z;w",2\n', ",", "."),
        ("note\nfirst, second\nthird\n", ",", "."),
        ("a\n1\n2\n", ",", "."),
        ("a|b\n1|x,y\n2|z\n", "|", "."),
        ('a;b\n"one\nline";1\n"x";2\n', ";", "."),
        ("a\tb c\n1\t2 3\n", "\t", "."),
        ('a,b\n"1,234",1\n"one",2\n', ",", "."),
        ('a,b\n"1,5",1\n,2\n3,4\n', ",", ","),
        ("", ",", "."),
    ],
)
def test_delimiter_and_decimal_mark_are_found(text, delimiter, decimal, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    found = find_dialect(tmp_path / "t.csv")
    assert (found.delimiter, found.decimal) == (delimiter, decimal)


def test_what_is_set_is_not_looked_for(tmp_path):
    lines = "".join(f"{i % 7},{i:03};{'pq'[i % 2]}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("a;y\n" + lines)
    data = read(tmp_path / "t.csv", target="y", decimal=",", keep=["a"])
    assert data.table.columns[0].width == pytest.approx(6.055 - 0.007, abs=0.06)
    found = find_dialect(tmp_path / "t.csv", ";", ",")
    assert (found.delimiter, found.decimal) == (";", ",")


def test_a_character_cut_at_the_end_of_the_sample_is_still_utf_8(tmp_path):
    for shift in range(3):
        (tmp_path / "t.csv").write_bytes(b"a\n" + b"x" * (65533 - shift) + "ö".encode() * 40 + b"\n")
        assert find_dialect(tmp_path / "t.csv").encoding == "utf-8"


def test_a_damaged_archive_is_named(tmp_path):
    whole = gzip.compress(b"a,b\n1,2\n" * 1000)
    (tmp_path / "t.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"t\.csv\.gz: not readable as CSV"):
        read(tmp_path / "t.csv.gz", target="b")


INDEXES = {
    "index.csv": lambda f, p: f.to_csv(p),
    "again.csv": lambda f, p: f.rename_axis("Unnamed: 0").to_csv(p),
    "index.parquet": lambda f, p: f.set_index(np.arange(len(f)) * 7 % 200).to_parquet(p),
    "named.parquet": lambda f, p: f.set_index((f.index % 7).rename("week")).to_parquet(p),
    "level.csv": lambda f, p: f.rename_axis("__index_level_0__").to_csv(p),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_is_no_feature(name, frame, tmp_path):
    frame.to_csv(tmp_path / "plain.csv", index=False)
    INDEXES[name](frame, tmp_path / name)
    path = tmp_path / name
    data = read(path)
    assert data.table == read(tmp_path / "plain.csv").table
    (notice,) = data.notices
    assert "is an index of the rows, so it is left out" in notice
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        DAEDataModule.from_table(str(path), "bought")
    assert notice in [str(warning.message) for warning in caught]


@pytest.mark.parametrize("kind", ["numbers", "text", "shuffled"])
def test_an_identifier_is_no_feature_unless_it_is_asked_for(kind, frame, tmp_path):
    number = np.random.default_rng(0).permutation(9000)[: len(frame)] + 1000
    kinds = {"numbers": np.arange(len(frame)), "text": [f"P{k}" for k in number], "shuffled": number}
    frame.to_csv(tmp_path / "plain.csv", index=False)
    frame.assign(id=kinds[kind]).to_csv(tmp_path / "t.csv", index=False)
    data = read(tmp_path / "t.csv")
    assert data.table == read(tmp_path / "plain.csv").table
    (notice,) = data.notices
    assert "column 'id' has another value in every row, so it is left out as an identifier" in notice
    kept = [name for name in frame if name != "bought"]
    asked = {"categorical": ["id"]} if kind == "text" else {"keep": [*kept, "id"]}
    taken = read(tmp_path / "t.csv", **asked)
    assert "id" in taken.table.names
    assert not taken.notices


@pytest.mark.parametrize(
    "values",
    [
        np.arange(200) + 0.5,
        np.where(np.arange(200) == 7, 8, np.arange(200)),
        np.where(np.arange(200) == 7, np.nan, np.arange(200)),
    ],
    ids=["fractions", "one twice", "one missing"],
)
def test_what_is_no_identifier_is_an_input(values, frame, tmp_path):
    frame.assign(x=values).to_csv(tmp_path / "t.csv", index=False)
    data = read(tmp_path / "t.csv")
    assert "x" in data.table.names
    assert not data.notices


def test_few_rows_may_have_different_numbers_by_chance(frame, tmp_path):
    frame.assign(x=range(len(frame))).head(29).assign(bought=["yes", "no"] * 14 + ["yes"]).to_csv(
        tmp_path / "t.csv", index=False
    )
    assert "x" in read(tmp_path / "t.csv", keep=[]).table.names


def test_a_table_of_nothing_but_identifiers_keeps_them(tmp_path):
    pd.DataFrame({"x": range(60), "y": ["p", "q"] * 30}).to_csv(tmp_path / "t.csv", index=False)
    data = read(tmp_path / "t.csv", target="y")
    assert data.table.names == ["x"]
    assert not data.notices


def test_a_run_keeps_the_inputs_that_it_began_with(frame, tmp_path):
    """A run folder of a version that took identifiers is found finished."""
    frame.assign(id=range(len(frame))).to_csv(tmp_path / "t.csv", index=False)
    config = config_from_dict(settings(tmp_path / "t.csv"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stacked_dae.data.tabular.scan._FEWEST_IDENTIFIERS", 10**9)
        old = api.fit(config, tmp_path / "run")
    assert "id" in old.preprocessing().names
    recorder = MessageRecorder()
    again = api.fit(config, tmp_path / "run", progress=recorder)
    assert again.preprocessing() == old.preprocessing()
    assert not any("identifier" in line for line in recorder.lines)
    assert api.evaluate(tmp_path / "run").error_percent == old.result().test_error_percent
    fresh = api.fit(config, tmp_path / "fresh", progress=recorder)
    assert "id" not in fresh.preprocessing().names
    assert any("identifier" in line for line in recorder.lines)
