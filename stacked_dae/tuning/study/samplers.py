"""Optuna's samplers and pruners by name, and what makes the n-th trial of a seed draw the same settings again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from stacked_dae.config.loading import config_from_dict
from stacked_dae.tuning.plan import SearchPlan
from stacked_dae.utils.seeding import derive_seed

# Trials that a sampler which learns from others draws at random first, and that run before the median stops any.
_STARTUP = 10
_SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=_STARTUP),
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=_STARTUP),
    "cmaes": lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
}


class NumberedSampler(BaseSampler):
    """Draws for each trial by a sampler of its own, seeded by the trial's number.

    So a trial draws the same whatever process asks, and again where it was cut while it asked; as far as the sampler
    learns from other trials, if these are the same. Grid takes the combinations in order, the last setting first.

    Args:
        plan: the search.
    """

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan

    def _of(self, study: optuna.Study, trial: FrozenTrial, *address: str) -> BaseSampler:
        """Return the sampler of a trial; ``address`` tells its draws of single settings apart."""
        seed = derive_seed(self._plan.seed, "search", trial.number, *address) % 2**32
        name = "random" if self._plan.sampler == "grid" else self._plan.sampler
        sampler = _SAMPLERS[name](seed)
        fixed = self._fixed(study, trial)
        return PartialFixedSampler(fixed, sampler) if fixed else sampler

    def _fixed(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return what a trial has from the first trial with the same layers."""
        first = trial.number - trial.number % self._plan.finetune_trials
        if first == trial.number or self._plan.sampler == "grid":
            return {}
        known = study.get_trials(deepcopy=False)[first].params
        return {p.name: known[p.name] for p in self._plan.space.parameters if p.varies_layers and p.name in known}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what is drawn together."""
        return self._of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the settings that are drawn together."""
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one setting."""
        if self._plan.sampler == "grid":
            return self._in_grid(trial.number)[param_name]
        sampler = self._of(study, trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _in_grid(self, number: int) -> dict[str, Any]:
        chosen = {}
        for parameter in reversed(self._plan.space.parameters):
            choices = list(parameter.choices())
            number, at = divmod(number, len(choices))
            chosen[parameter.name] = choices[at]
        return chosen

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Let the sampler learn."""
        self._of(study, trial).after_trial(study, trial, state, values)


def make_pruner(plan: SearchPlan) -> BasePruner:
    """Return Optuna's pruner of a plan."""
    how = plan.pruning
    if how is None:
        return NopPruner()
    if how.kind == "median":
        return MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=how.first_epoch - 1)
    if how.kind == "asha":
        return SuccessiveHalvingPruner(min_resource=how.first_epoch, reduction_factor=how.factor)
    most = config_from_dict(plan.base).finetune.epochs
    return HyperbandPruner(how.first_epoch, max(most, how.first_epoch), how.factor)


def first_draws(plan: SearchPlan, count: int) -> list[dict[str, Any]]:
    """Return the settings of the first trials, as far as they do not depend on results; others are drawn at random."""
    with quiet_optuna():
        study = optuna.create_study(sampler=NumberedSampler(plan))
        asked = (study.ask(distributions(plan)) for _ in range(plan.count(count)))
        return [settings_of(plan, trial.params) for trial in asked]


def distributions(plan: SearchPlan) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of a plan's settings, by name."""
    return {parameter.name: parameter.distribution() for parameter in plan.space.parameters}


def settings_of(plan: SearchPlan, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, by name, for what Optuna drew."""
    return {parameter.name: parameter.setting(drawn[parameter.name]) for parameter in plan.space.parameters}


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's log lines and its remarks on experimental features out of the terminal."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
