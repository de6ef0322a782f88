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
from helpers.wandb_server import Server

from stacked_dae import config_from_dict, fit
from stacked_dae.config.schema import Config
from stacked_dae.config.tracking_schema import TrackingConfig
from stacked_dae.tracking.mode import answers

CONFIG = {
    "data": {"name": "digits"},
    "pretrain": {"units": [300, 300, 300], "epochs": 400},
    "finetune": {"epochs": 400, "patience": 400},
}


def seconds(config: Config, folder: Path) -> tuple[float, float]:
    """Return the seconds of a whole fit, and those of its epochs alone."""
    started = time.perf_counter()
    run = fit(config, folder)
    return time.perf_counter() - started, float(run.result().seconds)


def main() -> None:
    asked = options(__doc__ or "", rounds=5)
    plain = config_from_dict(CONFIG)
    tracked = replace(plain, tracking=TrackingConfig(mode="online"))
    times: list[tuple[tuple[float, float], tuple[float, float]]] = []
    with Server(hang="") as server, tempfile.TemporaryDirectory() as folder:
        os.environ.update(server.environment())
        for k in range(asked.rounds + 1):
            # As in a new process: that nothing answers is found out anew.
            answers.cache_clear()
            times.append((seconds(plain, Path(folder) / f"off{k}"), seconds(tracked, Path(folder) / f"hang{k}")))
    # The first of each is slower: imports, allocations.
    whole = [hang[0] / off[0] for off, hang in times[1:]]
    epochs = [hang[1] / off[1] for off, hang in times[1:]]
    rows = [[f"{off[0]:.1f}", f"{hang[0]:.1f}", f"{off[1]:.1f}", f"{hang[1]:.1f}"] for off, hang in times[1:]]
    show("a hanging server", ["whole fit, s", "hanging, s", "epochs alone, s", "hanging, s"], rows)
    result = {"whole_ratio": statistics.median(whole), "epochs_ratio": statistics.median(epochs), "seconds": times[1:]}
    print(f"median ratio: whole {result['whole_ratio']:.3f}, epochs alone {result['epochs_ratio']:.3f}")
    write(asked.out, "tracking", "cpu", result)


if __name__ == "__main__":
    main()
