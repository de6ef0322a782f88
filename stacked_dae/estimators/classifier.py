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
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from stacked_dae.config.schema import FinetuneConfig, Monitor
from stacked_dae.data.columns.values import is_missing
from stacked_dae.estimators.base import Array, _Tuned, _ValueErrors
from stacked_dae.training.mixing.classifier import fit_mixed_classifier
from stacked_dae.training.mixing.epoch_log import EpochLog
from stacked_dae.utils.seeding import derive_seed

# Labels are fewer than rows.
_MEMBERS_BATCH_SIZE = 32


def known_labels(y: Any) -> tuple[Array, Array]:
    """Return the labels, (n,), and which of them are known, (n,) bool: not −1, None, NaN, NA or empty text.

    Where −1 and one other label are all there are, −1 is a class.

    Raises:
        ValueError: the labels are of several types, or not (n,).
    """
    # NumPy would make text of a list's numbers beside text, and floats of whole numbers beside a missing one.
    y = column_or_1d(y if isinstance(y, np.ndarray) else np.asarray(y, dtype=object), warn=True)
    if y.dtype.kind in "OUS":
        known = np.array([not (is_missing(v) or (isinstance(v, (str, bytes)) and not v.strip())) for v in y], np.bool_)
        # Numbers of a column with missing ones, and −1 among text, which is no text.
        kinds = {type(label) for label in y[known]}
        numbers = known & np.array([isinstance(label, (int, np.integer)) and label == -1 for label in y], np.bool_)
        if any(issubclass(kind, str) for kind in kinds):
            known &= ~numbers
            other = next((label for label in y[known] if not isinstance(label, str)), None)
            if other is not None:
                raise ValueError(f"y holds text and {other!r}; write all labels as text, or all as numbers")
        elif known.any() and all(issubclass(kind, (int, float, np.integer, np.floating)) for kind in kinds):
            filled = np.zeros(len(y), np.asarray(list(y[known])).dtype)
            filled[known] = list(y[known])
            y = filled
    else:
        known = ~np.isnan(y) if y.dtype.kind == "f" else np.ones(len(y), np.bool_)
    if y.dtype.kind in "if":
        marked = known & (y == -1)
        if len(np.unique(y[known & ~marked])) > 1:
            known &= ~marked
    return y, known


@dataclass(repr=False, eq=False)
class StackedDAEClassifier(ClassifierMixin, _Tuned):  # type: ignore[misc]
    """Layer-wise pre-training on all rows, then training on the labelled ones, as a classifier.

    A label of −1 marks a row without one, as in :mod:`sklearn.semi_supervised`, unless −1 and one other label are all
    there are; so do None, NaN, pandas' NA and empty text. Score on labelled rows only: ``score`` and the searches would
    count a row without a label as one that was missed.

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
        """Train on ``X``, (n, d), and ``y``, (n,): classes, −1 or missing for rows without one.

        Args:
            X: the inputs; NaN is a missing value.
            y: the classes.
            sample_weight: (n,) weights of the rows in everything that labels decide, at least 0 (mixed head only).

        Raises:
            ValueError: a setting is out of range, ``X`` or ``y`` has another shape or type, or there is one class only.
        """
        if y is None:
            # scikit-learn's own error.
            validate_data(self, X, y)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        y, labelled = known_labels(y)
        check_consistent_length(X, y)
        check_classification_targets(y[labelled])
        self.classes_, found = np.unique(y[labelled], return_inverse=True)
        if len(self.classes_) < 2:
            unlabelled = "" if labelled.all() else " in the rows that have a label"
            raise ValueError(
                f"y has {len(self.classes_)} class{'es' * (len(self.classes_) != 1)}{unlabelled}; the classifier needs"
                " 2 or more classes"
            )
        labels = np.full(len(y), -1, np.int64)
        labels[labelled] = found
        self._check_head(sample_weight)
        self._settings(*X.shape)
        if self.head == "mixed":
            settings = self._finetune_settings(head="mixed", batch_size=_MEMBERS_BATCH_SIZE)
            weights = self._weights(X, y, labelled, sample_weight)
            self._draw_seed()
            self._fit_mixed(X, labels, weights, settings)
            return self
        settings = self._finetune_settings(monitor=self.monitor or "error_then_loss")
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
        weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64)[labelled]
        if (weights < 0.0).any():
            raise ValueError("sample_weight has a negative weight; weights must be at least 0")
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
            with _ValueErrors(), EpochLog("finetune", reporter) as log:
                stack, self.mixture_ = fit_mixed_classifier(
                    self._stack(layers, 0).layers,
                    torch.from_numpy(scaled),
                    torch.from_numpy(rows),
                    torch.from_numpy(labels[rows]),
                    torch.from_numpy(weights),
                    len(self.classes_),
                    settings,
                    torch.Generator().manual_seed(derive_seed(self._seed, "mixture")),
                    log,
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
