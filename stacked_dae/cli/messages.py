"""Turn parser errors into one-line messages that name the option and its accepted values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from stacked_dae.cli.option_fields import accepted_values, argument_choices, flag_of, option_names
from stacked_dae.cli.options import OTHER_COMMANDS, TRAINING_COMMANDS
from stacked_dae.config.loading import settings_ending_in, suggest_key
from stacked_dae.config.schema import Config
from stacked_dae.errors import suggest
from stacked_dae.utils.type_hints import describe_type, field_types


def explain(message: str, arguments: Sequence[str]) -> str:
    """Return one line for an error of the argument parser: which option, what is wrong, what it takes."""
    commands = {**TRAINING_COMMANDS, **OTHER_COMMANDS}
    asked = next((word for word in arguments if word in commands), "")
    options = commands[asked].options if asked else None
    unknown = re.search(r"unrecognized arguments: (?:.*?\s)?--([\w.+-]+)", message) or re.search(
        r"does not accept option '([\w.-]+)'", message
    )
    if unknown:
        key = unknown.group(1)
        known = option_names(options) if options else []
        if asked in OTHER_COMMANDS:
            return f"unknown option --{key} of {asked}{suggest(key, known)}; stacked-dae {asked} --help lists them"
        is_option = "." not in key and not settings_ending_in(key)
        near = suggest(key, [*known, *(f.name for f in fields(Config))]) if is_option else ""
        near = re.sub(r"'([\w.-]+)'", r"--\1", near or suggest_key(key))
        return f"unknown setting --{key}{near}; stacked-dae {asked or 'fit'} --help-all lists them all"
    missing = re.search(r"arguments are required: ([\w.]+)", message)
    if missing and asked and options:
        name = missing.group(1).rpartition(".")[2]
        wanted = {"data": "--data FILE", "run": accepted_values(options, "run")}.get(name, name)
        return f"{asked} needs {wanted}; see stacked-dae {asked} --help"
    if 'expected "command"' in message:
        return f"name a command: {', '.join(commands)}; see --help"
    command = re.search(r"invalid choice: '([^']*)'", message)
    choices = argument_choices(options) if options else ()
    if command and choices:
        word = command.group(1)
        return f"{asked} must be followed by one of {', '.join(choices)}, not {word!r}{suggest(word, choices)}"
    if command:
        word = command.group(1)
        return f"unknown command {word!r}{suggest(word, commands)}; known: {', '.join(commands)}"
    key_match = re.search(r'key "([\w.]+)"', message)
    if key_match:
        key = key_match.group(1)
        given = re.findall(r"(?:Given value|Got value): (.*)", message)
        value = given[-1].strip() if given else ""
        if key == "data" and asked in TRAINING_COMMANDS:
            file = arguments[arguments.index("--data") + 1] if "--data" in arguments[:-1] else value or "FILE"
            return f"--data takes no value of its own; the file of a table is --data.path {shlex.quote(file)}"
        takes = _takes(key) or (accepted_values(options, key) if options else "")
        if takes:
            named = {f.name: flag_of(f.name, f.metadata) for f in fields(options)} if options else {}
            flag = named.get(key, key)
            return f"{flag} must be {takes}" + (f", not {value!r}{_in_a_list(flag, takes, value)}" if value else "")
    return re.sub(r"\s+", " ", message)


def _in_a_list(flag: str, takes: str, value: str) -> str:
    """Return the option with the one word that was given for a list of words."""
    is_list = takes.startswith(("a list ('[one", "names of columns")) and re.fullmatch(r"[^\W\d][\w-]*", value)
    return f": --{flag} '[{value}]'" if is_list else ""


def _takes(key: str) -> str:
    """Return in words what values the setting ``key`` takes; empty if there is no such setting."""
    hint: Any = Config
    for name in key.split("."):
        hints = field_types(hint) if isinstance(hint, type) else {}
        if name not in hints:
            return ""
        hint = hints[name]
    return describe_type(hint)
