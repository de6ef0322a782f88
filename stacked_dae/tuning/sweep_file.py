"""W&B sweep files: grid or random searches over settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacked_dae.config.loading import check_keys, setting_names
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.utils.nested import flatten
from stacked_dae.utils.type_hints import describe_type, matches_type
from stacked_dae.utils.yaml_io import YAML_ERRORS, parse_yaml, read_yaml

METRIC, RMSE_METRIC = "best_valid_error_percent", "best_valid_rmse"
"""What the trials are chosen by: of classifiers, and of regressions."""

# What a sweep file holds beside what is read here; it concerns the server alone.
_OF_THE_SERVER = ("name", "description", "project", "entity", "program")
_READ = ("method", "metric", "parameters", "command", "run_cap")

# No setting needs a larger number, and all below can be drawn from.
_MOST = 1e15
_OF_A_PARAMETER = ("value", "values", "distribution", "min", "max", "q")
_DISTRIBUTIONS = (
    "constant",
    "categorical",
    "uniform",
    "int_uniform",
    "q_uniform",
    "log_uniform_values",
    "q_log_uniform_values",
)


@dataclass(frozen=True)
class SweepSpec:
    """A sweep file.

    Args:
        file: where it was read.
        method: grid or random.
        parameters: by setting, what W&B's files say of it: value, values, or min and max with a distribution.
        base: the settings of every trial, nested.
        most: trials at the most (run_cap); None for no such limit.
    """

    file: str
    method: str
    parameters: Mapping[str, Mapping[str, Any]]
    base: Mapping[str, Any]
    most: int | None = None


def read_sweep(file: str) -> SweepSpec:
    """Return the sweep that ``file`` describes.

    Raises:
        ConfigError: it cannot be read, or asks for what only W&B's server does.
    """
    values = read_yaml(Path(file))
    if not isinstance(values, Mapping):
        raise ConfigError(f"{file}: a sweep file is a mapping with method, metric, parameters and command")
    for key in values:
        if key == "early_terminate":
            raise ConfigError(f"{file}: early_terminate needs W&B's server: use wandb sweep, or leave it out")
        if key not in (*_READ, *_OF_THE_SERVER):
            raise ConfigError(f"{file}: unknown key {key}{suggest(str(key), _READ)}")
    method = values.get("method")
    if method == "bayes":
        raise ConfigError(f"{file}: method bayes needs W&B's server: use wandb sweep, or method random")
    if method not in ("grid", "random"):
        raise ConfigError(f"{file}: method must be grid or random, not {method!r}")
    parameters = values.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise ConfigError(f"{file}: parameters must name the settings to try")
    for name, what in parameters.items():
        _check_parameter(f"{file}: parameters.{name}", name, what, method)
    most = values.get("run_cap")
    if most is not None and not (matches_type(int, most) and most > 0):
        raise ConfigError(f"{file}: run_cap must be a whole number above 0, not {most!r}")
    base = _base(file, values.get("command"), parameters)
    name = RMSE_METRIC if base.get("task") == "regression" else METRIC
    if values.get("metric", {"name": name, "goal": "minimize"}) != {"name": name, "goal": "minimize"}:
        raise ConfigError(f"{file}: metric must be {name} with goal minimize: trials are chosen by validation error")
    return SweepSpec(file, method, parameters, base, most)


def _check_parameter(where: str, name: Any, what: Any, method: str) -> None:
    if not isinstance(what, Mapping):
        raise ConfigError(f"{where} must be a mapping with value, values, or min and max")
    if not _is_setting(str(name)):
        raise ConfigError(
            f"{where}: unknown setting {name}{suggest(str(name), setting_names())}; parameters have dotted names"
        )
    for key in what:
        if key not in _OF_A_PARAMETER:
            raise ConfigError(f"{where}.{key} is not known here; known: {', '.join(_OF_A_PARAMETER)}")
    if len({"value", "values", "min"} & what.keys()) > 1:
        raise ConfigError(f"{where} has more than one of value, values, and min with max; leave one")
    kind = distribution_of(what)
    if kind not in _DISTRIBUTIONS:
        raise ConfigError(f"{where}.distribution must be one of {', '.join(_DISTRIBUTIONS)}, not {kind!r}")
    if kind == "constant":
        if "value" not in what:
            raise ConfigError(f"{where} needs a value")
    elif kind == "categorical":
        if not isinstance(what.get("values"), list) or not what["values"]:
            raise ConfigError(f"{where}.values must be a list of what to try")
    elif method == "grid":
        raise ConfigError(f"{where} has no values: a grid needs them")
    else:
        _check_range(where, kind, what)


def _is_setting(name: str) -> bool:
    """Return whether this is the dotted name of a setting, or of one of an optimiser's or a scheduler's options."""
    known = setting_names()
    group, options, option = name.partition("options.")
    return name in known or (bool(option) and f"{group}{options[:-1]}" in known)


def _check_range(where: str, kind: str, what: Mapping[str, Any]) -> None:
    low: Any = what.get("min")
    high: Any = what.get("max")
    step: Any = what.get("q", 1)
    number = int if kind == "int_uniform" else float
    if not (_usable(number, low) and _usable(number, high) and low < high):
        raise ConfigError(
            f"{where} needs {describe_type(number)} as min and as max, min below max, neither above {_MOST:g}"
        )
    if "log" in kind and low <= 0:
        raise ConfigError(f"{where}.min must be above 0 for {kind}, not {low!r}")
    # Finer steps than a float of this size has are none.
    if not (_usable(float, step) and step > 1e-12 * max(abs(low), abs(high))):
        raise ConfigError(f"{where}.q must be a number above 0, and not too small for such bounds, not {step!r}")


def _usable(number: type, value: Any) -> bool:
    return matches_type(number, value) and abs(value) <= _MOST


def distribution_of(what: Mapping[str, Any]) -> str:
    """Return the distribution of a parameter; where none is named, what W&B takes."""
    if "distribution" in what:
        return str(what["distribution"])
    if "value" in what:
        return "constant"
    if "values" in what:
        return "categorical"
    whole = all(isinstance(what.get(end), int) for end in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def _base(file: str, command: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the command of a sweep file gives to every trial."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    if "fit" not in words or "${args}" not in words:
        raise ConfigError(f"{file}: command must run stacked-dae fit with ${{args}}")
    options = _options(file, words[words.index("fit") + 1 :], parameters)
    base: dict[str, Any] = {}
    for name, value in options:
        if name == "config":
            for key, setting in flatten(_settings(value, file)).items():
                set_dotted(base, key, setting)
    for name, value in options:
        if name != "config":
            set_dotted(base, name, _read_value(value))
    # Trials that run here are not logged, unless the environment says so.
    base.pop("tracking", None)
    check_keys(base, file)
    return base


def _options(file: str, words: Sequence[str], parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the options of a command by name."""
    options: list[tuple[str, str]] = []
    rest = iter(words)
    for word in rest:
        if word == "${args}":
            continue
        option, equals, value = word.partition("=")
        name = option.removeprefix("--")
        if name == option:
            raise ConfigError(f"{file}: command: {word!r} is not an option")
        if name != "config" and not _is_setting(name):
            raise ConfigError(f"{file}: command: unknown setting {option}{suggest(name, setting_names())}")
        if name in parameters:
            raise ConfigError(f"{file}: command: {option} is a parameter too; leave one of them out")
        if not equals:
            value = next(rest, "--")
            if value.startswith(("--", "${")):
                raise ConfigError(f"{file}: command: {option} needs a value")
        options.append((name, value))
    return options


def _read_value(text: str) -> Any:
    """Return what an option's text says, as YAML; text that is none stays text."""
    try:
        return parse_yaml(text)
    except YAML_ERRORS:
        return text


def _settings(config: str, file: str) -> dict[str, Any]:
    try:
        values = read_yaml(Path(config))
    except ConfigError as error:
        raise ConfigError(
            f"{file}: command: {error}; it is named from the folder in which the command is started"
        ) from None
    check_keys({} if values is None else values, config)
    return dict(values or {})


def set_dotted(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested settings."""
    *path, last = key.split(".")
    for name in path:
        values[name] = dict(values.get(name) or {})
        values = values[name]
    values[last] = value
