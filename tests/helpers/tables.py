"""A small table like those of practice: numbers, names, missing values, few labels."""

from __future__ import annotations

import csv

import numpy as np


def people(file, rows=400, labelled=0.5, missing=0.05, seed=0):
    """Write a CSV file of ``rows`` people: columns age, income, city, member, score_1 … score_4, and bought."""
    random = np.random.default_rng(seed)
    age, income = random.normal(50, 12, rows), random.lognormal(10, 0.5, rows)
    city, member = random.choice(["Oslo", "Bergen", "Paris"], rows), random.choice(["true", "false"], rows)
    scores = random.random((rows, 4))
    z = (age - 50) / 12 + 1.5 * (city == "Oslo") - (member == "true") + 2 * scores[:, 0] + random.normal(0, 0.3, rows)
    bought = np.where(z > 1, "yes", "no")
    has_label = random.random(rows) < labelled
    columns = [[f"{v:.1f}" for v in age], [f"{v:.0f}" for v in income], city, member]
    columns += [[f"{v:.3f}" for v in scores[:, k]] for k in range(4)]
    with file.open("w", newline="") as opened:
        lines = csv.writer(opened)
        lines.writerow(["age", "income", "city", "member", *(f"score_{k}" for k in range(1, 5)), "bought"])
        for i in range(rows):
            values = ["" if random.random() < missing else column[i] for column in columns]
            lines.writerow([*values, bought[i] if has_label[i] else ""])
    return file


SETTINGS = {
    "data": {"target": "bought"},
    "pretrain": {"units": [12, 8], "epochs": 2},
    "finetune": {"epochs": 4, "patience": 2},
}


def settings(file, **data):
    """Return settings of seconds for :func:`people`."""
    return {**SETTINGS, "data": {**SETTINGS["data"], "path": str(file), **data}}
