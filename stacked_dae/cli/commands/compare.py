"""The command that compares runs."""

from __future__ import annotations

from pathlib import Path

from stacked_dae.cli.options import CompareOptions
from stacked_dae.errors import ConfigError
from stacked_dae.utils.terminal.text import say


def run_compare(options: CompareOptions) -> None:
    """Print runs side by side, and write what is asked for."""
    from stacked_dae.reporting.comparison import compare, write_comparison
    from stacked_dae.reporting.run_folders import find_runs, read_run
    from stacked_dae.reporting.terminal import print_comparison
    from stacked_dae.utils.files import check_output

    if bool(options.runs) == bool(options.wandb):
        raise ConfigError("compare needs run folders, or --wandb ENTITY/PROJECT[/GROUP], and not both")
    if options.report and not options.wandb:
        raise ConfigError(
            "--report applies only to runs of Weights & Biases; name them: --wandb ENTITY/PROJECT[/GROUP]"
        )
    files = {option: Path(name) for option in ("out", "csv") if (name := getattr(options, option))}
    for option, file in files.items():
        check_output(f"--{option}", file)
    if len({file.resolve() for file in files.values()}) < len(files):
        raise ConfigError(f"--out and --csv are the same file, {options.csv}; name two")
    if "out" in files and files["out"].suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {files['out']}: the page is HTML; name a file that ends in .html")
    if options.report:
        from stacked_dae.reporting.wandb_report import check_extra

        check_extra()
    if options.wandb:
        from stacked_dae.reporting.wandb_runs import read_wandb

        runs = read_wandb(options.wandb)
    else:
        runs = [read_run(folder, pictures=options.out is not None) for folder in find_runs(options.runs)]
    comparison = compare(runs, options.sort)
    print_comparison(comparison)
    if options.csv:
        write_comparison(comparison, Path(options.csv))
        say(options.csv)
    if options.out:
        from stacked_dae.reporting.html import write_page

        write_page(comparison, Path(options.out))
        say(options.out)
    if options.report and options.wandb:
        from stacked_dae.reporting.wandb_report import save_report

        say(save_report(options.wandb, comparison.layers, numbers=comparison.is_regression))
