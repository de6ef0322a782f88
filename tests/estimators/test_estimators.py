"""scikit-learn's own checks, and what its users do with an estimator."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from stacked_dae import Masking, StackedDAEClassifier, StackedDAERegressor, StackedDAETransformer

# A row of weight 2 is not the same as two rows where folds, minibatches and noise are drawn row by row.
EXPECTED = {
    StackedDAEClassifier: {
        "check_sample_weight_equivalence_on_dense_data": "folds and noise are drawn by row",
    }
}
# Its head takes no weights.
NO_WEIGHTS = dict.fromkeys(
    [
        "check_all_zero_sample_weights_error",
        "check_class_weight_classifiers",
        "check_classifiers_one_label_sample_weights",
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weights_list",
        "check_sample_weights_not_an_array",
        "check_sample_weights_not_overwritten",
        "check_sample_weights_pandas_series",
        "check_sample_weights_shape",
    ],
    "weights apply only to head='mixed'",
)
QUICK = {"units": (30,), "pretrain_epochs": 3, "finetune_epochs": 15, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return train_test_split(x, y, test_size=500, random_state=0, stratify=y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "model",
    [
        StackedDAETransformer(units=8, pretrain_epochs=2),
        # The others take more than ten seconds each.
        *(
            pytest.param(model, marks=pytest.mark.slow)
            for model in (
                StackedDAETransformer(),
                StackedDAEClassifier(),
                StackedDAEClassifier.for_images(),
                StackedDAERegressor(),
                StackedDAERegressor.for_images(),
            )
        ),
    ],
    ids=lambda model: f"{type(model).__name__}-{model.scale}",
)
def test_scikit_learns_checks_pass(model):
    expected = dict(EXPECTED.get(type(model), {}))
    if model.scale == "minmax":
        expected |= NO_WEIGHTS if isinstance(model, StackedDAEClassifier) else {}
    results = check_estimator(model, expected_failed_checks=expected, on_skip=None)
    assert len(results) > 40
    failed = {result["check_name"] for result in results if result["status"] not in ("passed", "skipped")}
    assert failed == set(expected)
    assert {result["check_name"] for result in results if result["status"] == "skipped"} <= {"check_array_api_input"}


@pytest.mark.parametrize("cls", [StackedDAETransformer, StackedDAEClassifier, StackedDAERegressor])
def test_nothing_is_written(cls, tmp_path, monkeypatch, digits):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    x, _, y, _ = digits
    cls(**{name: value for name, value in QUICK.items() if name in cls().get_params()}).fit(x[:200], y[:200])
    assert not list(tmp_path.iterdir())


def test_ties_of_the_error_do_not_keep_the_first_epoch():
    # 4 of 24 validation rows: the rare class is missed in every epoch, so the error says nothing.
    x, y = make_classification(240, 8, weights=[0.9], class_sep=1.0, random_state=0)
    kinds = {"units": (30,), "pretrain_epochs": 3, "finetune_epochs": 30, "random_state": 0}
    areas = {
        monitor: roc_auc_score(
            y, StackedDAEClassifier.for_images(monitor=monitor, **kinds).fit(x, y).predict_proba(x)[:, 1]
        )
        for monitor in ("error", "error_then_loss", "loss")
    }
    assert areas["error"] < 0.7
    assert areas["error_then_loss"] > 0.85
    assert areas["loss"] > 0.85
    default = StackedDAEClassifier.for_images(**kinds).fit(x, y).predict_proba(x)[:, 1]
    assert roc_auc_score(y, default) == areas["error_then_loss"]
    with pytest.raises(ValueError, match=r"finetune.monitor must be one of error, error_then_loss, loss, not 'f1'"):
        StackedDAEClassifier(head="softmax", monitor="f1").fit(x, y)


def test_pretraining_sees_rows_without_a_label(digits):
    x, xt, y, yt = digits
    few = np.full(len(y), -1)
    keep = np.concatenate([np.flatnonzero(y == c)[:10] for c in range(10)])
    few[keep] = y[keep]
    settings = {"units": (200,), "pretrain_epochs": 40, "finetune_epochs": 100, "random_state": 0}
    partial = StackedDAEClassifier(**settings).fit(x, few)
    assert list(partial.classes_) == list(range(10))
    assert partial.score(xt, yt) > 0.7
    alone = StackedDAEClassifier(**settings).fit(x[keep], y[keep])
    assert not np.array_equal(partial.stack_.layers[0].weight, alone.stack_.layers[0].weight)
    # Which rows are unlabelled is all that −1 says.
    few[few == -1] = -1
    again = StackedDAEClassifier(**settings).fit(x, few)
    assert np.array_equal(again.predict_proba(xt), partial.predict_proba(xt))


def test_the_regressor_learns():
    x, y = load_diabetes(return_X_y=True)
    model = StackedDAERegressor(units=(50,), random_state=0)
    assert cross_val_score(model, x, y, cv=3).mean() > 0.3
    two = StackedDAERegressor(units=(50,), random_state=0).fit(x, np.column_stack([y, -y]))
    assert two.predict(x).shape == (len(x), 2)


@pytest.mark.slow
def test_it_works_in_a_pipeline_a_search_and_a_pickle(digits):
    x, xt, y, yt = digits
    model = make_pipeline(
        StackedDAETransformer(units=(60,), pretrain_epochs=5, random_state=0), LogisticRegression(max_iter=1000)
    )
    model.fit(x, y)
    assert model.score(xt, yt) > 0.85
    search = GridSearchCV(StackedDAEClassifier(**QUICK), {"nu": [0.0, 0.25], "units": [(20,)]}, cv=2)
    search.fit(x[:200], y[:200])
    assert set(search.best_params_) == {"nu", "units"}
    best = search.best_estimator_
    for copied in (pickle.loads(pickle.dumps(best)), joblib_round_trip(best)):
        assert np.array_equal(copied.predict_proba(xt), best.predict_proba(xt))
    assert clone(best).get_params() == best.get_params()


def joblib_round_trip(model):
    import io

    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def test_frames_in_and_feature_names_out(digits):
    x, _, y, _ = digits
    frame = pd.DataFrame(x[:200], columns=[f"pixel {k}" for k in range(64)])
    made = StackedDAETransformer(units=(7,), pretrain_epochs=1).set_output(transform="pandas").fit_transform(frame)
    assert list(made.columns) == [f"stackeddaetransformer{k}" for k in range(7)]
    model = StackedDAEClassifier(**QUICK).fit(frame, y[:200])
    assert list(model.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"pixel 0": "other"}))


def test_text_labels_are_classes(digits):
    x, _, y, _ = digits
    names = np.array([f"digit {label}" for label in y])[:300]
    model = StackedDAEClassifier(**QUICK).fit(x[:300], names)
    assert set(model.predict(x[:50])) <= set(names)


def test_missing_values_enter_as_zero(digits):
    x, xt, y, _ = digits
    random = np.random.default_rng(0)
    holed = np.where(random.random(x.shape) < 0.2, np.nan, x)
    model = StackedDAEClassifier(**QUICK, scale="standard").fit(holed[:300], y[:300])
    tested = np.where(random.random(xt.shape) < 0.2, np.nan, xt)
    # 0 after standardising is the training mean.
    filled = np.where(np.isnan(tested), model.shift_, tested)
    assert np.allclose(model.predict_proba(tested), model.predict_proba(filled))


def test_scaling_is_that_of_the_training_rows_alone(digits):
    x, xt, y, _ = digits
    model = StackedDAEClassifier.for_images(**QUICK).fit(x, y)
    assert (model.shift_ >= x.min(0)).all()
    assert (model.shift_ + model.width_ <= np.maximum(x.max(0), x.min(0) + 1)).all()
    far = xt * 100
    assert np.array_equal(model.predict(far), model.predict(np.minimum(far, model.shift_ + model.width_)))


@pytest.mark.slow
def test_a_corruption_of_ones_own(digits):
    x, _, y, _ = digits
    named = StackedDAEClassifier(**QUICK, corruption="masking", nu=0.4).fit(x[:300], y[:300])
    own = StackedDAEClassifier(**QUICK, corruption=Masking(0.4)).fit(x[:300], y[:300])
    assert np.array_equal(own.predict_proba(x), named.predict_proba(x))


def test_the_global_generators_are_left_alone(digits):
    x, _, y, _ = digits
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    StackedDAEClassifier(**QUICK).fit(x[:100], y[:100])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"units": (0,)}, "units must be a whole number above 0"),
        ({"units": (20, 10), "nu": [0.1, 0.2, 0.3]}, "nu has 3 values"),
        ({"corruption": "maskin"}, "did you mean 'masking'"),
        ({"scale": "none"}, "scale must be"),
        ({"head": "softmax", "validation_fraction": 1.0}, "validation_fraction must be in"),
        ({"head": "linear"}, "head must be 'mixed' or 'softmax', not 'linear'"),
        ({"monitor": "loss"}, "monitor applies only to head='softmax'; leave it out, or set head='softmax'"),
        ({"head": "softmax", "class_weight": "balanced"}, "class_weight applies only to head='mixed'"),
        ({"class_weight": "balance"}, "class_weight"),
        ({"first_weights": "he"}, "first_weights must be one of glorot, scaled, max_fan, not 'he'"),
        ({"finetune_lr": -1.0}, "finetune.optimizer.lr"),
        ({"pretrain_lr": 1e9, "scale": "standard", "activation": "relu"}, "diverged"),
        ({"accelerator": "tpus"}, "accelerator"),
        ({"head": "softmax", "validation_fraction": "a"}, "validation_fraction must be in"),
        ({"corruption": 3}, "corruption must be a name or an object"),
    ],
)
def test_bad_settings_are_value_errors(settings, words, digits):
    x, _, y, _ = digits
    with pytest.raises(ValueError, match=words):
        StackedDAEClassifier(**{"activation": "sigmoid", **settings}).fit(x[:60], y[:60])


def test_one_class_beside_the_unlabelled_is_told(digits):
    x, _, _, _ = digits
    with pytest.raises(ValueError, match=r"1 class in the rows that have a label"):
        StackedDAEClassifier().fit(x[:4], [None, 1, 1, None])
    with pytest.raises(ValueError, match=r"0 classes in the rows that have a label"):
        StackedDAEClassifier().fit(x[:4], [None, "", np.nan, pd.NA])


MISSING = {
    "−1": lambda y: np.where(np.arange(len(y)) % 3 == 0, -1, y),
    "NaN": lambda y: np.where(np.arange(len(y)) % 3 == 0, np.nan, y),
    "None": lambda y: [None if k % 3 == 0 else int(label) for k, label in enumerate(y)],
    "NA": lambda y: pd.array([pd.NA if k % 3 == 0 else int(label) for k, label in enumerate(y)], "Int64"),
    "text": lambda y: ["" if k % 3 == 0 else str(label) for k, label in enumerate(y)],
    "text and −1": lambda y: [-1 if k % 3 == 0 else str(label) for k, label in enumerate(y)],
    "text and None": lambda y: np.array([None if k % 3 == 0 else str(label) for k, label in enumerate(y)], object),
    "string column": lambda y: pd.Series(
        [pd.NA if k % 3 == 0 else str(label) for k, label in enumerate(y)], dtype="string"
    ),
    "category": lambda y: pd.Categorical([None if k % 3 == 0 else str(label) for k, label in enumerate(y)]),
}


@pytest.fixture(scope="module")
def without_a_third(digits):
    x, xt, y, _ = digits
    return StackedDAEClassifier(**QUICK).fit(x[:150], MISSING["−1"](y[:150])).predict_proba(xt)


@pytest.mark.parametrize("kind", MISSING)
def test_every_way_to_leave_a_label_out_is_the_same(kind, digits, without_a_third):
    x, xt, y, _ = digits
    model = StackedDAEClassifier(**QUICK).fit(x[:150], MISSING[kind](y[:150]))
    assert np.array_equal(model.predict_proba(xt), without_a_third)
    assert [str(label) for label in model.classes_] == [f"{k}.0" if kind == "NaN" else str(k) for k in range(10)]


def test_minus_one_is_a_class_beside_one_other():
    x, y = make_classification(80, 4, random_state=0)
    signs = StackedDAEClassifier(**QUICK).fit(x, 2 * y - 1)
    assert list(signs.classes_) == [-1, 1]
    assert np.array_equal(signs.predict(x), 2 * StackedDAEClassifier(**QUICK).fit(x, y).predict(x) - 1)


def test_numpy_scalars_are_settings_too(digits):
    x, _, y, _ = digits
    plain = {"units": 8, "batch_size": 5, "patience": 3, "dropout": 0.5, "finetune_epochs": 4, "pretrain_epochs": 0}
    numpy = {name: np.asarray(value)[()] for name, value in plain.items()}
    models = [StackedDAEClassifier(**how, random_state=0).fit(x[:80], y[:80]) for how in (plain, numpy)]
    assert np.array_equal(models[0].predict_proba(x), models[1].predict_proba(x))


def test_what_spans_too_far_is_told():
    x = np.random.default_rng(0).random((40, 3))
    with pytest.raises(ValueError, match="column 1 of X spans more than float64"):
        StackedDAETransformer().fit(x * [1, 1e308, 1] - [0, 9e307, 0] + [0, -9e307, 0] * (x[:, :1] > 0.5))
    with pytest.raises(ValueError, match="y spans more than float64"):
        StackedDAERegressor().fit(x, x[:, 0] * 1e300)


def test_the_scale_is_not_that_of_the_rows_held_out():
    random = np.random.default_rng(0)
    x = np.stack([random.permutation(40) for _ in range(30)], axis=1).astype(float)
    y = np.arange(40) % 2
    model = StackedDAEClassifier.for_images(
        units=(3,), pretrain_epochs=1, finetune_epochs=1, validation_fraction=0.5, random_state=0
    )
    assert (model.fit(x, y).width_ < 39).any()


def test_text_beside_numbers_is_told(digits):
    x, _, _, _ = digits
    with pytest.raises(ValueError, match="y holds text and 2; write all labels as text"):
        StackedDAEClassifier().fit(x[:4], ["a", "b", 2, "a"])


def test_weights_and_balance_make_a_rare_class_seen():
    x, y = make_classification(240, 8, weights=[0.9], class_sep=0.5, random_state=0)
    recall = {
        name: model.fit(x, y, sample_weight=weight).predict(x)[y == 1].mean()
        for name, model, weight in [
            ("plain", StackedDAEClassifier(**QUICK), None),
            ("balanced", StackedDAEClassifier(**QUICK, class_weight="balanced"), None),
            ("named", StackedDAEClassifier(**QUICK, class_weight={0: 1.0, 1: 9.0}), None),
            ("weighted", StackedDAEClassifier(**QUICK), np.where(y == 1, 9.0, 1.0)),
        ]
    }
    assert recall["plain"] < min(recall["balanced"], recall["weighted"]) - 0.15
    assert recall["named"] == recall["weighted"]


@pytest.mark.parametrize("weight", [np.zeros(60), np.full(60, -1.0), np.full(60, np.nan), np.ones(59)])
def test_bad_weights_are_value_errors(weight, digits):
    x, _, y, _ = digits
    with pytest.raises(ValueError, match=r"sample_weight|weights|NaN"):
        StackedDAEClassifier(**QUICK).fit(x[:60], y[:60], sample_weight=weight)
