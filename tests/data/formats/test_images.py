"""Images as a table: arrays of any shape, folders by class, and what is checked of their pixels everywhere."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from helpers.tables import settings
from PIL import Image

from stacked_dae import make_dataset
from stacked_dae.cli.main import main
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.tabular.loading import read_table
from stacked_dae.errors import DataError
from stacked_dae.inference.exports.onnx_export import export_onnx
from stacked_dae.inference.file_rows import file_rows
from stacked_dae.inference.model import StackedDAE
from stacked_dae.pipeline import api

SPLIT = {"split": [0.6, 0.2, 0.2]}


def shapes(rows=90, shape=(6, 5), seed=0):
    """Return (images, classes): bytes, a bright left or right half, with a border that is always black."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, rows)
    images = random.integers(0, 120, (rows, *shape))
    middle = shape[-1] // 2
    images[y == 0, ..., :middle] += 120
    images[y == 1, ..., middle:] += 120
    images[..., 0, :] = 0
    return images.astype(np.uint8), y


def in_folder(path, images, names, mode="L"):
    for k, (image, name) in enumerate(zip(images, names, strict=True)):
        (path / name).mkdir(parents=True, exist_ok=True)
        pixels = image if mode == "L" else image.transpose(1, 2, 0)
        Image.fromarray(pixels).save(path / name / f"{k:03}.png")


def read(path, target="y", **data):
    return read_table(
        DataConfig(path=str(path), target=target, **data), scratch=path.parent / "scratch", budget_bytes=10**9
    )


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [((6, 5), (6, 5)), ((1, 6, 5), (6, 5)), ((3, 6, 5), (18, 5)), ((6, 5, 1), (6, 5)), ((6, 5, 3), (18, 5))],
)
def test_arrays_of_images_are_rows_of_pixels(shape, drawn, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, *shape)).astype(np.uint8)
    x[:, 0] = 0
    y = np.arange(60) % 3
    np.savez(tmp_path / "bytes.npz", x=x, y=y)
    np.savez(tmp_path / "floats.npz", x=(x / 255).astype(np.float32), y=y)
    data = read(tmp_path / "bytes.npz")
    assert data.inputs == x[0].size
    assert data.image_shape == drawn
    assert not data.notices
    rows = np.concatenate([data.train.inputs, data.valid.inputs, data.load_test().inputs])
    first = x.transpose(0, 3, 1, 2) if shape[-1] in (1, 3) else x
    expected = first.reshape(60, -1) / np.float32(255)
    assert {row.tobytes() for row in rows} == {row.tobytes() for row in expected}
    assert read(tmp_path / "floats.npz").train.inputs == pytest.approx(data.train.inputs, abs=1e-7)


