"""Search spaces: the settings that a search varies, and the values that each may take.

The words are those of W&B's sweep files: ``values``, or ``min`` and ``max`` with a ``distribution``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from stacked_dae.config.identity import NON_IDENTITY_KEYS
from stacked_dae.config.loading import check_keys, setting_names
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.utils.nested import set_dotted
from stacked_dae.utils.type_hints import describe_type, matches_type
from stacked_dae.utils.yaml_io import read_yaml

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

# No setting needs a larger number, and all below can be drawn from.
_MOST = 1e15
# The share of a distribution without bounds that is never drawn, on each side.
_TAIL = 1e-9
_RANGES = ("uniform", "int_uniform", "q_uniform", "log_uniform", "q_log_uniform", "inv_log_uniform")
_VALUE_RANGES = ("log_uniform_values", "q_log_uniform_values", "inv_log_uniform_values")
_ENDLESS = {"normal": ("mu", "sigma"), "log_normal": ("mu", "sigma"), "beta": ("a", "b")}
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    **dict.fromkeys((*_RANGES, *_VALUE_RANGES), ("min", "max")),
    **_ENDLESS,
    **{f"q_{name}": needs for name, needs in _ENDLESS.items()},
}
# What W&B takes where a file leaves it out.
_OPTIONAL = {"q": 1, "mu": 0.0, "sigma": 1.0}
_OF_A_PARAMETER = ("value", "values", "distribution", "min", "max", "q", "probabilities", "mu", "sigma", "a", "b")
# Settings that decide what the validation rows are.
_DECIDE_ROWS = ("task", "data.name", "data.path", "data.source", "data.target", "data.split", "data.stratify",
                "data.groups", "data.order", "data.header", "data.delimiter", "data.decimal")  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """A setting that a search varies.

    Args:
        name: its dotted name.
        what: what a sweep file says of it, checked.
    """

    name: str
    what: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Its distribution, by W&B's name."""
        return distribution_of(self.what)

    @property
    def is_listed(self) -> bool:
        """True where it takes one of several values that are listed, or one that is fixed."""
        return self.kind in ("constant", "categorical", "categorical_w_probabilities")

    @property
    def listed(self) -> list[Any]:
        """The values as they are listed; none of a range."""
        return [self.what["value"]] if self.kind == "constant" else self.what["values"] if self.is_listed else []

    @property
    def values(self) -> list[Any]:
        """The values that are listed, without those that repeat another."""
        return list({_text(value): value for value in self.listed}.values())

    @property
    def varies_layers(self) -> bool:
        """True where another value means other layers."""
        return not self.name.startswith("finetune.")

    def distribution(self) -> BaseDistribution:
        """Return Optuna's distribution of what :meth:`setting` makes a setting of."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind in ("constant", "categorical"):
            return CategoricalDistribution(self.choices())
        if self.kind == "categorical_w_probabilities" or self.kind.removeprefix("q_") in _ENDLESS:
            # A share of the distribution; what lies there is the setting.
            return FloatDistribution(_TAIL, 1.0 - _TAIL)
        low, high = self._bounds()
        if self.kind == "int_uniform":
            return IntDistribution(int(low), int(high))
        return FloatDistribution(float(low), float(high), log="log" in self.kind)

    def suggest(self, trial: Trial) -> Any:
        """Return what an Optuna trial draws."""
        one: Any = self.distribution()
        if self.is_listed and self.kind != "categorical_w_probabilities":
            return trial.suggest_categorical(self.name, one.choices)
        if self.kind == "int_uniform":
            return trial.suggest_int(self.name, one.low, one.high)
        return trial.suggest_float(self.name, one.low, one.high, log=one.log)

    def choices(self) -> list[Any]:
        """Return what is drawn of a listed parameter: Optuna's choices, or the middle of each share."""
        if self.kind != "categorical_w_probabilities":
            return [_text(value) for value in self.values]
        total, below, middles = sum(self.what["probabilities"]), 0.0, []
        for probability in self.what["probabilities"]:
            middles.append((below + probability / 2) / total)
            below += probability
        return middles

    def setting(self, drawn: Any) -> Any:
        """Return the value of the setting for what was drawn from :meth:`distribution`."""
        kind, what = self.kind, self.what
        if kind in ("constant", "categorical"):
            return next(value for value in self.values if _text(value) == drawn)
        if kind == "categorical_w_probabilities":
            share = drawn * sum(what["probabilities"])
            for value, probability in zip(what["values"], what["probabilities"], strict=True):
                share -= probability
                if share <= 0:
                    return value
            return what["values"][-1]
        if kind == "int_uniform":
            return int(drawn)
        value = float(drawn)
        if kind.removeprefix("q_") in _ENDLESS:
            value = _quantile(kind.removeprefix("q_"), what, value)
        if not kind.startswith("q_"):
            return value
        step = what.get("q", _OPTIONAL["q"])
        value = round(value / step) * step
        if "min" in what:
            low, high = self._bounds()
            value = min(max(value, low), high)
        return value

    def _bounds(self) -> tuple[Any, Any]:
        low, high = self.what["min"], self.what["max"]
        if self.kind in ("log_uniform", "q_log_uniform"):
            return math.exp(low), math.exp(high)
        if self.kind == "inv_log_uniform":
            return math.exp(-high), math.exp(-low)
        return low, high

    def extremes(self) -> list[Any]:
        """Return the values of a setting that is not listed which are checked before any is drawn."""
        return list(self._bounds()) if "min" in self.what else [self.setting(0.5)]


