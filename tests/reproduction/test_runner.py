"""Table 1: the published figures, the support vector machine, the rows and how they are written."""

from __future__ import annotations

import csv
import json
import math
import os
import threading
from dataclasses import asdict, replace

import matplotlib.image
import numpy as np
import pytest
from helpers.small_runs import blobs
from sklearn.svm import SVC

from stacked_dae.cli.main import main
from stacked_dae.data import registry
from stacked_dae.data.builtin.digits import digits
from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.errors import ConfigError, DataError, StageError
from stacked_dae.reproduction import models, parallel, published, runner, search_space
from stacked_dae.reproduction.rendering import write_table
from stacked_dae.reproduction.search_space import DEFAULT_LAYERS
from stacked_dae.reproduction.svm import pixels, support_vector_machine
from stacked_dae.reproduction.table import TableRow, ordered
from stacked_dae.runs.fingerprints import result_fingerprint
from stacked_dae.utils.files import lock_folder
from stacked_dae.utils.intervals import interval
from stacked_dae.utils.terminal.progress import Reporter

COLUMNS = ("svm-rbf", "svm-poly", "dbn-1", "saa-3", "dbn-3", "sda-3")


def test_published_intervals_are_those_of_50000_test_rows():
    # Every figure was typed by hand: its interval follows from it, so most slips of either show.
    for problem in published.PROBLEMS:
        for model in (*COLUMNS, "sda-3-emphasis"):
            found = published.published_error(problem, model)
            if model in COLUMNS or problem in ("rot", "bg-rand"):
                error, half = found
                p = error / 100
                assert half == pytest.approx(196 * math.sqrt(p * (1 - p) / 50000), abs=0.0101), (problem, model)
            else:
                assert found is None
    assert published.published_error("rect", "mlp-3") is None


def test_published_columns_add_up():
    # Added up from the paper's table, not from ours.
    sums = {"svm-rbf": 151.83, "svm-poly": 162.17, "dbn-1": 145.11, "saa-3": 144.84, "dbn-3": 127.57, "sda-3": 127.28}
    for column, total in sums.items():
        assert sum(published.published_error(p, column)[0] for p in published.PROBLEMS) == pytest.approx(
            total, abs=1e-6
        ), column


def test_an_order_that_cannot_be_is_refused(tmp_path):
    request = runner.ReproductionRequest(["rot"], ["mlp-3"], "quick", 0, 0, "regenerated", None)
    with pytest.raises(ConfigError, match="--budget must be a whole number above 0"):
        runner.reproduce(request, tmp_path / "out", Reporter())
    assert not (tmp_path / "out").exists()


def test_the_papers_best_and_noise():
    assert [published.best_published_error(p) for p in ("basic", "bg-rand", "rot-bg-img")] == [
        (2.80, 0.14),
        (6.73, 0.22),
        (44.49, 0.44),
    ]
    assert [published.published_noise(p) for p in ("basic", "bg-rand", "bg-img")] == [0.1, 0.4, 0.25]


def row(error, half, problem="rot", model="sda-3", **more):
    there = published.published_error(problem, model) or (None, None)
    values = {"preset": "quick", "budget": 3, "seed": 0, "machine": "a machine", "date": "2026-01-01"}
    return TableRow(problem, model, "regenerated", error, half, 50000, *there, **{**values, **more})


@pytest.mark.parametrize(
    ("error", "half", "verdict"),
    [
        (10.29, 0.2, "equal"),
        (9.83, 0.20, "equal"),
        (9.81, 0.20, "better"),
        (10.75, 0.20, "equal"),
        (10.77, 0.2, "worse"),
    ],
)
def test_the_verdict_asks_whether_the_intervals_overlap(error, half, verdict):
    assert published.published_error("rot", "sda-3") == (10.29, 0.27)
    assert row(error, half).verdict == verdict
    assert row(error, half, model="mlp-3").verdict == ""


def test_the_interval_is_the_binomial_one():
    assert interval(10.0, 50000) == pytest.approx(0.263, abs=5e-4)


