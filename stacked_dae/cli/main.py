"""The command line. torch and Lightning are imported once a command needs them."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stacked_dae.cli.commands import compare, completion, data, reproduce, runs, search, train
from stacked_dae.cli.option_fields import read_options
from stacked_dae.cli.options import OTHER_COMMANDS, TRAINING_COMMANDS
from stacked_dae.cli.parser import parse
from stacked_dae.errors import PeerError, StackedDAEError
from stacked_dae.utils import distributed
from stacked_dae.utils.signals import SIGNALS, Interrupted, handle_signals
from stacked_dae.utils.terminal.text import say, tolerant_output

_RUN: Mapping[str, Callable[[Any], None]] = {
    "summary": runs.run_summary,
    "evaluate": runs.run_evaluate,
    "baselines": runs.run_baselines,
    "plot": runs.run_plot,
    "predict": runs.run_predict,
    "encode": runs.run_encode,
    "reconstruct": runs.run_reconstruct,
    "anomalies": runs.run_anomalies,
    "export": runs.run_export,
    "reproduce": reproduce.run_reproduce,
    "compare": compare.run_compare,
    "sweep": search.run_sweep,
    "runs": runs.run_runs,
    "data": data.run_data,
    "completion": completion.run_completion,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 0, 2 for an error that the user can correct, 128 + the signal that stopped it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with tolerant_output(), handle_signals(*SIGNALS):
            _run(arguments)
            return 0
    except StackedDAEError as error:
        if isinstance(error, PeerError) and not distributed.is_rank_zero():
            # The first process says why it ended.
            return 2
        message = str(error)
    except KeyboardInterrupt as stop:
        signum = stop.signum if isinstance(stop, Interrupted) else signal.SIGINT
        how = "interrupted" if signum == signal.SIGINT else "stopped"
        say(f"stacked-dae: {how}; run the same command again to resume", file=sys.stderr)
        return 128 + signum
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        reason = (str(error).splitlines() or ["none was left"])[0]
        message = f"out of memory ({reason}); lower pretrain.units, a batch_size or data.memory_budget"
    except OSError as error:
        if error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "; make room, and run the same command again to resume" if full else ""
        message = f"{error.filename or 'a file'}: {error.strerror}{remedy}"
    say(f"stacked-dae: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _run(arguments: list[str]) -> None:
    if {"-h", "--help", "--help-all"} & set(arguments):
        # It reads the docstrings of all settings, by a library that no other command needs.
        from stacked_dae.cli.help import help_text

        command = next((word for word in arguments if not word.startswith("-")), None)
        if command is not None and command not in (*TRAINING_COMMANDS, *OTHER_COMMANDS):
            parse([command])
        print(help_text(command, everything="--help-all" in arguments), end="")
        return
    command, values = parse(arguments)
    if command == "search":
        search.run_search(values)
    elif command in TRAINING_COMMANDS:
        train.run_training(command, values)
    else:
        _RUN[command](read_options(OTHER_COMMANDS[command].options, values))
