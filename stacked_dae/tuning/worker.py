"""A process that trains trials of a search until none is left: ``python -m stacked_dae.tuning.worker OUT TRIALS``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stacked_dae.errors import StackedDAEError
from stacked_dae.tuning.plan import read_plan
from stacked_dae.tuning.result import PLAN
from stacked_dae.tuning.search import work
from stacked_dae.tuning.study.samplers import first_draws
from stacked_dae.tuning.trials import DataCache
from stacked_dae.utils.signals import SIGNALS, Interrupted, handle_signals
from stacked_dae.utils.terminal.progress import command_reporter
from stacked_dae.utils.terminal.text import say


def main(arguments: Sequence[str]) -> int:
    """Work on the search in a folder; return the exit code."""
    out, trials, *storage = arguments
    try:
        with handle_signals(*SIGNALS), command_reporter() as reporter:
            plan = read_plan(Path(out) / PLAN)
            data = DataCache(None)
            data.preload(plan.config(first_draws(plan, 1)[0]))
            work(Path(out), plan, int(trials), storage[0] if storage else None, data, reporter)
    except StackedDAEError as error:
        say(f"stacked-dae: error: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        return 128 + stop.signum
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
