from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
import torch
from helpers.small_runs import blobs, small

from stacked_dae.figures import images as pictures
from stacked_dae.figures import run_figures
from stacked_dae.figures.curves import curves
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.corruption import FixedMasking
from stacked_dae.pipeline import api


def test_tiles_lays_images_out_with_a_gap():
    images = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    sheet = pictures.tiles(images, columns=2)
    assert sheet.shape == (5, 5)
    assert np.array_equal(sheet[:2, 3:], images[1])
    assert np.array_equal(sheet[3:, :2], images[2])
    assert np.isnan(sheet[2]).all()


def test_filters_shows_the_strongest_units_in_their_order():
    weight = np.zeros((30, 12), np.float32)
    for unit in (3, 17):
        weight[unit, unit % 12] = 1.0
    figure = pictures.filters(weight, (4, 3), most=2)
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (4, 7)
    assert shown[1, 0] == 1.0, "unit 3 has its weight at pixel 3, row 1"
    assert shown[1, 6] == 1.0, "unit 17 has its weight at pixel 5, row 1, column 2"


def test_reconstructions_shows_clean_corrupted_and_rebuilt():
    layer = DenoisingAutoencoder(12, 6, corruption=FixedMasking(1.0), generator=torch.Generator().manual_seed(0))
    x = torch.rand(5, 12)
    figure = pictures.reconstructions([layer], x, (4, 3), seed=0)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert np.allclose(shown[:4, :3], x[0].reshape(4, 3))
    assert (shown[5:9, :3] == 0).all(), "with nu = 1 nothing is left"
    with torch.no_grad():
        assert np.allclose(shown[10:14, :3], layer.decode(layer.encode(torch.zeros(1, 12))).reshape(4, 3), atol=1e-6)
    assert "fixed masking, ν = 1.0" in figure.axes[0].get_title()


def test_curves_marks_the_best_epoch():
    rows = [{"epoch": e, "valid_error_percent": v} for e, v in ((1, 9.0), (2, 4.0), (3, 5.0))]
    axes = curves({"finetune": rows}).axes[0]
    assert any("kept: 4.00 %" in text.get_text() for text in axes.get_legend().get_texts())


def test_the_mark_is_on_the_epoch_that_was_kept():
    rows = [{"epoch": epoch, "valid_error_percent": error} for epoch, error in enumerate([12.0, 9.0, 8.0, 9.5])]
    for kept, error in ((None, 8.0), (1, 9.0), (0, 12.0)):
        axes = curves({"finetune": rows}, kept).axes[0]
        at, height = (values[0] for values in axes.lines[1].get_data())
        assert (at, height) == (2 if kept is None else kept, error)
        assert axes.get_legend().get_texts()[1].get_text() == f"kept: {error:.2f} %"


def test_draw_run_draws_what_the_folder_holds_without_the_test_rows(tmp_path):
    data = blobs()
    folder = api.pretrain(small(), tmp_path / "run", dataset=data)
    unread = blobs(load_test=lambda: pytest.fail("the test rows were read"))
    files = run_figures.draw_run(folder, unread)
    assert {p.name for p in files} == {"curves.png", "filters.png", "reconstructions.png"}
    folder = api.fit(small(), tmp_path / "run", dataset=data)
    files = run_figures.draw_run(folder, unread)
    assert len(files) == 4
    for file in files:
        assert matplotlib.image.imread(file).std() > 0.05, f"{file} is blank"
