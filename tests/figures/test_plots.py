"""Pictures from Python: what they show, where they are drawn, and that a notebook shows them."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from helpers.small_runs import blobs, small
from helpers.tables import people, settings
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from stacked_dae import (
    Components,
    Masking,
    StackedDAE,
    config_from_dict,
    fit,
    load_data,
    plot_codes,
    plot_confusion,
    plot_filters,
    plot_history,
    plot_reconstructions,
)
from stacked_dae.errors import ConfigError, DataError, StageError
from stacked_dae.figures import codes
from stacked_dae.figures.columns import column_errors
from stacked_dae.figures.run_figures import draw_run
from stacked_dae.figures.style import KINDS, Picture
from stacked_dae.runs.folder import RunFolder

DIGITS = {
    "data": {"name": "digits"},
    "pretrain": {"units": [30, 20], "epochs": 3, "corruption": {"nu": 0.3}},
    "finetune": {"epochs": 3},
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return fit(config_from_dict(DIGITS), tmp_path_factory.mktemp("digits") / "run")


@pytest.fixture(scope="module")
def model(digits):
    return StackedDAE.from_run(digits.path)


@pytest.fixture(scope="module")
def rows():
    data = load_data(config_from_dict(DIGITS).data)
    return data.valid.inputs[:], data.valid.labels


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return the run folder and the file of a table with missing values."""
    place = tmp_path_factory.mktemp("table")
    people(place / "people.csv", missing=0.2)
    return fit(config_from_dict(settings(place / "people.csv")), place / "run"), place / "people.csv"


def plots(run, model, rows):
    x, y = rows
    return {
        "history": lambda **how: plot_history(run.path),
        "confusion": lambda **how: plot_confusion(str(run.path), **how),
        "filters": lambda **how: plot_filters(model, 2, **how),
        "reconstructions": lambda **how: plot_reconstructions(model, x, corrupt=True, **how),
        "codes": lambda **how: plot_codes(model, x, y, **how),
        "codes of layer 1": lambda **how: plot_codes(model, x, layer=1, **how),
    }


@pytest.mark.parametrize("name", plots(None, None, (None, None)))
def test_a_plot_is_a_figure_that_a_notebook_shows(digits, model, rows, name):
    made = plots(digits, model, rows)[name]()
    assert isinstance(made, Picture)
    assert made._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", [name for name in plots(None, None, (None, None)) if name != "history"])
def test_a_plot_is_drawn_where_it_is_asked_to_be(digits, model, rows, name):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots(digits, model, rows)[name](ax=right) is figure
    assert right.has_data()
    assert not left.has_data()


def test_plots_need_no_pyplot_and_choose_no_backend(digits):
    code = (
        "import sys, stacked_dae as s; s.plot_history(sys.argv[1]); s.plot_filters(s.StackedDAE.from_run(sys.argv[1]));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(digits.path)], check=True)


def test_codes_are_those_of_the_model_by_principal_components(model, rows):
    x, y = rows
    axes = plot_codes(model, x, y).axes[0]
    expected = PCA(2).fit(model.encode(x))
    points = np.concatenate([drawn.get_offsets() for drawn in axes.collections])
    order = np.argsort(y, kind="stable")
    assert np.allclose(np.abs(points), np.abs(expected.transform(model.encode(x))[order]), atol=1e-4)
    assert f"({100 * expected.explained_variance_ratio_[0]:.0f} % of the variance)" in axes.get_xlabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [str(k) for k in range(10)]


def test_numbers_take_a_ramp_and_kinds_a_colour_each(model, rows):
    x, y = rows
    numbers = plot_codes(model, x, np.linspace(0.0, 1.0, len(x)))
    assert len(numbers.axes) == 2, "and a scale beside it"
    words = plot_codes(model, x, np.where(y == 0, "zero", "rest")).axes[0]
    assert [to_hex(c.get_facecolor()[0]).upper() for c in words.collections] == list(KINDS[:2])


def test_codes_that_cannot_be_drawn_are_refused(model, rows, monkeypatch):
    x, y = rows
    for refused, error, said in (
        (lambda: plot_codes(model, x, y[:-1]), DataError, "labels must be one a row"),
        (lambda: plot_codes(model, x, [f"name {k}" for k in range(len(x))]), DataError, "room for 20 kinds"),
        (lambda: plot_codes(model, x[:2]), DataError, "at least 3 rows, not 2"),
        (lambda: plot_codes(model, x, method="mds"), ConfigError, "method must be one of pca, tsne, umap, not 'mds'"),
        (lambda: plot_codes(model, x, layer=3), ConfigError, "layer must be from 1 to 2"),
    ):
        with pytest.raises(error, match=said):
            refused()
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError, match="pip install umap-learn"):
        plot_codes(model, x, method="umap")


def test_tsne_is_that_of_scikit_learn_by_its_seed():
    values = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    first, names = codes.codes_in_two(values, "tsne", 1)
    assert first.shape == (40, 2)
    assert names == ["t-SNE 1", "t-SNE 2"]
    assert np.array_equal(first, codes.codes_in_two(values, "tsne", 1)[0])


