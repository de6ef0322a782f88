"""Time and peak memory of pre-training as examples, width and depth double, three times each.

    python benchmarks/scale.py [--device cpu|cuda] [--epochs 2] [--out FILE]

Each cell is a process of its own, so that its peak resident memory is its own. The inputs are random bytes of 784
pixels. The bound in the table is: inputs as stored + the codes of the widest two layers + 600 MB.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import INPUTS, options, pixels, show, write

from stacked_dae import config_from_dict, make_dataset, pretrain

BASE = {"examples": 10000, "width": 500, "depth": 1}
MB = 1e6


def cell(examples: int, width: int, depth: int, epochs: int, device: str) -> dict[str, Any]:
    """Pre-train here and now; return seconds and memory."""
    x, v = pixels(examples), pixels(500, seed=1)
    labels = [i % 10 for i in range(examples)]
    data = make_dataset("random", (x, labels), (v, labels[:500]), lambda: (v, labels[:500]))
    config = config_from_dict(
        {
            "data": {"name": "random"},
            "pretrain": {"units": [width] * depth, "batch_size": 100, "epochs": epochs, "optimizer": {"lr": 0.01}},
            "trainer": {"accelerator": "gpu" if device == "cuda" else "cpu"},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(config, Path(folder) / "run", dataset=data)
        seconds = sum(record.seconds or 0.0 for record in run.manifest.stages.values())
    codes = 4 * examples * width * min(2, depth - 1)
    return {
        "examples": examples,
        "width": width,
        "depth": depth,
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB,
        "bound_mb": (examples * INPUTS + codes) / MB + 600,
    }


def main() -> None:
    """Run every cell in a process, print the table, write the figures."""
    if len(sys.argv) == 3 and sys.argv[1] == "--cell":
        print(json.dumps(cell(**json.loads(sys.argv[2]))))
        return
    chosen = options(__doc__ or "", epochs=2)
    cells = [BASE] + [{**BASE, name: BASE[name] * 2**i} for name in BASE for i in (1, 2, 3)]
    results = []
    for one in cells:
        task = json.dumps({**one, "epochs": chosen.epochs, "device": chosen.device})
        done = subprocess.run([sys.executable, __file__, "--cell", task], capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print({name: round(value, 1) for name, value in results[-1].items()}, flush=True)
    base = results[0]["seconds"]
    show(
        f"pre-training, {chosen.epochs} epochs per layer, batch 100",
        ["examples", "width", "depth", "seconds", "times the first", "peak memory", "bound"],
        [
            [
                str(r["examples"]),
                str(r["width"]),
                str(r["depth"]),
                f"{r['seconds']:.1f}",
                f"{r['seconds'] / base:.2f}",
                f"{r['peak_mb']:.0f} MB",
                f"{r['bound_mb']:.0f} MB",
            ]
            for r in results
        ],
    )
    write(chosen.out, "scale", chosen.device, results)


if __name__ == "__main__":
    main()