@pytest.mark.parametrize("kind", ["bytes.npz", "floats.npz", "folder"])
def test_a_model_of_images_answers_alike_for_every_kind_of_rows(kind, tmp_path):
    x, y = shapes()
    names = np.array(["left", "right"])[y]
    np.savez(tmp_path / "bytes.npz", x=x, y=names)
    np.savez(tmp_path / "floats.npz", x=x / 255, y=names)
    in_folder(tmp_path / "folder", x, names)
    target = "class" if kind == "folder" else "y"
    config = config_from_dict(settings(tmp_path / kind, target=target, **SPLIT))
    run = api.fit(config, tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    assert model.classes == ["left", "right"]
    expected = model.predict_proba(x)
    for rows in (x / 255, x.reshape(90, -1), x[:, None], pd.DataFrame(x.reshape(90, -1) / 255, columns=model.columns)):
        assert model.predict_proba(rows) == pytest.approx(expected, abs=1e-6)
    assert model.anomaly_scores(x) == pytest.approx(model.anomaly_scores(x / 255), abs=1e-6)
    out = tmp_path / "out.csv"
    for other in ("bytes.npz", "floats.npz", "folder"):
        command = ["predict", str(run.path), "--data", str(tmp_path / other), "--out", str(out)]
        assert main([*command, *(["--keep-columns", "file"] if other == "folder" else [])]) == 0
        found = pd.read_csv(out)
        if other == "folder":
            found = found.sort_values("file", key=lambda files: files.str[-7:])
        assert found[["p_left", "p_right"]].to_numpy() == pytest.approx(expected, abs=1e-5), other
    model.save(tmp_path / "m.safetensors")
    assert np.array_equal(StackedDAE.load(tmp_path / "m.safetensors").predict(x), model.predict(x))
    export_onnx(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    feeds = {name: x.reshape(90, -1)[:, [k]] / 255 for k, name in enumerate(model.columns)}
    assert session.run(["probabilities"], feeds)[0] == pytest.approx(expected, abs=1e-5)


def test_figures_are_drawn_in_the_shape_of_the_images(tmp_path):
    x, y = shapes()
    np.savez(tmp_path / "t.npz", x=x, y=y)
    command = ["fit", "--data.path", str(tmp_path / "t.npz"), "--data.target", "y", "--pretrain.units", "[4]"]
    assert main([*command, "--pretrain.epochs", "1", "--finetune.epochs", "1", "--out", str(tmp_path / "run")]) == 0
    assert {"filters.png", "reconstructions.png"} <= {file.name for file in (tmp_path / "run" / "figures").iterdir()}


def test_folders_of_colours_and_of_images_without_a_class(tmp_path):
    x, y = shapes(60, (3, 6, 5))
    in_folder(tmp_path / "colours", x, np.array(["a", "b"])[y], mode="RGB")
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / "colours" / "gray.png")
    data = read(tmp_path / "colours", target="class", **SPLIT)
    assert data.inputs == 90
    assert data.image_shape == (18, 5)
    assert (np.concatenate([data.train.labels, data.valid.labels, data.load_test().labels]) == -1).sum() == 1
    found = {tuple(row) for row in np.round(data.valid.inputs * 255).astype(int)}
    assert found <= {tuple(image.ravel()) for image in x}


def test_what_is_no_image_is_named(tmp_path):
    x, y = shapes()
    np.savez(tmp_path / "whole.npz", x=x.astype(np.int64), y=y)
    with pytest.raises(DataError, match=r"whole\.npz: x: images are bytes \(uint8\), or floats from 0 to 1, not int64"):
        read(tmp_path / "whole.npz")
    np.savez(tmp_path / "far.npz", x=x.astype(np.float32), y=y)
    with pytest.raises(DataError, match=r"far\.npz: a pixel is \d+; pixels are floats from 0 to 1, or bytes"):
        read(tmp_path / "far.npz")
    in_folder(tmp_path / "sizes", x[:5], ["a"] * 5)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "sizes" / "a" / "x.png")
    with pytest.raises(DataError, match=r"sizes: a/x\.png has 4×4 pixels, but a/000\.png has 5×6; give all images one"):
        read(tmp_path / "sizes", target="class")
    in_folder(tmp_path / "broken", x[:5], ["a"] * 5)
    (tmp_path / "broken" / "a" / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"x\.png: not readable as an image"):
        read(tmp_path / "broken", target="class")