def test_one_unit_has_codes_too():
    points, names = codes.codes_in_two(np.arange(5, dtype=np.float32)[:, None])
    assert np.allclose(np.abs(points), [[2, 0], [1, 0], [0, 0], [1, 0], [2, 0]])
    assert names[0] == "component 1 (100 % of the variance)"


def test_filters_above_layer_1_go_through_the_layers_below(model):
    title = plot_filters(model, 2, most=5).axes[0].get_title()
    assert title == "Filters of layer 2 through the layers below: the 5 strongest of 20"
    with pytest.raises(ConfigError, match="layer must be from 1 to 2"):
        plot_filters(model, 3)


def test_inputs_that_are_no_image_are_refused_where_an_image_is_drawn(table, tmp_path):
    run, _ = table
    model = StackedDAE.from_run(run.path)
    with pytest.raises(ConfigError, match=r"inputs are not known to be an image; give image_shape=\(rows, columns\)"):
        plot_filters(model)
    of_blobs = StackedDAE.from_run(fit(small(), tmp_path / "run", dataset=blobs()).path)
    width = of_blobs.stack.layers[0].weight.shape[1]
    assert plot_filters(of_blobs, image_shape=(1, width)).axes[0].has_data()
    with pytest.raises(ConfigError, match="not known to be an image"):
        plot_filters(of_blobs, image_shape=(2, width))


def test_a_reconstruction_shows_what_the_model_rebuilds(model, rows):
    x, _ = rows
    made = plot_reconstructions(model, x[:5], corrupt=True, seed=3).axes[0]
    assert [label.get_text() for label in made.get_yticklabels()] == ["clean", "corrupted", "rebuilt"]
    sheet = np.asarray(made.images[0].get_array())
    rebuilt = model.reconstruct(x[:5], corrupt=True, seed=3)
    assert np.allclose(sheet[18:26, :8], rebuilt[0].reshape(8, 8).clip(0, 1), atol=1e-6)
    assert "decoded down to the input" in made.get_title()
    assert "decoded" not in plot_reconstructions(model, x[:5], 1).axes[0].get_title()


def test_a_table_shows_how_far_each_column_is_off(table):
    run, file = table
    model, frame = StackedDAE.from_run(run.path), pd.read_csv(file)
    axes = plot_reconstructions(model, frame).axes[0]
    errors = model.reconstruction_errors(frame, by="column")
    assert [label.get_text() for label in axes.get_yticklabels()] == sorted(errors, key=errors.get)
    assert np.allclose([bar.get_width() for bar in axes.patches], sorted(errors.values()))
    with pytest.raises(ConfigError, match="corrupt is for images"):
        plot_reconstructions(model, frame, corrupt=True)


def test_of_many_columns_the_best_and_the_worst_are_drawn():
    axes = column_errors({f"c{k}": float(k) for k in range(100)} | {"never": float("nan")}).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"c{k}" for k in (*range(13), *range(88, 100))]
    assert axes.get_title() == "Columns, rebuilt from the others: 13 best and 12 worst of 100"


def test_the_run_of_a_table_has_pictures_of_columns_and_codes(table):
    run, _ = table
    made = {file.stem for file in draw_run(run)}
    assert made == {"curves", "columns", "codes", "importance", "confusion"}


def test_a_run_with_components_has_the_pictures_of_its_predictions(tmp_path):
    people(tmp_path / "people.csv")
    values = {
        **settings(tmp_path / "people.csv"),
        "task": "regression",
        "data": {"path": str(tmp_path / "people.csv"), "target": "age"},
    }
    run = fit(config_from_dict(values), tmp_path / "run", components=Components(corruption=Masking(0.3)))
    assert {made.stem for made in draw_run(run)} >= {"curves", "importance", "predictions"}


def test_curves_show_what_they_must_be_below(digits, model, rows, monkeypatch):
    drawn = {}
    monkeypatch.setattr("stacked_dae.figures.curves.curves", lambda *given: drawn.update(given[2]) or Figure())
    draw_run(digits)
    x, _ = rows
    train = load_data(config_from_dict(DIGITS).data).train.inputs[:].astype(np.float64)
    mean = train.mean(0).clip(1e-6, 1 - 1e-6)
    expected = -(x * np.log(mean) + (1 - x) * np.log1p(-mean)).sum(1).mean()
    assert drawn["layer_1"]["predicting the mean"] == pytest.approx(expected, rel=1e-4)
    # That is a bound: no constant is better on the training rows, and a trained layer is.
    history = RunFolder.open(digits.path).history()
    losses = history[(history.stage == "layer_1") & (history["name"] == "valid_loss")].value
    assert losses.iloc[-1] < drawn["layer_1"]["predicting the mean"]
    assert set(drawn) == {"layer_1", "layer_2", "finetune"}


