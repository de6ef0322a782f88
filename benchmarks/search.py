"""Whether TPE with ASHA finds what random search of four times the epochs finds: mean of five seeds.

    python benchmarks/search.py --seeds 5 --trials 30

Both search the same space on digits and on mnist5k. An epoch counts where it was trained: a shared layer once, a trial
that was stopped early up to there. Random search has as many trials as it takes to spend four times the epochs.
Nothing is tested: the figure is the lowest validation error. A search that was cut goes on; its folders are kept
under runs/bench/search.
results/bench/search.json was made with --seeds 5 --trials 30 --out results/bench/search.json.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
from common import options, show, write
from matplotlib.figure import Figure

from stacked_dae import config_from_dict
from stacked_dae.data.registry import load_dataset
from stacked_dae.figures.style import save
from stacked_dae.runs.folder import RunFolder
from stacked_dae.tuning.plan import Pruning, SearchPlan
from stacked_dae.tuning.result import SearchResult, SearchTrial, read_search
from stacked_dae.tuning.search import work
from stacked_dae.tuning.space import read_space
from stacked_dae.tuning.trials import DataCache
from stacked_dae.utils.terminal.progress import Reporter

PROBLEMS: dict[str, dict[str, Any]] = {
    "digits": {"pretrain": {"units": [100, 100], "epochs": 15}, "finetune": {"epochs": 27, "patience": 27}},
    "mnist5k": {"pretrain": {"units": [200, 200], "epochs": 10}, "finetune": {"epochs": 27, "patience": 27}},
}
SPACE = {
    "pretrain.corruption.nu": [0.1, 0.25, 0.4],
    "pretrain.optimizer.lr": [0.05, 0.2],
    "finetune.optimizer.lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 3.0},
    "finetune.batch_size": [10, 20, 50],
    "finetune.dropout": {"min": 0.0, "max": 0.6},
    "finetune.optimizer.decay": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-2},
}
TIMES = 4


def found(problem: str, sampler: Any, trials: int, seed: int, place: Path) -> SearchResult:
    """Return what a search has found after so many trials."""
    config = config_from_dict({"seed": seed, "data": {"name": problem}, **PROBLEMS[problem]})
    pruning = Pruning.of("asha" if sampler == "tpe" else "none", config)
    plan = SearchPlan(config.to_dict(), read_space(SPACE), sampler, pruning, seed)
    out = place / f"{problem}-{sampler}-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    plan.save(out / "search.yaml")
    work(out, plan, trials, None, DataCache(load_dataset(problem)), Reporter())
    return read_search(out)


def epochs_of(trial: SearchTrial, known: set[str]) -> int:
    """Return how many epochs a trial has trained; layers that are ``known`` are not its own."""
    run = RunFolder.open(trial.folder)
    spent = 0
    for name, record in run.manifest.stages.items():
        if record.fingerprint not in known:
            spent += len(run.metrics(name).rows())
            known.add(record.fingerprint)
    return spent


def course(result: SearchResult) -> list[tuple[int, float]]:
    """Return after each trial the epochs spent so far and the lowest validation error."""
    known: set[str] = set()
    spent, lowest, points = 0, math.inf, []
    for trial in result.all_trials:
        spent += epochs_of(trial, known)
        if trial.state == "complete" and trial.value is not None:
            lowest = min(lowest, trial.value)
        points.append((spent, lowest))
    return points


def random_course(problem: str, seed: int, epochs: int, place: Path) -> list[tuple[int, float]]:
    """Return the course of random search until it has spent so many epochs."""
    for trials in itertools.count(16, 8):
        points = course(found(problem, "random", trials, seed, place))
        if points[-1][0] >= epochs:
            return points
    raise AssertionError


def lowest_at(points: list[tuple[int, float]], epochs: float) -> float:
    """Return the lowest error of a course that is known after so many epochs."""
    return min((lowest for spent, lowest in points if spent <= epochs), default=math.nan)


def draw(courses: dict[str, dict[str, list[list[tuple[int, float]]]]], file: Path) -> None:
    """Draw the mean over seeds of the lowest error against the epochs spent."""
    figure = Figure(figsize=(4.6 * len(courses), 3.6), layout="constrained")
    for axes, (problem, both) in zip(figure.subplots(1, len(courses), squeeze=False)[0], courses.items(), strict=True):
        for (name, runs), color in zip(both.items(), ("#0072B2", "#E69F00"), strict=True):
            most = max(points[-1][0] for points in runs)
            grid = np.geomspace(60, most, 60)
            means = [np.mean([lowest_at(points, epochs) for points in runs]) for epochs in grid]
            axes.step(grid, means, where="post", label=name, color=color)
        axes.set_xscale("log")
        axes.set_title(problem, fontsize=10)
        axes.set_xlabel("epochs trained")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel(f"lowest validation error, %, mean of {len(runs)} seeds")
    figure.axes[0].legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    save(figure, file)


def main() -> None:
    asked = options(__doc__ or "", seeds=5, trials=30)
    place = Path("runs/bench/search")
    courses: dict[str, dict[str, list[list[tuple[int, float]]]]] = {}
    rows = []
    for problem in PROBLEMS:
        both: dict[str, list[list[tuple[int, float]]]] = {"TPE with ASHA": [], "random": []}
        for seed in range(asked.seeds):
            ours = course(found(problem, "tpe", asked.trials, seed, place))
            epochs = ours[-1][0]
            random = random_course(problem, seed, TIMES * epochs, place)
            both["TPE with ASHA"].append(ours)
            both["random"].append(random)
            equal, four = lowest_at(random, epochs), lowest_at(random, TIMES * epochs)
            rows.append({"problem": problem, "seed": seed, "epochs": epochs, "tpe_asha": ours[-1][1]})
            rows[-1] |= {"random_same_epochs": equal, "random_four_times": four}
            show(problem, list(rows[-1]), [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in rows[-1].values()]])
        courses[problem] = both
    names = ("tpe_asha", "random_same_epochs", "random_four_times")
    means = {
        problem: {name: float(np.mean([row[name] for row in rows if row["problem"] == problem])) for name in names}
        for problem in PROBLEMS
    }
    print(means)
    draw(courses, asked.out.with_suffix(".png"))
    write(asked.out, "search", "cpu", {"space": SPACE, "means": means, "rounds": rows})


if __name__ == "__main__":
    main()
