"""Pre-training and fine-tuning as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import (
    RegressorMixin,
)
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from stacked_dae.estimators.base import Array, _Tuned


class StackedDAERegressor(RegressorMixin, _Tuned):  # type: ignore[misc]
    """Layer-wise pre-training, then fine-tuning under a linear output by squared error, as a regressor.

    Targets are standardised for the training. A NaN in a one-dimensional ``y`` is refused, as by scikit-learn's own.

    Args:
        units, nu, corruption, activation, tied, scale, pretrain_epochs, pretrain_optimizer, pretrain_lr, batch_size,
            accelerator, random_state, verbose: as for :class:`StackedDAETransformer`.
        finetune_epochs, finetune_optimizer, finetune_lr, patience, dropout: as for :class:`StackedDAEClassifier`.
        validation_fraction: share of the rows, rounded down, whose squared error chooses the epoch. With no such row,
            the last epoch's weights are kept.

    Fitted: ``stack_``, ``n_features_in_``, ``feature_names_in_``.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = True
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> StackedDAERegressor:
        """Train on ``X``, (n, d), and ``y``, (n,) or (n, outputs).

        Raises:
            ValueError: a setting is out of range, or ``X`` or ``y`` has another shape or type.
        """
        X, y = validate_data(
            self, X, y, dtype=np.float64, ensure_all_finite="allow-nan", multi_output=True, y_numeric=True
        )
        y = check_array(y, dtype=np.float64, ensure_2d=False)
        self._is_flat = y.ndim == 1
        y = y.reshape(len(y), -1)
        self._settings(*X.shape)
        self._draw_seed()
        held_out = self._held_out(np.zeros(len(y), np.int64))
        train = np.setdiff1d(np.arange(len(y)), held_out)
        with np.errstate(over="ignore", invalid="ignore"):
            self.target_shift_, self.target_width_ = y[train].mean(0), y[train].std(0)
        if not np.isfinite(self.target_width_).all():
            raise ValueError("y spans more than float64 can hold, so it cannot be scaled; divide it first")
        self.target_width_[self.target_width_ == 0.0] = 1.0
        targets = ((y - self.target_shift_) / self.target_width_).astype(np.float32)
        self._fit(
            X,
            targets,
            np.ones(len(y), np.bool_),
            held_out,
            y.shape[1],
            self._finetune_settings(),
            regression=True,
        )
        return self

    def predict(self, X: Any) -> Array:
        """Return the targets, (n,) or (n, outputs) as ``y`` was; ``X`` is (n, d)."""
        check_is_fitted(self)
        found: Array = self._forward(self._validated(X), "outputs") * self.target_width_ + self.target_shift_
        return found[:, 0] if self._is_flat else found
