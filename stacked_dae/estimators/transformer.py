"""Layer-wise pre-training as a scikit-learn transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from stacked_dae.estimators.base import Array, _Base
from stacked_dae.inference.pretrained_layers import row_means
from stacked_dae.nn.activations import replace_missing
from stacked_dae.nn.reconstruction import decode, reconstruct_hidden


class StackedDAETransformer(_Base):
    """Layer-wise pre-training as a transformer: ``transform`` gives the codes of the uppermost layer.

    Args:
        units: numbers of units, lowest layer first.
        first_weights: glorot (by the numbers of inputs and units), scaled (by the size of the inputs too) or max_fan
            (by the greater of the two numbers).
        nu: noise level; one value, or one per layer.
        corruption: fixed_masking, masking, gaussian, salt_and_pepper, swap, or an object such as those of
            :mod:`stacked_dae.nn.corruption` (which has its own noise level; ``nu`` is ignored).
        activation: sigmoid, tanh, relu or identity.
        tied: decode with the transposed weights.
        scale: minmax (to [0, 1], by the training rows), standard (to mean 0 and standard deviation 1) or None.
            The loss is cross-entropy for inputs scaled to [0, 1] and for sigmoid codes, else squared error with an
            identity decoder.
        pretrain_epochs: passes over the rows; one value, or one per layer. None: as many as make some 300
            updates. 0: never pre-trained, the control.
        pretrain_optimizer: a torch optimiser: sgd, adam, adamw, …
        pretrain_lr: learning rate; one value, or one per layer. None: 0.002 · min(1, √(100 / d)), which suits
            Adam; give a rate with another optimiser.
        batch_size: examples in a minibatch.
        validation_fraction: share of the rows kept out of training, for the validation loss that ``verbose`` shows;
            a tenth where it is None.
        accelerator: Lightning's: auto, cpu, gpu, …
        random_state: an int makes the result repeatable.
        verbose: show progress.

    Fitted: ``stack_`` (:class:`~stacked_dae.nn.stack.EncoderStack`, float64), ``autoencoders_`` (the layers with their
    decoders, lowest first), ``n_features_in_``, ``feature_names_in_``.
    NaN is a missing value: it enters as 0, as a destroyed input does, and is left out of the loss.
    """

    def fit(self, X: Any, y: Any = None) -> StackedDAETransformer:
        """Train the layers on ``X``, (n, d); ``y`` is not read.

        Raises:
            ValueError: a setting is out of range, or ``X`` has another shape or type.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        self._settings(*X.shape)
        self._draw_seed()
        held_out = self._held_out(np.zeros(len(X), np.int64))
        train = np.setdiff1d(np.arange(len(X)), held_out)
        self._fit_scale(X[train])
        scaled = self._scaled(X)
        with self._reporter() as reporter:
            layers = self._pretrained(scaled[train], scaled[held_out if len(held_out) else train], reporter)
        self._keep(self._stack(layers, 0))
        self.autoencoders_ = [layer.double().requires_grad_(False) for layer in layers]
        return self

    def inverse_transform(self, X: Any) -> Array:
        """Return the rows that codes of the uppermost layer stand for: (n, h) → (n, d), in the units of the inputs.

        Raises:
            ValueError: ``X`` has another number of codes.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float64)
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but the codes of the uppermost layer are {self._n_features_out}"
            )
        rebuilt: Array = decode(self.autoencoders_, torch.from_numpy(codes)).numpy() * self.width_ + self.shift_
        return rebuilt

    def score_samples(self, X: Any) -> Array:
        """Return how usual each row of ``X``, (n, d), is, (n,): the lower, the more it is an anomaly.

        An eighth of the columns is hidden at a time, and the layers rebuild them from the others. The score is minus
        the mean squared error over the values that a row has, in the scale of the columns; 0 for a row without any.
        """
        check_is_fitted(self)
        X = self._validated(X)
        x = torch.from_numpy(self._scaled(X))
        rebuilt = reconstruct_hidden(self.autoencoders_, replace_missing(x), torch.arange(X.shape[1])).numpy()
        # Not clipped to [0, 1]: far beyond is far.
        errors = np.square((X - self.shift_) / self.width_ - rebuilt)
        return -np.nan_to_num(row_means(errors))
