"""A corruption, a loss and a layer of one's own in a run folder."""

from __future__ import annotations

import pytest
import torch
from helpers.components import Inverting, Scaled, absolute_error, thinned
from helpers.small_runs import blobs, small

from stacked_dae import Components, ConfigError, DataError, DenoisingAutoencoder, Masking, StackedDAE, StageError
from stacked_dae.figures import run_figures
from stacked_dae.pipeline import api
from stacked_dae.reporting.run_folders import read_run
from stacked_dae.reporting.run_summary import print_layers

DATA = blobs()


def alone(x, generator=None):
    return x


def fit(out, **parts):
    return api.fit(small(), out, dataset=DATA, components=Components(**parts) if parts else None)


def weights(run, stage="layer_1"):
    return run.weights_path(stage).read_bytes()


@pytest.mark.parametrize(
    "parts", [{"corruption": Inverting(0.2)}, {"loss": absolute_error}, {"layer": Scaled}], ids=lambda p: next(iter(p))
)
def test_parts_of_ones_own_train_and_go_on(parts, tmp_path, capsys):
    run = fit(tmp_path / "run", **parts)
    assert weights(run) != weights(fit(tmp_path / "plain")) or "layer" in parts
    before = weights(run, "finetune")
    again = fit(tmp_path / "run", **parts)
    assert weights(again, "finetune") == before
    assert api.evaluate(run.path, dataset=DATA).error_percent == run.result().test_error_percent
    assert StackedDAE.from_run(run.path).predict(DATA.train.inputs).shape == (230,)
    with pytest.raises(StageError, match="it has .*(Inverting|absolute|Scaled).*not no custom components"):
        fit(tmp_path / "run")
    assert read_run(run).settings["parts"] == run.manifest.components
    print_layers(run)
    assert "in place of the settings below" in capsys.readouterr().out
    assert any(file.name == "curves.png" for file in run_figures.draw_run(run, DATA))
    tuned = api.finetune(small(), tmp_path / "tuned", run.path, dataset=DATA, components=Components(**parts))
    assert weights(tuned, "finetune") == before
    with pytest.raises(ConfigError, match="was trained with custom components"):
        api.finetune(small(), tmp_path / "other", run.path, dataset=DATA)
    assert not (tmp_path / "other").exists()


class Convolving(DenoisingAutoencoder):
    """Encodes with a convolution that the stack does not have."""

    def __init__(self, inputs, units, **how):
        super().__init__(inputs, units, **how)
        self.convolution = torch.nn.Conv1d(1, 1, 3, padding=1)

    def encode(self, x):
        return super().encode(self.convolution(x[:, None])[:, 0].sigmoid())


class Penalised(DenoisingAutoencoder):
    """Has a penalty in its loss that the closed-form step does not know."""

    def loss(self, x, corrupted=None, weight=None):
        return super().loss(x, corrupted, weight) + self.weight.square().sum()


class Shifted(DenoisingAutoencoder):
    """Decodes with one more parameter, which the closed-form step would never move."""

    def __init__(self, inputs, units, **how):
        super().__init__(inputs, units, **how)
        self.shift = torch.nn.Parameter(torch.ones(()))

    def _pre_decode(self, y):
        return super()._pre_decode(y) + self.shift


class Stepping(Penalised):
    """Brings the step that belongs to its loss."""

    def step(self, x, corrupted, descent, weight=None):
        return super().step(x, corrupted, descent, weight)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Convolving, "Convolving encodes in its own way"),
        (Penalised, "does not follow the gradient of its loss by weight"),
        (Shifted, "does not follow the gradient of its loss by shift"),
    ],
)
def test_a_layer_that_would_not_train_what_it_computes_is_refused(layer, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        fit(tmp_path / "run", layer=layer)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_layer_with_a_step_of_its_own_is_taken(tmp_path):
    assert fit(tmp_path / "run", layer=Stepping).has_done("layer_1")


def test_a_part_equal_to_a_setting_trains_the_same(tmp_path):
    own = fit(tmp_path / "own", corruption=Masking(0.25))
    named = small()
    from dataclasses import replace

    corruption = replace(named.pretrain.corruption, kind="masking", nu=0.25)
    config = replace(named, pretrain=replace(named.pretrain, corruption=corruption))
    assert weights(own) == weights(api.fit(config, tmp_path / "named", dataset=DATA))


def test_parts_that_do_not_say_what_they_are_are_refused(tmp_path):
    class Nameless:
        def __call__(self, x, generator=None):
            return x, x > 2

    for parts in ({"corruption": Nameless()}, {"loss": lambda a, x, weight: a.sum(1)}):
        with pytest.raises(ConfigError, match="does not say what it is"):
            fit(tmp_path / "run", **parts)
    assert not (tmp_path / "run").exists()


def test_a_function_may_be_a_corruption(tmp_path):
    assert fit(tmp_path / "run", corruption=thinned).manifest.components == "corruption: helpers.components.thinned"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"corruption": alone}, "components.corruption must return two tensors"),
        (
            {"loss": torch.nn.functional.binary_cross_entropy_with_logits},
            "components.loss must return the loss of each",
        ),
    ],
)
def test_parts_that_return_something_else_are_refused(tmp_path, parts, words):
    with pytest.raises(ConfigError, match=words):
        fit(tmp_path / "run", **parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["saa", "mlp"])
def test_the_controls_take_no_corruption(model, tmp_path):
    with pytest.raises(ConfigError, match=f"model {model} corrupts nothing"):
        api.fit(small(model=model), tmp_path / "run", dataset=DATA, components=Components(corruption=Inverting(0.2)))


def test_what_is_no_config_and_no_dataset_is_told(tmp_path):
    with pytest.raises(ConfigError, match="config_from_dict"):
        api.fit({"seed": 1}, tmp_path / "run")
    with pytest.raises(ConfigError, match="make_dataset"):
        api.fit(small(), tmp_path / "run", dataset=DATA.train.inputs)
    with pytest.raises(DataError, match="StackedDAE.from_run"):
        StackedDAE.load(tmp_path)
