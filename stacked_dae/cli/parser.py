"""The argument parser. The only module that imports jsonargparse."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

from stacked_dae.cli.messages import explain
from stacked_dae.cli.option_fields import flag_of, option_names
from stacked_dae.cli.options import OTHER_COMMANDS, TRAINING_COMMANDS
from stacked_dae.config.loading import RECIPES, check_keys, settings_file
from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError
from stacked_dae.utils.type_hints import field_types
from stacked_dae.utils.yaml_io import read_yaml
from stacked_dae.version import __version__


def parse(arguments: list[str]) -> tuple[str, Mapping[str, Any]]:
    """Return the command that is asked for and the values of its options, nested.

    Raises:
        ConfigError: an option is unknown or has a value that it does not take; the text is one line.
    """
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is not None and command in TRAINING_COMMANDS:
        arguments = _files_first(arguments, command)
    try:
        parsed = build_parser(*filter(None, [command])).parse_args(arguments)
    except ArgumentError as error:
        raise ConfigError(explain(str(error), arguments)) from None
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        # What jsonargparse itself raises on values that nobody has in mind.
        raise ConfigError(f"an option has a value that cannot be read ({error})") from None
    return parsed.command, parsed[parsed.command].as_dict()


def build_parser(*commands: str) -> ArgumentParser:
    """Return the parser; only these ``commands`` get their arguments, so that a command begins at once."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog="stacked-dae",
        exit_on_error=False,
        description="Pre-train a deep network layer by layer with denoising autoencoders, and fine-tune it.",
        version=__version__,
        allow_abbrev=False,
    )
    subcommands = parser.add_subcommands(dest="command", required=True)
    for name, this in {**TRAINING_COMMANDS, **OTHER_COMMANDS}.items():
        description = f"{this.help[0].upper()}{this.help[1:]}."
        sub = ArgumentParser(exit_on_error=False, description=description, allow_abbrev=False)
        if name in commands:
            if name in TRAINING_COMMANDS:
                sub.add_argument("--config", action="config", help="YAML file of settings, or a recipe.")
            _add_options(sub, this.options)
            if name in TRAINING_COMMANDS:
                sub.add_class_arguments(Config, help="The experiment.")
        subcommands.add_subcommand(name, sub, help=this.help)
    return parser


def _add_options(parser: ArgumentParser, cls: type) -> None:
    """Add an argument for each field of an options dataclass."""
    types = field_types(cls)
    for field in fields(cls):
        metadata = field.metadata
        how: dict[str, Any] = {"help": metadata["help"]}
        if "nargs" in metadata:
            how["nargs"] = metadata["nargs"]
        if metadata.get("positional"):
            choices = (
                typing.get_args(types[field.name]) if typing.get_origin(types[field.name]) is typing.Literal else ()
            )
            how |= {"choices": list(choices)} if choices else {"type": str}
            parser.add_argument(field.name, **how)
            continue
        if types[field.name] is bool:
            how["action"] = "store_true"
        else:
            how["type"] = str if metadata.get("nargs") else types[field.name]
            how |= {"required": True} if metadata.get("required") else {"default": field.default}
        parser.add_argument(f"--{flag_of(field.name, metadata)}", dest=field.name, **how)


def _files_first(arguments: list[str], command: str) -> list[str]:
    """Return the arguments with the settings files moved to the front, each read and checked.

    A file that comes after an option would silently undo it; in front, options override files wherever they stand.
    """
    at = arguments.index(command)
    before, rest = arguments[: at + 1], arguments[at + 1 :]
    files: list[str] = []
    others: list[str] = []
    words = iter(rest)
    for word in words:
        name, equals, value = word.partition("=")
        if name in ("--config", "--pretrained"):
            if not equals:
                value = next(words, "")
                if not value or value.startswith("--"):
                    raise ConfigError(f"{name} needs a {'file' if name == '--config' else 'run folder'}")
            if name == "--config":
                files.append(str(settings_file(value)))
                continue
            others += [name, value]
            files.insert(0, _settings_of(value))
        else:
            others.append(word)
    if command == "finetune" and not files and "--pretrained" not in others and not {"-h", "--help"} & set(others):
        raise ConfigError("finetune needs --pretrained RUN, the folder of an earlier pretrain or fit")
    for file in files:
        _check_file(file)
    return [*before, *(word for file in files for word in ("--config", file)), *others]


def _settings_of(run: str) -> str:
    """Return the settings file of a run folder, checked."""
    from stacked_dae.runs.folder import RunFolder

    folder = RunFolder.open(Path(run))
    folder.config()
    return str(folder.path / "config.yaml")


def _check_file(file: str) -> None:
    """Raise ConfigError unless ``file`` is YAML with nothing but known settings."""
    try:
        values = read_yaml(Path(file))
    except ConfigError as error:
        recipes = "" if Path(file).exists() else f"; without a file of your own: {', '.join(RECIPES)}"
        raise ConfigError(f"--config {error}{recipes}") from None
    check_keys({} if values is None else values, file, also=TRAINING_OPTIONS)


TRAINING_OPTIONS: tuple[str, ...] = tuple(option_names(TRAINING_COMMANDS["finetune"].options))
"""Names that a settings file may hold beside the settings of the experiment."""