def test_pixels_are_checked_in_prediction_as_in_training(tmp_path):
    x, y = shapes()
    np.savez(tmp_path / "t.npz", x=x, y=y)
    run = api.fit(config_from_dict(settings(tmp_path / "t.npz", target="y")), tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    far = "a pixel is .*; pixels are floats from 0 to 1"
    for rows in (x.astype(np.float64), -(x / 255.0), pd.DataFrame(x.reshape(90, -1), columns=model.columns)):
        with pytest.raises(DataError, match=far):
            model.predict(rows)
    with pytest.raises(DataError, match="images are bytes"):
        model.predict(x.astype(np.int64))
    with pytest.raises(DataError, match="the rows are images of 5×5, but the model takes 6×5"):
        model.predict(x[:, 1:])
    with pytest.raises(DataError, match="the rows have 25 pixels each, but the model takes 30"):
        model.predict(x[:, 1:].reshape(90, -1))
    with pytest.raises(DataError, match="the rows are images of 5×6, but the model takes 6×5"):
        model.predict(x.reshape(90, 5, 6))
    np.savez(tmp_path / "far.npz", x=x.astype(np.float32))
    command = ["predict", str(run.path), "--data", str(tmp_path / "far.npz"), "--out", str(tmp_path / "out.csv")]
    assert main(command) == 2
    assert not (tmp_path / "out.csv").exists()


def test_constant_columns_of_an_array_are_left_out_and_named(tmp_path, capsys):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(80, 9)), random.integers(0, 2, 80)
    x[:, [0, 4]] = 7.0
    np.savez(tmp_path / "t.npz", x=x, y=y)
    data = read(tmp_path / "t.npz")
    assert data.notices == [
        f"{tmp_path / 't.npz'}: columns 'x_0', 'x_4' are constant in the training rows, so left out"
    ]
    assert data.table.names == [f"x_{k}" for k in (1, 2, 3, 5, 6, 7, 8)]
    assert main(["data", "check", str(tmp_path / "t.npz"), "--target", "y"]) == 0
    assert "so left out" in capsys.readouterr().out
    np.savez(tmp_path / "all.npz", x=np.ones((80, 2)), y=y)
    with pytest.raises(DataError, match="column 'x_0' is 1 in every training row"):
        read(tmp_path / "all.npz")
    # A column that somebody has named is still refused.
    pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": y}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="column 'a' is 7 in every training row"):
        read(tmp_path / "t.csv")


def test_images_of_another_size_are_refused_in_prediction(tmp_path, capsys):
    x, y = shapes()
    names = np.array(["left", "right"])[y]
    np.savez(tmp_path / "t.npz", x=x, y=names)
    run = api.fit(config_from_dict(settings(tmp_path / "t.npz", target="y")), tmp_path / "run")
    np.savez(tmp_path / "large.npz", x=np.pad(x, ((0, 0), (2, 2), (2, 2))), y=names)
    np.savez(tmp_path / "turned.npz", x=x.transpose(0, 2, 1), y=names)
    in_folder(tmp_path / "colours", np.stack([x, x, x], 1), names, mode="RGB")
    for name in ("large.npz", "turned.npz", "colours"):
        for command in ("predict", "evaluate", "encode"):
            out = tmp_path / {"predict": "o.csv", "evaluate": "o.json", "encode": "o.npy"}[command]
            given = [command, str(run.path), "--data", str(tmp_path / name), "--out", str(out)]
            assert main(given) == 2, (name, command)
            assert "its images have" in capsys.readouterr().err
            assert not out.exists()


def test_a_model_of_colours_takes_gray_images(tmp_path):
    x, y = shapes(60, (3, 6, 5))
    in_folder(tmp_path / "colours", x, np.array(["a", "b"])[y], mode="RGB")
    run = api.fit(config_from_dict(settings(tmp_path / "colours", target="class", **SPLIT)), tmp_path / "run")
    in_folder(tmp_path / "gray", x[:, 0], ["a"] * 60)
    out = tmp_path / "out.csv"
    assert main(["predict", str(run.path), "--data", str(tmp_path / "gray"), "--out", str(out)]) == 0
    expected = StackedDAE.from_run(run.path).predict_proba(np.repeat(x[:, :1], 3, axis=1))
    assert pd.read_csv(out)[["p_a", "p_b"]].to_numpy() == pytest.approx(expected, abs=1e-5)


