"""The benchmarks measure every side that they compare. They run alone: a second worker would change the figures."""

from __future__ import annotations

import json

import pytest
from helpers.programs import run_program

pytestmark = [pytest.mark.slow, pytest.mark.speed]


@pytest.mark.parametrize("name", ["step", "finetune"])
def test_the_step_benchmarks_measure_every_side(tmp_path, name):
    """Slow: twelve cases of three sides each, in rounds that are interleaved."""
    run_program(f"benchmarks/{name}.py", "--rows", 512, "--rounds", 2, "--out", tmp_path / "figures.json")
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["machine"]["threads"] >= 1
    for case in report["result"]:
        for side in ("ours", "plain loop", "idiomatic Lightning"):
            assert case[side]["ratio"] > 0
        if name == "step":
            assert case["PretrainTask, arrays"]["ratio"] > 0
            assert case["PretrainTask, DataLoader"]["ratio"] > 0
        assert case["idiomatic_over_ours"] > 0


def test_the_pipeline_benchmark_runs_both_sides(tmp_path):
    run_program("benchmarks/pipeline.py", "--rounds", 2, "--batch", 100, "--out", tmp_path / "figures.json")
    result = json.loads((tmp_path / "figures.json").read_text())["result"]
    assert result["idiomatic_over_ours"] > 0
    for errors in result["valid_error_percent"].values():
        assert all(0 < error < 50 for error in errors)
