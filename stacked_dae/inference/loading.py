"""Loading the layers and the stack of a run folder."""

from __future__ import annotations

from safetensors.torch import load_file

from stacked_dae.config.schema import Weights
from stacked_dae.errors import StageError
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.components import Components
from stacked_dae.nn.mixed_classifier import MixedClassifier, network_of
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.training.builders import build_layers


def load_stack(folder: RunFolder) -> EncoderStack | MixedClassifier:
    """Return the fine-tuned stack of a run, or the mixed classifier on it."""
    return load_network(folder, "finetuned")


def load_network(folder: RunFolder, weights: Weights | None = None) -> EncoderStack | MixedClassifier:
    """Return the network of a run: fine-tuned, or the pre-trained encoders without a head.

    Args:
        folder: the run folder.
        weights: the fine-tuned ones, where the run has them, if None.

    Raises:
        StageError: the run has no such weights, or their files have changed.
    """
    config = folder.config()
    weights = weights or ("finetuned" if folder.has_done(FINETUNE) else "pretrained")
    names = [FINETUNE] if weights == "finetuned" else [stage_name(k) for k in range(1, len(config.layers()) + 1)]
    for name in names:
        if not folder.has_done(name):
            raise StageError(f"{folder.path} has no trained {name}; run its fit to the end, or ask for other weights")
    tensors = [load_file(folder.weights_path(name)) for name in names]
    if weights == "finetuned":
        (state,) = tensors
    else:
        state = {f"encoders.{k}.{name}": layer[name] for k, layer in enumerate(tensors) for name in ("weight", "bias")}
    activations = [layer.activation for layer in config.layers()]
    is_table, regression = config.data.path is not None, config.task == "regression"
    return network_of(state, activations, missing=is_table, regression=regression)


def load_layers(folder: RunFolder, components: Components | None = None) -> list[DenoisingAutoencoder]:
    """Return the pre-trained layers of a run, lowest first.

    Raises:
        ConfigError: it was trained with other custom components.
        StageError: it pre-trained none, or not all.
    """
    for k in range(1, len(folder.config().layers()) + 1):
        if not folder.has_done(stage_name(k)):
            parent = folder.manifest.parent
            remedy = f"give the run of its layers, {parent}" if parent else "give a run that pre-trained its layers"
            raise StageError(f"{folder.path} has no pre-trained {stage_name(k)}; {remedy}")
    folder.check_components(components.name if components else None)
    layers = build_layers(folder.config(), folder.manifest.dataset.inputs, folder.preprocessing(), components)
    for k, layer in enumerate(layers, 1):
        layer.load_state_dict(load_file(folder.weights_path(stage_name(k))), strict=True)
    return layers
