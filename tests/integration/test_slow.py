"""What takes minutes: the whole of MNIST, the demo, Table 1 on a small problem, the benchmarks."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest
from helpers.small_runs import ROOT

pytestmark = pytest.mark.slow


def run(*arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, text=True, timeout=3600)
    assert done.returncode == 0


def test_mnist_reaches_the_promised_error(tmp_path, data_root):
    run(
        "-m",
        "stacked_dae",
        "fit",
        "--config",
        "configs/mnist.yaml",
        "--data.root",
        data_root,
        "--out",
        tmp_path / "run",
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["n_test"] == 10000
    assert result["test_error_percent"] <= 1.6


def test_the_demo_gains_three_points(tmp_path):
    run("benchmarks/demo.py", "--out", tmp_path / "demo")
    means = json.loads((tmp_path / "demo" / "demo.json").read_text())["mean_test_error_percent"]
    assert means["mlp"] - means["sda"] >= 3.0
    assert (tmp_path / "demo" / "demo.png").exists()


def test_table_1_on_the_original_rectangles(tmp_path, data_root):
    order = ["--problems", "rect", "--source", "original", "--models", "sda-3", "mlp-3", "svm-rbf", "--budget", 1]
    run("-m", "stacked_dae", "reproduce", "icml2008", *order, "--data.root", data_root, "--out", tmp_path)
    rows = {row["model"]: row for row in csv.DictReader((tmp_path / "table.csv").read_text().splitlines())}
    assert {row["n_test"] for row in rows.values()} == {"50000"}
    assert rows["svm-rbf"]["verdict"] == "equal"
    assert float(rows["sda-3"]["test_error_percent"]) < float(rows["mlp-3"]["test_error_percent"])


@pytest.mark.parametrize("name", ["step", "finetune"])
def test_the_step_benchmarks_measure_every_side(tmp_path, name):
    run(f"benchmarks/{name}.py", "--rows", 512, "--rounds", 2, "--out", tmp_path / "figures.json")
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["machine"]["threads"] >= 1
    for case in report["result"]:
        for side in ("ours", "plain loop", "idiomatic Lightning"):
            assert case[side]["ratio"] > 0
        assert case["idiomatic_over_ours"] > 0


def test_the_pipeline_benchmark_runs_both_sides(tmp_path):
    run("benchmarks/pipeline.py", "--rounds", 2, "--batch", 100, "--out", tmp_path / "figures.json")
    result = json.loads((tmp_path / "figures.json").read_text())["result"]
    assert result["idiomatic_over_ours"] > 0
    for errors in result["valid_error_percent"].values():
        assert all(0 < error < 50 for error in errors)
