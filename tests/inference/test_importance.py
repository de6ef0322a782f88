"""Which columns predictions rest on: as scikit-learn measures it, and what it is refused for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.tables import people, settings
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.inspection import permutation_importance

from stacked_dae import StackedDAE, config_from_dict, fit, plot_importance
from stacked_dae.errors import ConfigError, DataError, StageError
from stacked_dae.inference.importance import importance_of

REPEATS = 40


class Predictor(BaseEstimator):
    """A trained model as scikit-learn's estimator."""

    def __init__(self, model=None):
        self.model = model

    def fit(self, x, y):
        return self

    def predict(self, x):
        return self.model.predict(x)

    @property
    def classes_(self):
        return np.array(self.model.classes)


class Classifier(ClassifierMixin, Predictor):
    pass


class Regressor(RegressorMixin, Predictor):
    pass


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    place = tmp_path_factory.mktemp("classes")
    values = settings(people(place / "people.csv", labelled=1.0, missing=0.1))
    values["finetune"] = {"epochs": 30, "optimizer": {"lr": 0.3}}
    run = fit(config_from_dict(values), place / "run")
    frame = pd.read_csv(people(place / "new.csv", rows=200, labelled=1.0, missing=0.1, seed=1))
    return StackedDAE.from_run(run.path), frame.drop(columns="bought"), frame["bought"]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    place = tmp_path_factory.mktemp("numbers")
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(600, 4)), columns=list("abcd"))
    frame["y"] = 100.0 + 30.0 * frame["a"] - 10.0 * frame["b"]
    frame[:400].to_csv(place / "y.csv", index=False)
    values = {
        "task": "regression",
        "data": {"path": str(place / "y.csv"), "target": "y", "scale": "standard"},
        "pretrain": {"units": [20], "epochs": 2, "loss": "squared_error", "decoder": "identity"},
        "finetune": {"epochs": 30, "optimizer": {"lr": 0.1}},
    }
    run = fit(config_from_dict(values), place / "run")
    return StackedDAE.from_run(run.path), frame[400:].drop(columns="y"), frame["y"][400:]


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_it_is_what_scikit_learn_measures(task, request):
    model, rows, labels = request.getfixturevalue(task)
    ours = importance_of(model, rows, labels, REPEATS, 0)
    how = {"accuracy": (Classifier, -100.0), "neg_root_mean_squared_error": (Regressor, -1.0)}
    scoring = "accuracy" if task == "classes" else "neg_root_mean_squared_error"
    kind, scale = how[scoring]
    theirs = permutation_importance(kind(model), rows, labels, scoring=scoring, n_repeats=REPEATS, random_state=0)
    expected = -scale * theirs.importances
    assert list(ours.rises) == list(rows.columns)
    for name, rises, others in zip(rows.columns, ours.rises.values(), expected, strict=True):
        error = np.sqrt((rises.var() + others.var()) / REPEATS)
        assert rises.mean() == pytest.approx(others.mean(), abs=4.0 * error + 1e-6), name
        assert rises.std() == pytest.approx(others.std(), rel=0.6, abs=0.3), name
    assert max(rises.mean() for rises in ours.rises.values()) > 5.0


def test_rows_without_a_label_count_nowhere_and_a_seed_repeats(classes):
    model, rows, labels = classes
    some = labels.where(np.arange(len(labels)) % 2 == 0)
    found, again = importance_of(model, rows, some, 3, 7), importance_of(model, rows[::2], labels[::2], 3, 7)
    assert found.n == again.n == len(rows) // 2
    assert all(np.array_equal(found.rises[name], again.rises[name]) for name in rows.columns)
    assert any(
        not np.array_equal(found.rises[name], importance_of(model, rows, some, 3, 8).rises[name]) for name in rows
    )


def test_the_picture_has_the_most_important_first(classes):
    model, rows, labels = classes
    axes = plot_importance(model, rows, labels, repeats=3, seed=1).axes[0]
    rises = importance_of(model, rows, labels, 3, 1).rises
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == sorted(rises, key=lambda name: -rises[name].mean())
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(sorted(r.mean() for r in rises.values())[::-1])
    assert "percentage points" in axes.get_xlabel()
    assert f"{len(rows)} rows" in axes.get_title()


def test_what_cannot_be_measured_is_one_line(classes, numbers, tmp_path):
    model, rows, labels = classes
    for wrong, message in (
        (labels[:-1], "labels must be one a row"),
        (labels.replace("yes", "maybe"), "'maybe' is no class that the model was trained on; it knows no, yes"),
        ([None] * len(rows), "no row has a label"),
    ):
        with pytest.raises(DataError, match=message):
            plot_importance(model, rows, wrong)
    for repeats in (0, 1.5, "2", True):
        with pytest.raises(ConfigError, match="repeats must be a whole number above 0"):
            plot_importance(model, rows, labels, repeats=repeats)
    with pytest.raises(DataError, match="the model predicts numbers, but a label is 'much'"):
        plot_importance(numbers[0], numbers[1], ["much"] * len(numbers[1]))
    values = {"data": {"name": "digits"}, "pretrain": {"units": [4], "epochs": 1}, "finetune": {"epochs": 1}}
    run = fit(config_from_dict(values), tmp_path / "run", test=False)
    unlearnt = StackedDAE.from_run(run.path, "pretrained")
    with pytest.raises(StageError, match="never fine-tuned"):
        plot_importance(unlearnt, np.zeros((3, 64), np.float32), [0, 1, 2])
