"""Real processes, killed at any moment: the same command goes on, and ends in the bits of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

# rect is made here, out of nothing: its preparation can be killed too.
CONFIG = {
    # No budget: codes go to disk.
    "data": {"name": "rect", "memory_budget": 0.0},
    "pretrain": {"units": [60, 40], "epochs": [12, 12], "corruption": {"nu": [0.1, 0.2]}},
    "finetune": {"epochs": 12, "patience": 6},
}
WEIGHTS = ("layer_1", "layer_2", "finetune")


def start(place: Path) -> subprocess.Popen[str]:
    (place / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    words = ["fit", "--config", place / "config.yaml", "--out", place / "run"]
    # Where problems are kept that were made here.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(place / "data")}
    return subprocess.Popen(
        [sys.executable, "-m", "stacked_dae", *map(str, words)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(place: Path, stage: str) -> int:
    file = place / "run" / stage / "metrics.csv"
    return len(file.read_text().splitlines()) - 1 if file.exists() else -1


def done(place: Path, stage: str) -> bool:
    return (place / "run" / stage / "weights.safetensors").exists()


def marked_done(place: Path, stage: str) -> bool:
    """Return whether the manifest says so, which it does after the weights are written."""
    file = place / "run" / "manifest.json"
    stages = json.loads(file.read_text())["stages"] if file.exists() else {}
    return stages.get(stage, {}).get("status") == "done"


# When a process is to be killed: the first is as it was before the process started, the second as it is.
PHASES: dict[str, Callable[[Path, dict[str, int]], bool]] = {
    "start": lambda place, before: True,
    "data": lambda place, before: any((place / "data").rglob("*.tmp")),
    "folder": lambda place, before: (place / "run").exists(),
    "layer_1": lambda place, before: rows(place, "layer_1") > max(before["layer_1"], 0),
    "codes": lambda place, before: done(place, "layer_1"),
    "layer_2": lambda place, before: rows(place, "layer_2") > max(before["layer_2"], 0),
    "stacked": lambda place, before: done(place, "layer_2"),
    "finetune": lambda place, before: rows(place, "finetune") > max(before["finetune"], 0),
    "test": lambda place, before: done(place, "finetune"),
}


def kill(place: Path, phase: str, delay: float) -> bool:
    """Start the run and kill it in ``phase``; return False where it ended before."""
    before = {stage: rows(place, stage) for stage in WEIGHTS}
    process = start(place)
    while process.poll() is None and not PHASES[phase](place, before):
        time.sleep(0.0005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), err
    return process.returncode != 0


def end(place: Path) -> None:
    process = start(place)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def result(place: Path) -> dict[str, object]:
    values = json.loads((place / "run" / "result.json").read_text())
    # The time of a run is no part of its result, nor is the checksum that it enters.
    return {key: value for key, value in values.items() if key not in ("seconds", "sha256")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("undisturbed")
    end(place)
    return place


def check_the_same(place: Path, undisturbed: Path) -> None:
    for stage in WEIGHTS:
        one, two = (p / "run" / stage / "weights.safetensors" for p in (place, undisturbed))
        assert one.read_bytes() == two.read_bytes(), stage
        # Each epoch once: none is lost, none told twice.
        figures = [(p / "run" / stage / "metrics.csv").read_text().splitlines() for p in (place, undisturbed)]
        without_seconds = [[line.rpartition(",")[0] for line in lines] for lines in figures]
        assert without_seconds[0] == without_seconds[1], stage
    assert result(place) == result(undisturbed)
    held, whole = ({f.name: f.read_bytes() for f in (p / "data").rglob("*.npz")} for p in (place, undisturbed))
    assert held == whole
    left = [f for p in (place / "run", place / "data") for f in p.rglob("*") if f.name.endswith((".tmp", ".ckpt"))]
    left += list((place / "run").rglob("codes_*"))
    assert left == [], "nothing is left lying about"


def killed_and_ended(place: Path, kills: list[tuple[str, float]]) -> int:
    """Kill the run at each of ``kills`` that it comes by, then let it end; return how often it was killed."""
    count = 0
    finished: dict[str, int] = {}
    for phase, delay in kills:
        count += kill(place, phase, delay)
        for stage in WEIGHTS:
            if marked_done(place, stage):
                when = (place / "run" / stage / "weights.safetensors").stat().st_mtime_ns
                assert finished.setdefault(stage, when) == when, f"{stage} was trained again"
    end(place)
    return count


@pytest.mark.slow
def test_many_kills_change_nothing(tmp_path, undisturbed):
    """Slow: real processes, each of which imports torch and trains until it is killed.

    STACKED_DAE_KILLS=50 kills fifty.
    """
    moments = random.Random(2)
    total, turn = 0, 0
    while total < int(os.environ.get("STACKED_DAE_KILLS", "24")):
        place = tmp_path / str(turn)
        place.mkdir()
        kills = [(phase, moments.uniform(0, 0.15)) for phase in PHASES for _ in range(2)]
        total += killed_and_ended(place, kills)
        check_the_same(place, undisturbed)
        turn += 1
        assert turn < 8, "too few of them were killed"
    print(f"\n{total} kills of {turn} runs: bit-equal")
