"""Layer-wise pre-training as a scikit-learn transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from stacked_dae.estimators.base import _Base


class StackedDAETransformer(_Base):
    """Layer-wise pre-training as a transformer: ``transform`` gives the codes of the uppermost layer.

    Args:
        units: numbers of units, lowest layer first.
        first_weights: glorot (by the numbers of inputs and units) or scaled (by the size of the inputs too).
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

    Fitted: ``stack_`` (:class:`~stacked_dae.nn.stack.EncoderStack`, float64), ``n_features_in_``,
    ``feature_names_in_``.
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
        return self
