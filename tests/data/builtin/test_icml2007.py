"""The ICML-2007 problems: the original rectangles against the regenerated ones, and what is promised of the others."""

from __future__ import annotations

import errno
import hashlib
import io
import zipfile

import numpy as np
import pooch
import pytest
from scipy import stats

from stacked_dae.cli.main import main
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.data import registry
from stacked_dae.data.builtin import icml2007, icml2007_archives, icml2007_digits, icml2007_shapes, photographs
from stacked_dae.errors import DataError

PROBLEMS = ("basic", "rot", "bg-rand", "bg-img", "rot-bg-img", "rect", "rect-img", "convex")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(icml2007, "_cache", lambda: tmp_path / "cache")


def draw(seed=0):
    return np.random.default_rng(seed)


def boxes_of(pixels):
    """Return top, left, height, width of what is white in each image, (n, 4)."""
    image = pixels.reshape(-1, 28, 28) > 0
    rows, columns = image.any(2), image.any(1)
    top, left = rows.argmax(1), columns.argmax(1)
    return np.stack([top, left, rows.sum(1), columns.sum(1)], 1)


def check_rectangles(pixels, labels):
    boxes = boxes_of(pixels)
    outline = icml2007_shapes._inside(boxes) & ~icml2007_shapes._inside(boxes + np.array([1, 1, -2, -2]))
    assert np.array_equal(pixels.reshape(-1, 28, 28) > 0, outline), "one outline, one pixel wide"
    assert np.array_equal(labels, boxes[:, 2] > boxes[:, 3])
    assert boxes[:, 2:].min() >= 4
    assert np.abs(boxes[:, 2] - boxes[:, 3]).min() >= 3
    return boxes


def check_same_distribution(one, other):
    """Two samples of boxes: extents and places by the chi-squared test of each count, as two rows of a table."""
    for name, values in {
        "height": lambda b: b[:, 2],
        "width": lambda b: b[:, 3],
        "difference": lambda b: b[:, 2] - b[:, 3],
        "row": lambda b: b[:, 0],
        "column": lambda b: b[:, 1],
        "place in the range that fits": lambda b: (10 * (b[:, 0] + 0.5) / (29 - b[:, 2])).astype(int),
    }.items():
        counts = np.array([np.bincount(values(b) + 28, minlength=60) for b in (one, other)])
        counts = counts[:, counts.min(0) >= 5]
        assert stats.chi2_contingency(counts).pvalue > 1e-3, name


def test_regenerated_rectangles_have_the_distribution_of_the_original_training_file(data_root):
    with zipfile.ZipFile(data_root / "icml2007" / "rectangles.zip") as members:
        original = icml2007_archives.read_amat(iter(io.BytesIO(members.read("rectangles_train.amat"))), "train")
    assert set(np.unique(original[0])) == {0, 1}
    ours = icml2007_shapes.rectangles(20000, draw())
    check_same_distribution(check_rectangles(*original), check_rectangles(*ours))


@pytest.mark.slow
def test_the_original_test_rows_too_and_the_archive_is_a_source(data_root, tmp_path):
    data = registry.load_dataset("rect", str(data_root), "original")
    test = data.load_test()
    assert (len(data.train), len(data.valid), len(test)) == (1000, 200, 50000)
    original = check_rectangles(test.inputs, test.labels)
    ours = check_rectangles(*icml2007_shapes.rectangles(50000, draw()))
    check_same_distribution(original, ours)
    for boxes in (original, ours):
        pairs = np.unique(boxes[:, 2:], axis=0, return_counts=True)[1]
        assert len(pairs) == 506
        assert stats.chisquare(pairs).pvalue > 1e-3, "uniform over the pairs"
    # What was read once is kept, and is the same.
    again = registry.load_dataset("rect", str(tmp_path / "nowhere"), "original")
    assert again.fingerprint == data.fingerprint


def test_a_convex_set_is_told_from_one_that_is_not():
    picture = np.zeros((4, 28, 28), bool)
    picture[0, 3:9, 4:20] = True
    picture[1] = picture[0]
    picture[1, 5, 10] = False  # a hole
    picture[2, [2, 5], [2, 8]] = True  # two pixels with lattice points between them: (3, 4) and (4, 6)
    picture[3, [2, 4], [2, 5]] = True  # two pixels with none between them
    assert icml2007_shapes._is_convex(picture.reshape(4, -1)).tolist() == [True, False, False, True]


