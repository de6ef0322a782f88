"""The search by validation error, and what is drawn for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from helpers.small_runs import blobs, small

from stacked_dae.errors import ConfigError, StageError
from stacked_dae.pipeline.api import fit
from stacked_dae.reproduction import models, search_space
from stacked_dae.reproduction.selection import select_best
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.terminal.progress import Reporter


class Counter(Reporter):
    """Counts the stages that begin, and raises at one of them."""

    def __init__(self, stop_at=None):
        self.begun, self.stop_at = [], stop_at

    def start(self, name, total, unit, done=0):
        self.begun.append(name)
        if len(self.begun) == self.stop_at:
            raise KeyboardInterrupt


def weights(found):
    """Return the bytes of a try's fine-tuned weights."""
    return RunFolder.open(found.folder).weights_path("finetune").read_bytes()


def rates(*lrs):
    """Return configs that differ in the rate of fine-tuning."""
    base = small(model="mlp")
    optimizer = base.finetune.optimizer
    return [replace(base, finetune=replace(base.finetune, optimizer=replace(optimizer, lr=lr))) for lr in lrs]


def counted():
    """Return blobs whose reads of the test rows are counted."""
    reads = []
    test = blobs().load_test()

    def load_test():
        reads.append(1)
        return test.inputs, test.labels

    return blobs(load_test=load_test), reads


def test_the_lowest_validation_error_is_tested_and_nothing_else(tmp_path):
    data, reads = counted()
    configs = rates(1e-6, 1.0, 1e-5)
    chosen, tries = select_best(configs, tmp_path, data, Reporter())
    folder = RunFolder.open(chosen.folder)
    errors = [t.valid_error_percent for t in tries]
    assert errors[1] < min(errors[0], errors[2]), "one rate learns, the others do not: else this shows nothing"
    assert chosen == tries[1]
    assert folder.result().best_valid_error_percent == errors[1]
    assert folder.config() == configs[1]
    assert len(reads) == 1
    assert [(t.folder / "result.json").exists() for t in tries] == [False, True, False]


def test_of_equals_the_lower_validation_loss_is_taken(tmp_path):
    chosen, tries = select_best(rates(1e-6, 2e-6, 1e-6), tmp_path, blobs(), Reporter())
    assert len({t.valid_error_percent for t in tries}) == 1
    assert tries[1].valid_loss < tries[0].valid_loss
    assert chosen == tries[1]


@pytest.mark.parametrize("stop_at", [1, 2, 4, 5, 6, 9, 10])
def test_a_killed_search_goes_on_where_it_was(tmp_path, stop_at):
    configs = [replace(small(), seed=seed) for seed in (1, 2)]  # each begins five things: two layers, two codes
    whole, expected = select_best(configs, tmp_path / "whole", blobs(), Reporter())
    with pytest.raises(KeyboardInterrupt):
        select_best(configs, tmp_path / "cut", blobs(), Counter(stop_at))
    done = int(stop_at > 5)
    assert (tmp_path / "cut" / "tries.json").exists() == bool(done)
    reporter = Counter()
    chosen, tries = select_best(configs, tmp_path / "cut", blobs(), reporter)
    assert [t.valid_error_percent for t in tries] == [t.valid_error_percent for t in expected]
    assert chosen.folder.name == whole.folder.name
    assert weights(chosen) == weights(whole)
    assert sum(name == "finetune" for name in reporter.begun) == 2 - done


def test_what_differs_in_fine_tuning_alone_shares_its_layers(tmp_path):
    base = small()
    other = replace(base, finetune=replace(base.finetune, optimizer=replace(base.finetune.optimizer, lr=0.5)))
    layers_differ = replace(other, pretrain=replace(base.pretrain, epochs=2))
    reporter = Counter()
    _, tries = select_best([base, other, layers_differ], tmp_path / "search", blobs(), reporter)
    assert sum(name == "layer_1" for name in reporter.begun) == 2
    assert [t.layers for t in tries] == [tries[0].folder, tries[0].folder, tries[2].folder]
    # Sharing saves time and changes nothing.
    alone = fit(other, tmp_path / "alone", dataset=blobs())
    assert weights(tries[1]) == alone.weights_path("finetune").read_bytes()


