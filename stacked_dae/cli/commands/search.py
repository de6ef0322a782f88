"""The commands that search: over a space of settings, and a W&B sweep file without W&B."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked_dae.cli.option_fields import other_values, read_options
from stacked_dae.cli.options import SearchOptions, SweepOptions
from stacked_dae.config.loading import config_from_dict
from stacked_dae.errors import ConfigError
from stacked_dae.tuning.plan import SearchPlan
from stacked_dae.tuning.space import read_space
from stacked_dae.tuning.sweep_file import read_sweep
from stacked_dae.utils.terminal.text import say

if TYPE_CHECKING:
    from stacked_dae.tuning.result import SearchResult


def run_search(values: Mapping[str, Any]) -> None:
    """Search over a space, with the parsed values of the options and settings, nested."""
    options: SearchOptions = read_options(SearchOptions, values)
    if options.space is None:
        raise ConfigError("search needs --space FILE, a YAML file of the settings that vary")
    config = config_from_dict(other_values(SearchOptions, values))
    plan = SearchPlan.of(config, read_space(options.space), options.sampler, options.pruner, options.finetune_trials)
    out = Path(options.out or f"runs/search-{Path(options.space).stem}")
    _search(plan, options.trials, out, options.workers, options.storage)


def run_sweep(options: SweepOptions) -> None:
    """Run the trials of a sweep file here."""
    if options.local is None:
        raise ConfigError(f"sweep needs --local N, how many trials to run here; with W&B: wandb sweep {options.file}")
    if options.local < 1:
        raise ConfigError(f"--local must be a whole number above 0, not {options.local}")
    if options.seed < 0:
        raise ConfigError(f"--seed must be a whole number of at least 0, not {options.seed}")
    plan, most = read_sweep(options.file, options.seed)
    out = Path(options.out or f"runs/sweep-{Path(options.file).stem}")
    _search(plan, min(options.local, most or options.local), out, options.workers, None)


def _search(plan: SearchPlan, trials: int, out: Path, workers: int, storage: str | None) -> None:
    from stacked_dae.reporting.terminal import print_trials
    from stacked_dae.tuning import search
    from stacked_dae.tuning.figures import draw_search
    from stacked_dae.tuning.result import TABLE
    from stacked_dae.utils.terminal.progress import command_reporter

    with command_reporter() as reporter:
        result = search.run_search(plan, trials, out, workers, storage, None, reporter)
        figures = draw_search(result)
    print_trials(result.rows(), result.measure, result.best.number)
    say(_summary(result))
    say(f"table: {out / TABLE}; figures: {', '.join(str(file) for file in figures)}")


def _summary(result: SearchResult) -> str:
    """Return what sharing saved, and what the test of the best trial found."""
    counted = result.sharing
    shared = int(counted["layers"] - counted["trained"])
    lines = []
    if shared:
        lines.append(
            f"{counted['trained']:.0f} layers were trained for {counted['layers']:.0f}, which saved"
            f" {counted['seconds_saved']:.1f} s of training"
        )
    lines.append(f"best: {result.best.folder}{_tested(result)}")
    return "\n".join(lines)


def _tested(result: SearchResult) -> str:
    """Return what the test of the best trial found, or that it was not tested here."""
    from stacked_dae.runs.manifest import RegressionResult
    from stacked_dae.utils.intervals import with_interval

    if not (result.best.folder / "result.json").is_file():
        return ", not tested here"
    found = result.best_run.result()
    if isinstance(found, RegressionResult):
        return f", test RMSE {found.test_rmse:.4g} (n = {found.n_test})"
    error = with_interval(found.test_error_percent, found.test_error_ci95_percent, found.n_test)
    return f", test error {error} % (n = {found.n_test})"