@dataclass(frozen=True)
class SearchSpace:
    """The settings that a search varies.

    Args:
        file: what errors name.
        parameters: one for each setting.
    """

    file: str
    parameters: tuple[Parameter, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the space as a file of it says."""
        return {parameter.name: dict(parameter.what) for parameter in self.parameters}

    @property
    def grid_size(self) -> int | None:
        """How many trials a grid has; None where a parameter is not listed."""
        if not all(parameter.is_listed for parameter in self.parameters):
            return None
        return math.prod(len(parameter.values) for parameter in self.parameters)


def read_space(space: str | Path | Mapping[str, Any]) -> SearchSpace:
    """Return the search space of a file, or of a mapping from settings to what a file says of each.

    A list stands for ``values``.

    Raises:
        ConfigError: it cannot be read, names an unknown setting, or says of one what cannot be drawn from.
    """
    file, values = ("space", space) if isinstance(space, Mapping) else (str(space), read_yaml(Path(space)))
    if not isinstance(values, Mapping) or not values:
        raise ConfigError(
            f"{file}: a search space is a mapping from settings to values, such as"
            " finetune.optimizer.lr: {values: [0.1, 0.3]}"
        )
    # A sweep file's parameters are a space.
    if isinstance(values.get("parameters"), Mapping):
        raise ConfigError(f"{file}: this is a sweep file: stacked-dae sweep {file} --local N runs it")
    return SearchSpace(file, tuple(read_parameter(file, name, what) for name, what in values.items()))


def read_parameter(file: str, name: Any, what: Any, group: str = "") -> Parameter:
    """Return one parameter of a search space, checked; ``group`` is the key that it stands under.

    Raises:
        ConfigError: the setting is unknown, or what is said of it cannot be drawn from.
    """
    where = f"{file}: {group}{name}"
    if isinstance(what, list):
        what = {"values": what}
    if not isinstance(what, Mapping):
        raise ConfigError(f"{where} must be a mapping with value, values, or min and max")
    if not is_setting(str(name)):
        hint = suggest(str(name), setting_names())
        raise ConfigError(f"{where}: unknown setting {name}{hint}; parameters have dotted names")
    if str(name).startswith(NON_IDENTITY_KEYS):
        raise ConfigError(f"{where} changes no result, so a search cannot vary it; set it for all trials")
    if str(name) in _DECIDE_ROWS:
        raise ConfigError(f"{where} decides which rows validate, so errors do not compare; make one search for each")
    for key in what:
        if key not in _OF_A_PARAMETER:
            raise ConfigError(f"{where}.{key} is not known here; known: {', '.join(_OF_A_PARAMETER)}")
    if len({"value", "values", "min"} & what.keys()) > 1:
        raise ConfigError(f"{where} has more than one of value, values, and min with max; leave one")
    kind = distribution_of(what)
    if kind not in _NEEDS:
        raise ConfigError(f"{where}.distribution must be one of {', '.join(_NEEDS)}, not {kind!r}")
    _check_values(where, kind, what)
    parameter = Parameter(str(name), what)
    for value in parameter.listed:
        setting: dict[str, Any] = {}
        set_dotted(setting, str(name), value)
        check_keys(setting, file)
    return parameter


def is_setting(name: str) -> bool:
    """Return whether this is the dotted name of a setting, or of one of an optimiser's or a scheduler's options."""
    known = setting_names()
    group, options, option = name.partition("options.")
    return name in known or (bool(option) and f"{group}{options[:-1]}" in known)


def distribution_of(what: Mapping[str, Any]) -> str:
    """Return the distribution of a parameter; where none is named, what W&B takes."""
    if "distribution" in what:
        return str(what["distribution"])
    if "value" in what:
        return "constant"
    if "values" in what:
        return "categorical_w_probabilities" if "probabilities" in what else "categorical"
    if "a" in what or "b" in what:
        return "beta"
    if "mu" in what or "sigma" in what:
        return "normal"
    whole = all(isinstance(what.get(end), int) for end in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def _check_values(where: str, kind: str, what: Mapping[str, Any]) -> None:
    """Raise ConfigError unless a parameter has what its distribution needs."""
    if kind == "constant":
        if "value" not in what:
            raise ConfigError(f"{where} needs a value")
    elif kind.startswith("categorical"):
        if not isinstance(what.get("values"), list) or not what["values"]:
            raise ConfigError(f"{where}.values must be a list of what to try")
        shares = what.get("probabilities", [1.0] * len(what["values"]))
        positive = isinstance(shares, list) and all(_usable(float, share) and share >= 0 for share in shares)
        if not positive or len(shares) != len(what["values"]) or sum(shares) <= 0:
            raise ConfigError(f"{where}.probabilities must be one number of at least 0 for each value")
    elif "min" in _NEEDS[kind]:
        _check_range(where, kind, what)
    else:
        for name in _NEEDS[kind]:
            value = what.get(name, _OPTIONAL.get(name))
            if not _usable(float, value) or (name != "mu" and value <= 0):
                raise ConfigError(f"{where}.{name} must be a number{'' if name == 'mu' else ' above 0'}, not {value!r}")
        if "log" in kind and abs(what.get("mu", 0.0)) + 6 * what.get("sigma", 1.0) > math.log(_MOST):
            raise ConfigError(f"{where} has exponents beyond {math.log(_MOST):.0f}: mu and sigma are of the logarithm")
    step: Any = what.get("q", _OPTIONAL["q"])
    largest = max((abs(what[end]) for end in ("min", "max") if _usable(float, what.get(end))), default=0.0)
    # Finer steps than a float of this size has are none.
    if not (_usable(float, step) and step > 1e-12 * largest):
        raise ConfigError(f"{where}.q must be a number above 0, and not too small for such bounds, not {step!r}")


def _check_range(where: str, kind: str, what: Mapping[str, Any]) -> None:
    low: Any = what.get("min")
    high: Any = what.get("max")
    number = int if kind == "int_uniform" else float
    exponents = kind in ("log_uniform", "q_log_uniform", "inv_log_uniform")
    most = math.log(_MOST) if exponents else _MOST
    if not (_usable(number, low) and _usable(number, high) and low < high and max(abs(low), abs(high)) <= most):
        raise ConfigError(
            f"{where} needs {describe_type(number)} as min and as max, min below max, neither above {most:.4g}"
            + (f": {kind} takes exponents, {kind}_values the values themselves" if exponents else "")
        )
    if kind in _VALUE_RANGES and low <= 0:
        raise ConfigError(f"{where}.min must be above 0 for {kind}, not {low!r}")


def _usable(number: type, value: Any) -> bool:
    return matches_type(number, value) and abs(value) <= _MOST


def _text(value: Any) -> Any:
    """Return a listed value as Optuna stores it: numbers and words as they are, else as JSON."""
    plain = value is None or isinstance(value, (bool, int, float, str))
    return value if plain else json.dumps(value, sort_keys=True, default=str)


def _quantile(kind: str, what: Mapping[str, Any], share: float) -> float:
    """Return the value below which a share in (0, 1) of a distribution lies."""
    if kind == "beta":
        from scipy.stats import beta

        return float(beta.ppf(share, what["a"], what["b"]))
    normal = NormalDist(what.get("mu", _OPTIONAL["mu"]), what.get("sigma", _OPTIONAL["sigma"])).inv_cdf(share)
    return math.exp(normal) if kind == "log_normal" else normal
