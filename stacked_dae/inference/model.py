"""A trained stack with its preprocessing: raw rows in, classes, probabilities and codes out; one file to keep it in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from stacked_dae.config.schema import Activation, Weights
from stacked_dae.data.disk_array import Inputs
from stacked_dae.data.tabular.files import open_table
from stacked_dae.data.tabular.frames import columns_of
from stacked_dae.data.tabular.loading import inputs_of, table_rows
from stacked_dae.data.tabular.preprocessing import Preprocessing
from stacked_dae.errors import ConfigError, DataError, StageError
from stacked_dae.nn.mixed_classifier import MixedClassifier, network_of
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.training.loader import DeviceRows
from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.type_hints import matches_type

FORMATS = (1, 2)
"""Of a saved model: 2 is that of a mixed classifier, which the first versions cannot read."""
_BATCH = 4096
# Column of the class where there is no table.
_TARGET = "y"
_HEADER = {
    "format": int,
    "sizes": list[int],
    "activations": list[Activation],
    "outputs": int,
    "preprocessing": dict | None,
}


class StackedDAE:
    """A trained stack with its preprocessing; :meth:`from_run` and :meth:`load` make one.

    Rows are raw. For a table they are its columns by name (a pandas DataFrame, or a mapping of names to arrays) or, in
    their order, an array; otherwise an (n, d) array, uint8 (0 to 255, used as 0 to 1) or float as the network takes it.

    Args:
        stack: the network: encoders under a softmax head, or a mixed classifier.
        preprocessing: of a table, how its rows become inputs.
        finetuned: whether the stack's head has learnt classes.
    """

    def __init__(
        self, stack: EncoderStack | MixedClassifier, preprocessing: Preprocessing | None, *, finetuned: bool
    ) -> None:
        self.stack = stack.eval().requires_grad_(False)
        self.preprocessing, self.finetuned = preprocessing, finetuned

    @staticmethod
    def from_run(folder: str | Path, weights: Weights | None = None) -> StackedDAE:
        """Return the model of a run folder.

        Args:
            folder: the run folder.
            weights: those of the fine-tuned stack or of the pre-trained layers; the fine-tuned ones, where the run has
                them, if None.

        Raises:
            StageError: it is not a run folder, its files have changed, or it has no such weights.
        """
        run = RunFolder.open(Path(folder))
        config = run.config()
        if weights is None:
            weights = "finetuned" if run.has_done(FINETUNE) else "pretrained"
        names = [FINETUNE] if weights == "finetuned" else [stage_name(k) for k in range(1, len(config.layers()) + 1)]
        for name in names:
            if not run.has_done(name):
                raise StageError(f"{folder} has no trained {name}; run its fit to the end, or ask for other weights")
        tensors = [load_file(run.weights_path(name)) for name in names]
        if weights == "finetuned":
            (state,) = tensors
        else:
            state = {
                f"encoders.{k}.{name}": layer[name] for k, layer in enumerate(tensors) for name in ("weight", "bias")
            }
        preprocessing = run.preprocessing()
        return _made(state, [layer.activation for layer in config.layers()], preprocessing)

    def save(self, path: str | Path) -> None:
        """Write the model to one file (.safetensors: tensors and JSON, nothing that runs)."""
        header = {
            "format": FORMATS[isinstance(self.stack, MixedClassifier)],
            "sizes": [len(self.stack.layers[0].weight[0]), *self.stack.widths],
            "activations": [encoder.activation for encoder in self.stack.layers],
            "outputs": len(self.classes) if self.finetuned else 0,
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_dict(),
        }
        state = {name: tensor.cpu().contiguous() for name, tensor in self.stack.state_dict().items()}
        if not self.finetuned:
            state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
        content = save(state, {"stacked_dae": json.dumps(header)})
        write_atomically(Path(path), lambda file: file.write(content))

    @staticmethod
    def load(path: str | Path) -> StackedDAE:
        """Return the model of a file that :meth:`save` wrote.

        Raises:
            DataError: it is not such a file.
        """
        if Path(path).is_dir():
            raise DataError(f"{path} is a folder; StackedDAE.from_run loads the model of a run folder")
        try:
            with safe_open(path, "pt") as file:
                header = json.loads((file.metadata() or {})["stacked_dae"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if not isinstance(header, dict) or not all(
                matches_type(hint, header.get(k)) for k, hint in _HEADER.items()
            ):
                raise ValueError("its header is not a model's")
            if header["format"] not in FORMATS:
                raise ValueError(
                    f"it has format {header['format']}, but this version reads {FORMATS[0]} and {FORMATS[1]}"
                )
            kept = header["preprocessing"]
            preprocessing = None if kept is None else Preprocessing.from_dict(kept)
            model = _made(state, header["activations"], preprocessing)
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such file") from None
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, RecursionError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise DataError(f"{path} is not a saved model, or is damaged ({reason})") from None
        return model

    @property
    def classes(self) -> list[Any]:
        """The classes: whole numbers, or text."""
        count = self.stack.outputs
        if self.preprocessing is None:
            return list(range(count))
        names = self.preprocessing.classes
        return [int(name) for name in names] if all(_is_whole(name) for name in names) else names

    @property
    def columns(self) -> list[str]:
        """Names of the columns that a row has; the numbers of the inputs without a table."""
        if self.preprocessing is not None:
            return self.preprocessing.names
        return [str(k) for k in range(self.stack.layers[0].weight.shape[1])]

    def predict(self, rows: Any) -> NDArray[Any]:
        """Return the most likely class of each row, (n,).

        Raises:
            StageError: the model was never fine-tuned.
            DataError: the rows differ in kind from those it was trained on.
        """
        answers: NDArray[Any] = np.array(self.classes)[self.predict_proba(rows).argmax(1)]
        return answers

    def predict_proba(self, rows: Any) -> NDArray[np.float32]:
        """Return the probability of each class, (n, classes); raises as :meth:`predict`."""
        return self.probabilities_of(self.inputs_of(rows))

    def encode(self, rows: Any, layer: int | None = None) -> NDArray[np.float32]:
        """Return the codes of layer ``layer`` (from 1; the uppermost if None), (n, h).

        Raises:
            ConfigError: the model has no such layer.
            DataError: the rows differ in kind from those it was trained on.
        """
        return self.codes_of(self.inputs_of(rows), layer)

    def check_layer(self, layer: int | None) -> int:
        """Return the number of a layer, the uppermost for None; raise ConfigError for one that does not exist."""
        depth = len(self.stack.widths)
        if layer is not None and not 1 <= layer <= depth:
            raise ConfigError(f"layer must be from 1 to {depth}, the layers that the model has, not {layer}")
        return layer or depth

    def check_finetuned(self) -> None:
        """Raise StageError where the model has learnt no classes."""
        if not self.finetuned:
            raise StageError("the model was never fine-tuned, so it knows no classes; run its fit, or finetune, first")

    @torch.no_grad()
    def probabilities_of(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probability of each class of inputs as the network takes them: (n, d) → (n, classes)."""
        self.check_finetuned()
        return np.concatenate([self.stack(x).softmax(1).numpy() for x in _blocks(inputs)])

    @torch.no_grad()
    def codes_of(self, inputs: NDArray[Any], layer: int | None = None) -> NDArray[np.float32]:
        """Return the codes of inputs as the network takes them: (n, d) → (n, h)."""
        k = self.check_layer(layer)
        return np.concatenate([self.stack.codes(x)[k - 1].numpy() for x in _blocks(inputs)])

    def inputs_of(self, rows: Any) -> NDArray[Any]:
        """Return raw rows as the network takes them: (n, d) float32, NaN where a value is missing, or uint8.

        Raises:
            DataError: the rows differ in kind from those the model was trained on.
        """
        if self.preprocessing is not None:
            return self.preprocessing.transform(columns_of(rows, self.preprocessing))
        inputs = np.asarray(rows)
        width = len(self.columns)
        if inputs.ndim != 2 or inputs.shape[1] != width or not len(inputs) or inputs.dtype.kind not in "biuf":
            raise DataError(f"the rows must be (n, {width}) numbers, not {inputs.dtype} of shape {inputs.shape}")
        if inputs.dtype != np.uint8:
            inputs = inputs.astype(np.float32)
            if not np.isfinite(inputs).all():
                row, column = np.argwhere(~np.isfinite(inputs))[0]
                raise DataError(f"row {row}, input {column} is {inputs[row, column]}; remove or fill such values first")
        return inputs

    def labelled_file_rows(self, path: str | Path) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Yield the rows of a file with the class of each, a block at a time; −1 where it has none.

        The classes are in the column that the model was trained on, or, without a table, in one named y.

        Raises:
            StageError: the model was never fine-tuned.
            DataError: the file differs in kind from the one it was trained on, or has another class.
        """
        self.check_finetuned()
        places = {str(name): place for place, name in enumerate(self.classes)}
        target = _TARGET if self.preprocessing is None else self.preprocessing.target
        if self.preprocessing is not None:
            blocks = (
                (inputs_of(path, self.preprocessing, values), values[str(target)])
                for values in table_rows(path, self.preprocessing, target=True)
            )
        else:
            file = open_table(path)
            if _TARGET not in file.names:
                raise DataError(f"{path}: there is no column {_TARGET!r}, which holds the classes")
            inputs = (rows for rows, _ in self.file_rows(path))
            named = (values[_TARGET] for values in file.batches([_TARGET], {_TARGET}))
            blocks = zip(inputs, named, strict=True)  # type: ignore[assignment]
        start = 0
        for rows, labels in blocks:
            for at, label in enumerate(labels):
                if label is not None and label not in places:
                    raise DataError(
                        f"{path}: column {target!r}, row {start + at + 1} is {label!r}, a class that the model was not"
                        f" trained on; it knows {', '.join(map(str, self.classes[:8]))}{', …' * (len(places) > 8)}"
                    )
            yield rows, np.array([-1 if label is None else places[label] for label in labels], np.int64)
            start += len(labels)

    def file_rows(self, path: str | Path) -> Iterator[tuple[NDArray[Any], list[tuple[str, int, str]]]]:
        """Yield the rows of a file, a block at a time: the network's inputs, and the names unseen in training.

        An unseen name is (column, row of the block, value).

        Raises:
            DataError: the file differs in kind from the one it was trained on; the text names column and row.
        """
        if self.preprocessing is not None:
            for values in table_rows(path, self.preprocessing):
                yield inputs_of(path, self.preprocessing, values), self.preprocessing.unseen(values)
            return
        file = open_table(path)
        names = [name for name in file.names if name not in file.indexes]
        if len(names) == len(self.columns) + 1 and _TARGET in names:
            names.remove(_TARGET)
        if len(names) != len(self.columns):
            raise DataError(f"{path}: {len(names)} columns, but the model takes {len(self.columns)}")
        start = 0
        for values in file.batches(names):
            text = next((name for name in names if values[name].dtype == object), None)
            if text is not None:
                raise DataError(f"{path}: column {text!r} holds text, but the model takes numbers")
            block = np.stack([values[name] for name in names], axis=1)
            bad = np.argwhere(~np.isfinite(block))
            if len(bad):
                row, column = bad[0]
                raise DataError(
                    f"{path}: column {names[column]!r}, row {start + row + 1} is {block[row, column]}; fill it first"
                )
            yield block.astype(np.uint8 if file.is_bytes else np.float32), []
            start += len(block)
        if not start:
            raise DataError(f"{path}: it has no rows")


def _is_whole(name: str) -> bool:
    """Return whether a class is a whole number, and no text such as 007."""
    return name.removeprefix("-").isdecimal() and str(int(name)) == name


def _blocks(inputs: Inputs) -> Iterator[torch.Tensor]:
    rows = DeviceRows(inputs, torch.device("cpu"))
    for start in range(0, len(inputs), _BATCH):
        yield rows.read(slice(start, start + _BATCH))


def _made(
    state: Mapping[str, torch.Tensor], activations: Sequence[str], preprocessing: Preprocessing | None
) -> StackedDAE:
    """Return the model of these weights, in the names of the network; without a head it knows no classes."""
    network = network_of(state, activations, missing=preprocessing is not None)
    finetuned = network.outputs > 0
    if preprocessing is not None:
        inputs, classes = len(preprocessing.inputs), len(preprocessing.classes)
        if inputs != network.layers[0].weight.shape[1] or (finetuned and classes != network.outputs):
            raise ValueError("its preprocessing is not that of its weights")
    return StackedDAE(network, preprocessing, finetuned=finetuned)
