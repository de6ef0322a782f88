"""Pre-training and fine-tuning as a scikit-learn classifier."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import (
    ClassifierMixin,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from stacked_dae.config.schema import Monitor
from stacked_dae.estimators.base import Array, _Tuned


@dataclass(repr=False, eq=False)
class StackedDAEClassifier(ClassifierMixin, _Tuned):  # type: ignore[misc]
    """Layer-wise pre-training on all rows, then fine-tuning on the labelled ones, as a classifier.

    A label of −1 marks a row without one, as in :mod:`sklearn.semi_supervised`; so −1 cannot be a class. Score
    on labelled rows only: ``score`` and the searches would count −1 as a class that was missed.

    Args:
        units, nu, corruption, activation, tied, scale, pretrain_epochs, pretrain_optimizer, pretrain_lr, batch_size,
            accelerator, random_state, verbose: as for :class:`StackedDAETransformer`.
        finetune_epochs: greatest number of passes over the labelled rows.
        finetune_optimizer, finetune_lr: as those of pre-training.
        patience: stop after this many epochs without a better one; the best epoch's weights are kept.
        monitor: the validation figure that the best epoch has the lowest of: error, error_then_loss (of equal errors
            that with the lowest loss) or loss.
        dropout: share, in [0, 1), of each layer's codes that training sets to 0.
        validation_fraction: share of the labelled rows of each class, rounded down, that choose the epoch. With no
            such row, the last epoch's weights are kept.

    Fitted: ``classes_``, ``stack_``, ``n_features_in_``, ``feature_names_in_``.
    """

    _: KW_ONLY
    monitor: Monitor = "error_then_loss"

    @property
    def _monitor(self) -> str:
        return self.monitor

    def fit(self, X: Any, y: Any) -> StackedDAEClassifier:
        """Train on ``X``, (n, d), and ``y``, (n,): classes, −1 for rows without one.

        Raises:
            ValueError: a setting is out of range, ``X`` or ``y`` has another shape or type, or there is one class only.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "O" and any(isinstance(label, (int, np.integer)) and label == -1 for label in y):
            raise ValueError(
                "y holds text and −1: number the classes first (sklearn.preprocessing.LabelEncoder, on the labelled"
                " rows)"
            )
        check_classification_targets(y)
        labelled = np.ones(len(y), np.bool_) if y.dtype.kind in "OUS" else y != -1
        self.classes_, found = np.unique(y[labelled], return_inverse=True)
        if len(self.classes_) < 2:
            unlabelled = "" if labelled.all() else " besides −1, which marks a row without a label"
            raise ValueError(
                f"y has {len(self.classes_)} class{'es' * (len(self.classes_) != 1)}{unlabelled}; the classifier needs"
                " 2 or more classes"
            )
        labels = np.full(len(y), -1, np.int64)
        labels[labelled] = found
        self._settings()
        self._draw_seed()
        self._fit(X, labels, labelled, self._held_out(labels), len(self.classes_), regression=False)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n, classes), in the order of ``classes_``; ``X`` is (n, d)."""
        check_is_fitted(self)
        logits = torch.from_numpy(self._forward(self._validated(X), "outputs"))
        probabilities: Array = logits.softmax(1).numpy()
        return probabilities

    def predict(self, X: Any) -> Array:
        """Return the most likely class of each row, (n,); ``X`` is (n, d)."""
        check_is_fitted(self)
        answers: Array = self.classes_[self._forward(self._validated(X), "outputs").argmax(1)]
        return answers
