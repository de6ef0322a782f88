"""A trained stack with its preprocessing: raw rows in, classes, probabilities and codes out; one file to keep it in."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stacked_dae.config.schema import Weights
from stacked_dae.data.columns.columns import NumericColumn
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.tabular.frames import frame_like
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.inference.exports.plain import layer_lines, plain_modules
from stacked_dae.inference.loading import load_layers, load_network
from stacked_dae.inference.model_file import hub_file, read_model, write_model
from stacked_dae.inference.pretrained_layers import PretrainedLayers, blocks_of, column_means, row_means
from stacked_dae.inference.raw_rows import inputs_and_values, plain_inputs
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.mixed_classifier import MixedClassifier
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.type_hints import matches_type


class StackedDAE:
    """A trained stack with its preprocessing; :meth:`from_run` and :meth:`load` make one.

    Rows are raw. For a table they are its columns by name (a frame of pandas, polars or pyarrow, or a mapping of names
    to arrays) or, in their order, an array; otherwise an (n, d) array, or images of d pixels, uint8 (0 to 255, used as
    0 to 1) or float as the network takes it.

    Args:
        stack: the network: encoders under a softmax head, or a mixed classifier.
        preprocessing: of a table, how its rows become inputs.
        finetuned: whether the stack's head has learnt classes, or to predict a number.
        pretrained: loads the layers as pre-training left them, with their decoders; None for a saved model.
    """

    def __init__(
        self,
        stack: EncoderStack | MixedClassifier,
        preprocessing: Preprocessing | None,
        *,
        finetuned: bool,
        pretrained: Callable[[], list[DenoisingAutoencoder]] | None = None,
    ) -> None:
        self.stack = stack.eval().requires_grad_(False)
        self.preprocessing, self.finetuned = preprocessing, finetuned
        self._pretrained = pretrained
        self._autoencoders: list[DenoisingAutoencoder] | None = None

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
        network, layers = load_network(run, weights), partial(load_layers, run)
        return StackedDAE(network, run.preprocessing(), finetuned=network.outputs > 0, pretrained=layers)

    def save(self, path: str | Path) -> None:
        """Write the model to one file (.safetensors: tensors and JSON, nothing that runs)."""
        write_model(path, self.stack, self.preprocessing, finetuned=self.finetuned)

    @staticmethod
    def load(path: str | Path) -> StackedDAE:
        """Return the model of a file that :meth:`save` wrote.

        Raises:
            DataError: it is not such a file.
        """
        network, preprocessing = read_model(path)
        return StackedDAE(network, preprocessing, finetuned=network.outputs > 0)

    @staticmethod
    def from_hub(name: str | Path, revision: str | None = None) -> StackedDAE:
        """Return the model of a folder that ``export --format hub`` wrote, or of a repository of the Hub, "owner/name".

        Raises:
            ConfigError, DataError: there is no such folder or repository, or it cannot be fetched.
        """
        return StackedDAE.load(hub_file(name, revision))

    @property
    def classes(self) -> list[Any]:
        """The classes: whole numbers, or text; none where the model predicts numbers."""
        count = self.stack.outputs
        if self.preprocessing is None:
            return list(range(count))
        names = self.preprocessing.classes
        return [int(name) for name in names] if all(_is_whole(name) for name in names) else names

    @property
    def target_column(self) -> NumericColumn | None:
        """The scaling of the number that the model predicts; None of a classifier."""
        return self.preprocessing.target_column if self.preprocessing is not None else None

    @property
    def columns(self) -> list[str]:
        """Names of the columns that a row has; the numbers of the inputs without a table."""
        if self.preprocessing is not None:
            return self.preprocessing.names
        return [str(k) for k in range(self.stack.layers[0].weight.shape[1])]

    def summary(self) -> str:
        """Return what the model is, one line for each layer and for the head."""
        kind = ("a regression" if self.target_column else "a classifier") if self.finetuned else "not fine-tuned"
        rows = "columns" if self.preprocessing is not None else "inputs"
        return "\n".join([f"{len(self.columns)} {rows}; {kind}", *layer_lines(self.stack)])

    def __repr__(self) -> str:
        widths = "-".join(map(str, [self.stack.layers[0].weight.shape[1], *self.stack.widths]))
        return f"StackedDAE({widths}{f'-{self.stack.outputs}' if self.finetuned else ''})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows of it."""
        return f"<b>{html.escape(repr(self))}</b><pre>{html.escape(self.summary())}</pre>"

    def filters(self, layer: int = 1) -> NDArray[np.float32]:
        """Return the incoming weights of the units of a layer (from 1), (units, inputs of the layer).

        Raises:
            ConfigError: the model has no such layer.
        """
        weight: NDArray[np.float32] = self.stack.layers[self.check_layer(layer) - 1].weight.detach().numpy().copy()
        return weight

    def to_torch(self) -> nn.Sequential:
        """Return the network as plain torch modules, copied: inputs as it takes them → logits, or outputs, or codes.

        A table's rows become such inputs by :meth:`inputs_of`, with missing values as 0.

        Raises:
            StageError: the model has a mixed head.
        """
        return plain_modules(self.stack)

    def predict(self, rows: Any) -> NDArray[Any]:
        """Return the most likely class of each row, or its predicted number (regression only), (n,).

        Raises:
            StageError: the model was never fine-tuned.
            DataError: the rows differ in kind from those it was trained on.
        """
        if self.target_column is not None:
            return self.numbers_of(self.inputs_of(rows))
        answers: NDArray[Any] = np.array(self.classes)[self.predict_proba(rows).argmax(1)]
        return answers

    def predict_proba(self, rows: Any) -> NDArray[np.float32]:
        """Return the probability of each class, (n, classes).

        Raises:
            StageError: the model was never fine-tuned, or predicts numbers.
            DataError: the rows differ in kind from those it was trained on.
        """
        return self.probabilities_of(self.inputs_of(rows))

    def encode(self, rows: Any, layer: int | None = None) -> NDArray[np.float32]:
        """Return the codes of layer ``layer`` (from 1; the uppermost if None), (n, h).

        Raises:
            ConfigError: the model has no such layer.
            DataError: the rows differ in kind from those it was trained on.
        """
        return self.codes_of(self.inputs_of(rows), layer)

    def decode(self, codes: Any, layer: int | None = None) -> Any:
        """Return the rows that codes of layer ``layer`` (the uppermost if None) stand for: of a table, columns by name.

        The codes are those of the layers as pre-training left them: ``from_run(RUN, "pretrained").encode``.

        Raises:
            StageError: the model has no decoders.
            ConfigError: the model has no such layer.
            DataError: the codes are of another shape.
        """
        return self._restored(self.pretrained_layers(layer).decode(codes))

    def reconstruct(self, rows: Any, layer: int | None = None, *, corrupt: bool = False, seed: int = 0) -> Any:
        """Return the rows as the pre-trained layers rebuild them from their codes of layer ``layer``.

        A table's numbers come in their units, and its names are those of the training rows. Missing values are rebuilt
        too.

        Args:
            rows: raw, n of them.
            layer: from 1; the uppermost if None.
            corrupt: whether the noise that layer 1 was trained with is added to the inputs first.
            seed: of the noise.

        Returns:
            Of a table, a frame of pandas, polars or pyarrow where ``rows`` is one, else its columns by name; otherwise
            inputs as the network takes them, (n, d) float32.

        Raises:
            StageError: the model has no decoders.
            ConfigError: the model has no such layer.
            DataError: the rows differ in kind from those it was trained on.
        """
        layers, inputs = self.pretrained_layers(layer), self.inputs_of(rows)
        return self._restored(layers.reconstruct(layers.corrupt(inputs, seed) if corrupt else inputs), rows)

    def sample(self, n: int, layer: int | None = None, *, steps: int = 100, seed: int = 0) -> Any:
        """Return ``n`` rows that the pre-trained layers make up, each at the end of a chain that begins in noise.

        A step of a chain adds the noise that layer 1 was trained with, rebuilds the row from its codes of layer
        ``layer``, and draws inputs in [0, 1] as 0 or 1 with the rebuilt probability (the walkback of Bengio, Yao, Alain
        and Vincent, "Generalized Denoising Auto-Encoders as Generative Models", 2013, without its training; no part of
        the 2008 paper). It shows what the layers hold to be usual; for a generator of data there are better models.

        Returns:
            Of a table, columns by name; otherwise rebuilt inputs, (n, d) float32.

        Raises:
            ConfigError: the model has no such layer, or ``n`` or ``steps`` is below 1.
            StageError: the model has no decoders, or the chain diverges.
        """
        if not all(matches_type(int, count) and count > 0 for count in (n, steps)):
            raise ConfigError(f"n and steps must be whole numbers above 0, not {n!r} and {steps!r}")
        return self._restored(self.pretrained_layers(layer).sample(n, steps, seed))

    def reconstruction_errors(
        self, rows: Any, layer: int | None = None, *, by: Literal["row", "column"] | None = None
    ) -> Any:
        """Return how far each value is from what the other columns of its row say of it.

        An eighth of the columns is hidden at a time, and the pre-trained layers rebuild them from the others. Layers
        learn that from masking noise, and from no other. The error is squared. That of a number is in standard
        deviations of the training rows (in their span where they are scaled to [0, 1]); that of a name is half the
        squared distance of the one-hot inputs, about 1 where another name is certain.

        Args:
            rows: raw, n of them.
            layer: from 1, the uppermost that takes part; the uppermost of all if None.
            by: "row" or "column" for the mean error of each.

        Returns:
            (n, columns), NaN where the value is missing; by row (n,), as :meth:`anomaly_scores`; by column a mapping
            from its name. Without a table the columns are the inputs.

        Raises:
            StageError: the model has no decoders.
            ConfigError: the model has no such layer, or ``by`` is another word.
            DataError: the rows differ in kind from those it was trained on.
        """
        if by not in (None, "row", "column"):
            raise ConfigError(f"by must be row, column or None, not {by!r}")
        layers = self.pretrained_layers(layer)
        if self.preprocessing is None:
            errors = layers.errors(self.inputs_of(rows), None)
        else:
            errors = layers.errors(*inputs_and_values(rows, self.preprocessing))
        if by == "column":
            return column_means(self.columns, errors)
        return row_means(errors) if by == "row" else errors

    def anomaly_scores(self, rows: Any, layer: int | None = None) -> NDArray[np.float64]:
        """Return how unusual each row is: the mean of its :meth:`reconstruction_errors`, (n,); raises as that does."""
        scores: NDArray[np.float64] = self.reconstruction_errors(rows, layer, by="row")
        return scores

    def pretrained_layers(self, layer: int | None = None) -> PretrainedLayers:
        """Return the layers as pre-training left them, up to ``layer``; all if None.

        Raises:
            StageError: the model was not loaded from a run folder, or that has no pre-trained layers.
            ConfigError: the model has no such layer.
        """
        k = self.check_layer(layer)
        if self._pretrained is None:
            raise StageError("this model has no decoders; StackedDAE.from_run(RUN) of its run folder has them")
        if self._autoencoders is None:
            self._autoencoders = [layer.requires_grad_(False) for layer in self._pretrained()]
        return PretrainedLayers(self._autoencoders[:k], self.preprocessing)

    def _restored(self, inputs: NDArray[np.float32], rows: Any = None) -> Any:
        """Return inputs of the network as rows; of a table, in the kind of ``rows``."""
        if self.preprocessing is None:
            return inputs
        return frame_like(rows, self.preprocessing.restore(inputs))

    def check_layer(self, layer: int | None) -> int:
        """Return the number of a layer, the uppermost for None; raise ConfigError for one that does not exist."""
        depth = len(self.stack.widths)
        if layer is not None and not 1 <= layer <= depth:
            raise ConfigError(f"layer must be from 1 to {depth}, the layers that the model has, not {layer}")
        return layer or depth

    def check_finetuned(self) -> None:
        """Raise StageError where the model has learnt to predict nothing."""
        if not self.finetuned:
            raise StageError(
                "the model was never fine-tuned, so it can predict nothing; run its fit, or finetune, first"
            )

    @torch.no_grad()
    def probabilities_of(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probability of each class of inputs as the network takes them: (n, d) → (n, classes)."""
        self.check_finetuned()
        if self.target_column is not None:
            raise StageError("the model predicts numbers, so there are no probabilities; predict gives the numbers")
        return np.concatenate([self.stack(x).softmax(1).numpy() for x in blocks_of(inputs)])

    @torch.no_grad()
    def numbers_of(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the predicted number of inputs as the network takes them: (n, d) → (n,) (regression only)."""
        self.check_finetuned()
        assert self.target_column is not None
        outputs = np.concatenate([self.stack(x).numpy() for x in blocks_of(inputs)])
        return self.target_column.restore(outputs)

    @torch.no_grad()
    def codes_of(self, inputs: NDArray[Any], layer: int | None = None) -> NDArray[np.float32]:
        """Return the codes of inputs as the network takes them: (n, d) → (n, h)."""
        k = self.check_layer(layer)
        return np.concatenate([self.stack.codes(x)[k - 1].numpy() for x in blocks_of(inputs)])

    def inputs_of(self, rows: Any) -> NDArray[Any]:
        """Return raw rows as the network takes them: (n, d) float32, NaN where a value is missing, or uint8.

        Raises:
            DataError: the rows differ in kind from those the model was trained on.
        """
        if self.preprocessing is not None:
            return inputs_and_values(rows, self.preprocessing)[0]
        return plain_inputs(rows, len(self.columns))


def _is_whole(name: str) -> bool:
    """Return whether a class is a whole number, and no text such as 007."""
    return name.removeprefix("-").isdecimal() and str(int(name)) == name
