"""A model in one file: tensors and JSON, nothing that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from stacked_dae.config.schema import Activation
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.errors import ConfigError, DataError
from stacked_dae.nn.mixed_classifier import MixedClassifier, network_of
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.type_hints import matches_type

HUB_FILE = "model.safetensors"
"""Its name in a folder of the Hugging Face Hub."""
FORMATS = (1, 2, 3)
"""Of a saved model: 2 is that of a mixed classifier, 3 of a regression, which the first versions cannot read."""
_HEADER = {
    "format": int,
    "sizes": list[int],
    "activations": list[Activation],
    "outputs": int,
    "preprocessing": dict | None,
}


def write_model(
    path: str | Path, network: EncoderStack | MixedClassifier, preprocessing: Preprocessing | None, *, finetuned: bool
) -> None:
    """Write a network and its preprocessing to one file (.safetensors)."""
    regression = preprocessing is not None and preprocessing.target_column is not None
    header = {
        "format": FORMATS[2 if regression else isinstance(network, MixedClassifier)],
        "sizes": [len(network.layers[0].weight[0]), *network.widths],
        "activations": [encoder.activation for encoder in network.layers],
        "outputs": network.outputs if finetuned else 0,
        "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
    }
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    if not finetuned:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    content = save(state, {"stacked_dae": json.dumps(header)})
    write_atomically(Path(path), lambda file: file.write(content))


def read_model(path: str | Path) -> tuple[EncoderStack | MixedClassifier, Preprocessing | None]:
    """Return the network, of no output where it was never fine-tuned, and the preprocessing of :func:`write_model`.

    Raises:
        DataError: it is not such a file.
    """
    if Path(path).is_dir():
        raise DataError(f"{path} is a folder; StackedDAE.from_run loads the model of a run folder")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["stacked_dae"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not isinstance(header, dict) or not all(matches_type(hint, header.get(k)) for k, hint in _HEADER.items()):
            raise ValueError("its header is not a model's")
        if header["format"] not in FORMATS:
            *known, last = FORMATS
            raise ValueError(
                f"it has format {header['format']}, but this version reads {', '.join(map(str, known))} and {last}"
            )
        kept = header["preprocessing"]
        preprocessing = None if kept is None else Preprocessing.from_dict(kept)
        return _network(state, header["activations"], preprocessing), preprocessing
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(f"{path} is not a saved model, or is damaged ({reason})") from None


def hub_file(name: str | Path, revision: str | None = None) -> Path:
    """Return the model file of a folder, or of a repository of the Hugging Face Hub, which is fetched.

    Raises:
        ConfigError: the package that fetches it is not installed.
        DataError: there is no such folder or repository, or it holds no model.
    """
    if Path(name).is_dir():
        file = Path(name) / HUB_FILE
        if not file.is_file():
            raise DataError(f"{name} holds no {HUB_FILE}; stacked-dae export RUN --format hub writes such a folder")
        return file
    if Path(name).is_file():
        return Path(name)
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise ConfigError(
            f"{name} is no folder, and a repository of the Hub needs huggingface_hub: pip install huggingface_hub"
        ) from None
    try:
        return Path(hf_hub_download(str(name), HUB_FILE, revision=revision))
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(f"{name} is neither a folder nor a repository of the Hub that can be read ({reason})") from None


def _network(
    state: Mapping[str, torch.Tensor], activations: Sequence[str], preprocessing: Preprocessing | None
) -> EncoderStack | MixedClassifier:
    """Return the network of these weights; without a head it has no output."""
    regression = preprocessing is not None and preprocessing.target_column is not None
    network = network_of(state, activations, missing=preprocessing is not None, regression=regression)
    if preprocessing is not None:
        inputs, outputs = len(preprocessing.inputs), 1 if regression else len(preprocessing.classes)
        if inputs != network.layers[0].weight.shape[1] or network.outputs not in (0, outputs):
            raise ValueError("its preprocessing is not that of its weights")
    return network
