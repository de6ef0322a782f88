from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch.nn import functional

from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.nn.updates import ParameterUpdater
from stacked_dae.training.optimizers import build_optimizer

SIZES, CLASSES, B = (9, 8, 7), 4, 6
X = torch.rand(B, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 3, 3, 0])


def layers(activation="sigmoid"):
    generator = torch.Generator().manual_seed(2)
    return [
        DenoisingAutoencoder(d, h, activation=activation, generator=generator).double()
        for d, h in itertools.pairwise(SIZES)
    ]


def make(activation="sigmoid"):
    stack = EncoderStack(SIZES, [activation] * 2, CLASSES).double().copy_encoders_from(layers(activation))
    with torch.no_grad():
        stack.head.weight.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(3))
    return stack


def autograd_loss(stack, masks=(1.0, 1.0)):
    s = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda a: a}
    y = X
    for encoder, mask in zip(stack.encoders, masks, strict=True):
        y = s[encoder.activation](functional.linear(y, encoder.weight, encoder.bias)) * mask
    return functional.cross_entropy(functional.linear(y, stack.head.weight, stack.head.bias), LABELS)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "identity"])
def test_gradients_equal_autograd(activation):
    stack = make(activation)
    reference = copy.deepcopy(stack)
    expected = autograd_loss(reference)
    expected.backward()
    descent = ParameterUpdater(torch.optim.SGD(stack.parameters(), lr=0.0, momentum=0.5))
    assert stack.step(X, LABELS, descent).item() / B == pytest.approx(expected.item(), rel=1e-12)
    for (name, p), q in zip(stack.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-10), name
        assert q.grad.abs().max() > 1e-4, name


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "identity"])
def test_gradients_equal_autograd_with_dropout(activation):
    stack = make(activation)
    reference = copy.deepcopy(stack)
    generator = torch.Generator().manual_seed(4)
    masks = [torch.empty(B, h, dtype=torch.float64).bernoulli_(0.6, generator=generator) / 0.6 for h in SIZES[1:]]
    expected = autograd_loss(reference, masks)
    expected.backward()
    descent = ParameterUpdater(torch.optim.SGD(stack.parameters(), lr=0.0, momentum=0.5))
    assert stack.step(X, LABELS, descent, masks).item() / B == pytest.approx(expected.item(), rel=1e-12)
    for (name, p), q in zip(stack.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-10), name
        assert q.grad.abs().max() > 1e-4, name


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_ten_updates_equal_autograd_with_torchs_optimiser(name):
    stack = make()
    reference = copy.deepcopy(stack)
    descent = ParameterUpdater(build_optimizer(name, list(stack.parameters()), 0.1, {}))
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name](reference.parameters(), lr=0.1)
    for _ in range(10):
        stack.step(X, LABELS, descent)
        optimizer.zero_grad()
        autograd_loss(reference).backward()
        optimizer.step()
    for p, q in zip(stack.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0, atol=1e-10)


def test_the_hand_over_is_bit_equal_and_a_copy():
    given = layers()
    stack = EncoderStack(SIZES, ["sigmoid"] * 2, CLASSES).double().copy_encoders_from(given)
    for encoder, layer in zip(stack.encoders, given, strict=True):
        assert torch.equal(encoder.weight, layer.weight)
        assert torch.equal(encoder.bias, layer.bias)
        assert encoder.weight.data_ptr() != layer.weight.data_ptr()


def test_the_hand_over_is_strict():
    with pytest.raises(ValueError, match="shorter"):
        EncoderStack(SIZES, ["sigmoid"] * 2, CLASSES).copy_encoders_from(layers()[:1])
    with pytest.raises(RuntimeError, match="size mismatch"):
        EncoderStack((9, 8, 6), ["sigmoid"] * 2, CLASSES).copy_encoders_from(layers())


def test_the_head_starts_with_every_class_equally_likely():
    stack = EncoderStack(SIZES, ["sigmoid"] * 2, CLASSES).double().copy_encoders_from(layers())
    assert torch.equal(stack(X), torch.zeros(B, CLASSES, dtype=torch.float64))


def test_gradients_of_a_regression_equal_autograd():
    targets = torch.rand(B, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    stack = EncoderStack(SIZES, ["sigmoid"] * 2, 2, regression=True, missing=True).double().copy_encoders_from(layers())
    with torch.no_grad():
        stack.head.weight.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(3))
    reference = copy.deepcopy(stack)
    x = X.clone()
    x[2, ::2] = float("nan")
    y = x.nan_to_num(0.0)
    for encoder in reference.encoders:
        y = torch.sigmoid(functional.linear(y, encoder.weight, encoder.bias))
    output = functional.linear(y, reference.head.weight, reference.head.bias)
    expected = functional.mse_loss(output, targets, reduction="sum") / B
    expected.backward()
    descent = ParameterUpdater(torch.optim.SGD(stack.parameters(), lr=0.0, momentum=0.5))
    assert stack.step(x, targets, descent).item() / B == pytest.approx(expected.item(), rel=1e-12)
    for (name, p), q in zip(stack.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-10), name
    assert torch.allclose(stack(x), output)