def test_convex_has_the_classes_it_promises():
    x, y = icml2007_shapes.convex(3000, draw())
    white = x > 0
    assert set(np.unique(x)) == {0, 255}
    assert np.array_equal(icml2007_shapes._is_convex(white), y == 1)
    assert white[y == 1].sum(1).min() >= 19
    assert white[y == 0].sum(1).min() >= 10
    assert abs(y.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(y)), "a fair coin"
    means = [white[y == c].mean() for c in (0, 1)]
    assert means == pytest.approx([0.437, 0.350], abs=0.02), "docs/decisions.md: the reading of convex"


def test_image_rectangles_are_one_photograph_in_another(monkeypatch):
    fill = iter((0.25, 0.75))
    monkeypatch.setattr(icml2007_shapes, "patches", lambda n, *_: np.full((n, 28, 28), next(fill), np.float32))
    x, y = icml2007_shapes.image_rectangles(4000, draw())
    boxes = boxes_of(x == 64)
    assert np.array_equal((x == 64).reshape(-1, 28, 28), icml2007_shapes._inside(boxes))
    assert ((x == 64) | (x == 191)).all()
    assert np.array_equal(y, boxes[:, 2] > boxes[:, 3])
    assert boxes[:, 2:].min() == 10
    assert boxes[:, 2:].max() == 27
    assert np.abs(boxes[:, 2] - boxes[:, 3]).min() == 5


def test_photographs_are_grey_and_patches_of_low_variance_are_rejected():
    for picture in photographs.photographs():
        assert picture.ndim == 2
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert picture.std() > 0.05
    assert photographs.patches(300, 0.15, draw()).std((1, 2)).min() > 0.15


def test_patches_are_the_same_on_every_processor():
    """The bits that an AMD EPYC (AVX2) and an Intel Xeon (AVX-512) made; a matrix product would differ between them."""
    bits = photographs.patches(300, 0.1, draw()).tobytes()
    assert hashlib.sha256(bits).hexdigest() == "8401e47da832ee8a57525d8d37191e6570731eb65acde3f3e1e3e1fa31c5523c"


def test_patches_are_cut_from_every_photograph_at_every_place(monkeypatch):
    pictures = [np.random.default_rng(i).random((30, 31), np.float32) for i in range(2)]
    monkeypatch.setattr(photographs, "photographs", lambda: pictures)
    found = {patch.tobytes() for patch in photographs.patches(400, 0.0, draw())}
    cut = [p[r : r + 28, c : c + 28].tobytes() for p in pictures for r in range(3) for c in range(4)]
    assert found == set(cut)


DIGIT = np.zeros((1, 28, 28), np.uint8)
DIGIT[0, 4:24, 12:16] = 200


def test_turning_keeps_the_ink_and_takes_every_angle():
    images = np.repeat(DIGIT.reshape(1, -1), 2000, 0)
    turned = icml2007_digits.rotated(images, draw()).reshape(-1, 28, 28).astype(float)
    assert turned.sum((1, 2)) == pytest.approx(images[0].sum(), rel=0.06)
    row, column = np.mgrid[:28, :28] - 13.5
    # The bar's axis, by its second moments: twice its angle is uniform on the circle.
    moments = [(turned * m).sum((1, 2)) for m in (column**2 - row**2, 2 * row * column)]
    double = np.arctan2(moments[1], moments[0]) / (2 * np.pi) % 1
    assert stats.kstest(double, "uniform").pvalue > 1e-3


def test_noise_lies_behind_the_digit():
    images = np.repeat(DIGIT.reshape(1, -1), 300, 0)
    noisy = icml2007_digits.on_noise(images, draw())
    assert (noisy >= images).all()
    background = noisy[images == 0]
    assert stats.chisquare(np.bincount(background, minlength=256)).pvalue > 1e-3
    assert not np.array_equal(noisy[0], noisy[1])


def test_digits_are_drawn_without_repetition():
    mnist = (np.arange(500, dtype=np.uint8).repeat(784).reshape(500, 784), np.arange(500))
    _, labels = icml2007_digits.digits_of(mnist, "basic", 400, draw())
    assert len(set(labels.tolist())) == 400
    assert labels.tolist() != sorted(labels.tolist())


def test_a_problem_is_made_once_and_always_the_same(tmp_path, monkeypatch):
    rows = (40, 10, 60)
    said = []
    monkeypatch.setattr(pooch.get_logger(), "info", lambda text, *values: said.append(text % values))
    data = icml2007.problem("rect", rows, "regenerated", tmp_path)
    assert (len(data.train), len(data.valid), len(data.load_test())) == rows
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    assert said == [f"preparing rect once, which takes a minute or two; it is kept as {kept}"]
    first = kept.read_bytes()
    kept.write_bytes(first[:-50])
    again = icml2007.problem("rect", rows, "regenerated", tmp_path)
    assert again.fingerprint == data.fingerprint
    assert kept.read_bytes() == first, "a damaged file is made again"
    monkeypatch.setattr(icml2007, "_regenerated", lambda *_: pytest.fail("made twice"))
    assert icml2007.problem("rect", rows, "regenerated", tmp_path).fingerprint == data.fingerprint
    assert len(said) == 2, "only when it is made"


