"""What a second worker gains a search: 24 trials on mnist5k that differ in fine-tuning and in the noise of layer 2.

    python benchmarks/workers.py --rounds 2

A round runs `stacked-dae search` with one worker, which has all cores, and with two, each a process with half of them.
The start of Python, the table and the figures are part of the time.
results/bench/workers.json was made with --rounds 2 --out results/bench/workers.json.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import options, show, write

BASE = {"data": {"name": "mnist5k"}, "pretrain": {"units": [1000, 1000], "epochs": 15}, "finetune": {"epochs": 10}}
SPACE = {
    "pretrain.corruption.nu": [[0.25, 0.1], [0.25, 0.25], [0.25, 0.4]],
    "finetune.optimizer.lr": [0.05, 0.1, 0.2, 0.5],
    "finetune.dropout": [0.0, 0.2],
}


def seconds(out: Path, workers: int) -> float:
    """Return the seconds of the search with so many workers."""
    out.mkdir()
    (out / "base.yaml").write_text(json.dumps(BASE))
    (out / "space.yaml").write_text(json.dumps(SPACE))
    words = [sys.executable, "-m", "stacked_dae", "search", "--config", "base.yaml", "--space", "space.yaml"]
    words += ["--trials", "24", "--sampler", "grid", "--workers", str(workers), "--out", "search"]
    started = time.perf_counter()
    subprocess.run(words, cwd=out, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    asked = options(__doc__ or "", rounds=2)
    rows = []
    for k in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            # Which goes first changes from round to round.
            spent = {workers: seconds(Path(folder, str(workers)), workers) for workers in ((1, 2) if k % 2 else (2, 1))}
        rows.append({"one_seconds": spent[1], "two_seconds": spent[2], "ratio": spent[2] / spent[1]})
        show("24 trials", list(rows[-1]), [[f"{value:.3g}" for value in rows[-1].values()]])
    ratio = statistics.median(row["ratio"] for row in rows)
    print(f"median ratio of two workers to one: {ratio:.3f}")
    write(asked.out, "workers", "cpu", {"median_ratio": ratio, "rounds": rows})


if __name__ == "__main__":
    main()
