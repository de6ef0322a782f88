"""The models of the paper's Table 1, each a choice of settings of the same workflow, and what is searched for them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from stacked_dae.config.loading import from_dict
from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.reproduction.published import PROBLEMS, noise
from stacked_dae.utils.seeding import seed_at

MODELS = {
    "sda-3": "three denoising autoencoders, fine-tuned: the paper's",
    "saa-3": "the same with nu = 0: ordinary autoencoders",
    "mlp-3": "the same network from random weights, never pre-trained",
    "svm-rbf": "support vector machine on the pixels",
    "sda-3-emphasis": "sda-3 with salt-and-pepper noise and emphasis (JMLR 2010)",
    "svm-codes": "support vector machine on the codes of each pre-trained layer of sda-3",
    "modern": "sda-3, pre-trained twice as long, fine-tuned by Adam with dropout",
    "modern-mlp": "its control: the same network from random weights",
    "relu-mlp": "three ReLU layers by Adam with dropout, never pre-trained: what one would train today",
}
# Those that the paper knows nothing of; they are set against the lowest error of its table.
MODERN = ("modern", "modern-mlp", "relu-mlp")
# What can be reproduced: the table, and two studies with a picture each.
STUDIES = ("icml2008", "filters", "noise")
Preset = Literal["quick", "paper"]
# Configurations that are tried for each problem and model.
BUDGETS = {"quick": 3, "paper": 50}
NOTES = {
    "quick": "quick: three layers of 1000 units, some configurations a model. It shows how the models compare on the"
    " same small search; it does not show what each can do at its best, as the paper's larger search does.",
    "paper": "paper: the journal's ranges of units, noise and epochs, part of its rates. Days on two cores; use a GPU.",
}


# Layers of every network.
DEPTH = 3


@dataclass(frozen=True)
class Ranges:
    """What the search draws from, evenly."""

    units: Sequence[int]
    nu: Sequence[float]
    pretrain_lr: Sequence[float]
    pretrain_epochs: Sequence[int]
    finetune_lr: Sequence[float]


# The layers that every search begins with, before any are drawn; nu is the paper's.
FIRST: dict[str, Any] = {"units": 1000, "pretrain_lr": 0.1, "pretrain_epochs": 50}
# Rates are for the mean over a minibatch of 20 examples. The journal's, taken to be for an example at a time, would be
# 20 times as high here: 1e-4 to 2 for the layers, 0.01 to 4 for fine-tuning. These are a part of that.
_RANGES = {
    "quick": Ranges(
        (FIRST["units"],),
        (0.1, 0.25, 0.4),
        (FIRST["pretrain_lr"],),
        (FIRST["pretrain_epochs"],),
        (1.0, 0.3, 0.1),
    ),
    "paper": Ranges(
        (1000, 2000, 3000),
        (0.0, 0.1, 0.25, 0.4),
        (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
        (5, 15, 50, 100, 300),
        (1.0, 0.3, 0.1, 0.03, 0.01),
    ),
}


def check_order(problems: Sequence[str], models: Sequence[str], budget: int, seed: int) -> None:
    """Raise ConfigError for the first thing asked for that is not there."""
    for option, names, known in (("problems", problems, PROBLEMS), ("models", models, tuple(MODELS))):
        for name in names:
            if name not in known:
                raise ConfigError(f"--{option}: there is no {name!r}{suggest(name, known)}; known: {', '.join(known)}")
    if budget < 1:
        raise ConfigError(f"--budget must be a whole number above 0, not {budget}")
    if seed < 0:
        raise ConfigError(f"--seed must be a whole number of at least 0, not {seed}")


def candidates(problem: str, model: str, preset: str, budget: int, seed: int, source: str) -> list[Config]:
    """Return the configurations of a search, ``budget`` of them.

    The layers are the preset's own first, then those of all ranges in a seeded order; each come with all rates of
    fine-tuning, since layers cost more. A larger budget begins with a smaller one. Small ranges may give fewer.
    """
    random = np.random.Generator(np.random.PCG64(seed_at(seed, problem, model, preset, "search")))
    ranges = dict(vars(_RANGES[preset]))
    rates = ranges.pop("finetune_lr")
    drawn = [dict(zip(ranges, values, strict=True)) for values in itertools.product(*ranges.values())]
    found: list[Config] = []
    for layers in ({**FIRST, "nu": noise(problem)}, *(drawn[k] for k in random.permutation(len(drawn)))):
        for rate in rates:
            config = _config(problem, model, seed, source, finetune_lr=rate, **layers)
            if config not in found:
                found.append(config)
            if len(found) == budget:
                return found
    return found


def passes(problem: str) -> int:
    """Return by how much the epochs of a problem are multiplied: rect has a tenth of most others' training examples."""
    return 10 if problem == "rect" else 1


def finetuning(problem: str) -> dict[str, Any]:
    """Return how long every network of a problem is fine-tuned at the most."""
    return {"epochs": 30 * passes(problem), "patience": 10 * passes(problem)}


def _config(
    problem: str,
    model: str,
    seed: int,
    source: str,
    *,
    units: int,
    nu: float,
    pretrain_lr: float,
    pretrain_epochs: int,
    finetune_lr: float,
) -> Config:
    """Return the configuration of one try; what a control does not use stays at its default, so that equals are."""
    pretrain: dict[str, Any] = {"units": [units] * DEPTH}
    finetune = {**finetuning(problem), "optimizer": {"lr": finetune_lr}}
    network = "sda"
    if model.endswith("mlp") or model == "mlp-3":
        network = "mlp"
    else:
        pretrain |= {
            "epochs": pretrain_epochs * passes(problem),
            "optimizer": {"lr": pretrain_lr},
            "corruption": {"nu": nu},
        }
    if model == "saa-3":
        network = "saa"
        pretrain["corruption"] = {}
    if model == "sda-3-emphasis":
        pretrain["corruption"] = {"kind": "salt_and_pepper", "nu": nu}
        pretrain["emphasis"] = {"alpha": 1.0, "beta": 0.5}
    if model in MODERN:
        # Adam's rates are a thousandth of plain SGD's, for the stack and for its controls.
        optimizer = {"name": "adam", "lr": 0.001 * finetune_lr}
        finetune |= {"batch_size": 100, "dropout": 0.2, "optimizer": optimizer}
    if model == "modern":
        # Dropout, rate, noise and twice the epochs were chosen by validation error on bg-img.
        pretrain["epochs"] *= 2
    if model == "relu-mlp":
        pretrain |= {"activation": "relu", "loss": "squared_error", "decoder": "identity"}
    values: dict[str, Any] = {"seed": seed, "model": network, "data": {"name": problem, "source": source}}
    values |= {"pretrain": pretrain, "finetune": finetune}
    return from_dict(values)
