"""A trained stack as plain torch modules, and as a text."""

from __future__ import annotations

from torch import nn

from stacked_dae.errors import StageError
from stacked_dae.nn.mixed_classifier import MixedClassifier
from stacked_dae.nn.stack import EncoderStack

_MODULES: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "identity": nn.Identity,
}


def plain_modules(stack: EncoderStack | MixedClassifier) -> nn.Sequential:
    """Return a stack as linear layers and activations, copied, with the linear head where there is one.

    Raises:
        StageError: a mixed head is more than a sequence of layers.
    """
    if isinstance(stack, MixedClassifier):
        raise StageError(
            "a mixed head (finetune.head mixed) is no sequence of layers; from_run(RUN, 'pretrained') gives its layers"
        )
    modules: list[nn.Module] = []
    for encoder in stack.layers:
        modules += [_linear(encoder), _MODULES[encoder.activation]()]
    if stack.outputs:
        modules.append(_linear(stack.head))
    return nn.Sequential(*modules).eval()


def _linear(module: nn.Module) -> nn.Linear:
    units, inputs = module.weight.shape  # type: ignore[misc]
    linear = nn.Linear(inputs, units)
    linear.load_state_dict({"weight": module.weight, "bias": module.bias})
    return linear.requires_grad_(False)


def layer_lines(stack: EncoderStack | MixedClassifier) -> list[str]:
    """Return a line for each layer and for the head: what goes in and out, the activation, and the parameters."""
    lines = []
    for k, encoder in enumerate(stack.layers, 1):
        units, inputs = encoder.weight.shape
        lines.append(f"layer {k}: {inputs} -> {units}, {encoder.activation}, {inputs * units + units:,} parameters")
    if stack.outputs:
        others = sum(p.numel() for p in stack.parameters()) - sum(
            p.numel() for encoder in stack.layers for p in encoder.parameters()
        )
        kind = "mixed head" if isinstance(stack, MixedClassifier) else "linear head"
        lines.append(f"{kind}: {stack.outputs} outputs, {others:,} parameters")
    return lines
