"""What a search is: the settings of every trial, those that vary, and how they are drawn and stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from stacked_dae.config.checks import require_choice
from stacked_dae.config.identity import NON_IDENTITY_KEYS, fingerprint
from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError
from stacked_dae.tuning.space import SearchSpace, read_space
from stacked_dae.utils.files import write_text
from stacked_dae.utils.nested import flatten, set_dotted
from stacked_dae.utils.yaml_io import dump_yaml, read_yaml

Sampler = Literal["tpe", "random", "grid", "gp", "cmaes"]
Pruner = Literal["none", "median", "asha", "hyperband"]

# Of the epochs of fine-tuning, the share after which trials are compared first.
_FIRST_SHARE = 9


@dataclass(frozen=True)
class Pruning:
    """How trials are stopped early, by the validation of their fine-tuning.

    Args:
        kind: median, asha or hyperband.
        first_epoch: the epoch after which trials are first compared.
        factor: of the trials that reach such an epoch, one of so many goes on (asha, hyperband).
    """

    kind: Pruner
    first_epoch: int
    factor: int = 3

    @staticmethod
    def of(kind: Pruner, config: Config) -> Pruning | None:
        """Return the usual pruning of this kind for trials of so many epochs; None for ``none``."""
        if kind == "none":
            return None
        return Pruning(kind, max(1, math.ceil(config.finetune.epochs / _FIRST_SHARE)))

    def compares_after(self, epoch: int) -> bool:
        """Return whether trials are compared after this epoch."""
        if self.kind == "median":
            return epoch >= self.first_epoch
        step = self.first_epoch
        while step < epoch:
            step *= self.factor
        return step == epoch


@dataclass(frozen=True)
class SearchPlan:
    """A search.

    Args:
        base: the settings of every trial, nested.
        space: the settings that vary.
        sampler: how they are drawn.
        pruning: how trials are stopped early; None where they are not.
        seed: of the draws.
        finetune_trials: how many trials in a row have the same layers, and differ in fine-tuning alone.
    """

    base: Mapping[str, Any]
    space: SearchSpace
    sampler: Sampler = "tpe"
    pruning: Pruning | None = None
    seed: int = 0
    finetune_trials: int = 1

    @staticmethod
    def of(config: Config, space: SearchSpace, sampler: Sampler, pruner: Pruner, finetune_trials: int) -> SearchPlan:
        """Return the search from the settings of every trial, whose seed also seeds the draws.

        Raises:
            ConfigError: there is no such sampler or pruner.
        """
        require_choice("sampler", sampler, Sampler)
        require_choice("pruner", pruner, Pruner)
        pruning = Pruning.of(pruner, config)
        return SearchPlan(config.to_dict(), space, sampler, pruning, config.seed, finetune_trials)

    def count(self, trials: int) -> int:
        """Return how many trials there are where so many are asked for: a grid may have fewer."""
        size = self.space.grid_size if self.sampler == "grid" else None
        return trials if size is None else min(trials, size)

    def config(self, values: Mapping[str, Any]) -> Config:
        """Return the settings of a trial.

        Args:
            values: by dotted name, the settings that vary.

        Raises:
            ConfigError: they are not valid together.
        """
        settings: dict[str, Any] = dict(self.base)
        for name, value in values.items():
            set_dotted(settings, name, value)
        return config_from_dict(settings, self.space.file)

    def run_name(self, values: Mapping[str, Any]) -> str:
        """Return the name of a trial's run folder; where the settings are not valid together, no folder is made."""
        try:
            return f"trial_{fingerprint(self.config(values))[:8]}"
        except ConfigError:
            return f"trial_{fingerprint(dict(values))[:8]}"

    @property
    def mark(self) -> str:
        """A fingerprint of the search: two of one fingerprint are one search."""
        settings = {k: v for k, v in flatten(self.base).items() if not k.startswith(NON_IDENTITY_KEYS)}
        pruning = asdict(self.pruning) if self.pruning else None
        text = self.space.to_dict(), self.sampler, pruning, self.seed, self.finetune_trials
        return fingerprint(settings, *text)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {
            "sampler": self.sampler,
            "pruning": asdict(self.pruning) if self.pruning else None,
            "seed": self.seed,
            "finetune_trials": self.finetune_trials,
            "space": self.space.to_dict(),
            "settings": dict(self.base),
        }

    def save(self, file: Path) -> None:
        """Write the plan, as :func:`read_plan` reads it."""
        write_text(file, dump_yaml(self.to_dict()))

    def difference(self, other: SearchPlan) -> str:
        """Return a phrase that names the first thing in which another plan differs; empty where they are the same."""
        if self.mark == other.mark:
            return ""
        here, there = (flatten({**plan.to_dict(), "space": 0}) for plan in (self, other))
        for key in {**here, **there}:
            skipped = key.removeprefix("settings.").startswith(NON_IDENTITY_KEYS)
            if here.get(key) != there.get(key) and not skipped:
                return f"{key.removeprefix('settings.')} is {there.get(key)!r} there and {here.get(key)!r} here"
        return "the search space is another one there"


def read_plan(file: Path) -> SearchPlan:
    """Return the plan of a search that has begun.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        values = read_yaml(file)
        pruning = Pruning(**values["pruning"]) if values["pruning"] else None
        space = read_space(values["space"])
        settings, sampler = dict(values["settings"]), values["sampler"]
        return SearchPlan(settings, space, sampler, pruning, int(values["seed"]), int(values["finetune_trials"]))
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{file} is damaged ({error}); name another --out") from None


def check_optuna(sampler: Sampler = "tpe") -> None:
    """Raise ConfigError unless Optuna is installed, and what its ``sampler`` needs."""
    missing = [name for name in ("optuna", *(["cmaes"] if sampler == "cmaes" else [])) if not find_spec(name)]
    if missing:
        raise ConfigError(f"a search needs {' and '.join(missing)}: pip install 'stacked-dae[search]'")
