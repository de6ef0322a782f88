from __future__ import annotations

import numpy as np
import pytest
import torch

from stacked_dae import codes, loader
from stacked_dae.codes import make_codes
from stacked_dae.layer import DenoisingLayer
from stacked_dae.loader import ChunkLoader, Rows

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


def mapped(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    return np.load(tmp_path / "a.npy", mmap_mode="r")


def test_bytes_are_used_as_0_to_1():
    assert torch.equal(
        Rows(BYTES, CPU).read(slice(0, 23)), torch.from_numpy(BYTES.astype(np.float32) / np.float32(255))
    )


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_epoch_is_a_permutation_and_labels_follow(tmp_path, on_disk):
    chunks = ChunkLoader(mapped(tmp_path, BYTES) if on_disk else BYTES, LABELS, 4, CPU)
    x, y = gathered(chunks)
    assert y.tolist() == list(range(23)), "the array's order before the first shuffle"
    chunks.shuffle(seed=5)
    x, y = gathered(chunks)
    assert sorted(y.tolist()) == list(range(23))
    assert y.tolist() != list(range(23))
    assert torch.equal(x, Rows(BYTES, CPU).read(y))
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


def test_a_memory_mapped_array_gives_the_same_rows(tmp_path):
    on_disk = Rows(mapped(tmp_path, BYTES), CPU)
    rows = torch.tensor([3, 1, 22, 1])
    assert torch.equal(on_disk.read(rows), Rows(BYTES, CPU).read(rows))


@pytest.mark.parametrize("budget", [0, 10**9])
def test_codes_equal_a_direct_encoding(tmp_path, budget):
    layer = DenoisingLayer(5, 3, generator=torch.Generator().manual_seed(0))
    told = []
    made = make_codes(
        layer.encode, BYTES, 3, CPU, file=tmp_path / "x" / "codes.npy", budget_bytes=budget, advance=told.append
    )
    with torch.no_grad():
        direct = layer.encode(torch.from_numpy(BYTES).float() / 255)
    assert np.allclose(made, direct.numpy(), rtol=0, atol=1e-6)
    assert isinstance(made, np.memmap) == (budget == 0)
    assert (tmp_path / "x" / "codes.npy").exists() == (budget == 0)
    assert sum(told) == 23
