"""Tables as people write them: amounts, percentages, marks for missing values, files without a header."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from helpers.tables import settings

from stacked_dae.cli.main import main
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.columns.columns import CategoricalColumn, NumericColumn
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.tabular.loading import read_table
from stacked_dae.errors import DataError
from stacked_dae.inference.file_rows import file_rows
from stacked_dae.inference.model import StackedDAE
from stacked_dae.pipeline import api

ROWS = 90


def read(path, known=None, **data):
    config = DataConfig(path=str(path), **{"target": "y", **data})
    return read_table(config, scratch=path.parent / "scratch", budget_bytes=10**9, known=known)


@pytest.fixture
def plain():
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "amount": (random.random(ROWS) * 9000).round(2),
            "share": (random.random(ROWS) * 100).round(1),
            "count": random.integers(0, 50, ROWS).astype(float),
            "word": random.choice(["red", "blue"], ROWS),
            "y": random.choice(["p", "q"], ROWS),
        }
    )


def as_written(frame):
    return frame.assign(
        amount=[f"${value:,.2f}" for value in frame["amount"]], share=[f"{value} %" for value in frame["share"]]
    )


def in_european(frame, path):
    amounts = [f"{value:_.2f} €".replace(".", ",").replace("_", ".") for value in frame["amount"]]
    shares = [f"{value}%".replace(".", ",") for value in frame["share"]]
    frame.assign(amount=amounts, share=shares).to_csv(path, sep=";", index=False, decimal=",")


WRITERS = {
    "t.csv": lambda frame, path: as_written(frame).to_csv(path, index=False),
    "t.tsv": lambda frame, path: as_written(frame).to_csv(path, index=False, sep="\t"),
    "t.parquet": lambda frame, path: as_written(frame).to_parquet(path),
    "t.feather": lambda frame, path: as_written(frame).to_feather(path),
    "t.npz": lambda frame, path: np.savez(path, **{n: as_written(frame)[n].to_numpy().astype(str) for n in frame}),
    "european.csv": in_european,
}


@pytest.mark.parametrize("name", WRITERS)
def test_amounts_and_percentages_are_numbers(name, plain, tmp_path):
    plain.to_csv(tmp_path / "plain.csv", index=False)
    WRITERS[name](plain, tmp_path / name)
    expected, found = read(tmp_path / "plain.csv"), read(tmp_path / name)
    assert {name: sign for name, sign in found.table.signs.items() if sign} == {
        "amount": "€" if name == "european.csv" else "$",
        "share": "%",
    }
    without_signs = [replace(c, sign="") if isinstance(c, NumericColumn) else c for c in found.table.columns]
    assert replace(found.table, columns=without_signs, reading=expected.table.reading) == expected.table
    assert np.array_equal(found.train.inputs, expected.train.inputs)
    assert [line.split("is read")[0].split(":")[-1].strip() for line in found.notices] == [
        "column 'amount'",
        "column 'share'",
    ]
    assert " is read as numbers: " in found.notices[0]


def test_predictions_read_them_too(plain, tmp_path):
    as_written(plain).to_csv(tmp_path / "t.csv", index=False)
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y")), tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    expected = model.predict_proba(plain)
    frame = as_written(plain)
    for rows in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame), frame[model.columns].to_numpy(object)):
        assert np.array_equal(model.predict_proba(rows), expected)
    for name, write in WRITERS.items():
        if name == "european.csv":
            continue
        write(plain, tmp_path / name)
        out = tmp_path / "out.csv"
        assert main(["predict", str(run.path), "--data", str(tmp_path / name), "--out", str(out)]) == 0
        assert pd.read_csv(out)[["p_p", "p_q"]].to_numpy() == pytest.approx(expected, abs=1e-5), name


def test_numbers_with_and_without_a_sign_are_not_mixed(plain, tmp_path):
    mixed = as_written(plain)
    mixed.loc[3, "share"] = "0.5"
    mixed.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="column 'share' holds numbers and text: row 4 is 0.5, row 1 is"):
        read(tmp_path / "t.csv")
    as_written(plain).to_csv(tmp_path / "good.csv", index=False)
    run = api.fit(config_from_dict(settings(tmp_path / "good.csv", target="y")), tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    with pytest.raises(DataError, match="column 'share' has numbers with '%' and others without"):
        model.predict(mixed)
    # In another batch of the file, too.
    many = pd.concat([as_written(plain)] * 100, ignore_index=True)
    many["share"] = many["share"].where(many.index < 8192, "0.5")
    many.to_csv(tmp_path / "many.csv", index=False)
    with pytest.raises(DataError, match="column 'share' has numbers with '%' and others without"):
        read(tmp_path / "many.csv")


@pytest.mark.parametrize("kind", ["file", "frame"])
def test_another_currency_than_in_training_is_refused(kind, plain, tmp_path):
    as_written(plain).to_csv(tmp_path / "t.csv", index=False)
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y")), tmp_path / "run")
    other = as_written(plain)
    other["amount"] = other["amount"].str.replace("$", "€")
    words = "column 'amount' has numbers with '€', but the model was trained on numbers with '\\$'; convert them"
    other.to_csv(tmp_path / "other.csv", index=False)
    model = StackedDAE.from_run(run.path)
    read_rows = {"frame": lambda: model.predict(other), "file": lambda: [*file_rows(model, tmp_path / "other.csv")]}
    with pytest.raises(DataError, match=words):
        read_rows[kind]()


def test_commas_that_may_mean_two_things_are_refused_wherever_they_stand(tmp_path):
    random = np.random.default_rng(0)
    values = [f"{v}" for v in random.integers(100, 999, 300)] + [
        f"{v},{w:03}" for v, w in random.integers(100, 999, (60, 2))
    ]
    frame = pd.DataFrame({"a": values, "y": random.choice(["p", "q"], 360)})
    words = r"column 'a' has '\d+,\d+', whose comma may part thousands or be the decimal mark"
    frame.to_csv(tmp_path / "late.csv", index=False, sep=";")
    frame.assign(a=[*values[300:], *["NA"] * 300]).to_csv(tmp_path / "na.csv", index=False, sep=";")
    frame.to_parquet(tmp_path / "text.parquet")
    for name in ("late.csv", "na.csv", "text.parquet"):
        with pytest.raises(DataError, match=words):
            read(tmp_path / name)
        assert read(tmp_path / name, decimal=".").table.columns[0].width > 1e5
        assert read(tmp_path / name, decimal=",").table.columns[0].width < 1e3


def test_a_comma_that_was_said_to_be_the_mark_is_one_in_every_kind_of_rows(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": [f"{v},{w:03}" for v, w in random.integers(1, 9, (80, 2))], "y": random.choice(["p", "q"], 80)}
    )
    frame.to_csv(tmp_path / "t.csv", index=False, sep=";")
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y", decimal=",")), tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    expected = model.predict_proba(frame.assign(a=frame["a"].str.replace(",", ".").astype(float)))
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    assert np.array_equal(model.predict_proba(frame), expected)
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        rows = np.concatenate([rows.inputs for rows in file_rows(model, tmp_path / name)])
        assert np.array_equal(model.probabilities_of(rows), expected), name


def test_points_part_thousands_where_commas_are_the_mark(tmp_path):
    lines = [f"{1 + k % 8}.{100 + k}{',5' * (k % 3 == 0)};0,{10 + k};{'pq'[k % 2]}" for k in range(80)]
    (tmp_path / "t.csv").write_text("a;b;y\n" + "\n".join(lines) + "\n")
    columns = {c.name: c for c in read(tmp_path / "t.csv", keep=["a", "b"]).table.columns}
    assert columns["a"].shift >= 1000
    (tmp_path / "t.csv").write_text("a;b;y\n1.5;0,5;p\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"column 'a' has '1\.5', but commas are the decimal mark of the file"):
        read(tmp_path / "t.csv")


def test_text_beside_amounts_stays_text(plain, tmp_path):
    as_written(plain).assign(size=np.where(plain["y"] == "p", "$5", "cheap")).to_csv(tmp_path / "t.csv", index=False)
    columns = {column.name: column for column in read(tmp_path / "t.csv").table.columns}
    assert columns["size"].values == ["$5", "cheap"]


def test_a_run_of_an_earlier_version_keeps_its_names(plain, tmp_path):
    frame = as_written(plain).assign(size=np.where(plain["count"] > 20, "$5", "$10"))
    frame.drop(columns=["amount", "share"]).to_csv(tmp_path / "t.csv", index=False)
    known = Preprocessing(
        [
            NumericColumn("count", 0.0, 50.0, False),
            CategoricalColumn("word", ["blue", "red"]),
            CategoricalColumn("size", ["$10", "$5"]),
        ],
        "y",
        ["p", "q"],
    )
    found = read(tmp_path / "t.csv", known=known).table
    assert [type(column) for column in found.columns] == [NumericColumn, CategoricalColumn, CategoricalColumn]
    assert isinstance(read(tmp_path / "t.csv").table.columns[-1], NumericColumn)


def with_marks(frame):
    marked = frame.astype(object)
    marked.loc[::9, "count"], marked.loc[::7, "word"], marked.loc[::11, "amount"] = "?", "?", -999
    return marked


def test_values_that_stand_for_none_are_missing_everywhere(plain, tmp_path):
    marked, missing = with_marks(plain), with_marks(plain).replace({"?": None, -999: None})
    marked.loc[4, "y"], missing.loc[4, "y"] = "?", None
    marked.to_csv(tmp_path / "t.csv", index=False)
    missing.to_csv(tmp_path / "plain.csv", index=False)
    with pytest.raises(DataError, match=r"if '\?' stands for a missing value: --data\.na_values '\[\"\?\"\]'"):
        read(tmp_path / "t.csv")
    said = {"na_values": ["?", "-999"]}
    data, expected = read(tmp_path / "t.csv", **said), read(tmp_path / "plain.csv")
    assert np.array_equal(data.train.inputs, expected.train.inputs, equal_nan=True)
    assert np.array_equal(data.train.labels, expected.train.labels)
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y", **said)), tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    assert model.preprocessing.to_dict()["reading"] == said
    probabilities = model.predict_proba(missing)
    assert np.array_equal(model.predict_proba(marked), probabilities)
    assert np.array_equal(model.predict_proba(pl.from_pandas(marked.astype(str))), probabilities)
    model.save(tmp_path / "m.safetensors")
    assert np.array_equal(StackedDAE.load(tmp_path / "m.safetensors").predict_proba(marked), probabilities)
    out = tmp_path / "out.csv"
    assert main(["predict", str(run.path), "--data", str(tmp_path / "t.csv"), "--out", str(out)]) == 0
    assert pd.read_csv(out)[["p_p", "p_q"]].to_numpy() == pytest.approx(probabilities, abs=1e-5)
    # The same call trains nothing again.
    before = run.weights_path("finetune").stat().st_mtime_ns
    api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y", **said)), tmp_path / "run")
    assert run.weights_path("finetune").stat().st_mtime_ns == before


def test_a_file_without_a_header(plain, tmp_path, capsys):
    plain.to_csv(tmp_path / "t.csv", index=False, header=False)
    assert (
        main(["fit", "--data.path", str(tmp_path / "t.csv"), "--data.target", "y", "--out", str(tmp_path / "r")]) == 2
    )
    assert "or, if these are values: --data.header false" in capsys.readouterr().err
    assert "if it holds values" in read(tmp_path / "t.csv", target=None).notices[0]
    data = read(tmp_path / "t.csv", target="f4", header=False)
    assert data.table.names == ["f0", "f1", "f2", "f3"]
    assert len(data.train) + len(data.valid) + len(data.load_test()) == ROWS
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="f4", header=False)), tmp_path / "run")
    out = tmp_path / "out.csv"
    command = ["predict", str(run.path), "--data", str(tmp_path / "t.csv"), "--out", str(out)]
    assert main([*command, "--keep-columns", "f3"]) == 0
    found = pd.read_csv(out)
    assert list(found["f3"]) == list(plain["word"])
    frame = plain.set_axis(["f0", "f1", "f2", "f3", "f4"], axis=1)
    assert found[["p_p", "p_q"]].to_numpy() == pytest.approx(
        StackedDAE.from_run(run.path).predict_proba(frame), abs=1e-5
    )
    assert main(["data", "check", str(tmp_path / "t.csv"), "--target", "f4", "--data.header", "false"]) == 0
    assert "--data.header false" in capsys.readouterr().out


def test_a_decimal_comma_that_was_said_holds_for_later_rows(tmp_path):
    lines = "".join(f"{1 + i % 7},{i:03};{'pq'[i % 2]}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("a;y\n" + lines)
    with pytest.raises(
        DataError, match=r"say which it is: --data\.decimal , for the decimal mark, --data\.decimal \. "
    ):
        read(tmp_path / "t.csv")
    run = api.fit(config_from_dict(settings(tmp_path / "t.csv", target="y", decimal=",")), tmp_path / "run")
    out = tmp_path / "out.csv"
    assert main(["predict", str(run.path), "--data", str(tmp_path / "t.csv"), "--out", str(out)]) == 0
    assert read(tmp_path / "t.csv", decimal=",").table.columns[0].shift == 1.0
    assert read(tmp_path / "t.csv", decimal=".").table.columns[0].shift == 1000.0


def lines_of(path, *columns):
    rows = [";".join(str(column(k)) for column in columns) for k in range(80)]
    path.write_text(";".join("xzy"[: len(columns) - 1]) + ";y\n" + "\n".join(rows) + "\n")
    return path


def y(k):
    return "pq"[k % 2]


def test_names_with_commas_stay_as_they_are_written(tmp_path):
    file = lines_of(tmp_path / "t.csv", lambda k: ["gratis", "3,50 €"][k % 3 == 0], lambda k: f"0,{10 + k}", y)
    data = read(file)
    assert {c.name: c for c in data.table.columns}["x"].values == ["3,50 €", "gratis"]
    model = data.table
    assert not any("(unseen)" in name and data.train.inputs[:, k].any() for k, name in enumerate(model.inputs))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["0.125", "0.250", "0.500"], "has '0.125', but commas are the decimal mark of the file"),
        (["1.234", "2.500", "7.100"], "has '.*', whose point may part thousands or be the decimal mark"),
    ],
)
def test_points_in_a_file_of_decimal_commas_are_not_guessed(values, words, tmp_path):
    file = lines_of(tmp_path / "t.csv", lambda k: values[k % 3], lambda k: f"1,{10 + k}", y)
    with pytest.raises(DataError, match=words):
        read(file)
    assert read(file, decimal=".", drop=["z"]).table.columns[0].shift < 2


def test_a_column_with_both_marks_is_sure_and_thousands_are_right(tmp_path):
    file = lines_of(tmp_path / "t.csv", lambda k: ["1.037,50", "1.234", "900,25"][k % 3], lambda k: f"0,{10 + k}", y)
    column = {c.name: c for c in read(file).table.columns}["x"]
    assert (column.shift, column.shift + column.width) == (900.25, 1234.0)


def test_exponents_may_have_a_decimal_comma(tmp_path):
    file = lines_of(tmp_path / "t.csv", lambda k: ["0,25", "0,5", "1,5E-05"][k % 3], lambda k: f"0,{10 + k}", y)
    assert {c.name: c for c in read(file).table.columns}["x"].shift == 1.5e-5


def test_parts_of_a_folder_with_a_said_mark_and_a_sign_are_right(tmp_path):
    (tmp_path / "d").mkdir()
    for k in range(2):
        lines_of(tmp_path / "d" / f"{k}.csv", lambda i: f"{1 + i % 3},{200 + i} €", y)
    column = read(tmp_path / "d", decimal=",").table.columns[0]
    assert 1 < column.shift < 2 < column.shift + column.width < 4


def test_missing_values_may_be_written_with_the_comma_of_the_file(tmp_path):
    file = lines_of(tmp_path / "t.csv", lambda k: "-9,5" if k % 5 == 0 else f"{k},25", lambda k: f"0,{10 + k}", y)
    for written in ("-9,5", "-9.5", "-9,50"):
        assert {c.name: c for c in read(file, na_values=[written]).table.columns}["x"].shift > 0, written


def test_a_file_without_a_header_is_not_cut_at_its_decimal_commas(tmp_path):
    (tmp_path / "t.csv").write_text("".join(f"0,{10 + k};1,{25 + k};{'ab'[k % 2]}\n" for k in range(80)))
    assert read(tmp_path / "t.csv", target="f2", header=False).table.names == ["f0", "f1"]


def test_layers_refuse_another_sign_on_another_table(tmp_path):
    lines_of(tmp_path / "percent.csv", lambda k: f"{k % 30}%", lambda k: k % 7, y)
    lines_of(tmp_path / "dollars.csv", lambda k: f"${k % 30}", lambda k: k % 7, y)
    layers = api.pretrain(config_from_dict(settings(tmp_path / "percent.csv", target="y")), tmp_path / "layers")
    with pytest.raises(
        DataError, match="column 'x' has numbers with .*, but the model was trained on numbers with '%'"
    ):
        api.finetune(config_from_dict(settings(tmp_path / "dollars.csv", target="y")), tmp_path / "run", layers.path)


def test_points_are_not_guessed_where_the_training_file_had_decimal_commas(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a;y\n" + "".join(f"{k}.{k % 10}00,{k % 9}5;{'pq'[k % 2]}\n" for k in range(100, 190)))
    run = api.fit(config_from_dict(settings(file, target="y")), tmp_path / "run")
    assert run.preprocessing().columns[0].shift > 1e5
    later = tmp_path / "later.csv"
    later.write_text("a;y\n123.400;p\n150.700;q\n")
    assert main(["predict", str(run.path), "--data", str(later), "--out", str(tmp_path / "p.csv")]) == 2
    assert main(["evaluate", str(run.path), "--data", str(later)]) == 2
    # A decimal point for sure, commas again, and files that hold numbers.
    numbers = [123400.0, 150700.5]
    answers = []
    later.write_text("a,y\n123400.0,p\n150700.5,q\n")
    frame = pd.DataFrame({"a": numbers, "y": ["p", "q"]})
    frame.to_parquet(tmp_path / "later.parquet")
    frame.to_csv(tmp_path / "comma.csv", sep=";", decimal=",", index=False)
    for name in ("later.csv", "later.parquet", "comma.csv"):
        assert main(["predict", str(run.path), "--data", str(tmp_path / name), "--out", str(tmp_path / "p.csv")]) == 0
        answers.append((tmp_path / "p.csv").read_text())
    assert len(set(answers)) == 1
    # The run itself is found finished.
    assert api.fit(config_from_dict(settings(file, target="y")), tmp_path / "run").result() == run.result()


def test_a_run_of_a_version_that_did_not_keep_the_mark_is_found_finished(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a;y\n" + "".join(f"{k},5;{'pq'[k % 2]}\n" for k in range(90)))
    config = config_from_dict(settings(file, target="y"))
    known = read(file).table
    old = replace(known, reading=replace(known.reading, commas=False))
    found = read_table(config.data, scratch=tmp_path, budget_bytes=10**9, known=old).table
    assert found.to_dict() == old.to_dict()