def test_a_line_far_above_is_named_and_presses_nothing_flat():
    from stacked_dae.figures.curves import curves

    rows = [{"epoch": k, "train_loss": 1.0, "valid_loss": 1.0, "valid_error_percent": 5.0 - k} for k in (1, 2, 3)]
    axes = curves({"finetune": rows}, 3, {"finetune": {"majority, test": 90.0, "logistic regression, test": 6.0}}).axes[
        0
    ]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend[-2:] == ["majority, test: 90 (above)", "logistic regression, test: 6"]
    assert axes.get_ylim()[1] < 10


def test_a_run_without_an_epoch_or_a_test_is_refused(tmp_path):
    with pytest.raises(StageError, match="run folder"):
        plot_history(tmp_path)
    run = fit(small(), tmp_path / "run", dataset=blobs(), test=False)
    with pytest.raises(StageError, match=r"result\.json"):
        plot_confusion(run)


def test_the_style_is_nobodys_but_ours(digits):
    before = dict(matplotlib.rcParams)
    plot_history(digits)
    assert dict(matplotlib.rcParams) == before


def test_labels_that_are_missing_are_grey_and_none_is_lost(model, rows):
    x, y = rows
    for labels, missing in (
        (pd.Series(y, index=range(100, 100 + len(y))).where(y != 3), y == 3),
        ([None if label == 3 else str(label) for label in y], y == 3),
        (pd.array(np.where(y == 3, None, y), dtype="Int64"), y == 3),
        (np.where(y == 3, np.nan, np.linspace(0, 1, len(y))), y == 3),
        (y == 3, np.zeros(len(y), bool)),
        ((str(label) for label in y), np.zeros(len(y), bool)),
    ):
        axes = plot_codes(model, x, labels).axes[0]
        assert sum(len(drawn.get_offsets()) for drawn in axes.collections) == len(x)
        grey = [d for d in axes.collections if d.get_label() == "no label"]
        assert sum(len(drawn.get_offsets()) for drawn in grey) == missing.sum()


@pytest.mark.parametrize("labels", [5, [[1], [2]], "class"])
def test_labels_that_are_not_one_a_row_are_refused(model, rows, labels):
    with pytest.raises(DataError, match="labels must be one a row"):
        plot_codes(model, rows[0], labels)
    with pytest.raises(DataError, match=r"of shape \(179,\), not \(179, 1\)"):
        plot_codes(model, rows[0], rows[1][:, None])


HOSTILE = ["cost_$_per_$", "$a_{", "_hidden", "^x^", "a" * 40 + "1", "a" * 40 + "2"]


def test_names_are_shown_as_they_are(tmp_path, model, rows):
    """A dollar begins a formula in matplotlib, an underscore hides a legend's entry, and long names may end alike."""
    x, y = rows
    axes = plot_codes(model, x, [HOSTILE[label % 6] for label in y]).axes[0]
    names = [text.get_text().strip().replace("\\$", "$") for text in axes.get_legend().get_texts()]
    assert names == sorted(HOSTILE)
    bars = column_errors({name: 1.0 + k for k, name in enumerate(HOSTILE)})
    assert len(bars.axes[0].patches) == len({patch.get_y() for patch in bars.axes[0].patches}) == 6
    assert bars._repr_png_()
    file = tmp_path / "hostile.csv"
    dice = np.random.default_rng(0)
    frame = pd.DataFrame({name: dice.normal(size=300) for name in HOSTILE})
    frame["$y$_"] = np.where(frame["_hidden"] > 0, "$5k-$10k", "$10k_$20k")
    frame.to_csv(file, index=False)
    values = {**settings(file), "data": {"path": str(file), "target": "$y$_"}}
    run = fit(config_from_dict(values), tmp_path / "run")
    assert {made.stem for made in draw_run(run)} == {"curves", "columns", "codes", "importance", "confusion"}


def test_a_table_of_many_classes_and_one_without_validation_rows_have_pictures(tmp_path):
    dice = np.random.default_rng(0)
    frame = pd.DataFrame({"a": dice.normal(size=600), "b": dice.normal(size=600)})
    frame["y"] = [f"class {k % 25}" for k in range(600)]
    frame.to_csv(tmp_path / "many.csv", index=False)
    values = settings(tmp_path / "many.csv", target="y", keep=[], categorical=[], drop=[])
    run = fit(config_from_dict(values), tmp_path / "run")
    assert "codes" in {made.stem for made in draw_run(run)}


@pytest.mark.parametrize("most", [0, -1, 1.5])
def test_as_many_filters_as_a_whole_number_says(model, most):
    with pytest.raises(ConfigError, match="most must be a whole number above 0"):
        plot_filters(model, most=most)


def test_pictures_of_earlier_data_do_not_stay(tmp_path):
    run = fit(small(), tmp_path / "run", dataset=blobs())
    draw_run(run, blobs())
    for name in ("columns", "codes", "predictions"):
        (run.path / "figures" / f"{name}.png").write_bytes(b"old")
    made = {file.stem for file in draw_run(run, blobs())}
    assert {file.stem for file in (run.path / "figures").iterdir()} == made
