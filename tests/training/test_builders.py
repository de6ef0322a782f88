"""First weights by the size of the inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.small_runs import blobs, small
from sklearn.datasets import make_classification

from stacked_dae import StackedDAEClassifier, StackedDAETransformer
from stacked_dae.inference.loading import load_layers
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.pipeline.api import fit
from stacked_dae.training.builders import scale_first_weights


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("width", [3, 2000])
def test_a_units_input_has_variance_1_at_any_width_and_size(size, width):
    layer = DenoisingAutoencoder(width, 400, activation="tanh", decoder="identity", loss="squared_error", tied=False)
    x = size * torch.randn(500, width, generator=torch.Generator().manual_seed(0)) + 2 * size
    decoder = layer.decoder_weight.clone()
    scale_first_weights(layer, x, 3, "layer_1")
    with torch.no_grad():
        entering = x @ layer.weight.t()
    assert entering.square().mean() == pytest.approx(1.0, rel=0.2)
    assert torch.allclose(layer.decoder_bias, x.mean(0), atol=1e-5 * size)
    assert 0.4 < layer.bias.abs().max() <= 0.5
    assert torch.equal(layer.decoder_weight, decoder)
    again = DenoisingAutoencoder(width, 400, activation="tanh", decoder="identity", loss="squared_error", tied=False)
    scale_first_weights(again, x, 3, "layer_1")
    assert torch.equal(again.weight, layer.weight)


def test_missing_values_and_sigmoid_decoders():
    layer = DenoisingAutoencoder(2, 5, missing=True)
    x = torch.tensor([[0.25, float("nan")], [0.75, 0.0]])
    scale_first_weights(layer, x, 0, "layer_1")
    assert layer.decoder_bias.sigmoid().tolist() == pytest.approx([0.5, 0.01], abs=1e-6)
    assert torch.isfinite(layer.weight).all()


@pytest.mark.parametrize("model", ["sda", "mlp"])
def test_the_setting_serves_pre_trained_layers_and_the_control(model, tmp_path):
    pretrain = replace(small().pretrain, first_weights="scaled", epochs=1)
    pretrain = replace(pretrain, optimizer=replace(pretrain.optimizer, lr=1e-12))
    run = fit(small(model=model, pretrain=pretrain), tmp_path / "run", dataset=blobs())
    if model == "mlp":
        rows = run.metrics("finetune").rows()
        plain = fit(small(model=model), tmp_path / "plain", dataset=blobs()).metrics("finetune").rows()
        assert rows[0]["train_loss"] != plain[0]["train_loss"]
        return
    x = torch.from_numpy(blobs().train.inputs)
    layers = load_layers(run)
    for layer in layers:
        limit = (3 / x.square().sum(1).mean()).sqrt()
        assert layer.weight.detach().abs().max() == pytest.approx(float(limit), rel=0.1)
        with torch.no_grad():
            x = layer.encode(x)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [5000, 20000])
def test_wide_tables_do_not_saturate(columns):
    x, y = make_classification(100, columns, n_informative=40, n_redundant=0, random_state=0)
    codes = StackedDAETransformer(random_state=0).fit_transform(x)
    assert np.mean(np.abs(codes) > 0.99) < 0.02
    if columns == 5000:
        never = StackedDAEClassifier(pretrain_epochs=0, random_state=0).fit(x, y)
        assert np.mean(np.abs(never.transform(x)) > 0.99) < 0.02
        assert len(np.unique(never.predict(x))) == 2