def test_a_larger_search_trains_only_what_is_new(tmp_path):
    select_best(rates(0.1, 0.2), tmp_path, blobs(), Reporter())
    reporter = Counter()
    select_best(rates(0.1, 0.2, 0.3), tmp_path, blobs(), reporter)
    assert reporter.begun == ["finetune"]


def test_what_diverged_is_kept_and_never_chosen(tmp_path):
    linear = {"loss": "squared_error", "decoder": "identity", "activation": "identity"}
    optimizer = replace(small().pretrain.optimizer, lr=1e6)
    bad = replace(small(), pretrain=replace(small().pretrain, optimizer=optimizer, **linear))
    same_layers = replace(bad, finetune=replace(bad.finetune, epochs=2))
    reporter = Counter()
    chosen, tries = select_best([bad, same_layers, small()], tmp_path, blobs(), reporter)
    assert reporter.begun.count("layer_1") == 2, "layers that diverged are not trained again"
    assert [t.diverged for t in tries] == ["layer_1", "layer_1", ""]
    again = Counter()
    select_best([bad, same_layers, small()], tmp_path, blobs(), again)
    assert again.begun == [], "nor is it tried again"
    assert [t.valid_error_percent is None for t in tries] == [True, True, False]
    assert chosen == tries[2]
    assert json.loads((tmp_path / "tries.json").read_text())[tries[0].folder.name]["valid_error_percent"] is None
    with pytest.raises(StageError, match="every configuration diverged"):
        select_best([bad], tmp_path, blobs(), Reporter())


def test_fine_tuning_that_diverged_leaves_its_layers(tmp_path):
    linear = {"activation": "identity", "loss": "squared_error", "decoder": "identity"}
    base = small(pretrain=replace(small().pretrain, optimizer=replace(small().pretrain.optimizer, lr=1e-3), **linear))
    bad = replace(base, finetune=replace(base.finetune, optimizer=replace(base.finetune.optimizer, lr=1e30)))
    reporter = Counter()
    chosen, tries = select_best([bad, base], tmp_path, blobs(), reporter)
    assert [t.diverged for t in tries] == ["finetune", ""]
    assert reporter.begun.count("layer_1") == 1
    assert (chosen, chosen.layers) == (tries[1], tries[0].folder)


@pytest.mark.parametrize(
    "changed",
    ["3", {"valid_error_percent": "3"}, {"valid_loss": None}, {"seconds": "long"}, {"diverged": 1}],
    ids=str,
)
def test_a_damaged_list_of_tries_is_named(tmp_path, changed):
    entry = {"valid_error_percent": 3.0, "valid_loss": 0.1, "seconds": 1.0, "diverged": ""}
    damaged = {**entry, **changed} if isinstance(changed, dict) else changed
    (tmp_path / "tries.json").write_text(json.dumps({"try_1": damaged}))
    with pytest.raises(StageError, match=r"tries.json is damaged; remove it"):
        select_best(rates(0.1), tmp_path, blobs(), Reporter())


def drawn(model="sda-3", preset="quick", budget=4, seed=0, problem="rot"):
    return search_space.search_candidates(problem, model, preset, budget, seed, "regenerated")


def test_a_larger_budget_begins_with_a_smaller_one():
    assert drawn(budget=5)[:2] == drawn(budget=2)
    assert len({json.dumps(c.to_dict()) for c in drawn(budget=5)}) == 5, "each once"
    orders = {tuple(config.layers()[0].nu for config in drawn(budget=9, seed=k)) for k in range(6)}
    assert len(orders) > 1, "the seed decides the order"
    assert {order[:3] for order in orders} == {(0.1,) * 3}, "the preset's own come first"


