"""Searches: trials that are drawn, shared, stopped, cut, continued, and told."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import yaml
from helpers.small_runs import MessageRecorder, blobs, small, stop_after
from sqlalchemy.exc import OperationalError

from stacked_dae import objective, search
from stacked_dae.cli.main import main
from stacked_dae.errors import ConfigError, DivergedError, StageError
from stacked_dae.runs.folder import RunFolder
from stacked_dae.tuning import trials as trials_module
from stacked_dae.tuning.result import read_search
from stacked_dae.tuning.study import storage
from stacked_dae.tuning.study import study as study_module
from stacked_dae.utils.files import lock_folder
from stacked_dae.utils.terminal.progress import Reporter

RATE = "finetune.optimizer.lr"
LOG = {"distribution": "log_uniform_values", "min": 0.01, "max": 1.0}
SPACE = {RATE: LOG, "pretrain.corruption.nu": [[0.25, 0.1], [0.25, 0.4]]}


def searched(out, count=5, space=SPACE, config=None, **how):
    return search(config or small(), space, trials=count, out=out, dataset=blobs(), **how)


def weights(out):
    return {file: file.stat().st_mtime_ns for file in Path(out).glob("trial_*/*/weights.safetensors")}


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "out"
    recorder = MessageRecorder()
    return searched(out, progress=recorder), recorder.lines


def test_the_best_alone_is_tested_and_layers_are_trained_once(five):
    result, _ = five
    values = [(trial.value, trial.valid_loss) for trial in result.all_trials]
    assert (result.best.value, result.best.valid_loss) == min(values)
    assert [t.number for t in result.all_trials if (t.folder / "result.json").exists()] == [result.best.number]
    assert result.best_config == result.best_run.config()
    noises = {str(trial.settings["pretrain.corruption.nu"]) for trial in result.all_trials}
    assert (result.sharing["layers"], result.sharing["trained"]) == (10, 1 + len(noises))
    assert len({file.stat().st_ino for file in weights(result.out) if "layer" in str(file)}) == 1 + len(noises)


def test_what_a_search_leaves_is_a_table_and_a_frame(five):
    result, lines = five
    with (result.out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    frame = result.trials
    assert list(frame["trial"]) == [int(row["trial"]) for row in rows] == [0, 1, 2, 3, 4]
    assert list(frame[RATE]) == [float(row[RATE]) for row in rows]
    assert list(frame["valid_error_percent"]) == [trial.value for trial in result.all_trials]
    assert sum(line.startswith("trial ") for line in lines) == 5
    shares = result.importance()
    assert shares.keys() == SPACE.keys()
    assert sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.slow
def test_a_larger_search_begins_with_the_smaller(five, tmp_path):
    result, _ = five
    three = searched(tmp_path / "out", 3)
    assert three.rows() == result.rows()[:3]
    before = weights(tmp_path)
    again = searched(tmp_path / "out", 5)
    assert again.rows() == result.rows()
    assert before.items() <= weights(tmp_path).items()
    before = weights(tmp_path)
    assert searched(tmp_path / "out", 5).rows() == result.rows()
    assert weights(tmp_path) == before


@pytest.mark.parametrize(
    ("looks", "how"),
    [
        pytest.param(9, {}, marks=pytest.mark.slow),
        (30, {"sampler": "random", "pruner": "asha"}),
        *(
            pytest.param(looks, {"sampler": sampler, "pruner": pruner}, marks=pytest.mark.slow)
            for looks in (2, 60)
            for sampler, pruner in (("tpe", "none"), ("tpe", "asha"), ("random", "hyperband"))
        ),
    ],
)
def test_a_search_that_was_cut_goes_on_to_the_same_trials(tmp_path, looks, how):
    whole = searched(tmp_path / "whole", 6, **how)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, looks)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "cut", 6, **how)
    assert searched(tmp_path / "cut", 6, **how).rows() == whole.rows()


KILLS = ["before the record", "after the record", "before the study is told", "before it is asked"]


@pytest.mark.parametrize(
    "when", [KILLS[2], *(pytest.param(when, marks=pytest.mark.slow) for when in (*KILLS[:2], KILLS[3]))]
)
def test_a_process_that_dies_between_two_writes_loses_no_trial(tmp_path, when):
    whole = searched(tmp_path / "whole", 5, pruner="asha")

    class Killed(BaseException):
        pass

    def dying(function, times):
        left = [times]

        def call(*arguments, **named):
            left[0] -= 1
            if left[0] == 0 and when != "after the record":
                raise Killed
            value = function(*arguments, **named)
            if left[0] == 0:
                raise Killed
            return value

        return call

    study = study_module.SearchStudy
    with pytest.MonkeyPatch.context() as patch:
        if when in ("before the record", "after the record"):
            patch.setattr(study, "_write", dying(study._write, 3))
        elif when == "before the study is told":
            patch.setattr(optuna.Study, "tell", dying(optuna.Study.tell, 2))
        else:
            pruner = optuna.pruners.SuccessiveHalvingPruner
            patch.setattr(pruner, "prune", dying(pruner.prune, 3))
        with pytest.raises(Killed):
            searched(tmp_path / "cut", 5, pruner="asha")
    assert searched(tmp_path / "cut", 5, pruner="asha").rows() == whole.rows()


@pytest.mark.slow
def test_a_lost_or_damaged_study_is_made_again_from_the_records(tmp_path):
    whole = searched(tmp_path / "out", 4, pruner="asha")
    before = weights(tmp_path)
    database = tmp_path / "out" / "study" / "study.db"
    for damage in (database.unlink, lambda: database.write_bytes(b"not a database" * 99)):
        damage()
        recorder = MessageRecorder()
        assert searched(tmp_path / "out", 4, pruner="asha", progress=recorder).rows() == whole.rows()
        assert any("made again from the records of 4 trials" in line for line in recorder.lines)
    assert weights(tmp_path) == before
    # Later trials are drawn as if nothing had happened.
    assert searched(tmp_path / "out", 6, pruner="asha").rows() == searched(tmp_path / "other", 6, pruner="asha").rows()


def test_a_rebuild_that_was_cut_is_completed(tmp_path):
    whole = searched(tmp_path / "out", 4)
    (tmp_path / "out" / "study" / "study.db").unlink()

    def cut(study, trial, real=optuna.Study.add_trial):
        if len(study.trials) == 2:
            raise KeyboardInterrupt
        real(study, trial)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna.Study, "add_trial", cut)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "out", 4)
    assert searched(tmp_path / "out", 4).rows() == whole.rows()


def test_a_database_that_cannot_be_written_is_not_taken_for_a_damaged_one(tmp_path):
    searched(tmp_path / "out", 2)
    database = tmp_path / "out" / "study" / "study.db"
    before = database.read_bytes()
    busy = sqlite3.OperationalError("database or disk is full")
    with pytest.MonkeyPatch.context() as patch:

        def full(*arguments, **named):
            raise OperationalError("INSERT", {}, busy) from busy

        patch.setattr(study_module.SearchStudy, "_begin", full)
        with pytest.raises(StageError, match="the study's database: database or disk is full; give the same command"):
            searched(tmp_path / "out", 3)
        patch.setattr(storage, "RDBStorage", full)
        with pytest.raises(StageError, match="database or disk is full"):
            searched(tmp_path / "out", 3)
    assert database.read_bytes() == before
    assert len(searched(tmp_path / "out", 3).rows()) == 3


@pytest.mark.slow
def test_a_folder_that_was_moved_goes_on(tmp_path):
    whole = searched(tmp_path / "whole", 5)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 40)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "here", 5)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = searched(tmp_path / "there", 5)
    assert moved.rows() == whole.rows()
    assert moved.best.folder.parent.name == "there"


def test_trials_on_other_data_are_refused(tmp_path):
    searched(tmp_path / "out", 2)
    with pytest.raises(StageError, match="the data have changed since the first trial"):
        search(small(), SPACE, trials=3, out=tmp_path / "out", dataset=blobs(1))
    assert len(searched(tmp_path / "out", 3).rows()) == 3


@pytest.mark.slow
def test_a_trial_that_would_wait_for_layers_is_passed_over(tmp_path):
    """Another process trains layer 2 of the first trials: this one begins with those of the other noise."""
    noises = [[0.25, 0.1], [0.25, 0.4]]
    space = {"pretrain.corruption.nu": noises, RATE: [0.1, 0.2]}
    out = tmp_path / "out"
    first = searched(tmp_path / "else", 1, space, sampler="grid")
    busy = out / "layers" / first.best_run.stage("layer_2").fingerprint
    busy.mkdir(parents=True)
    shutil.copytree(next((tmp_path / "else" / "layers").glob(f"{first.best_run.stage('layer_1').fingerprint}")),
                    out / "layers" / first.best_run.stage("layer_1").fingerprint)  # fmt: skip
    lock = lock_folder(busy)
    order, lines = [], []

    class Listener(Reporter):
        def say(self, text):
            lines.append(text)
            if text.startswith("trial "):
                order.append(int(text.split()[1]))
            if "waiting" in text:
                os.close(lock)

    result = searched(out, 4, space, sampler="grid", progress=Listener())
    assert order == [2, 3, 0, 1]
    assert lines.count("waiting for layers that another process trains") == 1
    assert [trial.settings[RATE] for trial in result.all_trials] == [0.1, 0.2, 0.1, 0.2]


def test_a_damaged_record_costs_its_trial_alone(tmp_path):
    whole = searched(tmp_path / "out", 3)
    (tmp_path / "out" / "study" / "study.db").unlink()
    (tmp_path / "out" / "study" / "0001" / "trial.json").write_text("{")
    recorder = MessageRecorder()
    rows = searched(tmp_path / "out", 3, progress=recorder).rows()
    assert [row["state"] for row in rows] == ["complete", "failed", "complete"]
    assert [rows[0], rows[2]] == [whole.rows()[0], whole.rows()[2]]
    assert any("the record of trial 1 is gone or damaged" in line for line in recorder.lines)


def test_equal_settings_are_trained_once(tmp_path):
    result = searched(tmp_path / "out", 8, {RATE: [0.1, 0.2]}, sampler="random")
    assert len({trial.folder for trial in result.all_trials}) == 2
    for trial in result.all_trials:
        twin = next(other for other in result.all_trials if other.folder == trial.folder)
        assert (trial.value, trial.valid_loss, trial.state) == (twin.value, twin.valid_loss, "complete")


def test_a_grid_ends_with_its_last_combination(tmp_path):
    space = {RATE: [0.1, 0.2], "finetune.dropout": [0.0, 0.5]}
    result = searched(tmp_path / "out", 99, space, sampler="grid")
    pairs = [tuple(trial.settings.values()) for trial in result.all_trials]
    assert pairs == [(0.1, 0.0), (0.1, 0.5), (0.2, 0.0), (0.2, 0.5)]


def test_hopeless_trials_are_stopped_early_and_say_so(tmp_path):
    recorder = MessageRecorder()
    space = {RATE: [0.5, 1e-6, 2e-6, 3e-6]}
    result = searched(tmp_path / "out", 4, space, sampler="grid", pruner="asha", progress=recorder)
    assert [trial.state for trial in result.all_trials] == ["complete", "pruned", "pruned", "pruned"]
    assert [trial.epochs for trial in result.all_trials[1:]] == [1, 1, 1]
    assert recorder.lines.count("trial 1 is stopped early") == 1
    # A trial that is compared after its last epoch is complete.
    short = replace(small(), finetune=replace(small().finetune, epochs=1))
    result = searched(tmp_path / "short", 3, space, config=short, sampler="grid", pruner="asha")
    assert [trial.state for trial in result.all_trials] == ["complete"] * 3
    assert all(row["valid_error_percent"] >= result.best.value for row in result.rows())


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_every_pruner_leaves_a_best(tmp_path, pruner):
    space = {RATE: {"distribution": "log_uniform_values", "min": 1e-3, "max": 1.0}}
    states = [t.state for t in searched(tmp_path / "out", 13, space, sampler="random", pruner=pruner).all_trials]
    assert {"complete", "pruned"} == set(states)


def test_what_diverges_is_left_behind(tmp_path, monkeypatch):
    real = trials_module.fit

    def fit(config, *arguments, **named):
        run = real(config, *arguments, **named)
        if config.finetune.optimizer.lr == 0.2:
            run.update_stage("finetune", status="running")
            raise DivergedError("finetune diverged: its training loss is nan")
        return run

    monkeypatch.setattr(trials_module, "fit", fit)
    result = searched(tmp_path / "out", 2, {RATE: [0.1, 0.2]}, sampler="grid")
    assert [trial.state for trial in result.all_trials] == ["complete", "diverged"]
    assert result.all_trials[1].value is None


def test_settings_that_are_not_valid_together_fail_alone(tmp_path, monkeypatch):
    """A normal distribution has no bounds: a rate below 0 may come late."""
    monkeypatch.setattr("stacked_dae.tuning.study.checks.check_plan", lambda *arguments, **how: None)
    space = {RATE: {"distribution": "normal", "mu": 0.1, "sigma": 0.2}}
    result = searched(tmp_path / "out", 6, space, sampler="random")
    for trial in result.all_trials:
        assert trial.state == ("complete" if trial.settings[RATE] > 0 else "failed")
    assert {trial.state for trial in result.all_trials} == {"complete", "failed"}


@pytest.mark.slow
def test_two_folders_share_a_study(tmp_path):
    """As two machines do, each with its own disk."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    here = searched(tmp_path / "here", 3, storage=url)
    there = searched(tmp_path / "there", 6, storage=url)
    assert there.rows()[:3] == here.rows()
    homes = [trial.folder.parent.name for trial in there.all_trials]
    assert homes == ["here"] * 3 + ["there"] * 3
    recorder = MessageRecorder()
    shutil.rmtree(tmp_path / "here")
    again = searched(tmp_path / "there", 6, storage=url, progress=recorder)
    if again.best.folder.parent.name == "here":
        assert any("is on another machine: the same command there tests it" in line for line in recorder.lines)
    with pytest.raises(ConfigError, match=r"--storage postgresql://me:\*\*\*@nowhere/x cannot be used"):
        searched(tmp_path / "else", 3, storage="postgresql://me:secret@nowhere/x")


