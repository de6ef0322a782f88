"""Baselines for a result, on the same rows: two that cost seconds, and three more."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stacked_dae.config.schema import ClassWeight, Config
from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.training.evaluation import RegressionScore
from stacked_dae.training.loader import DeviceRows
from stacked_dae.training.mixing.stage import labelled_examples, row_weights

BASELINES = ("majority_class", "logistic_regression")
"""Those beside every result of a table."""
REGRESSION_BASELINES = ("mean", "ridge_regression")
"""Those of a regression."""
MORE_BASELINES = ("rbf_svm", "gradient_boosting", "mlp")
_MOST_ROWS = 20_000
_STRENGTHS = np.logspace(-3, 3, 7)
_FOLDS = 5


def baseline_names(config: Config, *, more: bool = False) -> tuple[str, ...]:
    """Return the baselines that go with a run's task; ``more``: with those that take longer."""
    first = REGRESSION_BASELINES if config.task == "regression" else BASELINES
    return (*first, *(MORE_BASELINES if more else ()))


def baseline_errors(
    data: Dataset,
    labelled: NDArray[np.int64] | None,
    test: Split,
    *,
    with_validation: bool = False,
    class_weight: ClassWeight | None = None,
    names: Sequence[str] = BASELINES,
) -> Iterator[tuple[str, float]]:
    """Yield the name and the test error of baselines that learn from the labelled training rows.

    The error is in percent, or, of a regression, the RMSE in the units of the target. majority_class: always the most
    frequent class; mean: always the mean of the targets. The others are scikit-learn's on the inputs of the first
    layer, standardised, a missing one as the mean, with its own defaults, but for the penalty of logistic_regression
    and of ridge_regression, which cross-validation chooses; of more than 20000 rows, on the first 20000. Labels of one
    class have the first alone.

    Args:
        data: the data.
        labelled: the training rows with a label; None for all.
        test: the test rows.
        with_validation: whether the validation rows are learnt from too.
        class_weight: of all but the first and the multilayer perceptron, which takes no weights of rows either.
        names: of :func:`baseline_names`.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.arange(len(data.train)) if labelled is None else labelled
    known = np.concatenate([data.train.labels[rows], data.valid.labels[: None if with_validation else 0]])
    inputs, y = labelled_examples(data, rows[:_MOST_ROWS], with_validation=with_validation)
    x, y = inputs[:_MOST_ROWS].numpy(), y[:_MOST_ROWS]
    weights = row_weights(data, rows[:_MOST_ROWS], with_validation=with_validation)
    if weights is not None:
        # Some of scikit-learn's refuse rows that do not count.
        counts = weights[:_MOST_ROWS] > 0.0
        x, y, weights = x[counts], y[counts], weights[:_MOST_ROWS][counts]
    target = data.target_column

    def error_of(predict: Callable[[NDArray[Any]], NDArray[Any]]) -> float:
        predicted = np.concatenate([predict(block) for block in _blocks(test)])
        if target is None:
            return 100.0 * float(np.mean(predicted != test.labels))
        return RegressionScore.of(target.restore(predicted[:, None]), target.restore(test.labels), "").rmse

    for name in names:
        if name == "mean":
            mean = float(known.mean(dtype=np.float64))
            yield name, error_of(partial(_always, mean))
        elif name == "majority_class":
            every = row_weights(data, labelled, with_validation=with_validation)
            majority = int(np.bincount(known, every, data.classes).argmax())
            yield name, error_of(partial(_always, majority))
        elif len(np.unique(y)) > 1:
            with warnings.catch_warnings():
                # Of iterations, and of arguments that are to change their meaning.
                warnings.simplefilter("ignore")
                last = _classifier(name, y, class_weight) if target is None else _regressor(name)
                model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), last)
                weighted = weights is not None and name != "mlp"
                given = {f"{model.steps[-1][0]}__sample_weight": weights} if weighted else {}
                model.fit(x, y.ravel(), **given)
            yield name, error_of(model.predict)


def baseline_settings(config: Config) -> dict[str, Any]:
    """Return what a run's settings say of its baselines, as arguments of :func:`baseline_errors`."""
    return {"with_validation": config.learns_from_validation, "class_weight": config.finetune.class_weight}


def _classifier(name: str, y: NDArray[np.int64], class_weight: ClassWeight | None) -> Any:
    """Return a new classifier of scikit-learn's for the labels ``y``."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    if name == "rbf_svm":
        return SVC(class_weight=class_weight)
    if name == "gradient_boosting":
        return HistGradientBoostingClassifier(class_weight=class_weight, random_state=0)
    if name == "mlp":
        return MLPClassifier(max_iter=1000, random_state=0)
    folds = min(_FOLDS, int(np.bincount(y)[np.unique(y)].min()))
    if folds < 2:
        return LogisticRegression(class_weight=class_weight, max_iter=1000)
    return LogisticRegressionCV(
        Cs=_STRENGTHS, cv=folds, scoring="neg_log_loss", class_weight=class_weight, max_iter=1000
    )


def _regressor(name: str) -> Any:
    """Return a new regressor of scikit-learn's."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.neural_network import MLPRegressor
    from sklearn.svm import SVR

    return {
        "ridge_regression": RidgeCV(_STRENGTHS),
        "rbf_svm": SVR(),
        "gradient_boosting": HistGradientBoostingRegressor(random_state=0),
        "mlp": MLPRegressor(max_iter=1000, random_state=0),
    }[name]


def _always(answer: float, block: NDArray[Any]) -> NDArray[Any]:
    """Return the same answer for each row of a block, (n,)."""
    return np.full(len(block), answer)


def _blocks(test: Split) -> Iterator[NDArray[np.float32]]:
    """Yield the inputs of the test rows, some at a time."""
    tested = DeviceRows(test.inputs, torch.device("cpu"))
    for k in range(0, len(test), _MOST_ROWS):
        yield tested.read(slice(k, k + _MOST_ROWS)).numpy()
