"""The same step over and over: on a GPU, captured once as a CUDA graph and replayed.

At the paper's sizes a GPU finishes a kernel before the host can launch the next; a graph launches all kernels of a
minibatch at once. Random numbers are drawn a chunk at a time, outside the graph, so that every replay gets fresh ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from stacked_dae.utils import distributed

# Minibatches that are run one by one before the capture, on a side stream, as CUDA asks. They are part of the
# training: the libraries' and the optimiser's buffers come into being in them.
_WARM_UP = 3


class CudaGraphRunner:
    """Runs ``step(*rows)`` for one minibatch after another and sums what it returns in ``total``.

    On the CPU, and wherever a capture is not possible, it calls the step; the results are the same.

    Args:
        step: updates the weights with one minibatch and returns its summed loss, ().
        state: returns what a captured step has baked in (learning rates); another value means another capture.
        device: where the step computes.
        capture: whether a graph may be captured.
    """

    def __init__(
        self,
        step: Callable[..., Tensor],
        state: Callable[[], Hashable],
        device: torch.device,
        *,
        capture: bool = True,
    ) -> None:
        self.total = torch.zeros((), device=device)
        self._step, self._state = step, state
        # Several processes talk to each other in the step.
        self._capturable = capture and device.type == "cuda" and distributed.world_size() == 1
        self._graph: torch.cuda.CUDAGraph | None = None
        self._rows: tuple[Tensor, ...] = ()
        self._baked: Hashable = None
        self._warm = 0

    def run(self, *rows: Tensor) -> None:
        """Run one minibatch: tensors with one row per example."""
        if not self._capturable:
            self.total += self._step(*rows)
            return
        state = self._state()
        if self._graph is not None and state != self._baked:
            # The learning rate has changed: the graph no longer applies.
            self._graph = None
        if self._graph is not None and len(rows[0]) == len(self._rows[0]):
            for static, row in zip(self._rows, rows, strict=True):
                static.copy_(row)
            self._graph.replay()
            return
        # The first minibatches, and the last of an epoch where it is a smaller one.
        self._on_a_side_stream(rows)
        self._warm += 1
        if self._graph is None and self._warm >= _WARM_UP:
            self._capture(rows, state)

    def _on_a_side_stream(self, rows: tuple[Tensor, ...]) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.total += self._step(*rows)
        torch.cuda.current_stream().wait_stream(stream)

    def _capture(self, rows: tuple[Tensor, ...], state: Hashable) -> None:
        """Record the step on static inputs; nothing is computed by recording."""
        self._rows = tuple(row.clone() for row in rows)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.total += self._step(*self._rows)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            warnings.warn(
                f"the step cannot be captured as a CUDA graph and is run as it is, slower: {reason}", stacklevel=2
            )
            self._capturable = False
            return
        self._graph, self._baked = graph, state
