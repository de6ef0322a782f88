"""Pre-training and fine-tuning as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import (
    ClassifierMixin,
)
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from stacked_dae.config.schema import FinetuneConfig, Monitor
from stacked_dae.estimators.base import Array, _Tuned, _ValueErrors
from stacked_dae.training.mixing.classifier import fit_mixed_classifier
from stacked_dae.training.mixing.members import MemberSettings
from stacked_dae.utils.seeding import derive_seed


@dataclass(repr=False, eq=False)
class StackedDAEClassifier(ClassifierMixin, _Tuned):  # type: ignore[misc]
    """Layer-wise pre-training on all rows, then training on the labelled ones, as a classifier.

    A label of −1 marks a row without one, as in :mod:`sklearn.semi_supervised`; so −1 cannot be a class. Score
    on labelled rows only: ``score`` and the searches would count −1 as a class that was missed.

    The defaults are for tables; :meth:`for_images` has those for images.

    Args:
        units, nu, corruption, activation, tied, first_weights, scale, pretrain_epochs, pretrain_optimizer, pretrain_lr,
            batch_size, accelerator, random_state, verbose: as for :class:`StackedDAETransformer`.
        head: mixed: softmax heads on the inputs and on the codes, and fine-tuned networks that see both, mixed by what
            each says of labels that it has not seen; every label is held out once, and none is set aside. softmax: the
            method of the paper, one network, the encoders under a softmax layer.
        class_weight: None, balanced, or a weight per class; mixed head only.
        finetune_epochs: greatest number of passes over the labelled rows.
        finetune_optimizer, finetune_lr: as those of pre-training.
        patience: stop after this many epochs without a better one; the best epoch's weights are kept.
        dropout: share, in [0, 1), of the codes that training sets to 0.
        validation_fraction: share of the labelled rows of each class, rounded down, that choose the epoch; softmax head
            only. None: a tenth. With no such row, the last epoch's weights are kept.
        monitor: the validation figure that the best epoch has the lowest of: error, error_then_loss (of equal errors
            that with the lowest loss) or loss; softmax head only. None: error_then_loss.

    Fitted: ``classes_``, ``stack_``, ``n_features_in_``, ``feature_names_in_``, and with a mixed head ``mixture_``
    (:class:`~stacked_dae.training.mixing.classifier.Mixture`): the share of the inputs alone, of the codes, and of the
    fine-tuned networks, which says what pre-training is worth on this table.
    """

    _: KW_ONLY
    head: Literal["mixed", "softmax"] = "mixed"
    class_weight: Mapping[Any, float] | str | None = None
    monitor: Monitor | None = None

    _for_images: ClassVar[dict[str, Any]] = {**_Tuned._for_images, "head": "softmax"}

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> StackedDAEClassifier:
        """Train on ``X``, (n, d), and ``y``, (n,): classes, −1 for rows without one.

        Args:
            X: the inputs; NaN is a missing value.
            y: the classes.
            sample_weight: (n,) weights of the rows in everything that labels decide, at least 0 (mixed head only).

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
        self._check_head(sample_weight)
        self._settings(*X.shape)
        if self.head == "mixed":
            settings = self._finetune_settings()
            weights = self._weights(X, y, labelled, sample_weight)
            self._draw_seed()
            self._fit_mixed(X, labels, weights, settings)
            return self
        settings = self._finetune_settings(self.monitor or "error_then_loss")
        self._draw_seed()
        self._fit(X, labels, labelled, self._held_out(labels), len(self.classes_), settings, regression=False)
        return self

    def _check_head(self, sample_weight: Any) -> None:
        """Refuse parameters that the head would leave unread."""
        if self.head not in ("mixed", "softmax"):
            raise ValueError(f"head must be 'mixed' or 'softmax', not {self.head!r}")
        other = "softmax" if self.head == "mixed" else "mixed"
        unread = (
            {"validation_fraction": self.validation_fraction, "monitor": self.monitor}
            if self.head == "mixed"
            else {"class_weight": self.class_weight, "sample_weight": sample_weight}
        )
        for name, value in unread.items():
            if value is not None:
                raise ValueError(f"{name} applies only to head={other!r}; leave it out, or set head={other!r}")

    def _weights(self, X: Array, y: Array, labelled: Array, sample_weight: Any) -> Array:
        """Return the weight of each labelled row."""
        weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)[labelled]
        if self.class_weight is not None:
            weights = weights * compute_sample_weight(self.class_weight, y[labelled])
        if not weights.sum() > 0.0:
            raise ValueError("sample_weight is 0 for every labelled row; give some row a weight above 0")
        return weights

    def _fit_mixed(self, X: Array, labels: Array, weights: Array, settings: FinetuneConfig) -> None:
        self._fit_scale(X)
        scaled = self._scaled(X).astype(np.float32)
        with self._reporter() as reporter:
            layers = self._pretrained(scaled, scaled, reporter)
            rows = np.flatnonzero(labels >= 0)
            with _ValueErrors():
                stack, self.mixture_ = fit_mixed_classifier(
                    layers,
                    torch.from_numpy(scaled),
                    torch.from_numpy(rows),
                    torch.from_numpy(labels[rows]),
                    torch.from_numpy(weights),
                    len(self.classes_),
                    MemberSettings(settings.epochs, settings.optimizer, settings.patience, settings.dropout),
                    torch.Generator().manual_seed(derive_seed(self._seed, "mixture")),
                    reporter,
                )
        self._keep(stack)

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
