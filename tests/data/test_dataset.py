from __future__ import annotations

import gzip
import http.server
import shutil
import struct
import threading

import numpy as np
import pytest
from helpers.small_runs import blobs

from stacked_dae.data import registry
from stacked_dae.data.builtin import mnist
from stacked_dae.data.builtin.idx import read_idx, read_images_and_labels
from stacked_dae.data.dataset import check_unit_interval, make_dataset
from stacked_dae.data.splits import interleaved_split, labelled_rows
from stacked_dae.errors import DataError


def idx(array, kind=0x08):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_a_small_set_is_as_listed(name):
    data = registry.load_dataset(name)
    test = data.load_test()
    assert (len(data.train), len(data.valid), len(test)) == registry.DATASETS[name].rows
    assert data.classes == 10
    # No row of one split stands in another, and all rows together are the whole set.
    rows = [{row.tobytes() for row in split.inputs} for split in (data.train, data.valid, test)]
    assert not rows[0] & rows[1]
    assert not rows[2] & (rows[0] | rows[1])
    assert registry.load_dataset(name).fingerprint == data.fingerprint


def test_mnist5k_is_stratified_and_holds_real_pixels():
    data = registry.load_dataset("mnist5k")
    assert data.train.inputs.dtype == np.uint8
    assert (np.bincount(data.train.labels) == 350).all()
    assert (np.bincount(data.valid.labels) == 50).all()
    assert (np.bincount(data.load_test().labels) == 100).all()


def test_mnist_is_the_original_and_validates_on_the_last_10000(data_root):
    data = registry.load_dataset("mnist", str(data_root))
    raw = gzip.decompress((data_root / "mnist" / "train-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(60000, 784)
    assert np.array_equal(data.train.inputs, pixels[:50000])
    assert np.array_equal(data.valid.inputs, pixels[50000:])
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert len(data.load_test()) == 10000


def test_pattern_deals_each_class_in_file_order():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    train, valid, test = interleaved_split(labels, "TTVE")
    assert (train.tolist(), valid.tolist(), test.tolist()) == ([0, 1, 2, 3], [4, 5], [6, 7])


def test_labelled_rows_are_seeded_and_stratified():
    labels = np.repeat(np.arange(4), 50)
    rows = labelled_rows(labels, 7, seed=1)
    assert (np.bincount(labels[rows]) == 7).all()
    assert np.array_equal(rows, labelled_rows(labels, 7, seed=1))
    assert not np.array_equal(rows, labelled_rows(labels, 7, seed=2))
    assert labelled_rows(labels, None, seed=1) is None
    with pytest.raises(DataError, match="class 0 has only 50 training rows"):
        labelled_rows(labels, 51, seed=1)


def test_idx_round_trip_of_every_type(tmp_path):
    for kind, dtype in {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}.items():
        array = np.arange(6).astype(dtype).reshape(2, 3)
        for suffix, pack in (("", bytes), (".gz", gzip.compress)):
            path = tmp_path / f"a{suffix}"
            path.write_bytes(pack(idx(array, kind)))
            back = read_idx(path, 2)
            assert np.array_equal(back, array)
            assert back.dtype.isnative


DAMAGE = {
    "cut off": (idx(IMAGES)[:-3], "promises 24 bytes of values, the file has 21"),
    "too long": (idx(IMAGES) + b"x", "promises 24 bytes"),
    "wrong magic": (b"\x89PNG" + idx(IMAGES), "not an idx file"),
    "wrong type": (b"\0\0\x07\x03" + idx(IMAGES)[4:], "not an idx file"),
    "labels for images": (idx(IMAGES[0, 0]), "1 dimensions where 3 were expected"),
    "cut header": (idx(IMAGES)[:9], "cut off inside its header"),
    "empty": (b"", "not an idx file"),
    "huge dimensions": (b"\0\0\x08\x03" + b"\xff" * 12 + b"x", "promises"),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("gz", [False, True])
def test_a_damaged_idx_file_is_named(tmp_path, case, gz):
    raw, text = DAMAGE[case]
    path = tmp_path / ("images.gz" if gz else "images")
    path.write_bytes(gzip.compress(raw) if gz else raw)
    with pytest.raises(DataError) as error:
        read_idx(path, 3)
    assert text in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("cut", [5, 20, -4])
def test_a_damaged_gzip_file_is_named(tmp_path, cut):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(IMAGES))[:cut])
    with pytest.raises(DataError, match=r"images.gz: the gzip data is damaged"):
        read_idx(path, 3)


def test_images_and_labels_of_different_length_are_refused(tmp_path):
    (tmp_path / "i").write_bytes(idx(IMAGES))
    (tmp_path / "l").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match="has 2 images but l has 3 labels"):
        read_images_and_labels(tmp_path / "i", tmp_path / "l")


def test_a_damaged_test_file_is_known_before_training(tmp_path, data_root):
    shutil.copytree(data_root / "mnist", tmp_path / "mnist")
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte.gz: the gzip data is damaged"):
        registry.load_dataset("mnist", str(tmp_path))


