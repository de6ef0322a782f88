"""The development suite: does the recipe for tables beat what people use on tables?

    python benchmarks/tables.py [--tables NAME …] [--labels all 20 5] [--out FOLDER]

Five stratified folds of each table; with 5 or 20 labels per class three draws of labels in each fold, the other
training rows without a label. Each method in its usual pipeline. Writes FOLDER/rows.csv as it goes (what is there is
not measured again), then FOLDER/table.md.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from table_data import NAMES, read_table

from stacked_dae import StackedDAEClassifier
from stacked_dae.utils.files import write_csv, write_text

FOLDS, DRAWS, SEED = 5, 3, 0
LABELS = ("all", "20", "5")
OURS = "stacked DAE"


def _scaled(model: Any) -> Any:
    return make_pipeline(SimpleImputer(), StandardScaler(), model)


METHODS: dict[str, Callable[[], Any]] = {
    OURS: lambda: StackedDAEClassifier(random_state=0),
    "logistic regression": lambda: _scaled(LogisticRegression(max_iter=2000)),
    "RBF SVM": lambda: _scaled(SVC()),
    "gradient boosting": lambda: HistGradientBoostingClassifier(random_state=0),
    "MLP": lambda: _scaled(MLPClassifier(max_iter=1000, random_state=0)),
}
Rows = NDArray[np.int64]


def splits(y: Rows, labels: str) -> Iterator[tuple[str, Rows, Rows, Rows]]:
    """Yield the name of each split, its training rows, those of them with a label, and its test rows."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    for fold, (train, test) in enumerate(folds.split(np.zeros(len(y)), y)):
        if labels == "all":
            yield str(fold), train, train, test
            continue
        for draw in range(DRAWS):
            random = np.random.default_rng([fold, draw])
            kept = [random.permutation(train[y[train] == label])[: int(labels)] for label in np.unique(y)]
            yield f"{fold}.{draw}", train, np.sort(np.concatenate(kept)), test


def wrong(method: str, x: NDArray[np.float64], y: Rows, train: Rows, labelled: Rows, test: Rows) -> int:
    """Return how many test rows the method got wrong."""
    model = METHODS[method]()
    if method == OURS:
        # The rows without a label are pre-trained on; no other method can use them.
        known = np.full(len(y), -1)
        known[labelled] = y[labelled]
        model.fit(x[train], known[train])
    else:
        model.fit(x[labelled], y[labelled])
    return int((model.predict(x[test]) != y[test]).sum())


def measure(names: list[str], labels: list[str], file: Path, console: Console) -> list[dict[str, Any]]:
    """Measure what is not measured yet, and keep each row as it comes."""
    rows: list[dict[str, Any]] = list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []
    done = {(row["table"], row["labels"], row["split"], row["method"]) for row in rows}
    for count in labels:
        for name in names:
            x, y = read_table(name)
            for split, train, labelled, test in splits(y, count):
                for method in METHODS:
                    if (name, count, split, method) in done:
                        continue
                    begun = time.perf_counter()
                    errors = wrong(method, x, y, train, labelled, test)
                    seconds = round(time.perf_counter() - begun, 2)
                    row = {"table": name, "labels": count, "split": split, "method": method, "wrong": errors}
                    rows.append({**row, "n_test": len(test), "seconds": seconds})
            write_csv(file, rows)
            console.print(f"{name}, {count} labels")
    return rows


def mean_errors(rows: list[dict[str, Any]], labels: str) -> dict[str, dict[str, float]]:
    """Return the mean over the splits of the error, in percent, by table and method."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["labels"] == labels:
            errors = found.setdefault(row["table"], {}).setdefault(row["method"], [])
            errors.append(100 * int(row["wrong"]) / int(row["n_test"]))
    return {name: {method: float(np.mean(errors)) for method, errors in by.items()} for name, by in found.items()}


def verdict(errors: dict[str, dict[str, float]]) -> str:
    """Return a sentence on how often the stack is lowest, and where it loses to logistic regression."""
    lowest = [name for name, by in errors.items() if by[OURS] <= min(by.values()) + 1e-9]
    lost = {name: by[OURS] - by["logistic regression"] for name, by in errors.items()}
    worse = [f"{name} ({gap:.1f})" for name, gap in lost.items() if gap > 1.0]
    where = f" on {len(worse)}: {', '.join(worse)}" if worse else " on none"
    return (
        f"{OURS}: lowest of the five, ties included, on {len(lowest)} of {len(errors)};"
        f" more than 1 point above logistic regression{where}."
    )


def report(rows: list[dict[str, Any]], out: Path, console: Console) -> None:
    """Print the tables, and write them to table.md."""
    text = "Test error (%), mean over the splits; the lowest of a row in bold.\n"
    for labels in LABELS:
        errors = mean_errors(rows, labels)
        errors = {name: by for name, by in errors.items() if len(by) == len(METHODS)}
        if not errors:
            continue
        title = "All labels" if labels == "all" else f"{labels} labels per class"
        shown = Table("table", *METHODS, title=title)
        lines = []
        means = {"mean": {method: float(np.mean([by[method] for by in errors.values()])) for method in METHODS}}
        for name, by in {**errors, **means}.items():
            lowest = min(by.values()) + 1e-9
            cells = [f"**{by[m]:.1f}**" if by[m] <= lowest else f"{by[m]:.1f}" for m in METHODS]
            lines.append(f"| {name} | {' | '.join(cells)} |\n")
            shown.add_row(name, *(f"[bold]{c.strip('*')}[/bold]" if c.startswith("*") else c for c in cells))
        text += f"\n## {title}\n\n{verdict(errors)}\n\n| table | {' | '.join(METHODS)} |\n"
        text += f"|{' --- |' * (len(METHODS) + 1)}\n{''.join(lines)}"
        console.print(shown)
        console.print(verdict(errors))
    seconds = [float(row["seconds"]) for row in rows if row["method"] == OURS]
    text += (
        f"\nA fit of {OURS} took {np.median(seconds):.1f} s (median), at most {max(seconds):.1f} s, on one thread.\n"
    )
    write_text(out / "table.md", f"{text}\n```sh\npython benchmarks/tables.py --out results/tables\n```\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tables", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=list(LABELS))
    parser.add_argument("--out", type=Path, default=Path("runs/tables"))
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = measure(chosen.tables, chosen.labels, chosen.out / "rows.csv", console)
    report(rows, chosen.out, console)


if __name__ == "__main__":
    main()