def test_damage_of_the_test_rows_is_found_before_the_training(tmp_path):
    rows = (40, 10, 60)
    icml2007.problem("rect", rows, "regenerated", tmp_path)
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    first = kept.read_bytes()
    at = first.index(b"test_x.npy") + 1000
    kept.write_bytes(first[:at] + bytes([first[at] ^ 1]) + first[at + 1 :])
    icml2007.problem("rect", rows, "regenerated", tmp_path)
    assert kept.read_bytes() == first, "made again"


def test_what_cannot_be_read_now_stays(tmp_path, monkeypatch):
    rows = (40, 10, 60)
    icml2007.problem("rect", rows, "regenerated", tmp_path)
    (kept,) = (tmp_path / "cache").rglob("*.npz")

    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(icml2007, "_read", fails)
    with pytest.raises(DataError, match=r"rect-regenerated.*cannot be read \(Input/output error\)"):
        icml2007.problem("rect", rows, "regenerated", tmp_path)
    assert kept.exists()


def test_only_the_eight_problems_have_an_original(tmp_path):
    with pytest.raises(
        DataError, match="source: original applies only to the ICML 2007 data sets, which digits is not"
    ):
        registry.load_dataset("digits", str(tmp_path), "original")
    with pytest.raises(DataError, match="which mnist is not"):
        registry.check_data(DataConfig(name="mnist", source="original"))


def test_a_damaged_file_of_test_rows_is_named(tmp_path):
    rows = (40, 10, 60)
    again = icml2007.problem("rect", rows, "regenerated", tmp_path)
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    first = kept.read_bytes()
    kept.write_bytes(first[: len(first) // 2])
    with pytest.raises(DataError, match=r"rect-regenerated.*delete it"):
        again.load_test()


def row(value=b"0.5", count=784, label=b"1"):
    return b" ".join([value] * count + [label]) + b"\n"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], "empty"),
        ([row(), row(count=783)], "line 2: 784 numbers where 785"),
        ([row()] * 1200 + [row(b"x")], "line 1201: could not convert"),
        ([row(), row(b"1.5")], "line 2: not 784 pixels in"),
        ([row(), row(b"nan")], "line 2: not 784 pixels in"),
        ([row(label=b"0.5")], "line 1: .*whole number"),
    ],
)
def test_a_damaged_row_is_named(lines, text):
    with pytest.raises(DataError, match=f"f.amat.*{text}"):
        icml2007_archives.read_amat(iter(lines), "f.amat")


def archived(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_an_archive_is_read_in_file_order(tmp_path):
    path = archived(tmp_path / "a.zip", {"a_train.amat": row() + row(b"0.25", label=b"0"), "a_test.amat": row()})
    (x, y), (xt, yt) = icml2007_archives.read_archive(path)
    assert x[:, 0].tolist() == [0.5, 0.25]
    assert y.tolist() == [1, 0]
    assert xt.shape == (1, 784)
    assert yt.tolist() == [1]


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"../../a_train.amat": row(), "a_test.amat": row()}, "outside the archive"),
        ({"/etc/a_train.amat": row(), "a_test.amat": row()}, "outside the archive"),
        ({"..\\a_train.amat": row(), "a_test.amat": row()}, "outside the archive"),
        ({"a_test.amat": row()}, "0 files .train"),
    ],
)
def test_an_archive_that_is_not_one_of_these_is_refused(tmp_path, members, text):
    with pytest.raises(DataError, match=text):
        icml2007_archives.read_archive(archived(tmp_path / "a.zip", members))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.zip"]


def test_a_wrong_archive_is_told_by_its_checksum(tmp_path, capsys):
    (tmp_path / "icml2007").mkdir()
    (tmp_path / "icml2007" / "convex.zip").write_bytes(b"not it")
    code = main(["data", "prepare", "convex", "--source", "original", "--data.root", str(tmp_path)])
    message = capsys.readouterr().err
    assert code == 2
    assert "61eab3c60e0e1caeaa0b82abf827f1809cfd2ef9" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "cache").exists()


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.data", None)
    with pytest.raises(DataError, match="stacked-dae.problems."):
        photographs.photographs()


def test_a_sheet_of_samples_is_drawn(tmp_path, capsys):
    file = tmp_path / "digits.png"
    assert main(["data", "show", "digits", "--out", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")
    assert str(file) in capsys.readouterr().out


def test_the_registry_has_all_eight():
    assert set(PROBLEMS) < set(registry.DATASETS)
