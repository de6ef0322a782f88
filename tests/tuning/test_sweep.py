"""Sweep files: those that are shipped, and their trials without a server."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.small_runs import ROOT

from stacked_dae.cli.main import main
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.reporting.run_folders import find_runs, read_run
from stacked_dae.tuning import sampling, sweep, sweep_file
from stacked_dae.tuning.search import selection_score
from stacked_dae.utils.nested import flatten
from stacked_dae.utils.progress import Reporter

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
    plan = sweep_file.read_sweep(written(here))
    tried = [(c.pretrain.corruption.nu, c.finetune.optimizer.lr) for c in sampling.sample_configs(plan, 99, 0)]
    assert tried == [(0.0, 0.1), (0.0, 0.5), (0.3, 0.1), (0.3, 0.5)]
    assert [c.pretrain.corruption.nu for c in sampling.sample_configs(plan, 3, 0)] == [0.0, 0.0, 0.3]
    assert all(c.pretrain.units == [12, 9] for c in sampling.sample_configs(plan, 99, 0)), (
        "the config file is below them"
    )


def drawn(here, what, count=400, name="pretrain.optimizer.lr"):
    plan = sweep_file.read_sweep(written(here, method="random", parameters={name: what}))
    return [flatten(config.to_dict())[name] for config in sampling.sample_configs(plan, count, 0)]


def test_random_draws_follow_their_distributions(here):
    even = drawn(here, {"min": 0.2, "max": 0.6})
    assert 0.2 <= min(even) < 0.22
    assert 0.58 < max(even) <= 0.6
    assert np.mean(even) == pytest.approx(0.4, abs=0.02)
    log = drawn(here, {"distribution": "log_uniform_values", "min": 0.001, "max": 1.0})
    assert np.mean(np.log10(log)) == pytest.approx(-1.5, abs=0.1)
    assert math.log10(min(log)) < -2.9
    whole = drawn(here, {"min": 3, "max": 6}, name="finetune.epochs")
    assert set(whole) == {3, 4, 5, 6}
    steps = drawn(here, {"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1})
    assert {round(value, 6) for value in steps} == {0.1, 0.2, 0.3, 0.4, 0.5}
    few = drawn(here, {"values": [0.1, 0.2]})
    assert {few.count(0.1) > 150, few.count(0.2) > 150} == {True}
    assert drawn(here, {"value": 0.7}, 2) == [0.7, 0.7]


def test_draws_are_seeded_and_more_of_them_begin_with_the_fewer(here):
    plan = sweep_file.read_sweep(
        written(here, method="random", parameters={"finetune.optimizer.lr": {"min": 0.1, "max": 1.0}})
    )
    assert sampling.sample_configs(plan, 5, 1)[:3] == sampling.sample_configs(plan, 3, 1)
    assert sampling.sample_configs(plan, 3, 1) != sampling.sample_configs(plan, 3, 2)


def test_a_local_sweep_makes_run_folders_and_tests_the_best_alone(here, capsys):
    file = written(here)
    assert main(["sweep", file, "--local", "3", "--out", "runs"]) == 0
    shown = capsys.readouterr()
    assert "they differ in pretrain.corruption.nu, finetune.optimizer.lr" in shown.out
    runs = [read_run(folder) for folder in find_runs(["runs"])]
    assert len(runs) == 3
    best = min(runs, key=lambda run: run.valid_error_percent)
    assert [run.name for run in runs if run.n_test] == [best.name]
    assert all(run.settings["tracking.mode"] == "off" for run in runs)
    assert (Path(best.name) / "figures" / "filters.png").exists()
    # Two of the three have one noise level, and so the same layers.
    assert len(list(Path("runs/layers").glob("*/record.json"))) == 4
    assert "2 layers were shared between trials, which saved" in " ".join(shown.err.split())
    # The same again trains nothing; one more trains one more.
    before = {file: file.stat().st_mtime_ns for file in Path("runs").glob("trial_*/*/weights.safetensors")}
    assert main(["sweep", file, "--local", "4", "--out", "runs"]) == 0
    after = {file: file.stat().st_mtime_ns for file in Path("runs").glob("trial_*/*/weights.safetensors")}
    assert len(after) == len(before) + 3, "two layers and a stack"
    assert before.items() <= after.items()


def test_a_trial_that_diverges_is_left_behind(here):
    linear = ["--pretrain.activation=identity", "--pretrain.decoder=identity", "--pretrain.loss=squared_error"]

    def rates(*values):
        parameters = {"pretrain.optimizer.lr": {"values": list(values)}}
        return sweep_file.read_sweep(written(here, parameters=parameters, command=[*COMMAND, *linear]))

    said = []
    reporter = Reporter()
    reporter.say = said.append
    (folder,) = sweep.run_sweep(rates(1e6, 1e-3), 2, 0, here / "runs", reporter)
    assert folder.result().n_test == 358
    assert any("diverged" in line for line in said)
    with pytest.raises(StageError, match="every trial diverged"):
        sweep.run_sweep(rates(1e6), 1, 0, here / "others", Reporter())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "bayes"}, "method bayes needs W&B's server"),
        ({"method": "gird"}, "method must be grid or random, not 'gird'"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate needs W&B's server"),
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
            {"parameters": {"seed": {"values": [1], "probabilities": [1.0]}}},
            "seed.probabilities is not known",
        ),
        ({"parameters": {"seed": {"distribution": "constant"}}}, "parameters.seed needs a value"),
        ({"parameters": {"seed": {"value": "three"}}}, "seed must be a whole number, not 'three'"),
        (
            {"parameters": {"pretrain.optimizer.lr": {"value": "abc"}}},
            "optimizer.lr must be a number or a list",
        ),
        ({"parameters": {"data.name": {"values": ["digits", "dgits"]}}}, "unknown data set 'dgits'"),
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
        ({"parameters": {"seed": {"min": 0, "max": 3}}}, "parameters.seed has no values: a grid needs them"),
        ({"parameters": {"seed": {"values": []}}}, "parameters.seed.values must be a list"),
        ({"parameters": {"seed": {"distribution": "beta"}}}, "parameters.seed.distribution must be one of"),
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
    plan = sweep_file.read_sweep(written(here, parameters=units, command=[*COMMAND, "--pretrain.epochs=[1, 2, 3]"]))
    assert [c.pretrain.units for c in sampling.sample_configs(plan, 9, 0)] == [[5, 4, 3], [6, 5, 4]]


def test_options_of_an_optimiser_are_settings_too(here):
    parameters = {"finetune.optimizer.options.momentum": {"values": [0.5, 0.9]}}
    command = [*COMMAND[:-1], "--pretrain.optimizer.options.weight_decay=0.01", "${args}"]
    tried = sampling.sample_configs(sweep_file.read_sweep(written(here, parameters=parameters, command=command)), 9, 0)
    assert [c.finetune.optimizer.options for c in tried] == [{"momentum": 0.5}, {"momentum": 0.9}]
    assert [c.pretrain.optimizer.options for c in tried] == 2 * [{"weight_decay": 0.01}]


def test_of_trials_of_equal_error_the_lower_loss_is_best(here):
    rates = {"finetune.optimizer.lr": {"values": [1e-7, 2e-6]}}
    plan = sweep_file.read_sweep(written(here, parameters=rates))
    folders = sweep.run_sweep(plan, 2, 0, here / "out", Reporter())
    (error, one), (other_error, other) = map(selection_score, folders)
    assert (error, other < one) == (other_error, True), "else this shows nothing"
    assert [(folder.path / "result.json").exists() for folder in folders] == [False, True]


def test_trials_are_told_to_nobody_and_run_cap_holds(here):
    (here / "small.yaml").write_text(yaml.safe_dump({**SMALL, "tracking": {"mode": "online", "tags": ["x"]}}))
    plan = sweep_file.read_sweep(written(here, run_cap=3))
    configs = sampling.sample_configs(plan, 99, 0)
    assert len(configs) == 3
    assert {(config.tracking.mode, len(config.tracking.tags)) for config in configs} == {("off", 0)}


def test_settings_are_refused_before_the_first_trial(here):
    plan = sweep_file.read_sweep(written(here, parameters={"finetune.epochs": {"values": [2, 0]}}))
    with pytest.raises(ConfigError, match=r"sweep\.yaml: finetune\.epochs must be a whole number above 0"):
        sweep.run_sweep(plan, 2, 0, here / "runs", Reporter())
    assert not (here / "runs").exists()
