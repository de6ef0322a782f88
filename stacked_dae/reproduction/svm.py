"""A support vector machine with an RBF kernel, C and γ by validation: the yardstick of the paper's Table 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from stacked_dae.data.dataset import Dataset
from stacked_dae.data.disk_array import Inputs
from stacked_dae.training.loader import DeviceRows
from stacked_dae.utils.terminal.progress import Reporter

# γ is in units of 1 / (mean squared distance), so that one grid serves pixels and codes.
_GAMMAS = (0.5, 1.5, 4.5)
_CS = (2.0, 10.0, 50.0)
# The grid is refined about its best point, this many times at the most; it stops when the best stays where it is.
_REFINEMENTS = 3
_BLOCK = 2000


@dataclass(frozen=True)
class SVMResult:
    """A machine that was chosen, trained and tested: errors in percent, over ``n`` test rows."""

    test_error_percent: float
    n: int
    valid_error_percent: float
    gamma: float
    c: float
    tried: int


def pixels(rows: Inputs) -> Tensor:
    """Return inputs as float32; bytes are used as 0 to 1."""
    return DeviceRows(rows, torch.device("cpu")).read(slice(None))


def support_vector_machine(data: Dataset, reporter: Reporter) -> SVMResult:
    """Return the machine that makes the fewest validation errors, trained again on training and validation rows.

    That is how the paper's authors used the validation rows. The test rows are read once, at the end. The kernel
    matrices need 16 bytes for each pair of training rows.
    """
    x, xv = pixels(data.train.inputs), pixels(data.valid.inputs)
    y, yv = data.train.labels, data.valid.labels
    inside, across = _squared_distances(x, x), _squared_distances(xv, x)
    scale = 1.0 / float(inside.mean())
    tried: dict[tuple[float, float], float] = {}

    def errors(gammas: tuple[float, ...], cs: tuple[float, ...]) -> None:
        for gamma in gammas:
            new = [c for c in cs if (gamma, c) not in tried]
            if new:
                fit, valid = _kernel(inside, gamma), _kernel(across, gamma)
            for c in new:
                machine = SVC(C=c, kernel="precomputed", cache_size=500).fit(fit, y)
                tried[gamma, c] = 100 * float((machine.predict(valid) != yv).mean())
                reporter.advance(1, {"gamma": gamma, "C": c, "valid_error_percent": tried[gamma, c]})

    most = len(_GAMMAS) * len(_CS) + 4 * _REFINEMENTS
    reporter.start(f"{data.name}: support vector machine", most, "pairs of C and γ at most")
    errors(tuple(scale * g for g in _GAMMAS), _CS)
    for _ in range(_REFINEMENTS):
        best = gamma, c = min(tried, key=lambda pair: tried[pair])
        errors((gamma / 1.7, gamma, gamma * 1.7), (c,))
        errors((gamma,), (c / 2.2, c * 2.2))
        if min(tried, key=lambda pair: tried[pair]) == best:
            break
    reporter.stop()
    gamma, c = min(tried, key=lambda pair: tried[pair])
    both, labels = torch.cat([x, xv]), np.concatenate([y, yv])
    machine = SVC(C=c, kernel="precomputed", cache_size=500)
    machine.fit(_kernel(_squared_distances(both, both), gamma), labels)
    test = data.load_test()
    reporter.start(f"{data.name}: its test rows", len(test), "rows")
    wrong = 0
    for start in range(0, len(test), _BLOCK):
        block = pixels(test.inputs[start : start + _BLOCK])
        answers = machine.predict(_kernel(_squared_distances(block, both), gamma))
        wrong += int((answers != test.labels[start : start + _BLOCK]).sum())
        reporter.advance(len(block))
    reporter.stop()
    return SVMResult(100 * wrong / len(test), len(test), tried[gamma, c], gamma, c, len(tried))


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return |x_i − y_j|², (n, m)."""
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.t()).clamp_(min=0)


def _kernel(distances: Tensor, gamma: float) -> NDArray[np.float64]:
    """Return exp(−γ |x − y|²), float64 as libsvm wants it."""
    return torch.exp(-gamma * distances).double().numpy()
