"""W&B sweep files, read as searches that run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stacked_dae.config.loading import check_keys, setting_names, settings_file
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.tuning.plan import Pruning, Sampler, SearchPlan
from stacked_dae.tuning.space import SearchSpace, is_setting, read_parameter
from stacked_dae.utils.nested import flatten, set_dotted
from stacked_dae.utils.type_hints import matches_type
from stacked_dae.utils.yaml_io import YAML_ERRORS, parse_yaml, read_yaml

METRIC, RMSE_METRIC = "best_valid_error_percent", "best_valid_rmse"
"""What the trials are chosen by: of classifiers, and of regressions."""

# What a sweep file holds beside what is read here; it concerns the server alone.
_OF_THE_SERVER = ("name", "description", "project", "entity", "program")
_READ = ("method", "metric", "parameters", "command", "run_cap", "early_terminate")
_SAMPLERS: Mapping[str, Sampler] = {"grid": "grid", "random": "random", "bayes": "tpe"}
_OF_HYPERBAND = ("type", "min_iter", "max_iter", "s", "eta", "strict")


def read_sweep(file: str, seed: int = 0) -> tuple[SearchPlan, int | None]:
    """Return the search that a sweep file describes, and its ``run_cap``, None without.

    Of method bayes the trials are drawn by TPE. Trials that run here are not logged, unless the environment says so.

    Raises:
        ConfigError: it cannot be read, or asks for what cannot be done here.
    """
    values = read_yaml(Path(file))
    if not isinstance(values, Mapping):
        raise ConfigError(f"{file}: a sweep file is a mapping with method, metric, parameters and command")
    for key in values:
        if key not in (*_READ, *_OF_THE_SERVER):
            raise ConfigError(f"{file}: unknown key {key}{suggest(str(key), _READ)}")
    method: Any = values.get("method")
    if not isinstance(method, str) or method not in _SAMPLERS:
        raise ConfigError(f"{file}: method must be {', '.join(_SAMPLERS)}, not {method!r}")
    parameters = values.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise ConfigError(f"{file}: parameters must name the settings to try")
    space = SearchSpace(
        file, tuple(read_parameter(file, name, what, "parameters.") for name, what in parameters.items())
    )
    most = values.get("run_cap")
    if most is not None and not (matches_type(int, most) and most > 0):
        raise ConfigError(f"{file}: run_cap must be a whole number above 0, not {most!r}")
    base = _base(file, values.get("command"), parameters)
    name = RMSE_METRIC if base.get("task") == "regression" else METRIC
    if values.get("metric", {"name": name, "goal": "minimize"}) != {"name": name, "goal": "minimize"}:
        raise ConfigError(f"{file}: metric must be {name} with goal minimize: trials are chosen by validation error")
    pruning = _pruning(f"{file}: early_terminate", values.get("early_terminate"))
    return SearchPlan(base, space, _SAMPLERS[method], pruning, seed), most


def _pruning(where: str, what: Any) -> Pruning | None:
    """Return how trials are stopped early; None where they are not.

    W&B's hyperband stops a run that is not among the best of 1/eta at an iteration where it looks: successive halving.
    """
    if what is None:
        return None
    if not isinstance(what, Mapping) or what.get("type") != "hyperband":
        raise ConfigError(f"{where}.type must be hyperband: W&B has no other")
    for key in what:
        if key not in _OF_HYPERBAND:
            raise ConfigError(f"{where}: unknown key {key}{suggest(str(key), _OF_HYPERBAND)}")
    numbers = {key: what[key] for key in ("min_iter", "max_iter", "s", "eta") if key in what}
    for key, value in numbers.items():
        if not (matches_type(int, value) and value >= (2 if key == "eta" else 1)):
            raise ConfigError(f"{where}.{key} must be a whole number of at least {2 if key == 'eta' else 1}")
    eta = numbers.get("eta", 3)
    if ("min_iter" in numbers) == ("max_iter" in numbers):
        raise ConfigError(f"{where} needs min_iter, or max_iter with s, and not both")
    first = numbers.get("min_iter") or max(1, numbers["max_iter"] // eta ** numbers.get("s", 1))
    return Pruning("asha", first, eta)


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
        if name != "config" and not is_setting(name):
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
        values = read_yaml(settings_file(config))
    except ConfigError as error:
        raise ConfigError(
            f"{file}: command: {error}; it is named from the folder in which the command is started"
        ) from None
    check_keys({} if values is None else values, config)
    return dict(values or {})
