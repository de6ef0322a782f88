"""What a second worker gains a search: 24 trials on mnist5k that differ in fine-tuning and in the noise of layer 2.

    python benchmarks/workers.py --rounds 2

A round runs `stacked-dae search` three times: with one worker on one core, with one worker on all cores of the machine,
and with two workers. The start of Python, the table and the figures are part of the time.
results/bench/workers.json was made with --rounds 2 --out results/bench/workers.json on two cores.
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

from common import options, show, write

BASE = {"data": {"name": "mnist5k"}, "pretrain": {"units": [300, 300], "epochs": 15}, "finetune": {"epochs": 20}}
SPACE = {
    "pretrain.corruption.nu": [[0.25, 0.1], [0.25, 0.25], [0.25, 0.4]],
    "finetune.optimizer.lr": [0.05, 0.1, 0.2, 0.5],
    "finetune.dropout": [0.0, 0.2],
}


CASES = {"one_core": ("1", {"OMP_NUM_THREADS": "1"}), "all_cores": ("1", {}), "two_workers": ("2", {})}


def seconds(out: Path, case: str) -> float:
    """Return the seconds of the search in one of the cases."""
    out.mkdir()
    (out / "base.yaml").write_text(json.dumps(BASE))
    (out / "space.yaml").write_text(json.dumps(SPACE))
    workers, threads = CASES[case]
    words = [sys.executable, "-m", "stacked_dae", "search", "--config", "base.yaml", "--space", "space.yaml"]
    words += ["--trials", "24", "--sampler", "grid", "--workers", workers, "--out", "search"]
    started = time.perf_counter()
    subprocess.run(words, cwd=out, env={**os.environ, **threads}, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    asked = options(__doc__ or "", rounds=2)
    rows = []
    for k in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            # Which goes first changes from round to round.
            order = list(CASES)[k % 3 :] + list(CASES)[: k % 3]
            spent = {case: seconds(Path(folder, case), case) for case in order}
        ratios = {f"to_{case}": spent["two_workers"] / spent[case] for case in ("one_core", "all_cores")}
        rows.append({**{f"{case}_seconds": spent[case] for case in CASES}, **ratios})
        show("24 trials", list(rows[-1]), [[f"{value:.3g}" for value in rows[-1].values()]])
    medians = {name: statistics.median(row[name] for row in rows) for name in ("to_one_core", "to_all_cores")}
    print(f"two workers to one, medians: {medians}")
    write(asked.out, "workers", "cpu", {"medians": medians, "rounds": rows})


if __name__ == "__main__":
    main()
