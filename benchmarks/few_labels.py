"""When does pre-training help? Test error against labels per class, beside what else one would try.

    python benchmarks/few_labels.py [--data NAME …] [--seeds N] [--out FOLDER]

For each data set and seed, labels of some training rows are drawn, and each method is trained: the stack on all
training rows and the drawn labels, the others on the labelled rows alone. Nothing of the stack is searched: its
settings stand in SETTINGS and were written down before any test error was seen. C and γ of the support vector machine
and C of logistic regression are chosen by cross-validation on the labelled rows (three folds, or as many as there are
labels of a class; their defaults for one label). Rows are kept in FOLDER/DATA.json as they come, and a run that was cut
goes on; the table (table.md, table.csv) and the picture (few_labels.png) are of all rows that are there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

from stacked_dae import StackedDAEClassifier
from stacked_dae.data.registry import load_dataset
from stacked_dae.data.splits import interleaved_split, labelled_rows
from stacked_dae.figures.style import KINDS, MARKERS, save
from stacked_dae.utils.files import write_csv, write_text
from stacked_dae.utils.hardware import processor

PER_CLASS = (1, 2, 5, 10, 25, 50)
# Of images; tables are trained with the defaults of StackedDAEClassifier.
SETTINGS = {
    "nu": 0.25,
    "finetune_epochs": 300,
    "validation_fraction": 0.0,
    "units": (500, 500),
    "pretrain_epochs": 50,
}
TABLES = {"breast_cancer": load_breast_cancer, "wine": load_wine, "iris": load_iris}
DATA = ("digits", "mnist5k", *TABLES)
METHODS = {
    "stack": "stack (SdA)",
    "mlp": "the same, never pre-trained",
    "logistic": "logistic regression",
    "svm": "RBF SVM",
    "boosting": "gradient boosting",
}

Rows = tuple[NDArray[Any], NDArray[np.int64]]


class OncePretrained(StackedDAEClassifier):  # type: ignore[misc]
    """The same layers for all draws of labels of a seed: pre-training does not see them, so it is done once."""

    known: ClassVar[dict[str, Any]] = {}

    def _pretrained(self, X: Any, valid: Any, reporter: Any) -> Any:
        key = hashlib.sha256(repr(sorted(self.get_params().items())).encode() + X.tobytes()).hexdigest()
        if key not in self.known:
            self.known.clear()
            self.known[key] = super()._pretrained(X, valid, reporter)
        return self.known[key]


def read(name: str) -> tuple[Rows, Rows]:
    """Return the (training, test) rows; of a table each class is dealt 2 : 1 in the order of the file."""
    if name in TABLES:
        x, y = TABLES[name](return_X_y=True)
        train, _, test = interleaved_split(y.astype(np.int64), "TTE")
        return (x[train], y[train].astype(np.int64)), (x[test], y[test].astype(np.int64))
    data = load_dataset(name)
    test = data.load_test()
    scale = 255.0 if data.train.inputs.dtype == np.uint8 else 1.0
    return (
        (np.asarray(data.train.inputs[:]) / scale, data.train.labels),
        (np.asarray(test.inputs[:]) / scale, test.labels),
    )


def searched(model: Any, grid: dict[str, Any], per_class: int) -> Any:
    """Return the model with its settings chosen by cross-validation, where there are labels for it."""
    return model if per_class < 2 else GridSearchCV(model, grid, cv=min(3, per_class))


def answers(
    method: str, name: str, train: Rows, kept: NDArray[np.int64], test_x: Any, per_class: int, seed: int
) -> Any:
    """Return the method's answers to the test rows."""
    x, y = train
    if method in ("stack", "mlp"):
        settings: dict[str, Any] = {"pretrain_epochs": 0} if method == "mlp" else {}
        labels = np.full(len(y), -1)
        labels[kept] = y[kept]
        kind = OncePretrained if method == "stack" else StackedDAEClassifier
        chosen = kind(**settings) if name in TABLES else kind.for_images(**{**SETTINGS, **settings})
        return chosen.set_params(random_state=seed).fit(x, labels).predict(test_x)
    x, y = x[kept], y[kept]
    if method == "logistic":
        regression = make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=2000))
        model = searched(regression, {"logisticregression__C": [0.01, 0.1, 1, 10, 100]}, per_class)
    elif method == "svm":
        variance = MinMaxScaler().fit_transform(x).var() or 1.0
        gammas = [factor / (x.shape[1] * variance) for factor in (0.1, 1.0, 10.0)]
        grid = {"svc__C": [1, 10, 100], "svc__gamma": gammas}
        model = searched(make_pipeline(MinMaxScaler(), SVC()), grid, per_class)
    else:
        model = GradientBoostingClassifier(random_state=seed)
    return model.fit(x, y).predict(test_x)


