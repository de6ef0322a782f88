"""Replayed steps: on the device that is here against plain steps on the CPU, and the order of capture itself."""

from __future__ import annotations

import copy
from collections import deque
from contextlib import contextmanager

import pytest
import torch

from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.corruption import FixedMasking
from stacked_dae.nn.updates import ParameterUpdater
from stacked_dae.training.cuda_graphs import CudaGraphRunner
from stacked_dae.training.optimizers import build_optimizer

# On a machine with a GPU this tests the captured graph; elsewhere the plain call.
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CPU = torch.device("cpu")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_hundred_replays_equal_plain_steps_from_the_same_masks(optimizer, tied):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(110, 30, generator=generator)
    layer = DenoisingAutoencoder(30, 20, corruption=FixedMasking(0.25), tied=tied, generator=generator)
    corrupted, _ = layer.corrupt(x, generator)
    reference, layer = layer, copy.deepcopy(layer).to(DEVICE)
    descents = [
        ParameterUpdater(build_optimizer(optimizer, list(m.parameters()), 0.01, {})) for m in (reference, layer)
    ]
    replay = CudaGraphRunner(lambda *rows: layer.step(*rows, descents[1]), descents[1].rates, DEVICE)
    total = torch.zeros(())
    for i in range(100):
        # Every eleventh minibatch is a smaller one, as at the end of an epoch.
        cut = slice(10 * (i % 11), 10 * (i % 11) + (4 if i % 11 == 10 else 10))
        total += reference.step(x[cut], corrupted[cut], descents[0])
        replay.run(x[cut].to(DEVICE), corrupted[cut].to(DEVICE))
    assert replay.total.item() == pytest.approx(total.item(), rel=1e-5)
    for p, q in zip(reference.parameters(), layer.parameters(), strict=True):
        assert torch.allclose(p, q.cpu(), rtol=1e-4, atol=1e-5)


class Cuda:
    """Stands in for CUDA's graphs: what is called while one is recorded is done at each replay, not before."""

    def __init__(self):
        self.recording = None
        self.captures = 0

    class Graph:
        def replay(self):
            self.work()

    @contextmanager
    def graph(self, graph):
        self.recording = graph
        try:
            yield
            self.captures += 1
        finally:
            self.recording = None


@pytest.fixture
def cuda(monkeypatch):
    fake = Cuda()

    class Stream:
        def wait_stream(self, other):
            pass

    @contextmanager
    def stream(_):
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Cuda.Graph)
    monkeypatch.setattr(torch.cuda, "graph", fake.graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    return fake


class Steps:
    """A step that adds up its rows, and can be recorded."""

    def __init__(self, cuda):
        self.cuda, self.seen, self.rate, self.fails = cuda, [], 1.0, False

    def __call__(self, x):
        if self.cuda.recording is not None:
            if self.fails:
                raise RuntimeError("operation not permitted when stream is capturing")
            self.cuda.recording.work = lambda: self.seen.append(("graph", x.tolist(), self.rate))
        else:
            self.seen.append(("plain", x.tolist(), self.rate))
        return torch.zeros(())


def replay_of(steps):
    replay = CudaGraphRunner(steps, lambda: steps.rate, CPU)
    replay._capturable = True
    return replay


def test_each_minibatch_is_done_once_and_graphs_take_over(cuda):
    steps = Steps(cuda)
    replay = replay_of(steps)
    for i in range(6):
        replay.run(torch.full((2,), float(i)))
    replay.run(torch.full((1,), 9.0))
    replay.run(torch.full((2,), 6.0))
    assert [how for how, *_ in steps.seen] == ["plain"] * 3 + ["graph"] * 3 + ["plain", "graph"]
    assert [x[0] for _, x, _ in steps.seen] == [0, 1, 2, 3, 4, 5, 9, 6]
    assert cuda.captures == 1


def test_another_learning_rate_is_captured_anew(cuda):
    steps = Steps(cuda)
    replay = replay_of(steps)
    for i in range(8):
        steps.rate = 1.0 if i < 5 else 0.5
        replay.run(torch.full((2,), float(i)))
    assert [how for how, *_ in steps.seen] == ["plain"] * 3 + ["graph"] * 2 + ["plain"] + ["graph"] * 2
    assert cuda.captures == 2


def test_where_no_capture_is_possible_the_steps_are_called(cuda):
    steps = Steps(cuda)
    steps.fails = True
    replay = replay_of(steps)
    rows = [torch.full((2,), float(i)) for i in range(6)]
    with pytest.warns(UserWarning, match="cannot be captured as a CUDA graph.*not permitted") as warned:
        deque(map(replay.run, rows), maxlen=0)
    assert len(warned) == 1
    assert [(how, x[0]) for how, x, _ in steps.seen] == [("plain", float(i)) for i in range(6)]