def test_the_first_configuration_has_the_papers_noise():
    assert [drawn(problem=p, budget=1)[0].layers()[0].nu for p in ("basic", "bg-rand", "bg-img")] == [0.1, 0.4, 0.25]


def test_a_control_differs_in_nothing_but_what_it_controls():
    sda, saa, mlp = (drawn(model, budget=1)[0] for model in ("sda-3", "saa-3", "mlp-3"))
    assert [layer.nu for layer in saa.layers()] == [0.0] * 3
    for name in ("units", "epochs", "optimizer", "activation", "loss"):
        assert getattr(saa.pretrain, name) == getattr(sda.pretrain, name)
    assert mlp.model == "mlp"
    assert mlp.finetune == saa.finetune == sda.finetune
    assert mlp.pretrain.units == sda.pretrain.units
    # What a control does not use is not searched: each of its configurations is another one.
    assert len({json.dumps(c.to_dict()["pretrain"]) for c in drawn("mlp-3", budget=50)}) == 1
    assert [c.finetune.optimizer.lr for c in drawn("mlp-3", budget=50)] == [1.0, 0.3, 0.1]
    assert [c.finetune.optimizer.lr for c in drawn(budget=4)] == [1.0, 0.3, 0.1, 1.0], "each layers with every rate"


def test_every_model_has_settings_that_hold():
    for model in models.MODELS:
        if not model.startswith("svm"):
            for preset in search_space.BUDGETS:
                assert drawn(model, preset)
    emphasis = drawn("sda-3-emphasis")[0]
    assert emphasis.pretrain.corruption.kind == "salt_and_pepper"
    assert emphasis.pretrain.emphasis.alpha > emphasis.pretrain.emphasis.beta
    modern, control = drawn("modern")[0], drawn("modern-mlp")[0]
    rates = [[c.finetune.optimizer.lr for c in drawn(m, budget=3)] for m in ("modern", "modern-mlp")]
    assert rates[0] == rates[1] == pytest.approx([1e-3, 3e-4, 1e-4])
    assert modern.finetune == control.finetune
    assert modern.finetune.dropout > 0
    assert [layer.activation for layer in modern.layers()] == [layer.activation for layer in control.layers()]


@pytest.mark.parametrize(
    ("problems", "models", "budget", "seed", "message"),
    [
        (["rekt"], ["sda-3"], 1, 0, r"--problems: there is no 'rekt' \(did you mean 'rect'\?\); known: basic, rot"),
        (["rect"], ["sda"], 1, 0, r"--models: there is no 'sda' \(did you mean 'sda-3'\?\)"),
        (["rect"], ["sda-3"], 0, 0, "--budget must be a whole number above 0, not 0"),
        (["rect"], ["sda-3"], 1, -1, "--seed must be a whole number of at least 0, not -1"),
    ],
)
def test_what_is_not_there_is_named(problems, models, budget, seed, message):
    with pytest.raises(ConfigError, match=message):
        search_space.check_request(problems, models, budget, seed)


def test_the_authors_preset_draws_layers_first_then_decreasing_rates():
    configs = drawn("sda-3", "authors", 99, problem="rect-img")
    assert len(configs) == search_space.BUDGETS["authors"] == len(set(map(repr, configs)))
    assert configs[:8] == drawn("sda-3", "authors", 8, problem="rect-img")
    tuning = {(c.finetune.optimizer.lr, c.finetune.optimizer.decay) for c in configs[:4]}
    assert tuning == {(1.0, 1e-4), (1.0, 1e-3), (0.3, 1e-4), (0.3, 1e-3)}
    assert len({repr(c.pretrain) for c in configs[:4]}) == 1
    assert {c.pretrain.first_weights for c in configs} == {"max_fan"}
    assert {c.pretrain.epochs for c in configs} == {50, 150, 300}
    # Without noise, or without layers, half of them and more are the same.
    assert len(drawn("saa-3", "authors", 99, problem="rect-img")) == 24
    assert len(drawn("mlp-3", "authors", 99, problem="rect-img")) == 4