def measure(name: str, seeds: int, file: Path, say: Callable[[str], None]) -> None:
    """Measure what is not measured yet, and keep each row as it comes."""
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    done = {(row["seed"], row["per_class"], row["method"]) for row in rows}
    train, (test_x, test_y) = read(name)
    least = min(np.bincount(train[1]))
    for seed in range(seeds):
        for per_class in (count for count in PER_CLASS if count <= least):
            kept = labelled_rows(train[1], per_class, seed)
            assert kept is not None
            for method in METHODS:
                if (seed, per_class, method) in done:
                    continue
                begun = time.perf_counter()
                found = answers(method, name, train, kept, test_x, per_class, seed)
                wrong = int((found != test_y).sum())
                row = {"data": name, "seed": seed, "per_class": per_class, "method": method, "wrong": wrong}
                rows.append({**row, "n_test": len(test_y), "seconds": round(time.perf_counter() - begun, 2)})
                command = f"python benchmarks/few_labels.py --data {name} --seeds {seeds}"
                write_text(
                    file, json.dumps({"command": command, "machine": processor(), "rows": rows}, indent=1) + "\n"
                )
                say(f"{name}, seed {seed}, {per_class} a class, {method}: {100 * wrong / len(test_y):.2f} %")


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and 95 % interval (Student's t over the seeds) of the error, by data, labels and method."""
    made = []
    keys = dict.fromkeys((row["data"], row["per_class"]) for row in rows)
    for name, per_class in keys:
        for method in METHODS:
            errors = [
                100 * row["wrong"] / row["n_test"]
                for row in rows
                if (row["data"], row["per_class"], row["method"]) == (name, per_class, method)
            ]
            if len(errors) > 1:
                half = stats.t.ppf(0.975, len(errors) - 1) * statistics.stdev(errors) / math.sqrt(len(errors))
                made.append(
                    {
                        "data": name,
                        "labels_per_class": per_class,
                        "method": method,
                        "test_error_percent": round(statistics.mean(errors), 3),
                        "ci95_percent": round(float(half), 3),
                        "seeds": len(errors),
                    }
                )
    return made


def lines(made: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table; the lowest error of a row is marked."""
    header = ["data", "labels per class", *METHODS.values()]
    table = []
    for name, per_class in dict.fromkeys((row["data"], row["labels_per_class"]) for row in made):
        row = {r["method"]: r for r in made if (r["data"], r["labels_per_class"]) == (name, per_class)}
        lowest = min(r["test_error_percent"] for r in row.values())
        cells = []
        for method in METHODS:
            if method not in row:
                cells.append("")
                continue
            text = f"{row[method]['test_error_percent']:.1f} ± {row[method]['ci95_percent']:.1f}"
            cells.append(f"**{text}**" if row[method]["test_error_percent"] == lowest else text)
        table.append([name, str(per_class), *cells])
    return header, table


def picture(made: list[dict[str, Any]]) -> Figure:
    """Draw error against labels, a panel a data set."""
    names = list(dict.fromkeys(row["data"] for row in made))
    figure = Figure(figsize=(8.4, 2.9 * -(-(len(names) + 1) // 3)), layout="constrained")
    # The legend has the last place.
    panels = figure.subplots(-(-(len(names) + 1) // 3), 3, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        for k, (method, title) in enumerate(METHODS.items()):
            mine = [row for row in made if (row["data"], row["method"]) == (name, method)]
            axes.errorbar(
                [row["labels_per_class"] * 1.03 ** (k - 2) for row in mine],
                [row["test_error_percent"] for row in mine],
                [row["ci95_percent"] for row in mine],
                label=title,
                marker=MARKERS[k],
                markersize=4,
                linewidth=2 if method == "stack" else 1,
                color=KINDS[k],
            )
        axes.set_xscale("log")
        axes.set_xticks(PER_CLASS, [str(count) for count in PER_CLASS])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("labels per class")
        axes.set_ylabel("test error, %")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    panels[-1].legend(*panels[0].get_legend_handles_labels(), fontsize=10, frameon=False, loc="center")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/few_labels"))
    chosen = parser.parse_args()
    if chosen.seeds < 2:
        parser.error("--seeds must be at least 2: the intervals are over the seeds")
    chosen.out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    warnings.simplefilter("ignore")
    for name in chosen.data:
        measure(name, chosen.seeds, chosen.out / f"{name}.json", console.print)
    files = [file for name in DATA if (file := chosen.out / f"{name}.json").exists()]
    made = summary([row for file in files for row in json.loads(file.read_text())["rows"]])
    header, table = lines(made)
    write_csv(chosen.out / "table.csv", made)
    text = "".join(f"| {' | '.join(row)} |\n" for row in [header, ["---"] * len(header), *table])
    note = "Test error (%), mean ± 95 % interval over the seeds; the lowest of a row in bold.\n"
    command = "python benchmarks/few_labels.py --out results/few_labels"
    write_text(chosen.out / "table.md", f"{note}\n{text}\n```sh\n{command}\n```\n")
    shown = Table(*header, title="test error, %")
    for row in table:
        shown.add_row(*(f"[bold]{cell.strip('*')}[/bold]" if cell.startswith("**") else cell for cell in row))
    console.print(shown)
    console.print(str(save(picture(made), chosen.out / "few_labels.png")))


if __name__ == "__main__":
    main()
