"""Properties that hold for any input that Hypothesis can think of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from helpers.small_runs import blobs, small
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from stacked_dae.config.identity import NON_IDENTITY_KEYS
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.splits import interleaved_split, labelled_rows
from stacked_dae.errors import DataError
from stacked_dae.nn.corruption import FixedMasking, Gaussian, Masking, SaltAndPepper, SwapNoise
from stacked_dae.pipeline import api
from stacked_dae.runs.experiment import Experiment
from stacked_dae.utils.nested import flatten
from stacked_dae.utils.terminal.progress import Reporter

DATA = blobs()
FRACTIONS = st.floats(0, 1)
SEEDS = st.integers(0, 2**32)


def uniform(seed, rows, inputs):
    # Away from 0 and 1, so that what was destroyed can be told.
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, inputs, generator=generator) * 0.8 + 0.1, generator


@given(nu=FRACTIONS, rows=st.integers(1, 30), inputs=st.integers(1, 60), seed=SEEDS)
def test_fixed_masking_destroys_exactly_so_many_and_touches_no_other(nu, rows, inputs, seed):
    x, generator = uniform(seed, rows, inputs)
    corrupted, destroyed = FixedMasking(nu)(x, generator)
    assert destroyed.sum(1).tolist() == [round(nu * inputs)] * rows
    assert torch.equal(corrupted, x * ~destroyed)


# Draws that hold a 0, which is below any share that is not 0.
@example(nu=1.003e-21, seed=17967)
@given(nu=FRACTIONS, seed=SEEDS)
def test_independent_noise_destroys_its_share_and_touches_no_other(nu, seed):
    x, generator = uniform(seed, 200, 100)

    def plausible(found, share):
        # Of 20000, exactly binomial, since a normal bound refuses the one that is destroyed where few are.
        return binom.ppf(1e-9, 20000, share) <= int(found.sum()) <= binom.isf(1e-9, 20000, share)

    corrupted, destroyed = Masking(nu)(x, generator)
    assert plausible(destroyed, nu)
    assert torch.equal(corrupted, x * ~destroyed)
    corrupted, destroyed = SaltAndPepper(nu)(x, generator)
    assert plausible(destroyed, nu)
    assert torch.equal(corrupted[~destroyed], x[~destroyed])
    assert set(corrupted[destroyed].unique().tolist()) <= {0.0, 1.0}
    assert plausible(corrupted == 1.0, nu / 2)
    corrupted, destroyed = SwapNoise(nu)(x, generator)
    assert plausible(destroyed, nu)
    assert torch.equal(corrupted[~destroyed], x[~destroyed])


@given(nu=st.floats(0, 3), seed=SEEDS)
def test_gaussian_noise_has_its_spread_and_no_bias(nu, seed):
    x, generator = uniform(seed, 200, 100)
    noise = Gaussian(nu)(x, generator)[0] - x
    assert abs(float(noise.mean())) <= 5 * nu / 20000**0.5 + 1e-6
    assert float(noise.std()) == pytest.approx(nu, rel=0.03, abs=1e-6)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=300),
    pattern=st.text("TVE", min_size=1, max_size=12),
    per_class=st.integers(1, 5),
    seed=SEEDS,
)
def test_splits_are_disjoint_and_whole(labels, pattern, per_class, seed):
    y = np.array(labels, dtype=np.int64)
    parts = interleaved_split(y, pattern)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(y)))
    try:
        kept = labelled_rows(y, per_class, seed)
    except DataError:
        assert min(np.bincount(y)) < per_class
    else:
        assert len(set(kept.tolist())) == len(kept)
        assert np.bincount(y[kept]).tolist() == [per_class] * (y.max() + 1)


def one_or_each(values):
    """Return one value, or a list of one per layer, of two layers."""
    return values | st.lists(values, min_size=2, max_size=2)


RATES = st.floats(1e-6, 10, exclude_min=True)
SETTINGS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**12),
        "model": st.sampled_from(["sda", "saa", "mlp"]),
        "data": st.fixed_dictionaries({}, optional={"labels_per_class": st.none() | st.integers(1, 50)}),
        "pretrain": st.fixed_dictionaries(
            {"units": st.lists(st.integers(1, 5000), min_size=2, max_size=2)},
            optional={
                "epochs": one_or_each(st.integers(1, 500)),
                "tied": st.booleans(),
                "batch_size": st.integers(1, 500),
                "corruption": st.fixed_dictionaries(
                    {"kind": st.sampled_from(["fixed_masking", "masking", "salt_and_pepper"])},
                    optional={"nu": one_or_each(FRACTIONS)},
                ),
                "emphasis": st.fixed_dictionaries({"alpha": st.floats(0, 5), "beta": st.floats(0.1, 5)}),
                "optimizer": st.fixed_dictionaries(
                    {"name": st.sampled_from(["sgd", "adam"]), "lr": one_or_each(RATES)}
                ),
            },
        ),
        "finetune": st.fixed_dictionaries(
            {
                "optimizer": st.fixed_dictionaries(
                    {"lr": RATES, "options": st.just({"weight_decay": 0.1}) | st.just({})}
                )
            },
            optional={"dropout": st.floats(0, 0.9), "patience": st.integers(1, 99)},
        ),
        "tracking": st.fixed_dictionaries({"tags": st.lists(st.text(max_size=9), max_size=3)}),
    }
)


@given(values=SETTINGS)
def test_settings_make_the_round_trip(values):
    config = config_from_dict(values)
    assert config_from_dict(config.to_dict()) == config
    assert config_from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config
    there = flatten(config.to_dict())
    assert all(there[key] == value for key, value in flatten(values).items())


def mark(config):
    """Return the fingerprint of the last stage, which has all others in it."""
    return Experiment(config, DATA).stages(finetune=True)[-1].fingerprint


# By setting, what makes it another experiment.
CHANGES = {
    "seed": lambda v: v + 1,
    "data.labels_per_class": lambda v: (v or 0) + 1,
    "pretrain.units": lambda v: [v[0] + 1, v[1]],
    "finetune.dropout": lambda v: (v + 0.05) % 1.0,
    "finetune.epochs": lambda v: v + 1,
    "finetune.patience": lambda v: v + 1,
    "finetune.batch_size": lambda v: v + 1,
    "finetune.optimizer.name": lambda v: "adagrad",
    "finetune.optimizer.lr": lambda v: v * 1.01,
    "finetune.optimizer.options": lambda v: {**v, "maximize": False},
    "trainer.precision": lambda v: "bf16-mixed",
}
OF_LAYERS = {
    "pretrain.tied": lambda v: not v,
    "pretrain.batch_size": lambda v: v + 1,
    "pretrain.epochs": lambda v: [v + 1, v] if isinstance(v, int) else [v[0] + 1, v[1]],
    "pretrain.emphasis.alpha": lambda v: v + 0.1,
    "pretrain.emphasis.beta": lambda v: v + 0.1,
    "pretrain.optimizer.name": lambda v: "adagrad",
    "pretrain.optimizer.lr": lambda v: [v * 1.01, v] if isinstance(v, float) else [v[0], v[1] * 1.01],
    "pretrain.optimizer.options": lambda v: {**v, "maximize": False},
    "pretrain.activation": lambda v: ["sigmoid", "tanh"],
    "pretrain.loss": lambda v: "squared_error",
}
# What says where and how, not what.
ELSEWHERE = {
    "data.root": "/elsewhere",
    "data.memory_budget": 0.5,
    "tracking.mode": "offline",
    "tracking.project": "p",
    "tracking.entity": "e",
    "tracking.group": "g",
    "tracking.tags": ["another"],
    "tracking.loggers": ["csv"],
    "trainer.accelerator": "cpu",
}


def changed(config, key, value):
    *path, last = key.split(".")
    values = config.to_dict()
    place = values
    for name in path:
        place = place[name]
    place[last] = value
    return config_from_dict(values)


@given(values=SETTINGS)
@settings(max_examples=30)
def test_any_change_of_meaning_changes_the_fingerprint_and_no_other_does(values):
    config = config_from_dict(values)
    flat, here = flatten(config.to_dict()), mark(config)
    for key, change in {**CHANGES, **({} if config.model == "mlp" else OF_LAYERS)}.items():
        assert mark(changed(config, key, change(flat[key]))) != here, key
    if config.model == "sda":
        nu = flat["pretrain.corruption.nu"]
        other = [0.5 if value != 0.5 else 0.4 for value in (nu if isinstance(nu, list) else [nu, nu])]
        assert mark(changed(config, "pretrain.corruption.nu", other)) != here
    for key, value in ELSEWHERE.items():
        assert key.startswith(NON_IDENTITY_KEYS)
        assert mark(changed(config, key, value)) == here, key
    # The same thing said otherwise.
    for key in ("pretrain.corruption.nu", "pretrain.optimizer.lr", "pretrain.epochs"):
        if not isinstance(flat[key], list):
            assert mark(changed(config, key, [flat[key], flat[key]])) == here, key
    if config.model == "mlp":
        for key, change in OF_LAYERS.items():
            if key not in ("pretrain.activation", "pretrain.loss"):
                assert mark(changed(config, key, change(flat[key]))) == here, f"{key} is of layers that are not trained"


def test_a_whole_number_is_the_same_number():
    one, other = (changed(small(), "finetune.optimizer.lr", value) for value in (1, 1.0))
    assert mark(one) == mark(other)


class CutAt(Reporter):
    """Interrupts the work after so many epochs or blocks of codes."""

    def __init__(self, left):
        self.left = left

    def advance(self, units, metrics=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = api.fit(small(), tmp_path_factory.mktemp("whole") / "run", dataset=DATA).path
    return {
        stage: (folder / stage / "weights.safetensors").read_bytes() for stage in ("layer_1", "layer_2", "finetune")
    }


@given(cuts=st.lists(st.integers(1, 9), max_size=4))
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_run_cut_at_any_epochs_ends_in_the_same_bits(tmp_path_factory, whole, cuts):
    out = tmp_path_factory.mktemp("cut") / "run"
    for left in cuts:
        try:
            api.fit(small(), out, dataset=DATA, progress=CutAt(left))
        except KeyboardInterrupt:
            continue
    folder = api.fit(replace(small()), out, dataset=DATA).path
    assert {stage: (folder / stage / "weights.safetensors").read_bytes() for stage in whole} == whole
