"""A full disk: one line, nothing lost, and the job goes on once there is room."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import contextmanager

import pytest
import yaml

# Weights of 0.5 MB a layer, codes of 1.5 MB on disk.
CONFIG = {
    "data": {"name": "digits", "memory_budget": 0.001},
    "pretrain": {"units": [300, 300], "epochs": 2, "batch_size": 50},
    "finetune": {"epochs": 2, "batch_size": 50},
}
STAGES = ("layer_1", "layer_2", "finetune")


def fit(place, out, largest=None):
    (place / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    words = [sys.executable, "-m", "stacked_dae", "fit", "--config", place / "config.yaml", "--out", out]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        list(map(str, words)), env=env, capture_output=True, text=True, timeout=200, preexec_fn=largest and limit
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    place = tmp_path_factory.mktemp("undisturbed")
    assert fit(place, place / "run").returncode == 0
    return {stage: (place / "run" / stage / "weights.safetensors").read_bytes() for stage in STAGES}


def check_stopped(done, why):
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert why in errors[0]
    assert "make room, and run the same command again to resume" in errors[0]
    assert "Traceback" not in done.stderr


@contextmanager
def small_disk(place, size):
    """Mount a disk of so many bytes, where one may; else give None."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(words, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


# What does not fit: the first manifest; the first checkpoint; the weights beside it; the codes; the second layer.
@pytest.mark.slow
@pytest.mark.parametrize("size", [4096, 100_000, 300_000, 900_000, 1_600_000, 2_000_000])
def test_a_full_disk_ends_in_a_line_and_the_job_goes_on(tmp_path, undisturbed, size):
    with small_disk(tmp_path / "disk", size) as disk:
        if disk is None:
            # A quota on each file is what is left to a test that may not mount.
            check_stopped(fit(tmp_path, tmp_path / "disk" / "run", largest=min(size, 200_000)), "File too large")
        else:
            check_stopped(fit(tmp_path, disk / "run"), "No space left on device")
            subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        done = fit(tmp_path, tmp_path / "disk" / "run")
        assert done.returncode == 0, done.stderr
        for stage in STAGES:
            file = tmp_path / "disk" / "run" / stage / "weights.safetensors"
            assert file.read_bytes() == undisturbed[stage]
        assert not list((tmp_path / "disk" / "run").rglob("*.tmp"))


@pytest.mark.slow
def test_a_quota_ends_in_a_line_and_the_job_goes_on(tmp_path):
    # Too small for the first checkpoint.
    check_stopped(fit(tmp_path, tmp_path / "run", largest=30_000), "checkpoint.ckpt: File too large")
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert fit(tmp_path, tmp_path / "run").returncode == 0
