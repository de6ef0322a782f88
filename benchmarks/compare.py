"""How long `stacked-dae compare` takes on many run folders, the start of Python included.

    python benchmarks/compare.py --runs 50 --rounds 5

Real runs of scikit-learn's digits, three layers, each with another ν; the table alone, and the page too.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import options, seconds_of, show, write

from stacked_dae import config_from_dict, fit
from stacked_dae.figures.run_figures import draw_run

SETTINGS = {"units": [50, 50, 50], "epochs": 20}


def main() -> None:
    """Make the runs, time the command, print and write the figures."""
    chosen = options(__doc__ or "", runs=50, rounds=5)
    with tempfile.TemporaryDirectory() as place:
        for k in range(chosen.runs):
            pretrain = {**SETTINGS, "corruption": {"nu": round(k / chosen.runs, 3)}}
            draw_run(
                fit(config_from_dict({"data": {"name": "digits"}, "pretrain": pretrain}), Path(place) / f"run_{k}")
            )
        words = [sys.executable, "-m", "stacked_dae", "compare", place]
        sides = {"table": words, "table and page": [*words, "--out", f"{place}/page.html"]}
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(chosen.rounds):
            for name, command in sides.items():

                def work(command: list[str] = command) -> None:
                    subprocess.run(command, check=True, capture_output=True)

                times[name].append(seconds_of(work, "cpu"))
    rows = [[name, f"{statistics.median(t):.2f}", f"{max(t):.2f}"] for name, t in times.items()]
    show(f"compare on {chosen.runs} run folders", ["", "median seconds", "slowest"], rows)
    write(chosen.out, "compare", "cpu", {"runs": chosen.runs, "seconds": times})


if __name__ == "__main__":
    main()
