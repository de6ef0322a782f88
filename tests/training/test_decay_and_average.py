"""A decaying rate, an average of the weights and the first weights of the paper's programs, against autograd."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.small_runs import SMALL, blobs
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from stacked_dae import fit, pretrain
from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import PretrainConfig
from stacked_dae.training.builders import build_layers
from stacked_dae.utils.seeding import derive_seed

DECAY, RATE = 0.01, 0.3


def changed(**changes):
    pretrain = {**SMALL["pretrain"], "corruption": {"nu": 0.0}, **changes.pop("pretrain", {})}
    finetune = {**SMALL["finetune"], "epochs": 4, "patience": 4, **changes.pop("finetune", {})}
    return config_from_dict({**SMALL, "pretrain": pretrain, "finetune": finetune, **changes})


def minibatches(seed, stage, epochs, rows, size):
    """Return the rows of each minibatch, in the documented order of a run."""
    found = []
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(derive_seed(seed, stage, epoch, "shuffle"))
        found += torch.randperm(rows, generator=generator).split(size)
    return found


def test_the_rate_of_a_layer_decays_with_every_update(tmp_path):
    optimizer = {"name": "sgd", "lr": RATE, "decay": DECAY}
    config = changed(pretrain={"units": [10], "optimizer": optimizer})
    data = blobs()
    run = pretrain(config, tmp_path / "run", dataset=data)
    (layer,) = build_layers(config, data.inputs)
    weight, bias, decoder = (
        nn.Parameter(value.detach().double().clone()) for value in (layer.weight, layer.bias, layer.decoder_bias)
    )
    parameters = [weight, bias, decoder]
    x = torch.from_numpy(data.train.inputs).double()
    updates = minibatches(config.seed, "layer_1", 3, len(x), 20)
    for t, rows in enumerate(updates):
        y = torch.sigmoid(x[rows] @ weight.T + bias)
        loss = functional.binary_cross_entropy_with_logits(y @ weight + decoder, x[rows], reduction="sum") / len(rows)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= RATE / (1.0 + DECAY * t) * gradient
    found = load_file(run.weights_path("layer_1"))
    for name, value in (("weight", weight), ("bias", bias), ("decoder_bias", decoder)):
        torch.testing.assert_close(found[name].double(), value.detach(), atol=1e-5, rtol=1e-4)
    plain = pretrain(
        replace(config, pretrain=replace(config.pretrain, optimizer=replace(config.pretrain.optimizer, decay=0.0))),
        tmp_path / "plain",
        dataset=data,
    )
    assert float((load_file(plain.weights_path("layer_1"))["weight"] - found["weight"]).abs().max()) > 1e-3


@pytest.mark.parametrize("average", [0.5, 0.999])
def test_the_average_is_what_is_validated_and_kept(average, tmp_path):
    config = changed(model="mlp", finetune={"average": average, "monitor": "loss", "optimizer": {"lr": RATE}})
    data = blobs()
    run = fit(config, tmp_path / "run", dataset=data)
    layers = build_layers(config, data.inputs)
    weights = [nn.Parameter(layer.weight.detach().double().clone()) for layer in layers]
    biases = [nn.Parameter(layer.bias.detach().double().clone()) for layer in layers]
    # The head begins at 0.
    weights.append(nn.Parameter(torch.zeros(3, 8, dtype=torch.float64)))
    biases.append(nn.Parameter(torch.zeros(3, dtype=torch.float64)))
    parameters = [*weights, *biases]

    def logits(x, weights, biases):
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = torch.sigmoid(x @ weight.T + bias)
        return x @ weights[-1].T + biases[-1]

    x, y = torch.from_numpy(data.train.inputs).double(), torch.from_numpy(data.train.labels)
    valid, wanted = torch.from_numpy(data.valid.inputs).double(), torch.from_numpy(data.valid.labels)
    averages = [parameter.detach().clone() for parameter in parameters]
    updates = minibatches(config.seed, "finetune", 4, len(x), 20)
    losses = []
    for t, rows in enumerate(updates, 1):
        loss = functional.cross_entropy(logits(x[rows], weights, biases), y[rows])
        gradients = torch.autograd.grad(loss, parameters)
        beta = min(average, (1 + t) / (10 + t))
        with torch.no_grad():
            for k, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                parameter -= RATE * gradient
                averages[k] = beta * averages[k] + (1 - beta) * parameter
        if t % (len(updates) // 4) == 0:
            losses.append(float(functional.cross_entropy(logits(valid, averages[:3], averages[3:]), wanted)))
    np.testing.assert_allclose([row["valid_loss"] for row in run.metrics("finetune").rows()], losses, rtol=1e-4)
    found = load_file(run.weights_path("finetune"))
    # The validation loss still falls: the last epoch is kept.
    assert run.result().best_epoch == 4
    torch.testing.assert_close(found["head.weight"].double(), averages[2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["encoders.0.weight"].double(), averages[0], atol=1e-5, rtol=1e-4)
    assert found.keys() == load_file(fit(changed(), tmp_path / "plain", dataset=data).weights_path("finetune")).keys()


@pytest.mark.parametrize("tied", [True, False])
def test_the_first_weights_of_the_papers_programs(tied):
    config = changed(pretrain={"units": [40, 9], "first_weights": "max_fan", "tied": tied})
    first, second = build_layers(config, 25)
    for layer, limit in ((first, 1 / math.sqrt(40)), (second, 1 / math.sqrt(40))):
        for weight in (layer.weight, *([] if tied else [layer.decoder_weight])):
            assert float(weight.abs().max()) <= limit
            assert float(weight.std()) == pytest.approx(limit / math.sqrt(3), rel=0.1)
    again, _ = build_layers(config, 25)
    torch.testing.assert_close(again.weight, first.weight, atol=0, rtol=0)
    assert PretrainConfig().first_weights == "glorot"
