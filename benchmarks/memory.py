"""Pre-training on inputs that are larger than memory may be, against the same inputs in memory.

    python benchmarks/memory.py [--rows 2000000] [--units 1000] [--rounds 3] [--out FILE]

Rows of 784 random float32 pixels in a file of 6.3 GB, one layer, one epoch, batch 100. Each side is a process of its
own: on disk with ``data.memory_budget`` 1 (GB), its peak resident memory told by the system; and in memory. The speed
is that of the training epoch, the two interleaved.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import INPUTS, options, show, write

from stacked_dae import config_from_dict, make_dataset, pretrain
from stacked_dae.data.disk_array import DiskArray

BUDGET_GB = 1.0
_BLOCK = 20000


def make(file: Path, rows: int) -> None:
    """Write the inputs, block by block."""
    random = np.random.default_rng(0)
    out = DiskArray.create(file, (rows, INPUTS))
    for start in range(0, rows, _BLOCK):
        out.write(start, random.random((min(_BLOCK, rows - start), INPUTS), dtype=np.float32))


def side(file: str, units: int, on_disk: bool) -> dict[str, float]:
    """Pre-train here and now; return the seconds of the epoch and the peak memory."""
    x = np.load(file, mmap_mode="r" if on_disk else None)
    labels = np.arange(len(x)) % 10
    few = np.array(x[:1000])
    data = make_dataset("random", (x, labels), (few, labels[:1000]), lambda: (few, labels[:1000]))
    config = config_from_dict(
        {
            "data": {"name": "random", "memory_budget": BUDGET_GB},
            "pretrain": {"units": [units], "batch_size": 100, "epochs": 1, "optimizer": {"lr": 0.01}},
            "trainer": {"accelerator": "cpu"},
        }
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(config, Path(folder) / "run", dataset=data)
        epoch = run.metrics("layer_1").rows()[0]["seconds"]
    return {"epoch_s": epoch, "whole_s": time.perf_counter() - started, "peak_gb": peak_gb()}


def peak_gb() -> float:
    """Return the peak resident memory of this process; getrusage would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) * 1024 / 1e9


def main() -> None:
    """Make the inputs, run both sides by turns, print and write the figures."""
    if len(sys.argv) == 3 and sys.argv[1] == "--side":
        print(json.dumps(side(**json.loads(sys.argv[2]))))
        return
    chosen = options(__doc__ or "", rows=2_000_000, units=1000, rounds=3)
    sides: dict[str, list[dict[str, float]]] = {"in memory": [], "on disk": []}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        file = Path(folder) / "inputs.npy"
        make(file, chosen.rows)
        for _ in range(chosen.rounds):
            for name, figures in sides.items():
                task = json.dumps({"file": str(file), "units": chosen.units, "on_disk": name == "on disk"})
                words = [sys.executable, __file__, "--side", task]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                figures.append(json.loads(done.stdout.splitlines()[-1]))
                print(name, {key: round(value, 2) for key, value in figures[-1].items()}, flush=True)
    speeds = [a["epoch_s"] / b["epoch_s"] for a, b in zip(sides["in memory"], sides["on disk"], strict=True)]
    result: dict[str, Any] = {
        "rows": chosen.rows,
        "inputs": INPUTS,
        "units": chosen.units,
        "gigabytes": 4e-9 * chosen.rows * INPUTS,
        "budget_gb": BUDGET_GB,
        "speed_of_in_memory": statistics.median(speeds),
        "peak_gb_on_disk": max(figures["peak_gb"] for figures in sides["on disk"]),
        "sides": sides,
    }
    show(
        f"{chosen.rows} × {INPUTS} float32, {chosen.units} units, one epoch",
        ["inputs", "epoch, s", "peak memory, GB"],
        [
            [
                name,
                f"{statistics.median(f['epoch_s'] for f in figures):.1f}",
                f"{max(f['peak_gb'] for f in figures):.2f}",
            ]
            for name, figures in sides.items()
        ],
    )
    print(f"on disk at {100 * result['speed_of_in_memory']:.0f} % of the speed in memory")
    write(chosen.out, "memory", "cpu", result)


if __name__ == "__main__":
    main()
