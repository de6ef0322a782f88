"""The layer's closed-form step against torch autograd and torch's own optimisers, in float64."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch.nn import functional

from stacked_dae.errors import ConfigError
from stacked_dae.nn import losses
from stacked_dae.nn.activations import glorot_uniform
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.corruption import FixedMasking
from stacked_dae.nn.updates import ParameterUpdater
from stacked_dae.training.optimizers import build_optimizer

D, H, B = 11, 7, 5
ACTIVATIONS = ("sigmoid", "tanh", "relu", "identity")
LOSSES = (("sigmoid", "cross_entropy"), ("sigmoid", "squared_error"), ("identity", "squared_error"))
CASES = list(itertools.product(ACTIVATIONS, LOSSES, (True, False), ((1.0, 1.0), (2.0, 0.5))))


def make(activation="sigmoid", loss=("sigmoid", "cross_entropy"), tied=True, emphasis=(1.0, 1.0), nu=0.4):
    layer = DenoisingAutoencoder(
        D,
        H,
        corruption=FixedMasking(nu),
        activation=activation,
        decoder=loss[0],
        loss=loss[1],
        tied=tied,
        alpha=emphasis[0],
        beta=emphasis[1],
        generator=torch.Generator().manual_seed(4),
    ).double()
    with torch.no_grad():
        layer.bias.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(5))
        layer.decoder_bias.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(6))
    return layer


X = torch.rand(B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def written_out(layer, x, corrupted, destroyed, alpha, beta):
    """Return the mean loss by the design's equations, with torch's own functions only."""
    s = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda a: a}
    y = s[layer.activation](functional.linear(corrupted, layer.weight, layer.bias))
    w_out = layer.weight.t() if layer.decoder_weight is None else layer.decoder_weight
    a = functional.linear(y, w_out, layer.decoder_bias)
    if layer.criterion == "cross_entropy":
        each = functional.binary_cross_entropy_with_logits(a, x, reduction="none")
    else:
        each = (x - s[layer.decoder](a)) ** 2
    weight = torch.where(destroyed, alpha, beta)
    return (each * weight).sum(1).mean()


@pytest.mark.parametrize(("activation", "loss", "tied", "emphasis"), CASES)
def test_gradients_equal_autograd(activation, loss, tied, emphasis):
    layer = make(activation, loss, tied, emphasis)
    reference = copy.deepcopy(layer)
    corrupted, destroyed = layer.corruption(X, torch.Generator().manual_seed(8))
    expected = written_out(reference, X, corrupted, destroyed, *emphasis)
    expected.backward()
    # With momentum the gradients go through .grad; a step of size 0 leaves the weights alone.
    descent = ParameterUpdater(torch.optim.SGD(layer.parameters(), lr=0.0, momentum=0.5))
    ours, weight = layer.corrupt(X, torch.Generator().manual_seed(8))
    total = layer.step(X, ours, descent, weight)
    assert total.item() / B == pytest.approx(expected.item(), rel=1e-12)
    for (name, p), q in zip(layer.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-10), name
        assert q.grad.abs().max() > 1e-3, name


OPTIMIZERS = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"weight_decay": 0.1}),
    ("sgd", {"maximize": True}),
    ("adam", {}),
    ("adamw", {}),
    ("rmsprop", {}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@pytest.mark.parametrize("tied", [True, False])
def test_ten_updates_equal_autograd_with_torchs_optimiser(name, options, tied):
    layer = make(tied=tied)
    reference = copy.deepcopy(layer)
    descent = ParameterUpdater(build_optimizer(name, list(layer.parameters()), 0.05, options))
    ours, theirs = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    cls = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}
    optimizer = cls[name](reference.parameters(), lr=0.05, foreach=False, **options)
    for _ in range(10):
        layer.step(X, layer.corrupt(X, ours)[0], descent)
        corrupted, destroyed = reference.corruption(X, theirs)
        optimizer.zero_grad()
        written_out(reference, X, corrupted, destroyed, 1.0, 1.0).backward()
        optimizer.step()
    for p, q in zip(layer.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0, atol=1e-10)


def test_plain_sgd_follows_a_learning_rate_that_changes():
    layer = make()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    descent = ParameterUpdater(optimizer)
    before = layer.weight.clone()
    layer.step(X, X, descent)
    assert torch.equal(layer.weight, before)
    optimizer.param_groups[0]["lr"] = 0.1
    layer.step(X, X, descent)
    assert not torch.equal(layer.weight, before)


@pytest.mark.parametrize(("activation", "loss", "tied", "emphasis"), CASES)
def test_loss_is_differentiable_and_equals_the_equations(activation, loss, tied, emphasis):
    layer = make(activation, loss, tied, emphasis)
    corrupted, destroyed = layer.corruption(X, torch.Generator().manual_seed(8))
    weight = torch.where(destroyed, *emphasis).double()
    mean = layer.loss(X, corrupted, weight).mean()
    assert mean.item() == pytest.approx(written_out(layer, X, corrupted, destroyed, *emphasis).item(), rel=1e-12)
    assert layer.loss(X).shape == (B,)


def test_cross_entropy_survives_saturation():
    layer = make()
    with torch.no_grad():
        layer.decoder_bias.fill_(2000.0)
    loss = layer.loss(torch.zeros(1, D, dtype=torch.float64))
    assert torch.isfinite(loss).all()
    assert loss.item() > 1000 * D


def test_without_corruption_every_input_counts_beta():
    plain = DenoisingAutoencoder(D, H, alpha=7.0, beta=0.5, generator=torch.Generator().manual_seed(1)).double()
    _, weight = plain.corrupt(X)
    assert torch.equal(weight, torch.full_like(X, 0.5))


def test_encoding_is_clean():
    layer = make(nu=1.0)
    assert torch.equal(layer.encode(X), torch.sigmoid(torch.addmm(layer.bias, X, layer.weight.t())))


@pytest.mark.parametrize(("activation", "gain"), [("sigmoid", 4), ("tanh", 1), ("relu", math.sqrt(2)), ("identity", 1)])
def test_first_weights_fill_the_documented_range(activation, gain):
    weight = glorot_uniform(300, 200, activation, torch.Generator().manual_seed(0))
    limit = gain * math.sqrt(6 / 500)
    assert weight.shape == (300, 200)
    assert 0.99 * limit < weight.abs().max().item() <= limit


def test_identity_decoder_is_refused_with_cross_entropy():
    with pytest.raises(ValueError, match="sigmoid decoder"):
        make(loss=("identity", "cross_entropy"))


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("sgd", {"momentun": 0.9}, "did you mean 'momentum'"),
        ("adam", {"betas": 3}, "adam refuses"),
        ("sgd", {"params": 1}, "no such"),
    ],
)
def test_an_optimiser_option_that_it_does_not_take_is_named(name, options, text):
    with pytest.raises(ConfigError, match=text):
        build_optimizer(name, [torch.nn.Parameter(torch.zeros(1))], 0.1, options)


def test_every_optimiser_of_the_settings_can_be_made_and_steps():
    from stacked_dae.config.schema import OptimizerName

    for name in OptimizerName.__args__:
        layer = make()
        before = layer.weight.clone()
        layer.step(X, X, ParameterUpdater(build_optimizer(name, list(layer.parameters()), 0.01, {})))
        assert not torch.equal(layer.weight, before), name


STANDARDISED = torch.arange(D) % 3 == 0


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("missing", [True, False])
def test_gradients_by_column_equal_autograd(tied, missing):
    layer = DenoisingAutoencoder(
        D,
        H,
        corruption=FixedMasking(0.4),
        loss="by_column",
        standardised=STANDARDISED,
        missing=missing,
        tied=tied,
        alpha=2.0,
        beta=0.5,
        generator=torch.Generator().manual_seed(4),
    ).double()
    x = torch.where(STANDARDISED, 3 * X - 1.5, X)
    known = torch.ones_like(x)
    if missing:
        known[1, ::2] = 0
        x = torch.where(known == 1, x, math.nan)
    reference = copy.deepcopy(layer)
    corrupted, weight = layer.corrupt(x, torch.Generator().manual_seed(8))
    clean = x.nan_to_num(0.0)
    own, destroyed = layer.corruption(clean, torch.Generator().manual_seed(8))
    assert torch.equal(corrupted, own)
    y = torch.sigmoid(functional.linear(corrupted, reference.weight, reference.bias))
    w_out = reference.weight.t() if reference.decoder_weight is None else reference.decoder_weight
    a = functional.linear(y, w_out, reference.decoder_bias)
    crossed = functional.binary_cross_entropy_with_logits(a, clean.clamp(0, 1), reduction="none")
    each = torch.where(STANDARDISED, (a - clean) ** 2, crossed)
    expected = (each * torch.where(destroyed, 2.0, 0.5) * known).sum(1).mean()
    expected.backward()
    total = layer.step(
        layer.fill(x), corrupted, ParameterUpdater(torch.optim.SGD(layer.parameters(), lr=0.0, momentum=0.5)), weight
    )
    assert total.item() / B == pytest.approx(expected.item(), rel=1e-12)
    for (name, p), q in zip(layer.named_parameters(), reference.named_parameters(), strict=True):
        assert torch.allclose(p.grad, q[1].grad, rtol=0, atol=1e-10), name


@pytest.mark.parametrize("weighted", [True, False])
def test_a_loss_of_ones_own_is_derived_by_autograd(weighted):
    """Cross-entropy, passed as a function, trains as the built-in one does."""
    built_in = make(emphasis=(2.0, 0.5) if weighted else (1.0, 1.0))
    own = copy.deepcopy(built_in)
    own.criterion = losses.cross_entropy
    for layer in (built_in, own):
        descent = ParameterUpdater(torch.optim.SGD(layer.parameters(), lr=0.1))
        generator = torch.Generator().manual_seed(8)
        for _ in range(5):
            corrupted, weight = layer.corrupt(X, generator)
            layer.step(X, corrupted, descent, weight)
    for (name, p), q in zip(built_in.named_parameters(), own.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0, atol=1e-12), name
    assert torch.allclose(own.loss(X), built_in.loss(X))


def test_by_column_wants_to_know_the_columns():
    with pytest.raises(ValueError, match="which inputs are standardised"):
        DenoisingAutoencoder(D, H, loss="by_column")
