"""What a person is told of a mistake on the command line: one line that names the setting and what it takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from stacked_dae.config.loading import suggest_key
from stacked_dae.config.schema import Config
from stacked_dae.errors import suggest
from stacked_dae.reproduction.models import STUDIES
from stacked_dae.utils.type_hints import hints_of, in_words

# What a job takes beside the settings of the experiment.
JOB_OPTIONS = ("out", "rerun", "pretrained")
# What the options of the other commands take.
OPTIONS = {
    "budget": "a whole number above 0",
    "csv": "the name of a file",
    "data": "the name of a file",
    "data.root": "a folder",
    "format": "one of onnx, torch",
    "layer": "a whole number above 0",
    "local": "a whole number above 0",
    "models": "names of models",
    "out": "the name of a file or folder",
    "preset": "one of quick, paper",
    "problems": "names of problems",
    "seed": "a whole number of at least 0",
    "sort": "a column or setting",
    "source": "one of regenerated, original",
    "weights": "one of finetuned, pretrained",
    "wandb": "ENTITY/PROJECT or ENTITY/PROJECT/GROUP",
}


def explain(message: str, arguments: Sequence[str], jobs: Collection[str], others: Collection[str]) -> str:
    """Return one line for an error of the argument parser: which setting, what is wrong, what it takes.

    ``jobs`` are the commands that take the settings of an experiment, ``others`` all others.
    """
    commands = [*jobs, *others]
    asked = next((word for word in arguments if word in commands), "")
    unknown = re.search(r"unrecognized arguments: (?:.*?\s)?--([\w.+-]+)", message) or re.search(
        r"does not accept option '([\w.-]+)'", message
    )
    if unknown:
        key = unknown.group(1)
        if asked in others:
            return f"--{key} is no option of {asked}{suggest(key, OPTIONS)}; stacked-dae {asked} --help lists them"
        hint = suggest_key(key) or suggest(key, JOB_OPTIONS)
        return f"--{key} is no setting{hint}; --help lists them all"
    missing = re.search(r"arguments are required: ([\w.]+)", message)
    if missing and asked:
        name = missing.group(1).rpartition(".")[2]
        wanted = {"data": "--data FILE", "run": "RUN, a run folder"}.get(name, name)
        return f"{asked} needs {wanted}; stacked-dae {asked} --help tells more"
    if 'expected "command"' in message:
        return f"name a command: {', '.join(commands)}; --help tells more"
    command = re.search(r"invalid choice: '([^']*)'", message)
    if command and asked == "reproduce":
        word = command.group(1)
        return f"reproduce knows no {word!r}{suggest(word, STUDIES)}; known: {', '.join(STUDIES)}"
    if command:
        word = command.group(1)
        return f"there is no command {word!r}{suggest(word, commands)}; known: {', '.join(commands)}"
    key_match = re.search(r'key "([\w.]+)"', message)
    if key_match:
        key = key_match.group(1)
        given = re.findall(r"(?:Given value|Got value): (.*)", message)
        value = given[-1].strip() if given else ""
        takes = _takes(key) or OPTIONS.get(key)
        if takes:
            return f"{key} must be {takes}" + (f", not {value!r}" if value else "")
    return re.sub(r"\s+", " ", message)


def _takes(key: str) -> str:
    """Return in words what values the setting ``key`` takes; empty if it is no setting."""
    hint: Any = Config
    for name in key.split("."):
        hints = hints_of(hint) if isinstance(hint, type) else {}
        if name not in hints:
            return ""
        hint = hints[name]
    return in_words(hint)
