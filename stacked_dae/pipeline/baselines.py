"""What costs seconds and should be beaten: the majority class, and logistic regression."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.training.loader import DeviceRows
from stacked_dae.training.mixing.stage import labelled_examples

_MOST_ROWS = 20_000
_STRENGTHS = np.logspace(-3, 3, 7)
_FOLDS = 5


def baseline_errors(
    data: Dataset, labelled: NDArray[np.int64] | None, test: Split, *, with_validation: bool = False
) -> dict[str, float]:
    """Return the test error, in percent, of baselines that learn from the labelled training rows, by name.

    majority_class: always the most frequent class. logistic_regression: on the inputs of the first layer, standardised,
    a missing one as the mean, with a penalty chosen by cross-validation; of more than 20000 rows, on the first 20000.

    Args:
        data: the data.
        labelled: the training rows with a label; None for all.
        test: the test rows.
        with_validation: whether the validation rows are learnt from too.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.arange(len(data.train)) if labelled is None else labelled
    known = np.concatenate([data.train.labels[rows], data.valid.labels[: None if with_validation else 0]])
    majority = int(np.bincount(known, minlength=data.classes).argmax())
    errors = {"majority_class": 100.0 * float(np.mean(test.labels != majority))}
    inputs, y = labelled_examples(data, rows[:_MOST_ROWS], with_validation=with_validation)
    x, y = inputs[:_MOST_ROWS].numpy(), y[:_MOST_ROWS]
    if len(np.unique(y)) < 2:
        return errors
    folds = min(_FOLDS, int(np.bincount(y)[np.unique(y)].min()))
    with warnings.catch_warnings():
        # Of iterations, and of arguments that are to change their meaning.
        warnings.simplefilter("ignore")
        model = (
            LogisticRegressionCV(Cs=_STRENGTHS, cv=folds, scoring="neg_log_loss", max_iter=1000)
            if folds > 1
            else LogisticRegression(max_iter=1000)
        )
        chosen = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model).fit(x, y)
    tested = DeviceRows(test.inputs, torch.device("cpu"))
    wrong = sum(
        int((chosen.predict(tested.read(slice(k, k + _MOST_ROWS)).numpy()) != test.labels[k : k + _MOST_ROWS]).sum())
        for k in range(0, len(test), _MOST_ROWS)
    )
    errors["logistic_regression"] = 100.0 * wrong / len(test)
    return errors