def test_an_objective_serves_a_study_of_the_users(tmp_path):
    told = blobs()
    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=0), pruner=optuna.pruners.MedianPruner(n_startup_trials=2)
    )
    study.optimize(objective(small(), SPACE, out=tmp_path, dataset=told), n_trials=6)
    folder = RunFolder.open(Path(study.best_trial.user_attrs["run"]))
    assert folder.stage("finetune").best_valid_error_percent == study.best_value
    assert folder.config().finetune.optimizer.lr == study.best_params[RATE]
    assert not folder.has_result
    assert len(list((tmp_path / "layers").iterdir())) == 3


def test_a_regression_is_searched_by_its_rmse(tmp_path):
    import numpy as np

    random = np.random.default_rng(0)
    x = random.random((160, 3))
    lines = [f"{a:.4f},{b:.4f},{c:.4f},{100 * a + 20 * b:.4f}" for a, b, c in x]
    (tmp_path / "t.csv").write_text("a,b,c,y\n" + "\n".join(lines) + "\n")
    values = {
        "task": "regression",
        "data": {"path": str(tmp_path / "t.csv"), "target": "y"},
        "pretrain": {"units": [6], "epochs": 2},
        "finetune": {"epochs": 4},
    }
    from stacked_dae import config_from_dict

    result = search(config_from_dict(values), {RATE: [1e-4, 0.05]}, trials=2, out=tmp_path / "out", sampler="grid",
                    pruner="asha")  # fmt: skip
    assert "valid_rmse" in result.rows()[0]
    assert result.best.value == pytest.approx(result.best_run.best_valid_rmse())
    assert result.best.settings == {RATE: 0.05}
    assert result.best.value > 1, "in units of the target"


