"""Which rows are unusual? Area under the curve of the anomaly score, beside what else one would take.

    python benchmarks/anomalies.py [--tables NAME …] [--out FOLDER]

The most frequent class of each table of benchmarks/table_data.py is the usual one. In each of five draws, each method
learns from 70 % of its rows, without any label, and scores its other rows and all rows of the other classes. Nothing
is searched. Writes FOLDER/rows.csv as it goes (what is there is not measured again), then FOLDER/table.md.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from table_data import NAMES, read_table

from stacked_dae import StackedDAETransformer
from stacked_dae.utils.files import write_csv, write_text

DRAWS, SHARE = 5, 0.7
METHODS: dict[str, Callable[[], Any]] = {
    "stacked DAE": lambda: StackedDAETransformer(random_state=0),
    "isolation forest": lambda: make_pipeline(SimpleImputer(), IsolationForest(random_state=0)),
    "local outlier factor": lambda: make_pipeline(SimpleImputer(), StandardScaler(), LocalOutlierFactor(novelty=True)),
    "one-class SVM": lambda: make_pipeline(SimpleImputer(), StandardScaler(), OneClassSVM()),
}


def measure(names: list[str], file: Path, console: Console) -> list[dict[str, Any]]:
    """Measure what is not measured yet, and keep the rows of each table as they come."""
    rows: list[dict[str, Any]] = list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []
    done = {(row["table"], int(row["draw"]), row["method"]) for row in rows}
    for name in names:
        x, y = read_table(name)
        usual = np.flatnonzero(y == np.bincount(y).argmax())
        for draw in range(DRAWS):
            train = np.random.default_rng(draw).permutation(usual)[: int(SHARE * len(usual))]
            test = np.setdiff1d(np.arange(len(y)), train)
            unusual = ~np.isin(test, usual)
            for method, make in METHODS.items():
                if (name, draw, method) not in done:
                    area = roc_auc_score(unusual, -make().fit(x[train]).score_samples(x[test]))
                    rows.append({"table": name, "draw": draw, "method": method, "auc": round(float(area), 4)})
        write_csv(file, rows)
        console.print(name)
    return rows


def report(rows: list[dict[str, Any]], out: Path, console: Console) -> None:
    """Print the table, and write it to table.md."""
    names = list(dict.fromkeys(row["table"] for row in rows))
    areas = {
        name: {
            m: float(np.mean([float(r["auc"]) for r in rows if (r["table"], r["method"]) == (name, m)]))
            for m in METHODS
        }
        for name in names
    }
    areas["mean"] = {method: float(np.mean([by[method] for by in areas.values()])) for method in METHODS}
    shown, text = Table("table", *METHODS), f"| table | {' | '.join(METHODS)} |\n|{' --- |' * (len(METHODS) + 1)}\n"
    for name, by in areas.items():
        best = max(by.values()) - 1e-9
        shown.add_row(name, *(f"[bold]{area:.3f}[/bold]" if area >= best else f"{area:.3f}" for area in by.values()))
        cells = (f"**{area:.3f}**" if area >= best else f"{area:.3f}" for area in by.values())
        text += f"| {name} | {' | '.join(cells)} |\n"
    console.print(shown)
    intro = (
        "Area under the curve of the score of rows of other classes, trained on the most frequent class, mean over five"
        " draws; the highest of a row in bold. 0.5 is chance.\n\n"
    )
    write_text(out / "table.md", f"{intro}{text}\n```sh\npython benchmarks/anomalies.py --out {out}\n```\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tables", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument("--out", type=Path, default=Path("runs/anomalies"))
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    report(measure(chosen.tables, chosen.out / "rows.csv", console), chosen.out, console)


if __name__ == "__main__":
    main()
