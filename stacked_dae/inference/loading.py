"""Loading the data, the layers and the stack of a run folder."""

from __future__ import annotations

from dataclasses import replace

from safetensors.torch import load_file

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.identity import first_difference
from stacked_dae.data import registry
from stacked_dae.data.dataset import Dataset
from stacked_dae.data.tabular.preprocessing import Preprocessing
from stacked_dae.errors import StageError
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.components import Components
from stacked_dae.nn.mixed_classifier import MixedClassifier, network_of
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.training.builders import build_layers


def run_data(folder: RunFolder, dataset: Dataset | None = None, root: str | None = None) -> Dataset:
    """Return the data that a run was trained on.

    Raises:
        StageError: the data have changed since.
    """
    data = dataset or registry.load_data(folder.config().data, root, known_preprocessing(folder))
    if data.fingerprint != folder.manifest.dataset.fingerprint:
        path = folder.config().data.path
        where = f"the table {path} holds now" if path else f"{data.name!r} holds now; see --data.root"
        raise StageError(f"{folder.path} was trained on other data than {where}")
    return data


def layers_preprocessing(parent: RunFolder, data: DataConfig) -> Preprocessing | None:
    """Return the preprocessing for the table that the layers of ``parent`` are fine-tuned on; None without one.

    On another table, or with other roles of its columns and rows, the columns stay as they were fitted for the layers.
    """
    known, there = known_preprocessing(parent), parent.config()
    if known is None or data.path is None or there.data.path is None:
        return known
    same = first_difference(there, replace(there, data=data), ("data.labels_per_class",)) is None
    return known if same else replace(known, from_layers=True)


def known_preprocessing(folder: RunFolder) -> Preprocessing | None:
    """Return the preprocessing of a run's table; None where it has no table, or is new or damaged."""
    try:
        return None if folder.is_new else folder.preprocessing()
    except StageError:
        return None


def load_stack(folder: RunFolder) -> EncoderStack | MixedClassifier:
    """Return the fine-tuned stack of a run, or the mixed classifier on it."""
    config, state = folder.config(), load_file(folder.weights_path(FINETUNE))
    return network_of(state, [layer.activation for layer in config.layers()], missing=config.data.path is not None)


def load_layers(folder: RunFolder, data: Dataset, components: Components | None = None) -> list[DenoisingAutoencoder]:
    """Return the pre-trained layers of a run on ``data``, lowest first.

    Raises:
        ConfigError: it was trained with other custom components.
    """
    folder.check_components(components.name if components else None)
    layers = build_layers(folder.config(), data.inputs, data.table, components)
    for k, layer in enumerate(layers, 1):
        layer.load_state_dict(load_file(folder.weights_path(stage_name(k))), strict=True)
    return layers
