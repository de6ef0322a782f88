"""Groups that stay together, rows in the order of time, and what is said of the rows that neither leaves a place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.tables import settings

from stacked_dae import DAEDataModule
from stacked_dae.cli.main import main
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.formats.opening import open_table
from stacked_dae.data.tabular.loading import read_table
from stacked_dae.data.tabular.rows import read_rows
from stacked_dae.data.tabular.splitting import (
    UNUSED,
    ranks,
    split_by_chance,
    split_by_class,
    split_by_group,
    split_by_order,
)
from stacked_dae.errors import ConfigError, DataError
from stacked_dae.pipeline import api

SHARES = [0.7, 0.1, 0.2]


def visits(rows=300, patients=60):
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": random.normal(size=rows),
            "b": random.normal(size=rows),
            "patient": [f"p{k}" for k in random.integers(0, patients, rows)],
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 100, rows), unit="D"),
            "y": random.choice(["ill", "well"], rows),
        }
    )


WRITERS = {
    "t.csv": lambda frame, path: frame.to_csv(path, index=False),
    "t.parquet": lambda frame, path: frame.to_parquet(path),
    "t.feather": lambda frame, path: frame.to_feather(path),
}


def splits_of(path, **data):
    return read_rows(path, open_table(path), DataConfig(path=str(path), target="y", **data))


@pytest.mark.parametrize("name", WRITERS)
def test_a_group_is_in_one_split(name, tmp_path):
    frame = visits()
    WRITERS[name](frame, tmp_path / name)
    rows = splits_of(tmp_path / name, groups="patient")
    assert (frame.assign(part=rows.splits).groupby("patient")["part"].nunique() == 1).all()
    shares = np.bincount(rows.splits) / len(frame)
    assert shares == pytest.approx(SHARES, abs=0.04)
    data = read_table(
        DataConfig(path=str(tmp_path / name), target="y", groups="patient", drop=["when"]),
        scratch=tmp_path,
        budget_bytes=10**9,
    )
    assert data.table.names == ["a", "b"]
    assert len(data.train) == (rows.splits == 0).sum()


@pytest.mark.parametrize("name", WRITERS)
def test_the_last_rows_are_for_the_test(name, tmp_path):
    frame = visits()
    WRITERS[name](frame, tmp_path / name)
    rows = splits_of(tmp_path / name, order="when")
    when = [frame["when"][rows.splits == k] for k in range(3)]
    assert when[0].max() < when[1].min() <= when[1].max() < when[2].min()
    assert np.bincount(rows.splits) / len(frame) == pytest.approx(SHARES, abs=0.03)


def test_numbers_are_in_their_own_order():
    assert ranks(["10", "9", "1e2", "-1"]).tolist() == [2, 1, 3, 0]
    assert ranks(["2026-01-02", "2025-12-31", "2026-01-02"]).tolist() == [1, 0, 1]
    assert ranks(["2026-01-02 10:00:00", "2026-01-02T09:00"]).tolist() == [1, 0]
    assert ranks(["2026-01-02T10:00+02:00", "2026-01-02T09:00Z"]).tolist() == [0, 1]
    assert ranks(["2026-01-02T10:00+02:00", "2026-01-02T09:00"]) == 1
    assert ranks(["2026-01-01 12:00 AM", "2026-01-01 02:54 PM"]) == 0
    assert ranks(["2026-01-01", "2026-99-99"]) == 1
    assert ranks(["1", "2", "x"]) == 2
    assert ranks(["2026-01-02", "3/4/2026"]) == 1
    assert ranks(["x"]) == 0


@pytest.mark.parametrize("by", ["groups", "order"])
def test_rows_without_a_label_do_not_leak(by, tmp_path):
    frame = visits()
    frame.loc[::3, "y"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    column = {"groups": "patient", "order": "when"}[by]
    rows = splits_of(tmp_path / "t.csv", **{by: column})
    assert (rows.labels[np.isin(rows.splits, (1, 2))] >= 0).all()
    unlabelled = frame["y"].isna().to_numpy()
    used = rows.splits == 0
    if by == "groups":
        held_out = set(frame["patient"][np.isin(rows.splits, (1, 2))])
        assert not held_out & set(frame["patient"][used])
    else:
        assert frame["when"][used].max() < frame["when"][np.isin(rows.splits, (1, 2))].min()
    assert (used & unlabelled).any()
    unused = int((rows.splits == UNUSED).sum())
    assert unused > 0
    (notice,) = rows.notices
    assert notice.startswith(f"{unused} rows without a label are not used, since by data.{by} {column} they belong to")


def test_a_large_group_is_for_training():
    groups = np.repeat([0, 1, 2, 3, 4], [600, 100, 100, 100, 100])
    part = split_by_group(groups, np.ones(1000, bool), SHARES)
    assert set(part[groups == 0]) == {0}


def test_equal_places_in_the_order_stay_together():
    keys = np.repeat([0, 1, 2], [80, 10, 10])
    part = split_by_order(keys, np.ones(100, bool), [0.75, 0.05, 0.2])
    assert all(len(set(part[keys == k])) == 1 for k in range(3))


def test_chance_deals_as_it_always_has():
    part = split_by_chance(np.ones(20, bool), SHARES)
    assert "".join(map(str, part)) == "10000200120000202000"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"groups": "patients"}, "data.groups: .* has no column 'patients' .did you mean 'patient'"),
        ({"groups": "y"}, "data.groups: column 'y' .* is the target, too"),
        ({"groups": "patient", "order": "when"}, "data.groups and data.order: give one"),
        ({"groups": "patient", "split": "a"}, "data.groups and data.split: give one"),
        ({"order": "patient"}, "column 'patient', row 1 is 'p.*'; data.order needs numbers alone, or dates"),
        ({"groups": "few"}, "the 2 groups of column 'few' are too few for a validation row"),
        ({"groups": "empty"}, "column 'empty', row 8 is empty, so its split is not known"),
    ],
)
def test_what_cannot_be_split_is_named(settings, words, tmp_path):
    frame = visits().assign(few=lambda f: f.index % 2, empty="x")
    frame.loc[7, "empty"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises((ConfigError, DataError), match=words):
        read_table(
            DataConfig(path=str(tmp_path / "t.csv"), target="y", drop=["when"], **settings),
            scratch=tmp_path,
            budget_bytes=10**9,
        )


def test_a_run_by_groups_and_its_report(tmp_path, capsys):
    visits().drop(columns="when").to_csv(tmp_path / "t.csv", index=False)
    config = config_from_dict(settings(tmp_path / "t.csv", target="y", groups="patient"))
    run = api.fit(config, tmp_path / "run")
    assert run.preprocessing().names == ["a", "b"]
    by_chance = config_from_dict(settings(tmp_path / "t.csv", target="y", drop=["patient"]))
    other = api.fit(by_chance, tmp_path / "other")
    assert run.result().test_rows != other.result().test_rows
    assert main(["data", "check", str(tmp_path / "t.csv"), "--target", "y", "--data.groups", "patient"]) == 0
    assert "--data.groups patient" in capsys.readouterr().out
    kept = api.fit(
        config_from_dict(settings(tmp_path / "t.csv", target="y", groups="patient", keep=["a", "patient"])),
        tmp_path / "kept",
    )
    assert kept.preprocessing().names == ["a", "patient"]
    module = DAEDataModule.from_table(str(tmp_path / "t.csv"), "y", groups="patient")
    module.setup("fit")
    assert sum(len(batch[0]) for batch in module.train_dataloader()) > 150


def mixed(path, split):
    finetune = {"head": "mixed", "epochs": 2}
    return config_from_dict({**settings(path, target="y", split=split, drop=["patient", "when"]), "finetune": finetune})


@pytest.mark.parametrize(
    ("split", "rows"),
    [([1.0, 0.0, 0.0], [300, 0, 0]), ([0.8, 0.0, 0.2], [240, 0, 60]), ([0.9, 0.1, 0.0], [270, 30, 0])],
)
def test_a_share_may_be_0(split, rows, tmp_path, capsys):
    visits().to_csv(tmp_path / "t.csv", index=False)
    config = mixed(tmp_path / "t.csv", split)
    data = read_table(config.data, scratch=tmp_path, budget_bytes=10**9)
    assert [len(data.train), len(data.valid), len(data.load_test())] == rows
    assert [word for word in ("validation", "test") if f"no {word} rows" in " ".join(data.notices)] == [
        word for word, count in zip(("validation", "test"), rows[1:], strict=True) if not count
    ]
    run = api.fit(config, tmp_path / "run")
    assert run.has_result == (rows[2] > 0)
    before = run.weights_path("finetune").stat().st_mtime_ns
    assert api.fit(config, tmp_path / "run").weights_path("finetune").stat().st_mtime_ns == before
    # The learning curves and the summary are there all the same.
    assert run.metrics("layer_1").rows()[-1]["valid_loss"] > 0.0
    assert main(["summary", str(run.path)]) == 0
    command = ["evaluate", str(run.path)]
    if rows[2]:
        assert main(command) == 0
    else:
        assert main(command) == 2
        assert "has no test rows (data.split); give labelled ones" in capsys.readouterr().err
        assert main([*command, "--data", str(tmp_path / "t.csv")]) == 0
    module = DAEDataModule.from_dataset(data)
    module.setup("fit")
    assert len(module.train_dataloader()) > 0


def test_without_validation_rows_the_paper_s_network_is_refused(tmp_path):
    visits().to_csv(tmp_path / "t.csv", index=False)
    config = config_from_dict(settings(tmp_path / "t.csv", target="y", split=[0.8, 0.0, 0.2], drop=["patient", "when"]))
    with pytest.raises(ConfigError, match="nothing chooses the epoch of finetune.head softmax; give them a share, or"):
        api.fit(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="three shares that sum to 1, of which the first is above 0"):
        DataConfig(path="t.csv", split=[0.0, 0.5, 0.5])


@pytest.mark.parametrize("counts", [(500, 100, 30, 10), (4, 4, 4, 4, 4), (7, 1, 3), (50, 2)])
def test_each_class_has_the_shares(counts):
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    labels = np.concatenate([labels, np.full(9, -1)])
    part = split_by_class(labels, SHARES)
    assert (part[labels < 0] == 0).all()
    for label, rows in enumerate(counts):
        found = np.bincount(part[labels == label], minlength=3)
        assert found[0] > 0
        if rows > 4:
            np.testing.assert_allclose(found, np.array(SHARES) * rows, atol=1.01)
    everything = np.bincount(part[labels >= 0], minlength=3)
    # One row for each class that would have no training row otherwise.
    np.testing.assert_allclose(everything, np.array(SHARES) * sum(counts), atol=1.01 + sum(n < 3 for n in counts))
    np.testing.assert_array_equal(part, split_by_class(labels, SHARES))


def test_a_rare_class_is_in_every_split_where_it_is_asked_for(tmp_path, capsys):
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"a": random.normal(size=400), "y": ["often"] * 380 + ["rare"] * 20})
    file = tmp_path / "t.csv"
    frame.to_csv(file, index=False)
    labels = frame["y"] == "rare"
    assert list(np.bincount(splits_of(file, stratify=True).splits[labels])) == [14, 2, 4]
    assert list(np.bincount(splits_of(file).splits[labels], minlength=3)) != [14, 2, 4]
    # What a message suggests works.
    shares = [0.01, 0.495, 0.495]
    said = splits_of(file, split=shares).errors[0]
    assert said.endswith("--data.stratify true")
    assert splits_of(file, split=shares, stratify=True).errors == []
    command = ["fit", "--data.path", str(file), "--data.target", "y", "--pretrain.units", "3", "--pretrain.epochs", "1"]
    command += ["--finetune.epochs", "1", "--data.stratify", "true"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert main(["data", "check", str(file), "--target", "y", "--data.stratify", "true"]) == 0
    assert "--data.stratify true" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{"split": "part"}, {"groups": "g"}, {"order": "t"}, {"target": None}])
def test_stratified_by_what_is_refused(other):
    with pytest.raises(ConfigError, match=r"data\.stratify"):
        DataConfig(**{"path": "t.csv", "target": "y", "stratify": True, **other})
