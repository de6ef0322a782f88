"""Searches whose processes are killed at any moment: no trial is lost, trained twice, or different."""

from __future__ import annotations

import csv
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

BASE = {
    "data": {"name": "digits"},
    "pretrain": {"units": [60, 40], "epochs": 12, "batch_size": 50},
    "finetune": {"epochs": 20, "batch_size": 50},
}
SPACE = {
    "finetune.optimizer.lr": {"distribution": "log_uniform_values", "min": 0.005, "max": 5.0},
    "finetune.dropout": [0.0, 0.2],
    "pretrain.corruption.nu": [[0.1, 0.1], [0.1, 0.3], [0.1, 0.5]],
}
# 20 of each are killed by: STACKED_DAE_KILLS=20 python -m pytest -m slow tests/integration/test_search_kills.py
KILLS = int(os.environ.get("STACKED_DAE_KILLS", "2"))


def start(place: Path, out: str, *words: str) -> subprocess.Popen[str]:
    (place / "base.yaml").write_text(yaml.safe_dump(BASE))
    (place / "space.yaml").write_text(yaml.safe_dump(SPACE))
    command = [sys.executable, "-m", "stacked_dae", "search", "--config", "base.yaml", "--space", "space.yaml"]
    return subprocess.Popen(
        [*command, "--trials", "14", "--out", out, *words],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(place: Path, out: str, *words: str) -> list[dict[str, str]]:
    """Run a search to its end, and return its table."""
    process = start(place, out, *words)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    with (place / out / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def workers(parent: int) -> list[int]:
    """Return the processes that a search has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "status").read_text()
            except OSError:
                continue
            if re.search(rf"^PPid:\t{parent}$", status, re.MULTILINE):
                found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [("--sampler", "random", "--workers", "2"), ("--sampler", "tpe", "--pruner", "asha")],
    ids=["two workers", "TPE and ASHA"],
)
def test_kills_change_no_trial(tmp_path, words):
    """Slow: whole processes, each of which imports torch."""
    whole = finish(tmp_path, "whole", *words)
    moments = random.Random(0)
    killed = {"parent": 0, "worker": 0}
    while sum(killed.values()) < KILLS:
        process = start(tmp_path, "cut", *words)
        time.sleep(moments.uniform(3.0, 9.0))
        others = workers(process.pid)
        if others and moments.random() < 0.5:
            os.kill(moments.choice(others), signal.SIGKILL)
            killed["worker"] += 1
            time.sleep(moments.uniform(0.0, 3.0))
        if process.poll() is None:
            process.kill()
            killed["parent"] += 1
        process.communicate()
        # Workers that outlive the command have the trials that they are at.
    print(killed)
    assert finish(tmp_path, "cut", *words) == whole
    assert len({row["trial"] for row in whole}) == 14


@pytest.mark.slow
def test_the_number_of_workers_changes_no_draw_and_a_killed_worker_is_named(tmp_path):
    one = finish(tmp_path, "one", "--sampler", "random")
    process = start(tmp_path, "two", "--sampler", "random", "--workers", "2")
    while process.poll() is None and not workers(process.pid):
        time.sleep(0.1)
    time.sleep(6)
    for worker in workers(process.pid):
        os.kill(worker, signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "worker 2 was killed (SIGKILL); its trial goes on here" in said
    assert finish(tmp_path, "two", "--sampler", "random") == one
