"""The command that runs a sweep here."""

from __future__ import annotations

from pathlib import Path

from stacked_dae.cli.options import SweepOptions
from stacked_dae.errors import ConfigError


def run_sweep(options: SweepOptions) -> None:
    """Run the trials of a sweep file here, and compare them."""
    if options.local is None:
        raise ConfigError(f"sweep needs --local N, how many trials to run here; with W&B: wandb sweep {options.file}")
    if options.local < 1:
        raise ConfigError(f"--local must be a whole number above 0, not {options.local}")
    if options.seed < 0:
        raise ConfigError(f"--seed must be a whole number of at least 0, not {options.seed}")
    from stacked_dae.reporting.comparison import compare
    from stacked_dae.reporting.run_figures import draw_run
    from stacked_dae.reporting.run_folders import read_run
    from stacked_dae.reporting.terminal import print_comparison
    from stacked_dae.tuning import sweep
    from stacked_dae.tuning.sweep_file import read_sweep
    from stacked_dae.utils.progress import command_reporter

    plan = read_sweep(options.file)
    out = Path(options.out or f"runs/sweep-{Path(options.file).stem}")
    with command_reporter() as reporter:
        folders = sweep.run_sweep(plan, options.local, options.seed, out, reporter)
        for folder in folders:
            draw_run(folder)
    print_comparison(compare([read_run(folder) for folder in folders], "valid"))
    print(f"run folders: {out}; a page of them: stacked-dae compare {out} --out report.html")