def test_the_command_prints_a_table_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    base = {"data": {"name": "digits"}, "pretrain": {"units": [12, 9], "epochs": 2}, "finetune": {"epochs": 3}}
    Path("base.yaml").write_text(yaml.safe_dump(base))
    Path("space.yaml").write_text(yaml.safe_dump({RATE: LOG, "finetune.dropout": [0.0, 0.2]}))
    words = ["search", "--config", "base.yaml", "--space", "space.yaml", "--trials", "4", "--pretrain.batch_size=50"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "4 trials: 4 complete" in shown
    assert "2 layers were trained for 8" in shown
    assert re.search(
        r"best: runs/search-space/trial_\w{8}, test error [\d.]+ ± [\d.]+ % \(n = 358\)", " ".join(shown.split())
    )
    out = Path("runs/search-space")
    figures = ("history", "importance", "parallel", "settings")
    assert sorted(file.name for file in (out / "figures").iterdir()) == [f"{name}.png" for name in figures]
    assert read_search(out).best_run.config().pretrain.batch_size == 50
    assert main([*words, "--seed=1"]) == 2
    assert "holds another search: seed is 0 there and 1 here; name another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "search needs --space FILE"),
        (["--space", "none.yaml"], "none.yaml: cannot be read"),
        (["--space", "space.yaml", "--trials", "0"], "trials must be a whole number above 0"),
        (["--space", "space.yaml", "--workers", "-1"], "workers must be a whole number above 0"),
        (
            ["--space", "space.yaml", "--sampler", "bayes"],
            "sampler must be one of tpe, random, grid, gp, cmaes",
        ),
        (
            ["--space", "space.yaml", "--pruner", "half"],
            "pruner must be one of none, median, asha, hyperband",
        ),
        (["--space", "space.yaml", "--sampler", "grid"], "lr has no values: a grid needs them"),
        (["--space", "space.yaml", "--trails", "3"], "unknown setting --trails (did you mean --trials?)"),
        (["--space", "space.yaml", "--storage", "nonsense"], "--storage nonsense cannot be used"),
        (["--space", "sweep.yaml"], "this is a sweep file: stacked-dae sweep sweep.yaml --local N"),
        (["--space", "space.yaml", "--out", "space.yaml"], "--out space.yaml is a file; name a folder"),
    ],
)
def test_bad_words_are_one_line_and_write_nothing(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(yaml.safe_dump({RATE: LOG}))
    Path("sweep.yaml").write_text(yaml.safe_dump({"method": "grid", "parameters": {RATE: {"values": [1]}}}))
    assert main(["search", "--data.name=digits", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("runs").exists() or not list(Path("runs").rglob("trial_*"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"sampler": "tpee"}, "sampler must be one of tpe, random, grid, gp, cmaes, not 'tpee' (did you mean 'tpe'?)"),
        ({"pruner": "halving"}, "pruner must be one of none, median, asha, hyperband, not 'halving'"),
        ({"count": 0}, "trials must be a whole number above 0, not 0"),
        ({"workers": 2}, "workers above 1 load the data themselves: leave dataset out"),
        ({"sampler": "grid", "finetune_trials": 2, "space": {RATE: [0.1]}}, "finetune_trials is not for a grid"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, how, message):
    with pytest.raises(ConfigError) as error:
        searched(tmp_path / "out", **how)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_without_optuna_one_line_says_what_to_install(tmp_path, monkeypatch):
    from stacked_dae.tuning import plan

    monkeypatch.setattr(plan, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"a search needs optuna: pip install 'stacked-dae\[search\]'"):
        searched(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_hosts_optuna_keeps_its_log_level(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        searched(tmp_path / "out", 2)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(optuna.logging.INFO)
