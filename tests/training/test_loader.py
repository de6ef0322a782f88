from __future__ import annotations

import numpy as np
import pytest
import torch

from stacked_dae.data.disk_array import DiskArray
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.training import codes, loader
from stacked_dae.training.codes import encode_inputs
from stacked_dae.training.loader import ChunkLoader, DeviceRows

CPU = torch.device("cpu")
BYTES = np.arange(23 * 5, dtype=np.uint8).reshape(23, 5)
LABELS = np.arange(23, dtype=np.int64)


def gathered(chunks):
    parts = [chunk.read() for chunk in chunks]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(loader, "_CHUNK_FLOATS", 40)
    monkeypatch.setattr(codes, "_BATCH", 4)


def on_disk(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    return DiskArray.from_memmap(np.load(tmp_path / "a.npy", mmap_mode="r"))


def test_bytes_are_used_as_0_to_1():
    assert torch.equal(
        DeviceRows(BYTES, CPU).read(slice(0, 23)), torch.from_numpy(BYTES.astype(np.float32) / np.float32(255))
    )


# Windows of one chunk, of two, of all rows; and an array that is taken into memory.
@pytest.mark.parametrize("budget", [None, 0, 2 * 16 * 5, 2 * 23 * 5 - 2, 23 * 5])
def test_an_epoch_is_a_permutation_and_labels_follow(tmp_path, budget):
    inputs = BYTES if budget is None else on_disk(tmp_path, BYTES)
    chunks = ChunkLoader(inputs, LABELS, 4, CPU, budget_bytes=budget or 0)
    x, y = gathered(chunks)
    assert y.tolist() == list(range(23)), "the array's order before the first shuffle"
    chunks.shuffle(seed=5)
    x, y = gathered(chunks)
    assert sorted(y.tolist()) == list(range(23))
    assert y.tolist() != list(range(23))
    assert torch.equal(x, DeviceRows(BYTES, CPU).read(y))
    again = ChunkLoader(BYTES, LABELS, 4, CPU)
    again.shuffle(seed=5)
    assert gathered(again)[1].tolist() == y.tolist()
    again.shuffle(seed=6)
    assert gathered(again)[1].tolist() != y.tolist()


def test_chunks_hold_whole_minibatches():
    chunks = ChunkLoader(BYTES, LABELS, 4, CPU)
    sizes = [len(chunk.read()[1]) for chunk in chunks]
    assert sizes == [8, 8, 7]
    assert len(chunks) == 3
    assert len(ChunkLoader(BYTES, LABELS, 9, CPU)) == 3, "a minibatch larger than a chunk is a chunk of its own"


def test_an_array_on_disk_gives_the_same_rows(tmp_path):
    there = DeviceRows(on_disk(tmp_path, BYTES), CPU)
    for rows in (torch.tensor([3, 1, 22, 1]), slice(3, 9), slice(0, None, 4)):
        assert torch.equal(there.read(rows), DeviceRows(BYTES, CPU).read(rows))


@pytest.mark.parametrize("budget", [0, 10**9])
def test_only_the_kept_rows_are_gone_through(tmp_path, budget):
    kept = np.array([2, 3, 5, 7, 11, 13, 17, 19], dtype=np.int64)
    for inputs in (BYTES, on_disk(tmp_path, BYTES)):
        chunks = ChunkLoader(inputs, LABELS, 3, CPU, kept, budget)
        assert gathered(chunks)[1].tolist() == kept.tolist()
        chunks.shuffle(seed=1)
        x, y = gathered(chunks)
        assert sorted(y.tolist()) == kept.tolist()
        assert y.tolist() != kept.tolist()
        assert torch.equal(x, DeviceRows(BYTES, CPU).read(y))


@pytest.mark.parametrize("budget", [0, 10**9])
def test_codes_equal_a_direct_encoding(tmp_path, budget):
    layer = DenoisingAutoencoder(5, 3, generator=torch.Generator().manual_seed(0))
    told = []
    made = encode_inputs(
        layer.encode, BYTES, 3, CPU, file=tmp_path / "x" / "codes.npy", budget_bytes=budget, advance=told.append
    )
    with torch.no_grad():
        direct = layer.encode(torch.from_numpy(BYTES).float() / 255)
    assert np.allclose(made[:], direct.numpy(), rtol=0, atol=1e-6)
    assert isinstance(made, DiskArray) == (budget == 0)
    assert (tmp_path / "x" / "codes.npy").exists() == (budget == 0)
    assert sum(told) == 23
