"""What Weights & Biases costs training, with a server that takes every request and answers none.

    python benchmarks/tracking.py --rounds 5

Whole fits of scikit-learn's digits in one process, not tracked and tracked against the hanging server, interleaved; a
round tells the ratio of their times, the wait at the end included. Writes results/bench/tracking.json.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from common import options, show, write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from wandb_server import Server

from stacked_dae import fit, from_dict, tracking
from stacked_dae.config import Config, TrackingConfig

CONFIG = {
    "data": {"name": "digits"},
    "pretrain": {"units": [300, 300, 300], "epochs": 150},
    "finetune": {"epochs": 150, "patience": 150},
}


def seconds(config: Config, folder: Path) -> float:
    started = time.perf_counter()
    fit(config, folder)
    return time.perf_counter() - started


def main() -> None:
    asked = options(__doc__ or "", rounds=5)
    plain = from_dict(CONFIG)
    tracked = replace(plain, tracking=TrackingConfig(mode="online"))
    times: list[tuple[float, float]] = []
    with Server(hang="") as server, tempfile.TemporaryDirectory() as folder:
        os.environ.update(server.environment())
        for k in range(asked.rounds + 1):
            # As in a new process: that nothing answers is found out anew.
            tracking._answers.cache_clear()
            times.append((seconds(plain, Path(folder) / f"off{k}"), seconds(tracked, Path(folder) / f"hang{k}")))
    # The first of each is slower: imports, allocations.
    ratios = [hang / off for off, hang in times[1:]]
    result = {"ratio": statistics.median(ratios), "ratios": ratios, "seconds": times[1:]}
    show(
        "a hanging server",
        ("not tracked, s", "hanging, s", "ratio"),
        [(f"{a:.1f}", f"{b:.1f}", f"{b / a:.3f}") for a, b in times[1:]],
    )
    print(f"median ratio {result['ratio']:.3f}")
    write(asked.out, "tracking", "cpu", result)


if __name__ == "__main__":
    main()
