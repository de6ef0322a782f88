"""YAML read safely and written so that it is read as the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from stacked_dae.errors import ConfigError

# What the loader raises for a text that is not YAML, among it too deep a nesting and impossible dates.
YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)
# More than any file of ours holds, and little enough to be looked through at once.
_MOST_VALUES = 1_000_000


def read_yaml(path: Path) -> Any:
    """Return what a YAML file says: mappings, lists, text and numbers alone, whatever its tags ask for.

    Raises:
        ConfigError: it cannot be read; the text names the file and, where there is one, the line.
    """
    try:
        return parse_yaml(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except YAML_ERRORS as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable text"
        raise ConfigError(f"{path}{where}: not YAML ({problem})") from None


def parse_yaml(text: str) -> Any:
    """Return what ``text`` says as YAML; dates stay text, and one of :data:`YAML_ERRORS` is raised for what is none."""
    values = yaml.load(text, _Loader)
    _count(values, {})
    return values


def dump_yaml(values: Any) -> str:
    """Return ``values`` as the YAML that :func:`parse_yaml` reads as the same."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def _count(value: Any, counts: dict[int, int | None]) -> int:
    """Return how many values ``value`` stands for, each alias with all that it repeats.

    Raises:
        YAMLError: it holds itself, or there are too many: a few lines of aliases can stand for more than any memory
            holds.
    """
    if not isinstance(value, (dict, list, set)):
        return 1
    if id(value) not in counts:
        counts[id(value)] = None
        inner = [*value, *value.values()] if isinstance(value, dict) else list(value)
        counts[id(value)] = 1 + sum(_count(item, counts) for item in inner)
    count = counts[id(value)]
    if count is None or count > _MOST_VALUES:
        what = "holds itself" if count is None else f"stands for more than {_MOST_VALUES} values"
        raise yaml.MarkedYAMLError(problem=f"a list or mapping {what} by its aliases; write the values out")
    return count


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, in C where there is one (ten times as fast); no date is a setting, and 1e-3 is a number."""


_FLOAT = "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:timestamp", _FLOAT)]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
# As YAML 1.2 has it, and as everybody writes it.
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"""[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$
    |\.(?:nan|NaN|NAN)$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """The safe dumper; text that the loader would take for a number is quoted."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
