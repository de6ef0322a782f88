"""Dead units and saturated codes are counted."""

from __future__ import annotations

import pytest
import torch

from stacked_dae.training.codes import dead_units, saturated_percent


@pytest.mark.parametrize(
    ("activation", "codes", "dead", "saturated"),
    [
        ("sigmoid", [[0.0, 0.5, 0.001], [0.0, 0.9, 0.999]], 1, 100 * 4 / 6),
        ("sigmoid", [[0.5, 0.5], [0.505, 0.52]], 1, 0.0),
        ("tanh", [[-1.0, 0.0, 0.5], [-1.0, 0.01, 0.99]], 2, 50.0),
        ("relu", [[0.0, 0.001, 3.0], [0.0, 0.002, 9.0]], 1, 0.0),
        ("identity", [[7.0, -1.0], [7.0, 1.0]], 1, 0.0),
    ],
)
def test_units_that_say_nothing_are_counted(activation, codes, dead, saturated):
    codes = torch.tensor(codes)
    assert dead_units(codes, activation) == dead
    assert saturated_percent(codes, activation) == pytest.approx(saturated)
