"""Search spaces: what is drawn, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.small_runs import SMALL, small
from scipy import stats

from stacked_dae.errors import ConfigError
from stacked_dae.tuning.plan import Pruning, SearchPlan, read_plan
from stacked_dae.tuning.space import read_space
from stacked_dae.tuning.study.checks import check_plan
from stacked_dae.tuning.study.samplers import first_draws

RATE = "finetune.optimizer.lr"
LOG = {"distribution": "log_uniform_values", "min": 0.01, "max": 1.0}


def plan(space, **how):
    return SearchPlan(SMALL, read_space(space), **{"sampler": "random", **how})


def drawn(what, count=800, name=RATE):
    return np.array([values[name] for values in first_draws(plan({name: what}), count)])


def uniform(low, high):
    return stats.uniform(low, high - low).cdf


@pytest.mark.parametrize(
    ("what", "cdf"),
    [
        ({"min": 0.2, "max": 0.6}, uniform(0.2, 0.6)),
        ({"distribution": "uniform", "min": 1, "max": 3}, uniform(1, 3)),
        (LOG, stats.loguniform(0.01, 1.0).cdf),
        ({"distribution": "inv_log_uniform_values", "min": 0.01, "max": 1.0}, stats.loguniform(0.01, 1.0).cdf),
        ({"distribution": "log_uniform", "min": -3, "max": 1}, stats.loguniform(math.exp(-3), math.e).cdf),
        ({"distribution": "inv_log_uniform", "min": -1, "max": 3}, stats.loguniform(math.exp(-3), math.e).cdf),
        ({"distribution": "normal", "mu": 3.0, "sigma": 0.5}, stats.norm(3.0, 0.5).cdf),
        ({"distribution": "normal"}, stats.norm(0.0, 1.0).cdf),
        ({"distribution": "log_normal", "mu": -1.0, "sigma": 0.5}, stats.lognorm(0.5, scale=math.exp(-1.0)).cdf),
        ({"distribution": "beta", "a": 2.0, "b": 5.0}, stats.beta(2.0, 5.0).cdf),
    ],
    ids=lambda one: one.get("distribution", "a range") if isinstance(one, dict) else "",
)
def test_draws_follow_their_distribution(what, cdf):
    assert stats.kstest(drawn(what), cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ({"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"distribution": "q_log_uniform_values", "min": 1.0, "max": 4.0}, [1.0, 2.0, 3.0, 4.0]),
        ({"distribution": "q_log_uniform", "min": 0.0, "max": 1.2}, [1.0, 2.0, 3.0]),
        ({"distribution": "q_normal", "mu": 2.0, "sigma": 0.3, "q": 1}, [1.0, 2.0, 3.0]),
        ({"distribution": "q_log_normal", "mu": 0.7, "sigma": 0.2, "q": 1}, [1.0, 2.0, 3.0]),
        ({"distribution": "q_beta", "a": 2, "b": 2, "q": 0.5}, [0.0, 0.5, 1.0]),
        ({"values": [0.1, 0.2]}, [0.1, 0.2]),
        ([0.1, 0.2, 0.1], [0.1, 0.2]),
        ({"value": 0.7}, [0.7]),
    ],
)
def test_steps_and_lists(what, values):
    found = drawn(what, 300)
    assert {round(float(value), 9) for value in found} <= set(values)
    assert len(set(found)) >= min(len(values), 2)


def test_whole_numbers_and_shares():
    assert set(drawn({"min": 3, "max": 6}, 100, "finetune.epochs")) == {3, 4, 5, 6}
    often = drawn({"values": [3, 4], "probabilities": [0.9, 0.1]}, 600, "finetune.epochs")
    assert 0.85 < np.mean(often == 3) < 0.95
    assert all(isinstance(v[name], int) for name in ["finetune.epochs"] for v in first_draws(plan({name: [3, 4]}), 3))


def test_lists_and_nothing_are_values_too():
    space = {"pretrain.units": [[10, 8], [6, 4]], "data.labels_per_class": [None, 5]}
    found = first_draws(plan(space, sampler="grid"), 9)
    pairs = [(values["pretrain.units"], values["data.labels_per_class"]) for values in found]
    assert pairs == [([10, 8], None), ([10, 8], 5), ([6, 4], None), ([6, 4], 5)]


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes", "grid"])
def test_more_draws_begin_with_the_fewer_and_seeds_differ(sampler):
    space = {RATE: [0.1, 0.2, 0.3] if sampler == "grid" else LOG, "finetune.dropout": [0.0, 0.2]}
    assert first_draws(plan(space, sampler=sampler), 6)[:3] == first_draws(plan(space, sampler=sampler), 3)
    if sampler != "grid":
        assert first_draws(plan(space, sampler=sampler, seed=1), 3) != first_draws(plan(space, sampler=sampler), 3)


def test_trials_in_a_row_have_the_same_layers():
    space = {"pretrain.corruption.nu": {"min": 0.0, "max": 0.9}, "pretrain.tied": [True, False], RATE: LOG}
    found = first_draws(plan(space, finetune_trials=3), 9)
    layers = [(values["pretrain.corruption.nu"], values["pretrain.tied"]) for values in found]
    assert len(set(layers)) == 3
    assert layers == [layers[k - k % 3] for k in range(9)]
    assert len({values[RATE] for values in found}) == 9


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "a search space is a mapping from settings to values"),
        ({"finetune.optimizer.rate": [1.0]}, "unknown setting finetune.optimizer.rate"),
        ({RATE: 0.1}, "must be a mapping with value, values, or min and max"),
        ({RATE: {"low": 0.1, "high": 1.0}}, "lr.low is not known here"),
        ({RATE: {"min": 0.1}}, "needs a number as min and as max"),
        ({RATE: {"distribution": "log_uniform", "min": 0.01, "max": 100}}, "log_uniform takes exponents"),
        ({RATE: {"distribution": "normal", "sigma": -1}}, "lr.sigma must be a number above 0, not -1"),
        ({RATE: {"distribution": "log_normal", "mu": 30, "sigma": 2}}, "mu and sigma are of the logarithm"),
        ({RATE: {"values": [0.1, 0.2], "probabilities": [0.0, 0.0]}}, "must be one number of at least 0"),
        ({RATE: {"values": [0.1], "probabilities": "all"}}, "must be one number of at least 0"),
        ({RATE: {"distribution": ["uniform"]}}, "distribution must be one of"),
        ({"data.split": [[0.7, 0.1, 0.2]]}, "data.split decides which rows validate"),
        ({"trainer.accelerator": ["cpu", "gpu"]}, "trainer.accelerator changes no result"),
        ({"finetune.metrics": [["f1"]]}, "finetune.metrics changes no result"),
    ],
)
def test_bad_spaces_are_one_line(space, message):
    with pytest.raises(ConfigError, match=".") as error:
        read_space(space)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("space", "how", "message"),
    [
        ({RATE: {"min": -1.0, "max": 1.0}}, {}, "lr must be"),
        ({RATE: {"distribution": "normal", "mu": 0.1, "sigma": 3.0}}, {}, "lr must be"),
        ({"pretrain.corruption.nu": [0.2, 1.5]}, {"sampler": "grid"}, "nu must be in [0, 1]"),
        ({RATE: LOG}, {"sampler": "grid"}, "lr has no values: a grid needs them"),
        ({RATE: [0.1, 0.2]}, {"sampler": "cmaes"}, "CMA-ES draws numbers"),
        ({"pretrain.units": [[5, 4, 3]]}, {}, "nu"),
    ],
)
def test_a_plan_is_refused_before_the_first_trial(space, how, message):
    with pytest.raises(ConfigError) as error:
        check_plan(plan(space, **how), 8, has_data=True)
    assert message in str(error.value)


def test_a_plan_is_read_as_it_was_written(tmp_path):
    first = plan({RATE: LOG, "pretrain.units": [[10, 8]]}, pruning=Pruning("asha", 2), seed=4, finetune_trials=2)
    first.save(tmp_path / "search.yaml")
    again = read_plan(tmp_path / "search.yaml")
    assert (again.mark, first.difference(again)) == (first.mark, "")
    other = plan({RATE: LOG, "pretrain.units": [[10, 8]]}, pruning=Pruning("asha", 2), seed=4)
    assert first.difference(other) == "finetune_trials is 1 there and 2 here"
    assert "search space" in first.difference(plan({RATE: LOG}, pruning=Pruning("asha", 2), seed=4, finetune_trials=2))
    for text in ("", "a: [", "sampler: tpe", "sampler: [1]\nseed: x"):
        (tmp_path / "search.yaml").write_text(text)
        with pytest.raises(ConfigError, match="is damaged"):
            read_plan(tmp_path / "search.yaml")


def test_pruning_begins_early_and_where_it_is_asked():
    config = small()
    assert Pruning.of("none", config) is None
    assert Pruning.of("asha", config) == Pruning("asha", 1, 3)
    median = Pruning("median", 3)
    assert [epoch for epoch in range(1, 6) if median.compares_after(epoch)] == [3, 4, 5]


@pytest.mark.parametrize(
    "what",
    [
        {"value": 0.3},
        {"values": [0.1, 0.3, 0.2]},
        {"values": [0.1, 0.2], "distribution": "categorical"},
        {"value": 0.2, "distribution": "constant"},
        {"min": 0.1, "max": 1.0},
        {"min": 0.1, "max": 1},
        {"min": 1, "max": 7},
        {"distribution": "int_uniform", "min": 2, "max": 5},
        {"distribution": "uniform", "min": 1, "max": 3},
        LOG,
    ],
    ids=str,
)
def test_a_parameter_means_to_optuna_what_it_means_to_the_wandb_client(what):
    """The client has a reading of its own, for sweeps that Optuna schedules."""
    from wandb.sdk.sweeps.scheduler.optuna import sweep_parameter_to_distribution

    name = "finetune.epochs" if isinstance(what.get("max"), int) else RATE
    (parameter,) = read_space({name: what}).parameters
    assert parameter.distribution() == sweep_parameter_to_distribution(what)


@pytest.mark.parametrize(
    "what",
    [
        {"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1},
        {"distribution": "q_uniform", "min": 10, "max": 50, "q": 10},
        {"distribution": "q_log_uniform_values", "min": 1, "max": 64},
    ],
    ids=str,
)
def test_rounded_values_are_those_of_the_wandb_client(what):
    from wandb.sdk.sweeps.scheduler.optuna import sweep_parameter_to_distribution

    theirs = sweep_parameter_to_distribution(what)
    steps = {round(theirs.low + k * theirs.step, 9) for k in range(int((theirs.high - theirs.low) / theirs.step + 1.5))}
    assert {round(float(value), 9) for value in drawn(what, 300)} <= steps
