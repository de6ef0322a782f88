"""What shared layers save a sweep: 24 trials on mnist5k that differ in fine-tuning and in the noise of layer 2.

    python benchmarks/sharing.py --rounds 3

A round runs all trials with shared layers and without, in one process, and tells the ratio of their times.
results/bench/sharing.json was made with --rounds 3 --out results/bench/sharing.json.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import options, show, write

from stacked_dae import config_from_dict, fit
from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset
from stacked_dae.data.registry import load_dataset


def configs() -> list[Config]:
    """Return the settings of the trials."""
    found = []
    for nu, rate, dropout in itertools.product((0.1, 0.25, 0.4), (0.05, 0.1, 0.2, 0.5), (0.0, 0.2)):
        values: dict[str, Any] = {
            "data": {"name": "mnist5k"},
            "pretrain": {"units": [300, 300], "epochs": 15, "corruption": {"nu": [0.25, nu]}},
            "finetune": {"epochs": 10, "dropout": dropout, "optimizer": {"lr": rate}},
        }
        found.append(config_from_dict(values))
    return found


def seconds(trials: list[Config], data: Dataset, place: Path, layers: Path | None) -> tuple[float, int]:
    """Return the seconds of all trials, and how many different layers were trained."""
    started = time.perf_counter()
    for k, config in enumerate(trials):
        fit(config, place / f"trial_{k}", dataset=data, test=False, layers=layers)
    spent = time.perf_counter() - started
    files = {file.stat().st_ino for file in place.glob("trial_*/layer_*/weights.safetensors")}
    return spent, len(files)


def main() -> None:
    asked = options(__doc__ or "", rounds=3)
    data, trials = load_dataset("mnist5k"), configs()
    rows = []
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            alone, trained_alone = seconds(trials, data, place / "alone", None)
            shared, trained = seconds(trials, data, place / "shared", place / "layers")
        rows.append({"alone_seconds": alone, "shared_seconds": shared, "ratio": shared / alone})
        rows[-1] |= {"layers_alone": trained_alone, "layers_shared": trained}
        show("24 trials", list(rows[-1]), [[f"{value:.3g}" for value in rows[-1].values()]])
    ratio = statistics.median(row["ratio"] for row in rows)
    print(f"median ratio: {ratio:.3f}")
    write(asked.out, "sharing", "cpu", {"trials": len(trials), "median_ratio": ratio, "rounds": rows})


if __name__ == "__main__":
    main()
