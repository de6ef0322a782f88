"""The command that prints a script for a shell."""

from __future__ import annotations

from importlib.util import find_spec

from stacked_dae.cli.options import OTHER_COMMANDS, TRAINING_COMMANDS, CompletionOptions
from stacked_dae.cli.parser import build_parser
from stacked_dae.errors import ConfigError


def run_completion(options: CompletionOptions) -> None:
    """Print the script by which a shell completes commands, options, settings and some of their values.

    Raises:
        ConfigError: shtab is not installed.
    """
    if find_spec("shtab") is None:
        raise ConfigError("completion needs shtab: pip install 'stacked-dae[completion]'")
    parser = build_parser(*TRAINING_COMMANDS, *OTHER_COMMANDS)
    print(parser.get_completion_script(f"shtab-{options.shell}"))
