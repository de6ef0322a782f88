"""The settings and inputs of the golden files."""

from __future__ import annotations

import numpy as np

SMALL = {
    "seed": 5,
    "data": {"name": "digits", "labels_per_class": 20},
    "pretrain": {"units": [16, 12], "epochs": 2, "corruption": {"nu": [0.25, 0.4]}},
    "finetune": {"epochs": 4, "patience": 2},
}
DIGITS = {**SMALL, "tracking": {"mode": "offline", "group": "golden"}}
TABLE = {
    "seed": 2,
    "data": {"path": "people.csv", "target": "bought", "scale": "standard", "categorical": ["member"]},
    "pretrain": {
        "units": [12, 8],
        "epochs": [2, 3],
        "corruption": {"kind": "swap", "nu": 0.2},
        "emphasis": {"beta": 0.5},
        "tied": False,
    },
    "finetune": {"epochs": 4, "patience": 2, "dropout": 0.2, "optimizer": {"name": "adam", "lr": 0.01}},
}
FINETUNED = {**SMALL, "seed": 6, "finetune": {"epochs": 3, "patience": 2, "optimizer": {"lr": 0.3}}}
CUT = {
    **SMALL,
    "pretrain": {
        **SMALL["pretrain"],
        "optimizer": {"name": "sgd", "lr": 0.05, "options": {"momentum": 0.9}},
        "corruption": {"kind": "salt_and_pepper", "nu": 0.25},
    },
    "finetune": {"epochs": 4, "patience": 2, "optimizer": {"name": "adamw", "lr": 0.003}},
}
CONFIGS = {
    "default": {},
    "small": SMALL,
    "digits": DIGITS,
    "table": TABLE,
    "cut": CUT,
    "saa": {"model": "saa", "pretrain": {"units": [30, 20]}},
    "mlp": {"model": "mlp", "seed": 7, "pretrain": {"units": [30, 20]}, "finetune": {"dropout": 0.2}},
    "gaussian": {"pretrain": {"corruption": {"kind": "gaussian", "nu": 0.3}, "activation": "tanh", "units": 9}},
    "regular": {
        "pretrain": {
            "units": [1000, 1000, 1000],
            "activation": "relu",
            "loss": "squared_error",
            "decoder": "identity",
            "epochs": [5, 15, 50],
            "optimizer": {"name": "adam", "lr": [0.001, 0.003, 0.01], "options": {"betas": [0.8, 0.9]}},
        },
    },
    "untied": {"pretrain": {"tied": False, "batch_size": 100, "emphasis": {"alpha": 1.0, "beta": 0.5}}},
    "by_column": {"data": {"path": "a.csv", "target": "y"}, "pretrain": {"units": 30, "loss": "by_column"}},
    "no_label": {"data": {"name": "mnist", "labels_per_class": 10}, "trainer": {"precision": "bf16-mixed"}},
    "tracked": {"tracking": {"mode": "online", "tags": ["a"]}, "trainer": {"accelerator": "cpu"}},
    "problem": {"data": {"name": "rect", "source": "original", "root": "/elsewhere", "memory_budget": 1.0}},
}
ADDRESSES = [
    (0,),
    (0, "labels"),
    (0, "split"),
    (0, "validation"),
    (0, "layer_1", "weights"),
    (5, "layer_2", "weights"),
    (5, "layer_1", 0, "shuffle"),
    (5, "layer_1", 7, "corruption"),
    (2**31, "finetune", 3, "shuffle"),
    (3, "layer_1", "figure"),
    (1, "sweep"),
    (0, "rect", "sda-3", "quick", "search"),
    (2007, "bg-img"),
]


def onnx_rows():
    """Return rows of the table by column, with missing values and a name that training had not."""
    draw = np.random.default_rng(4)
    n = 40
    rows = {
        "age": draw.normal(50, 12, n),
        "income": draw.lognormal(10, 0.5, n),
        "city": np.array(["Oslo", "Bergen", "Paris", "Rome", None], object)[draw.integers(0, 5, n)],
        "member": np.array(["true", "false", None], object)[draw.integers(0, 3, n)],
        **{f"score_{k}": draw.random(n) for k in range(1, 5)},
    }
    for name in ("age", "income", "score_2"):
        rows[name][draw.random(n) < 0.2] = np.nan
    return rows


def regression():
    """Return inputs (80, 5), some missing, and a target (80,)."""
    draw = np.random.default_rng(8)
    x = draw.normal(size=(80, 5))
    # Not tanh: numpy rounds it as the processor's vectors do.
    y = x[:, 0] - 2 * x[:, 1] / (1 + abs(x[:, 1])) + 0.1 * draw.normal(size=80)
    x[draw.random(x.shape) < 0.05] = np.nan
    return x, y
