"""Deep embedded clustering of all 70000 digits of MNIST: notebooks/07_clustering.ipynb with more data and more steps.

    python benchmarks/clustering.py [--seeds N] [--out FILE]

Runs the code of the notebook for each seed, and writes the accuracies to results/mnist/clustering.json, seed by seed;
seeds that are there already are kept. An hour or two on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from stacked_dae.utils.files import write_text
from stacked_dae.utils.hardware import processor

ROOT = Path(__file__).parents[1]
SETTINGS = {"DATA": "mnist", "LAYER_STEPS": 4000, "STACK_STEPS": 40000, "EPOCHS": 100, "PRECISION": "bf16-mixed"}


def cluster(settings: dict[str, Any]) -> dict[str, float]:
    """Return the accuracies of the notebook, in percent, by method; its parameters are ``settings``."""
    cells = json.loads((ROOT / "notebooks" / "07_clustering.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in cells:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "picture" not in tags:
            exec("".join(cell["source"]), names)
            if "parameters" in tags:
                assert settings.keys() <= names.keys()
                names |= settings
    accuracies: dict[str, float] = names["accuracies"]
    return accuracies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "mnist" / "clustering.json")
    asked = parser.parse_args()
    kept = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    record = kept if kept.get("settings") == SETTINGS else {"settings": SETTINGS, "processor": processor(), "seeds": {}}
    for seed in range(asked.seeds):
        if str(seed) in record["seeds"]:
            continue
        start = time.perf_counter()
        found = cluster({**SETTINGS, "SEED": seed})
        record["seeds"][str(seed)] = {**found, "seconds": round(time.perf_counter() - start)}
        for name in found:
            values = [entry[name] for entry in record["seeds"].values()]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            record[name] = {"mean": statistics.mean(values), "standard deviation": spread}
            print(f"{name:26} {statistics.mean(values):5.2f} % ± {spread:.2f} ({len(values)} seeds)")
        write_text(asked.out, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
