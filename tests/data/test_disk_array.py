"""Arrays in files, read by rows: against NumPy's own indexing."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacked_dae.data import disk_array
from stacked_dae.data.dataset import make_dataset
from stacked_dae.data.disk_array import DiskArray

ROWS = np.random.default_rng(0).random((200, 7)).astype(np.float32)


def saved(folder, array):
    np.save(folder / "a.npy", array)
    return np.load(folder / "a.npy", mmap_mode="r")


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    return DiskArray.from_memmap(saved(tmp_path_factory.mktemp("disk"), ROWS))


@given(
    rows=st.lists(st.integers(0, 199), max_size=300),
    gap=st.sampled_from([1, 56, 500, 10**6]),
    span=st.sampled_from([1, 100, 10**6]),
)
def test_any_rows_in_any_order_are_numpys(there, rows, gap, span):
    with pytest.MonkeyPatch.context() as patch:
        # However they are read: one by one, together, in pieces.
        patch.setattr(disk_array, "_GAP", gap)
        patch.setattr(disk_array, "_SPAN", span)
        index = np.array(rows, dtype=np.int64)
        assert np.array_equal(there[index], ROWS[index])


@given(rows=st.slices(200))
def test_any_slice_is_numpys(there, rows):
    assert np.array_equal(there[rows], ROWS[rows])


@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4", "<f8", "<i4"])
def test_other_numbers_become_float32_and_bytes_stay(tmp_path, dtype):
    array = np.arange(60).reshape(20, 3).astype(dtype)
    there = DiskArray.from_memmap(saved(tmp_path, array))
    assert there.dtype == (np.uint8 if dtype == "u1" else np.float32)
    assert there[:].dtype == there.dtype
    assert np.array_equal(there[:], array)


@pytest.mark.parametrize("part", [slice(0, None), slice(3, 11), slice(100, None)])
def test_whole_rows_of_a_mapped_array_are_found_in_its_file(tmp_path, part):
    # Beyond the first page of the file too.
    array = np.random.default_rng(0).random((3000, 7)).astype(np.float32)
    assert np.array_equal(DiskArray.from_memmap(saved(tmp_path, array)[part])[:], array[part])


def test_what_is_no_such_array_is_not_taken(tmp_path):
    mapped = saved(tmp_path, ROWS)
    assert DiskArray.from_memmap(mapped[:, 1:]) is None
    assert DiskArray.from_memmap(mapped[::2]) is None


def test_what_is_written_is_read_by_numpy_and_by_us(tmp_path):
    new = DiskArray.create(tmp_path / "x" / "codes.npy", ROWS.shape)
    for start in (150, 0):
        new.write(start, ROWS[start : start + 150])
    assert np.array_equal(np.load(tmp_path / "x" / "codes.npy"), ROWS)
    assert np.array_equal(DiskArray.open(tmp_path / "x" / "codes.npy")[:], ROWS)


def test_a_new_array_follows_no_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "codes.npy").symlink_to(tmp_path / "precious")
    DiskArray.create(tmp_path / "codes.npy", (4, 3))
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_file_that_is_cut_off_meanwhile_is_an_error(tmp_path):
    there = DiskArray.from_memmap(saved(tmp_path, ROWS))
    os.truncate(tmp_path / "a.npy", 1000)
    with pytest.raises(OSError, match="cut off"):
        there[:]


def test_a_data_set_on_disk_is_the_same_data_set(tmp_path):
    labels = np.arange(200) % 3
    for name in ("x", "v"):
        (tmp_path / name).mkdir()
    x, v = saved(tmp_path / "x", ROWS), saved(tmp_path / "v", ROWS[:50])
    here = make_dataset("d", (ROWS, labels), (ROWS[:50], labels[:50]), lambda: (ROWS, labels))
    there = make_dataset("d", (x, labels), (v, labels[:50]), lambda: (ROWS, labels))
    assert isinstance(there.train.inputs, DiskArray)
    assert there.fingerprint == here.fingerprint


def test_a_mapped_array_whose_file_says_otherwise_is_not_read_from_it(tmp_path):
    """Copied on write and changed, or replaced since: the numbers that were passed are the ones that are used."""
    file = tmp_path / "x.npy"
    np.save(file, np.random.default_rng(0).random((50, 4)).astype(np.float32))
    copied = np.load(file, mmap_mode="c")
    copied /= 2
    assert DiskArray.from_memmap(copied) is None
    mapped = np.load(file, mmap_mode="r")
    assert DiskArray.from_memmap(mapped) is not None
    np.save(tmp_path / "y.npy", np.zeros((50, 4), np.float32))
    (tmp_path / "y.npy").replace(file)
    assert DiskArray.from_memmap(mapped) is None
    labels = np.arange(50) % 2
    for rows in (copied, mapped):
        data = make_dataset("mine", (rows, labels), (rows, labels), lambda: (copied, labels))
        assert np.array_equal(data.train.inputs[:], rows)