def test_mnist_of_another_size_is_refused(tmp_path):
    (tmp_path / "mnist").mkdir()
    for name in mnist.SHA256:
        array = np.zeros((5, 28, 28) if "images" in name else 5, np.uint8)
        (tmp_path / "mnist" / name).write_bytes(idx(array))
    with pytest.raises(DataError, match="5 images of 784 pixels, but MNIST has 10000|5 images .* has 60000"):
        registry.load_dataset("mnist", str(tmp_path))


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Serve a folder on loopback in the place of the mirrors; yields the folder."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(mnist, "MIRRORS", (f"http://127.0.0.1:{server.server_port}/",))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_mnist_is_downloaded_and_checked_when_absent(tmp_path, mirror, data_root):
    for file in (data_root / "mnist").iterdir():
        shutil.copy(file, mirror)
    data = registry.load_dataset("mnist", str(tmp_path / "fresh"))
    assert len(data.train) == 50000
    assert sorted(p.name for p in (tmp_path / "fresh" / "mnist").iterdir()) == sorted(f"{n}.gz" for n in mnist.SHA256)


def test_a_download_with_another_checksum_is_refused_and_not_kept(tmp_path, mirror):
    for name in mnist.SHA256:
        (mirror / f"{name}.gz").write_bytes(gzip.compress(b"not MNIST"))
    with pytest.raises(DataError, match="cannot be downloaded .*--data.root"):
        registry.load_dataset("mnist", str(tmp_path / "fresh"))
    assert not [p for p in (tmp_path / "fresh").rglob("*") if p.is_file()]


def test_no_mirror_is_one_line(tmp_path, mirror):
    with pytest.raises(DataError, match="is not there and cannot be downloaded") as error:
        registry.load_dataset("mnist", str(tmp_path / "fresh"))
    assert "\n" not in str(error.value)


def test_the_data_folder_is_named_by_option_then_environment_then_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("STACKED_DAE_DATA", str(tmp_path))
    assert registry.data_root("/elsewhere").as_posix() == "/elsewhere"
    assert registry.data_root(None) == tmp_path
    monkeypatch.delenv("STACKED_DAE_DATA")
    assert "stacked-dae" in str(registry.data_root(None))


X, Y = np.random.default_rng(0).random((6, 4)).astype(np.float32), np.array([0, 1, 0, 1, 0, 1])


def changed(row, column, value):
    x = X.copy()
    x[row, column] = value
    return x


BAD = {
    "nan": (changed(2, 3, np.nan), Y, "row 2, input 3 is nan"),
    "infinite": (changed(1, 0, np.inf), Y, "row 1, input 0 is inf"),
    "no matrix": (X[0], Y, "must be (examples, inputs)"),
    "empty": (X[:0], Y[:0], "must be (examples, inputs)"),
    "too few labels": (X, Y[:5], "6 examples but labels of shape (5,)"),
    "float labels": (X, Y + 0.5, "whole numbers"),
    "negative labels": (X, Y - 2, "whole numbers"),
    "one class": (X, Y * 0, "one class only"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_named(case):
    x, y, text = BAD[case]
    with pytest.raises(DataError) as error:
        make_dataset("mine", (x, y), (X, Y), lambda: (X, Y))
    assert text in str(error.value)
    assert str(error.value).startswith("mine")


def test_splits_must_agree():
    with pytest.raises(DataError, match="3 inputs, but the training rows have 4"):
        make_dataset("mine", (X, Y), (X[:, :3], Y), lambda: (X, Y))
    with pytest.raises(DataError, match="label 2, but the training labels end at 1"):
        make_dataset("mine", (X, Y), (X, Y + 1), lambda: (X, Y))
    with pytest.raises(DataError, match="do not form an image of 3×3"):
        make_dataset("mine", (X, Y), (X, Y), lambda: (X, Y), image_shape=(3, 3))
    data = make_dataset("mine", (X, Y), (X, Y), lambda: (X[:, :2], Y))
    with pytest.raises(DataError, match="test rows: 2 inputs"):
        data.load_test()


def test_inputs_outside_0_to_1_are_named():
    data = make_dataset("mine", (X, Y), (changed(4, 1, 1.5), Y), lambda: (X, Y))
    with pytest.raises(DataError, match=r"validation rows: row 4, input 1 is 1.5, but cross_entropy"):
        check_unit_interval(data)


def test_the_fingerprint_follows_the_rows():
    assert blobs(0).fingerprint == blobs(0).fingerprint
    assert blobs(0).fingerprint != blobs(1).fingerprint
    one = make_dataset("mine", (X, Y), (X, Y), lambda: (X, Y))
    two = make_dataset("mine", (changed(0, 0, 0.5), Y), (X, Y), lambda: (X, Y))
    assert one.fingerprint != two.fingerprint


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(DataError, match="did you mean 'digits'"):
        registry.load_dataset("digit")
