"""The configurations that a sweep file describes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Config
from stacked_dae.data.registry import check_data
from stacked_dae.training.optimizers import check_optimizers
from stacked_dae.tuning.sweep_file import SweepSpec, distribution_of, set_dotted
from stacked_dae.utils.seeding import derive_seed


def sample_configs(sweep: SweepSpec, count: int, seed: int) -> list[Config]:
    """Return the configurations of a sweep, at most ``count``: of a grid in order, else drawn from ``seed``.

    Raises:
        ConfigError: one of them is not valid.
    """
    names = list(sweep.parameters)
    count = min(count, sweep.most or count)
    if sweep.method == "grid":
        lists = [what["values"] if "values" in what else [what["value"]] for what in sweep.parameters.values()]
        drawn: Sequence[Sequence[Any]] = list(itertools.islice(itertools.product(*lists), count))
    else:
        random = np.random.Generator(np.random.PCG64(derive_seed(seed, "sweep")))
        drawn = [[_draw(what, random) for what in sweep.parameters.values()] for _ in range(count)]
    configs = [_config(sweep, dict(zip(names, values, strict=True))) for values in drawn]
    for config in configs:
        check_data(config.data)
        check_optimizers(config)
    return configs


def _config(sweep: SweepSpec, values: Mapping[str, Any]) -> Config:
    settings: dict[str, Any] = dict(sweep.base)
    for name, value in values.items():
        set_dotted(settings, name, value)
    return config_from_dict(settings, sweep.file)


def _draw(what: Mapping[str, Any], random: np.random.Generator) -> Any:
    kind = distribution_of(what)
    if kind == "constant":
        return what["value"]
    if kind == "categorical":
        return what["values"][int(random.integers(len(what["values"])))]
    low, high = what["min"], what["max"]
    if kind == "int_uniform":
        return int(random.integers(low, high + 1))
    if "log" in kind:
        value = math.exp(random.uniform(math.log(low), math.log(high)))
    else:
        value = float(random.uniform(low, high))
    if kind.startswith("q_"):
        step = what.get("q", 1)
        value = min(max(round(value / step) * step, low), high)
    return value