def test_channels_may_be_first_or_last(tmp_path):
    x, y = shapes(60, (3, 6, 5))
    in_folder(tmp_path / "colours", x, np.array(["a", "b"])[y], mode="RGB")
    last = x.transpose(0, 2, 3, 1)
    np.savez(tmp_path / "first.npz", x=x, y=y)
    np.savez(tmp_path / "last.npz", x=last, y=y)
    assert np.array_equal(read(tmp_path / "first.npz").train.inputs, read(tmp_path / "last.npz").train.inputs)
    run = api.fit(config_from_dict(settings(tmp_path / "colours", target="class", **SPLIT)), tmp_path / "run")
    model = StackedDAE.from_run(run.path)
    assert np.array_equal(model.predict_proba(last), model.predict_proba(x))
    rows = [np.concatenate([r.inputs for r in file_rows(model, tmp_path / n)]) for n in ("first.npz", "last.npz")]
    assert np.array_equal(*rows)
    data = make_dataset("mine", (last, y), (x, y), lambda: (x, y))
    assert np.array_equal(data.train.inputs, data.valid.inputs)
    assert data.image_shape == (18, 5)


def test_photographs_are_turned_as_they_were_taken(tmp_path):
    x, y = shapes(60, (6, 5))
    in_folder(tmp_path / "plain", x, np.array(["a", "b"])[y])
    for k, (image, name) in enumerate(zip(x, np.array(["a", "b"])[y], strict=True)):
        (tmp_path / "turned" / name).mkdir(parents=True, exist_ok=True)
        turned = Image.fromarray(np.rot90(image).copy())
        exif = turned.getexif()
        exif[0x112] = 6
        turned.save(tmp_path / "turned" / name / f"{k:03}.png", exif=exif)
    plain, turned = (read(tmp_path / name, target="class", **SPLIT) for name in ("plain", "turned"))
    assert np.array_equal(plain.train.inputs, turned.train.inputs)


def test_images_of_more_than_8_bits_are_refused(tmp_path):
    x, _ = shapes(10)
    (tmp_path / "d" / "a").mkdir(parents=True)
    Image.fromarray(x[0].astype(np.uint16) * 256).save(tmp_path / "d" / "a" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: its pixels are of mode I;16, but they must be bytes; save"):
        read(tmp_path / "d", target="class")


def test_a_folder_is_of_images_or_of_tables(tmp_path):
    x, y = shapes(20)
    in_folder(tmp_path / "d", x, np.array(["a", "b"])[y])
    (tmp_path / "d" / "labels.csv").write_text("file,y\n000.png,a\n")
    with pytest.raises(DataError, match=r"it holds 20 images and the table labels\.csv; take one kind out"):
        read(tmp_path / "d", target="class")


def test_parts_with_images_of_other_shapes_are_refused(tmp_path):
    x, y = shapes(40)
    (tmp_path / "d").mkdir()
    np.savez(tmp_path / "d" / "0.npz", x=x, y=y)
    np.savez(tmp_path / "d" / "1.npz", x=x.transpose(0, 2, 1), y=y)
    with pytest.raises(DataError, match="their arrays differ in shape or type"):
        read(tmp_path / "d")


def test_nothing_is_written_into_the_folder_of_the_data(tmp_path, capsys):
    x, y = shapes()
    in_folder(tmp_path / "d", x, np.array(["a", "b"])[y])
    command = [
        "fit",
        "--data.path",
        str(tmp_path / "d"),
        "--data.target",
        "class",
        "--out",
        str(tmp_path / "d" / "run"),
    ]
    assert main(command) == 2
    assert "it lies in" in capsys.readouterr().err
    assert not (tmp_path / "d" / "run").exists()
    run = api.fit(config_from_dict(settings(tmp_path / "d", target="class")), tmp_path / "run")
    out = tmp_path / "d" / "preds.csv"
    assert main(["predict", str(run.path), "--data", str(tmp_path / "d"), "--out", str(out)]) == 2
    assert "the folder to read" in capsys.readouterr().err
