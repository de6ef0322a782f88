"""The search space of each model of Table 1: presets, ranges, budgets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.reproduction.models import MODELS, model_config
from stacked_dae.reproduction.published import PROBLEMS, published_noise
from stacked_dae.utils.seeding import derive_seed

Preset = Literal["quick", "paper", "authors"]

# Configurations that are tried for each problem and model.
BUDGETS = {"quick": 3, "paper": 50, "authors": 48}
NOTES = {
    "quick": "quick: three layers of 1000 units, some configurations a model. It shows how the models compare on the"
    " same small search; it does not show what each can do at its best, as the paper's larger search does.",
    "paper": "paper: the journal's ranges of units, noise and epochs, part of its rates. Days on two cores; use a GPU.",
    "authors": "authors: the first weights and the decreasing rates of the paper's own programs. Layers are drawn"
    " first, and each stack is fine-tuned by four rates. Hours a problem on two cores.",
}


@dataclass(frozen=True)
class Ranges:
    """Values that the search draws from, evenly."""

    units: Sequence[int]
    nu: Sequence[float]
    pretrain_lr: Sequence[float]
    pretrain_epochs: Sequence[int]
    finetune_lr: Sequence[float]


# The layers that every search begins with, before any are drawn; nu is the paper's.
DEFAULT_LAYERS: dict[str, Any] = {"units": 1000, "pretrain_lr": 0.1, "pretrain_epochs": 50}

# Rates are for the mean over a minibatch of 20 examples. The journal's, taken to be per example, would be
# 20 times as high here: 1e-4 to 2 for the layers, 0.01 to 4 for fine-tuning. These are a part of that.
_RANGES = {
    "quick": Ranges(
        (DEFAULT_LAYERS["units"],),
        (0.1, 0.25, 0.4),
        (DEFAULT_LAYERS["pretrain_lr"],),
        (DEFAULT_LAYERS["pretrain_epochs"],),
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


def check_request(problems: Sequence[str], models: Sequence[str], budget: int, seed: int) -> None:
    """Raise ConfigError for the first thing asked for that is not there."""
    for option, names, known in (("problems", problems, PROBLEMS), ("models", models, tuple(MODELS))):
        for name in names:
            if name not in known:
                raise ConfigError(f"--{option}: there is no {name!r}{suggest(name, known)}; known: {', '.join(known)}")
    if budget < 1:
        raise ConfigError(f"--budget must be a whole number above 0, not {budget}")
    if seed < 0:
        raise ConfigError(f"--seed must be a whole number of at least 0, not {seed}")


def search_candidates(problem: str, model: str, preset: str, budget: int, seed: int, source: str) -> list[Config]:
    """Return the configurations of a search, ``budget`` of them.

    The layers are the preset's own first, then those of all ranges in a seeded order; each come with all rates of
    fine-tuning, since layers cost more. A larger budget begins with a smaller one. Small ranges may give fewer.
    """
    # The command line answers --help without it.
    import numpy as np

    if preset == "authors":
        return _with_decreasing_rates(problem, model, budget, seed, source)
    random = np.random.Generator(np.random.PCG64(derive_seed(seed, problem, model, preset, "search")))
    ranges = dict(vars(_RANGES[preset]))
    rates = ranges.pop("finetune_lr")
    drawn = [dict(zip(ranges, values, strict=True)) for values in itertools.product(*ranges.values())]
    found: list[Config] = []
    for layers in (
        {**DEFAULT_LAYERS, "nu": published_noise(problem)},
        *(drawn[k] for k in random.permutation(len(drawn))),
    ):
        for rate in rates:
            config = model_config(problem, model, seed, source, finetune_lr=rate, **layers)
            if config not in found:
                found.append(config)
            if len(found) == budget:
                return found
    return found


# The recipe, written down before its runs: rates and epochs of layers; rates of fine-tuning, and by how much an update
# lowers them: after 50 epochs of 500 updates to 1/3.5, or to 1/26.
_AUTHORS_LAYERS = ((0.1, 50), (0.3, 50), (0.3, 150), (0.1, 150), (0.3, 300), (0.1, 300))
_AUTHORS_NOISES = (0.1, 0.25, 0.4)
_AUTHORS_TUNING = tuple(itertools.product((1.0, 0.3), (1e-4, 1e-3)))


def _with_decreasing_rates(problem: str, model: str, budget: int, seed: int, source: str) -> list[Config]:
    """Return the configurations of the preset ``authors``: those of the paper's noise, then of the next one."""
    nu = published_noise(problem)
    stronger = [noise for noise in _AUTHORS_NOISES if noise > nu]
    found: list[Config] = []
    for noise, (rate, epochs) in itertools.product((nu, (stronger or _AUTHORS_NOISES[-2:])[0]), _AUTHORS_LAYERS):
        for finetune_lr, decay in _AUTHORS_TUNING:
            config = model_config(
                problem,
                model,
                seed,
                source,
                units=DEFAULT_LAYERS["units"],
                nu=noise,
                pretrain_lr=rate,
                pretrain_epochs=epochs,
                finetune_lr=finetune_lr,
                finetune_decay=decay,
            )
            if config not in found:
                found.append(config)
    return found[:budget]
