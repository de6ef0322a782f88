"""Sweep files: those that are shipped, and their trials without a server."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from helpers.small_runs import ROOT, MessageRecorder

from stacked_dae.cli.main import main
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.reporting.run_folders import find_runs, read_run
from stacked_dae.runs.folder import RunFolder
from stacked_dae.tuning import search, sweep_file
from stacked_dae.tuning.plan import Pruning
from stacked_dae.tuning.result import read_search
from stacked_dae.tuning.study.checks import check_plan
from stacked_dae.tuning.study.samplers import first_draws
from stacked_dae.utils.nested import flatten
from stacked_dae.utils.terminal.progress import Reporter

SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
COMMAND = ["${env}", "stacked-dae", "fit", "--config", "small.yaml", "--tracking.mode=auto", "${args}"]
SMALL = {
    "data": {"name": "digits"},
    "pretrain": {"units": [12, 9], "epochs": 2, "batch_size": 50},
    "finetune": {"epochs": 3, "batch_size": 50},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return tmp_path


def written(here, **changes):
    parameters = {"pretrain.corruption.nu": {"values": [0.0, 0.3]}, "finetune.optimizer.lr": {"values": [0.1, 0.5]}}
    values = {"method": "grid", "parameters": parameters, "command": COMMAND, **changes}
    (here / "sweep.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return "sweep.yaml"


def read(here, **changes):
    """Return the search of a sweep file with these changes."""
    return sweep_file.read_sweep(written(here, **changes))[0]


def configs(plan, count):
    """Return the settings of the first trials."""
    return [plan.config(values) for values in first_draws(plan, count)]


def run(plan, count, out, reporter=None):
    """Run the trials of a sweep."""
    return search.run_search(plan, count, out, 1, None, None, reporter or Reporter())


def rendered(values, trial):
    """Return the words that `wandb agent` makes of a command, as its documentation says."""
    words = []
    for word in values["command"]:
        if word == "${args}":
            words += [f"--{name}={value}" for name, value in trial.items()]
        elif word != "${env}":
            words.append(word)
    return words


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_the_command_of_every_shipped_sweep_is_understood(file, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = yaml.safe_load(file.read_text())
    assert values["metric"] == {"name": sweep_file.METRIC, "goal": "minimize"}
    trial = {n: what["values"][-1] if "values" in what else what["max"] for n, what in values["parameters"].items()}
    program, *words = rendered(values, trial)
    assert program == "stacked-dae"
    with pytest.raises(SystemExit) as stop:
        main([*words, "--print_config"])
    assert stop.value.code in (0, None)
    shown = flatten(yaml.safe_load(capsys.readouterr().out))
    assert {name: shown[name] for name in trial} == trial, "what it sets is what is run"
    assert shown["tracking.mode"] == "auto"


def test_one_shipped_sweep_a_method():
    assert {yaml.safe_load(file.read_text())["method"] for file in SWEEPS} == {"grid", "random", "bayes"}


def test_a_grid_has_every_pair_once_in_order(here):
    plan = read(here)
    tried = [(c.pretrain.corruption.nu, c.finetune.optimizer.lr) for c in configs(plan, 99)]
    assert tried == [(0.0, 0.1), (0.0, 0.5), (0.3, 0.1), (0.3, 0.5)]
    assert [c.pretrain.corruption.nu for c in configs(plan, 3)] == [0.0, 0.0, 0.3]
    assert all(c.pretrain.units == [12, 9] for c in configs(plan, 99)), "the config file is below them"


def test_a_local_sweep_makes_run_folders_and_tests_the_best_alone(here, capsys):
    file = written(here)
    assert main(["sweep", file, "--local", "3", "--out", "runs"]) == 0
    shown = capsys.readouterr()
    assert "3 trials: 3 complete" in shown.out
    runs = [read_run(folder) for folder in find_runs(["runs"])]
    assert len(runs) == 3
    best = min(runs, key=lambda run: run.valid_error_percent)
    assert [run.name for run in runs if run.n_test] == [best.name]
    assert all(run.settings["tracking.mode"] == "off" for run in runs)
    assert (Path(best.name) / "figures" / "filters.png").exists()
    # Two of the three have one noise level, and so the same layers.
    assert len(list(Path("runs/layers").glob("*/record.json"))) == 4
    assert "4 layers were trained for 6, which saved" in shown.out
    # The same again trains nothing; one more trains one more.
    before = {file: file.stat().st_mtime_ns for file in Path("runs").glob("trial_*/*/weights.safetensors")}
    assert main(["sweep", file, "--local", "4", "--out", "runs"]) == 0
    after = {file: file.stat().st_mtime_ns for file in Path("runs").glob("trial_*/*/weights.safetensors")}
    assert len(after) == len(before) + 3, "two layers and a stack"
    assert before.items() <= after.items()


def test_a_trial_that_diverges_is_left_behind(here):
    linear = ["--pretrain.activation=identity", "--pretrain.decoder=identity", "--pretrain.loss=squared_error"]

    def rates(*values):
        return read(here, parameters={"pretrain.optimizer.lr": {"values": list(values)}}, command=[*COMMAND, *linear])

    recorder = MessageRecorder()
    result = run(rates(1e6, 1e-3), 2, here / "runs", recorder)
    assert [trial.state for trial in result.all_trials] == ["diverged", "complete"]
    assert result.best_run.result().n_test == 358
    assert any("diverged" in line for line in recorder.lines)
    with pytest.raises(StageError, match="no trial is complete: all diverged"):
        run(rates(1e6), 1, here / "others")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "gird"}, "method must be grid, random, bayes, not 'gird'"),
        ({"method": ["grid"]}, "method must be grid, random, bayes, not ['grid']"),
        ({"early_terminate": {"type": "envelope"}}, "early_terminate.type must be hyperband"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate needs min_iter, or max_iter with s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "early_terminate.min_iter must be a whole number"),
        ({"early_terminate": {"type": "hyperband", "miniter": 3}}, "unknown key miniter (did you mean 'min_iter'?)"),
        ({"paramters": {}}, "unknown key paramters (did you mean 'parameters'?)"),
        ({"parameters": {}}, "parameters must name the settings to try"),
        (
            {"parameters": {"pretrain.corruption.mu": {"value": 1}}},
            "unknown setting pretrain.corruption.mu (did you mean",
        ),
        ({"parameters": {"finetune": {"parameters": {"epochs": {"value": 1}}}}}, "parameters have dotted names"),
        ({"parameters": {3: {"value": 1}}}, "parameters.3: unknown setting 3"),
        ({"parameters": {"seed": {"values": 3}}}, "parameters.seed.values must be a list"),
        (
            {"parameters": {"seed": {"values": [1], "probabilities": [1.0, 0.5]}}},
            "seed.probabilities must be one number of at least 0 for each value",
        ),
        ({"parameters": {"seed": {"distribution": "constant"}}}, "parameters.seed needs a value"),
        ({"parameters": {"seed": {"value": "three"}}}, "seed must be a whole number, not 'three'"),
        (
            {"parameters": {"pretrain.optimizer.lr": {"value": "abc"}}},
            "optimizer.lr must be a number or a list",
        ),
        ({"parameters": {"data.name": {"values": ["digits", "mnist5k"]}}}, "data.name decides which rows validate"),
        ({"parameters": {"tracking.tags": {"values": [["a"]]}}}, "tracking.tags changes no result"),
        ({"command": "stacked-dae fit ${args}"}, "command must run stacked-dae fit with ${args}"),
        ({"command": 3}, "command must run stacked-dae fit with ${args}"),
        ({"command": COMMAND[:-1]}, "command must run stacked-dae fit with ${args}"),
        ({"command": [*COMMAND[:3], "--data.name", "${args}"]}, "command: --data.name needs a value"),
        ({"command": [*COMMAND, "--dta.name=rect"]}, "command: unknown setting --dta.name (did you mean 'data.name'?)"),
        (
            {"method": "random", "parameters": {"seed": {"distribution": "int_uniform", "min": 0.5, "max": 3}}},
            "parameters.seed needs a whole number as min and as max",
        ),
        (
            {
                "method": "random",
                "parameters": {"finetune.optimizer.lr": {"distribution": "q_uniform", "min": 0.1, "max": 1, "q": 0}},
            },
            "lr.q must be a number above 0, and not too small for such bounds, not 0",
        ),
        ({"parameters": {"seed": 3}}, "parameters.seed must be a mapping with value, values, or min and max"),
        ({"parameters": {"seed": {"min": 0, "max": 3}}}, "seed has no values: a grid needs them"),
        ({"parameters": {"seed": {"values": []}}}, "parameters.seed.values must be a list"),
        ({"parameters": {"seed": {"distribution": "gamma"}}}, "parameters.seed.distribution must be one of"),
        ({"parameters": {"seed": {"distribution": "beta"}}}, "parameters.seed.a must be a number above 0, not None"),
        ({"method": "random", "parameters": {"seed": {"min": 3, "max": 1}}}, "needs a whole number as min and as max"),
        (
            {
                "method": "random",
                "parameters": {"seed": {"distribution": "log_uniform_values", "min": 0.0, "max": 1.0}},
            },
            "min must be above 0 for log_uniform_values",
        ),
        ({"parameters": {"pretrain.corruption.nu": {"values": [2.0]}}}, "pretrain.corruption.nu must be in [0, 1]"),
        ({"metric": {"name": "test_error_percent", "goal": "minimize"}}, "metric must be best_valid_error_percent"),
        ({"command": ["python", "train.py"]}, "command must run stacked-dae fit"),
        ({"command": [*COMMAND, "--pretrain.corruption.nu=0.1"]}, "--pretrain.corruption.nu is a parameter too"),
        ({"parameters": {"seed": {"value": 1, "values": [1, 2]}}}, "has more than one of value, values"),
        ({"run_cap": 0}, "run_cap must be a whole number above 0, not 0"),
        ({"command": [*COMMAND, "--finetune.optimizer.options={momentun: 0.9}"]}, "momentun"),
        ({"command": [*COMMAND, "--finetune.optimizer.options={momentum: .nan}"]}, "options.momentum must be a number"),
        ({"command": [*COMMAND, "--data.root=2001-99-99"], "parameters": {"seed": {"value": -1}}}, "seed must be"),
        *(
            ({"method": "random", "parameters": {"finetune.optimizer.lr": what}}, "needs a number as min and as max")
            for what in ({"min": 0.1, "max": math.inf}, {"min": math.nan, "max": 1.0}, {"min": 1, "max": 1e300})
        ),
        (
            {
                "method": "random",
                "parameters": {
                    "finetune.optimizer.lr": {"distribution": "q_uniform", "min": 0.1, "max": 1, "q": 1e-300}
                },
            },
            "not too small for such bounds",
        ),
        (
            {"command": [*COMMAND[:4], "none.yaml", "${args}"]},
            "command: none.yaml: cannot be read (No such",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(here, capsys, changes, message):
    file = written(here, **changes)
    assert main(["sweep", file, "--local", "2"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep.yaml"], "sweep needs --local N"),
        (["sweep.yaml", "--local", "0"], "--local must be a whole number above 0, not 0"),
        (["sweep.yaml", "--local", "two"], "local must be a whole number above 0, not 'two'"),
        (["sweep.yaml", "--local", "1", "--seed", "-1"], "--seed must be a whole number of at least 0"),
        (["none.yaml", "--local", "1"], "none.yaml: cannot be read"),
        (["broken.yaml", "--local", "1"], "broken.yaml, line 2: not YAML"),
        (["list.yaml", "--local", "1"], "list.yaml: a sweep file is a mapping"),
        (["deep.yaml", "--local", "1"], "deep.yaml, line 1: not YAML"),
    ],
)
def test_bad_words_are_one_line(here, capsys, words, message):
    written(here)
    (here / "broken.yaml").write_text("a: [")
    (here / "list.yaml").write_text("[1]")
    (here / "deep.yaml").write_text("[" * 100_000)
    assert main(["sweep", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_a_trial_leaves_to_the_command_need_not_hold_alone(here):
    """Lists of one value per layer that only fit the parameters."""
    units = {"pretrain.units": {"values": [[5, 4, 3], [6, 5, 4]]}}
    plan = read(here, parameters=units, command=[*COMMAND, "--pretrain.epochs=[1, 2, 3]"])
    assert [c.pretrain.units for c in configs(plan, 9)] == [[5, 4, 3], [6, 5, 4]]


def test_options_of_an_optimiser_are_settings_too(here):
    parameters = {"finetune.optimizer.options.momentum": {"values": [0.5, 0.9]}}
    command = [*COMMAND[:-1], "--pretrain.optimizer.options.weight_decay=0.01", "${args}"]
    tried = configs(read(here, parameters=parameters, command=command), 9)
    assert [c.finetune.optimizer.options for c in tried] == [{"momentum": 0.5}, {"momentum": 0.9}]
    assert [c.pretrain.optimizer.options for c in tried] == 2 * [{"weight_decay": 0.01}]


def test_of_trials_of_equal_error_the_lower_loss_is_best(here):
    result = run(read(here, parameters={"finetune.optimizer.lr": {"values": [1e-7, 2e-6]}}), 2, here / "out")
    one, other = result.all_trials
    assert (one.value, other.valid_loss < one.valid_loss) == (other.value, True), "else this shows nothing"
    assert result.best is other
    assert [(trial.folder / "result.json").exists() for trial in (one, other)] == [False, True]


def test_trials_are_told_to_nobody_and_run_cap_holds(here):
    (here / "small.yaml").write_text(yaml.safe_dump({**SMALL, "tracking": {"mode": "online", "tags": ["x"]}}))
    plan, most = sweep_file.read_sweep(written(here, run_cap=3))
    assert most == 3
    assert {(config.tracking.mode, len(config.tracking.tags)) for config in configs(plan, 9)} == {("off", 0)}


def test_settings_are_refused_before_the_first_trial(here):
    plan = read(here, parameters={"finetune.epochs": {"values": [2, 0]}})
    with pytest.raises(ConfigError, match=r"sweep\.yaml: finetune\.epochs must be a whole number above 0"):
        run(plan, 2, here / "runs")
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("what", "looks"),
    [
        ({"min_iter": 2}, (2, 6, 18)),
        ({"min_iter": 2, "eta": 2}, (2, 4, 8)),
        ({"max_iter": 27, "s": 2}, (3, 9, 27)),
    ],
)
def test_early_terminate_looks_where_w_and_b_says(here, what, looks):
    plan = read(here, early_terminate={"type": "hyperband", **what})
    assert tuple(epoch for epoch in range(1, looks[-1] + 1) if plan.pruning.compares_after(epoch)) == looks


def test_bayes_with_hyperband_runs_here(here, capsys):
    rates = {"finetune.optimizer.lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 1.0}}
    changes = {
        "method": "bayes",
        "parameters": rates,
        "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 3},
    }
    plan = read(here, **changes)
    assert (plan.sampler, plan.pruning) == ("tpe", Pruning("asha", 1, 3))
    check_plan(plan, 12)
    assert main(["sweep", written(here, **changes), "--local", "7", "--out", "runs"]) == 0
    assert "pruned" in capsys.readouterr().out
    result = read_search("runs")
    pruned = [trial for trial in result.all_trials if trial.state == "pruned"]
    assert {trial.epochs for trial in pruned} <= {1, 3}
    assert all(not RunFolder.open(trial.folder).has_done("finetune") for trial in pruned)