def test_the_machine_is_scikit_learns(tmp_path):
    data, reads = digits(), []
    # Few training rows, so that it matters that the machine is trained again on the validation rows too.
    few, rest = (Split(data.train.inputs[cut], data.train.labels[cut]) for cut in (slice(120), slice(120, None)))
    test = data.load_test()
    counted = data = Dataset(data.name, data.classes, few, rest, lambda: reads.append(1) or test)
    found = support_vector_machine(counted, Reporter())
    assert len(reads) == 1
    x, xv, xt = (pixels(s.inputs).numpy().astype(np.float64) for s in (data.train, data.valid, test))
    chosen = SVC(C=found.c, gamma=found.gamma).fit(x, data.train.labels)
    assert found.valid_error_percent == pytest.approx(100 * (chosen.predict(xv) != data.valid.labels).mean())
    both = SVC(C=found.c, gamma=found.gamma).fit(
        np.concatenate([x, xv]), np.concatenate([data.train.labels, data.valid.labels])
    )
    theirs = 100 * (both.predict(xt) != test.labels).mean()
    # Distances are in float32 here: at most one row may fall on the other side.
    assert found.test_error_percent == pytest.approx(theirs, abs=100 / len(xt) + 1e-9)
    assert found.n == len(xt)
    assert abs(100 * (chosen.predict(xt) != test.labels).mean() - theirs) > 2, "trained on both"
    # Worse than what was chosen, by validation: the choice is one.
    poor = SVC(C=1e-3, gamma=found.gamma).fit(x, data.train.labels)
    assert 100 * (poor.predict(xv) != data.valid.labels).mean() > found.valid_error_percent


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Make a search one of seconds, on blobs, and run it from the command line."""
    monkeypatch.setattr(registry, "load_dataset", lambda name, *_: replace(blobs(), name=name))
    # What is put in place here is not in other processes.
    monkeypatch.setattr(parallel, "_workers", lambda: 1)
    monkeypatch.setattr(search_space, "DEFAULT_LAYERS", {**DEFAULT_LAYERS, "units": 8, "pretrain_epochs": 2})
    monkeypatch.setitem(
        search_space._RANGES, "quick", search_space.Ranges((6, 9), (0.1, 0.4), (0.1,), (1, 2), (1.0, 0.1))
    )

    def run(*words):
        return main(["reproduce", "icml2008", "--out", str(tmp_path / "table"), *words])

    run.out = tmp_path / "table"
    return run


def read(out):
    return list(csv.DictReader((out / "table.csv").read_text().splitlines()))


@pytest.mark.slow
def test_the_table_from_the_command_line(quick, capsys):
    models = ["sda-3", "saa-3", "mlp-3", "svm-rbf", "svm-codes"]
    assert quick("--problems", "rot", "basic", "--models", *models, "--budget", "2") == 0
    said = capsys.readouterr().out
    rows = read(quick.out)
    names = ["svm-rbf", "mlp-3", "saa-3", "sda-3", "svm-codes-1", "svm-codes-2", "svm-codes-3"]
    assert [(r["problem"], r["model"]) for r in rows] == [(p, m) for p in ("basic", "rot") for m in names]
    by = {(r["problem"], r["model"]): r for r in rows}
    sda = by["rot", "sda-3"]
    assert (sda["paper_percent"], sda["preset"], sda["budget"], sda["tried"]) == ("10.29", "quick", "2", "2")
    assert int(sda["n_test"]) == 90
    assert float(sda["ci95_percent"]) == pytest.approx(interval(float(sda["test_error_percent"]), 90), abs=1e-3)
    assert "nu=" in sda["settings"]
    assert "nu=" not in by["rot", "mlp-3"]["settings"]
    results = list((quick.out / "rot" / "sda-3").glob("try_*/result.json"))
    assert len(results) == 1, "the chosen configuration alone is tested"
    assert float(sda["test_error_percent"]) == pytest.approx(
        json.loads(results[0].read_text())["test_error_percent"], abs=1e-3
    )
    text = (quick.out / "table.md").read_text()
    assert "| rot | sda-3 | 10.29 ± 0.27 |" in text
    assert "Vincent" in text
    assert "sda-3" in said
    assert matplotlib.image.imread(quick.out / "table.png").std() > 0.05


def test_what_is_measured_is_not_measured_again(quick, capsys):
    words = ("--problems", "rot", "--models", "mlp-3", "--budget")
    assert quick(*words, "1") == 0
    first, files = read(quick.out), sorted(p.stat().st_mtime_ns for p in quick.out.rglob("weights.safetensors"))
    assert quick(*words, "1") == 0
    assert read(quick.out) == first
    assert sorted(p.stat().st_mtime_ns for p in quick.out.rglob("weights.safetensors")) == files
    # A larger budget takes the row's place, and says so; a smaller one and another model leave it alone.
    assert quick(*words, "2") == 0
    assert [(r["model"], r["budget"]) for r in read(quick.out)] == [("mlp-3", "2")]
    assert quick(*words, "1") == 0
    assert quick("--problems", "rot", "--models", "svm-rbf", "svm-rbf") == 0
    assert [(r["model"], r["budget"]) for r in read(quick.out)][1] == ("mlp-3", "2")
    # Another seed or preset is another row.
    assert quick(*words, "1", "--seed", "1") == 0
    assert [(r["model"], r["seed"]) for r in read(quick.out)][1:] == [("mlp-3", "0"), ("mlp-3", "1")]


def test_test_rows_are_not_read_again_for_what_is_measured(quick, monkeypatch):
    reads = []
    test = blobs().load_test()
    counted = replace(blobs(load_test=lambda: reads.append(1) or (test.inputs, test.labels)), name="rot")
    monkeypatch.setattr(registry, "load_dataset", lambda *_: counted)
    words = ("--problems", "rot", "--models", "sda-3", "svm-rbf", "svm-codes", "--budget", "1")
    assert quick(*words) == 0
    assert len(reads) == 1 + 1 + 3
    assert quick(*words) == 0
    assert len(reads) == 5
    assert quick(*words[:2], "--models", "svm-rbf", "--source", "original") == 0
    assert len(reads) == 6, "the originals are other rows"


def test_a_row_of_other_data_or_ranges_is_measured_again(quick, monkeypatch):
    words = ("--problems", "rot", "--models", "mlp-3", "svm-rbf", "--budget", "1")
    assert quick(*words) == 0
    first = {r["model"]: r["made_from"] for r in read(quick.out)}
    others = search_space.Ranges((6,), (0.1,), (0.1,), (1,), (0.2,))
    monkeypatch.setitem(search_space._RANGES, "quick", others)
    assert quick(*words) == 0
    second = {r["model"]: r["made_from"] for r in read(quick.out)}
    assert (second["mlp-3"] != first["mlp-3"], second["svm-rbf"] == first["svm-rbf"]) == (True, True)
    monkeypatch.setattr(registry, "load_dataset", lambda name, *_: replace(blobs(seed=1), name=name))
    assert quick(*words) == 0
    assert all(r["made_from"] != second[r["model"]] for r in read(quick.out))
    assert len(read(quick.out)) == 2


def test_nothing_is_measured_before_every_problem_is_ready(quick, monkeypatch, capsys):
    def load(name, *_):
        if name == "bg-img":
            raise DataError("the photographs come with the package scikit-image")
        return replace(blobs(), name=name)

    monkeypatch.setattr(registry, "load_dataset", load)
    assert quick("--problems", "rot", "bg-img", "--models", "mlp-3", "--budget", "1") == 2
    assert "scikit-image" in capsys.readouterr().err
    assert not quick.out.exists()


def test_each_row_has_its_command(quick):
    assert quick("--problems", "rot", "--models", "mlp-3", "svm-rbf", "--budget", "1", "--seed", "2") == 0
    assert [r["command"] for r in read(quick.out)] == [
        "stacked-dae reproduce icml2008 --problems rot --models svm-rbf",
        "stacked-dae reproduce icml2008 --problems rot --models mlp-3 --preset quick --budget 1 --seed 2",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--problems", "rekt"), "--problems: there is no 'rekt' (did you mean 'rect'?)"),
        (("--models", "sda"), "--models: there is no 'sda' (did you mean 'sda-3'?)"),
        (("--budget", "0"), "--budget must be a whole number above 0, not 0"),
        (("--budget", "many"), "budget must be a whole number above 0, not 'many'"),
        (("--preset", "quik"), "preset must be one of quick, paper"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(quick, capsys, words, message):
    assert quick(*words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not quick.out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("filters", "--problems", "rect", "convex"), "--problems: reproduce filters takes exactly one problem"),
        (("noise",), "--problems: reproduce noise takes exactly one problem: basic, rot"),
        (("noise", "--problems", "rect", "--models", "sda-3"), "--models applies only to reproduce icml2008"),
    ],
)
def test_a_figure_takes_one_problem_and_no_search(capsys, words, message):
    assert main(["reproduce", *words]) == 2
    assert message in capsys.readouterr().err


def test_another_table_is_not_known(capsys):
    assert main(["reproduce", "icml2018"]) == 2
    assert (
        "reproduce must be followed by one of icml2008, filters, noise, not 'icml2018' (did you mean 'icml2008'?)"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "changed", [{"problem": "rect2"}, {"seed": "0"}, {"test_error_percent": "3"}, {"settings": 3}, {"more": 1}, "row"]
)
def test_damaged_rows_are_named(tmp_path, changed):
    whole = asdict(row(3.0, 0.1))
    (tmp_path / "rows.json").write_text(json.dumps([whole]))
    assert runner._rows(tmp_path) == [row(3.0, 0.1)]
    (tmp_path / "rows.json").write_text(json.dumps([{**whole, **changed} if isinstance(changed, dict) else changed]))
    with pytest.raises(StageError, match=r"rows.json is damaged; move it away"):
        runner._rows(tmp_path)


def test_two_processes_lose_no_row_of_one_table(tmp_path):
    """One that keeps a row waits for another that does, and reads the rows after it."""
    held = lock_folder(tmp_path)
    waiting = threading.Thread(target=runner._keep, args=(tmp_path, row(3.0, 0.1, "rect")))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    runner._write(tmp_path, [row(2.0, 0.1)])
    os.close(held)
    waiting.join(60)
    assert {kept.problem for kept in runner._rows(tmp_path)} == {"rot", "rect"}


def test_rows_of_several_seeds_and_searches_that_fell_short_are_told_apart(tmp_path):
    short = row(3.0, 0.1, model="mlp-3", budget=50, tried=3, diverged=1)
    write_table([short, replace(short, seed=1, budget=3), row(2.0, 0.1, model="svm-rbf", preset="", tried=9)], tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| rot | mlp-3 (seed 0) |" in text
    assert "| quick 3 of 50, 1 diverged |" in text
    assert "| rot | mlp-3 (seed 1) |" in text
    assert "| rot | svm-rbf |" in text
    assert "| 9 pairs |" in text
    assert "Measured 2026-01-01 on a machine.\n" in text
    assert "Measured 2026-01-01 on a machine; seed 1.\n" in text


def test_rows_of_two_presets_are_told_apart_where_both_are_there(tmp_path):
    rows = [row(3.0, 0.1), row(2.0, 0.1, preset="paper", budget=50, tried=50), row(2.0, 0.1, "rect")]
    write_table(rows, tmp_path)
    names = [line.split(" | ")[1] for line in (tmp_path / "table.md").read_text().splitlines() if "| sda-3" in line]
    assert names == ["sda-3 (preset quick)", "sda-3 (preset paper)", "sda-3"]


def test_what_does_not_decide_a_result_does_not_decide_a_row():
    """New settings with defaults, and where data lie, leave measured rows as they are."""
    (config,) = search_space.search_candidates("rot", "sda-3", "quick", 1, 0, "regenerated")
    mark = result_fingerprint(config, "data")
    elsewhere = replace(config, data=replace(config.data, root="x", memory_budget=1.0, name="basic"))
    assert result_fingerprint(elsewhere, "data") == mark
    assert result_fingerprint(config, "other data") != mark
    assert result_fingerprint(replace(config, seed=1), "data") != mark
    assert result_fingerprint(replace(config, finetune=replace(config.finetune, dropout=0.1)), "data") != mark


def test_a_machine_on_codes_that_was_killed_is_not_tested_twice(quick, monkeypatch):
    words = ("--problems", "rot", "--models", "svm-codes", "--budget", "1")
    trained, machine = [], support_vector_machine

    def killed(data, reporter):
        trained.append(data.inputs)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return machine(data, reporter)

    monkeypatch.setattr(runner, "support_vector_machine", killed)
    assert quick(*words) == 130
    assert [r["model"] for r in read(quick.out)] == ["svm-codes-1", "svm-codes-2"]
    assert quick(*words) == 0
    assert [r["model"] for r in read(quick.out)] == ["svm-codes-1", "svm-codes-2", "svm-codes-3"]
    assert len(trained) == 4


@pytest.mark.slow
def test_every_model_has_its_row(quick):
    names = [model for model in models.MODELS if model != "svm-codes"]
    assert quick("--problems", "rot", "--models", *names, "--budget", "4") == 0
    rows = {r["model"]: r for r in read(quick.out)}
    assert rows.keys() == set(names)
    for model in models.MODERN_MODELS:
        assert (rows[model]["paper_percent"], int(rows[model]["tried"])) == ("10.29", 4)
        tried = [file.read_text() for file in (quick.out / "rot" / model).glob("try_*/config.yaml")]
        assert all("name: adam" in text for text in tried)
    emphasised = next((quick.out / "rot" / "sda-3-emphasis").glob("try_*/config.yaml")).read_text()
    assert "salt_and_pepper" in emphasised


def test_rows_are_in_the_papers_order_and_the_originals_are_told_apart(tmp_path):
    rows = [row(3.0, 0.1, "convex"), row(2.0, 0.1, "rect")]
    original = TableRow(**{**vars(rows[1]), "source": "original"})
    assert [r.key[:3] for r in ordered([original, *rows])] == [
        ("rect", "regenerated", "sda-3"),
        ("rect", "original", "sda-3"),
        ("convex", "regenerated", "sda-3"),
    ]
    write_table([original, *rows], tmp_path)
    assert "| rect (original) | sda-3 |" in (tmp_path / "table.md").read_text()
