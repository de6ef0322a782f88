"""What each command of the command line does with its options; torch is imported once it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacked_dae.config.loading import NOT_IDENTITY, fingerprint, flatten, from_dict
from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError
from stacked_dae.reproduction.models import BUDGETS, NOTES, check_order
from stacked_dae.reproduction.published import PROBLEMS
from stacked_dae.utils import distributed


def run_job(command: str, values: dict[str, Any]) -> None:
    """Run fit, pretrain or finetune with the values of its options, nested."""
    out, rerun, pretrained = values.pop("out"), values.pop("rerun"), values.pop("pretrained", None)
    values.pop("config", None)
    config = from_dict(values)
    if command == "finetune" and pretrained is None:
        raise ConfigError("finetune needs --pretrained RUN, the folder of an earlier pretrain or fit")
    from stacked_dae.data.registry import check_data

    check_data(config.data)
    if command != "pretrain" and config.data.path is not None and config.data.target is None:
        raise ConfigError("data.target: name the column of the class; without one, pretrain only")
    _train(command, config, Path(out) if out else _default_out(config, command, pretrained), pretrained, rerun)


def _train(command: str, config: Config, out: Path, pretrained: str | None, rerun: bool) -> None:
    from stacked_dae.pipeline import runner
    from stacked_dae.reporting.run_figures import draw_run
    from stacked_dae.reporting.terminal import print_summary
    from stacked_dae.utils.progress import Reporter, TerminalReporter

    # Of several processes one speaks.
    with TerminalReporter() if distributed.first() else Reporter() as reporter:
        how: dict[str, Any] = {"rerun": rerun, "reporter": reporter}
        if command == "finetune":
            assert pretrained is not None
            folder = runner.finetune(config, out, pretrained, **how)
        else:
            folder = getattr(runner, command)(config, out, **how)
        if not distributed.first():
            return
        draw_run(folder)
    print_summary(folder)
    print(f"run folder: {folder.path} (figures in {folder.path / 'figures'})")


def _default_out(config: Config, command: str, pretrained: str | None) -> Path:
    """Return a folder that the same command finds again."""
    identity = {key: v for key, v in flatten(config.to_dict()).items() if not key.startswith(NOT_IDENTITY)}
    mark = fingerprint(identity, command, pretrained)[:8]
    return Path("runs") / f"{config.data.title}-{config.model}-{mark}"


def run_reproduce(asked: Any) -> None:
    """Measure the table, or draw a study."""
    preset = asked.preset or "quick"
    budget = BUDGETS[preset] if asked.budget is None else asked.budget
    problems, models = asked.problems or list(PROBLEMS), asked.models or ["sda-3", "mlp-3"]
    check_order(problems, models, budget, asked.seed)
    if asked.what != "icml2008":
        _study(asked)
        return
    out = Path(asked.out or "runs/icml2008")

    from rich.console import Console
    from rich.table import Table

    from stacked_dae.reproduction.parallel import reproduce_side_by_side
    from stacked_dae.reproduction.runner import Order
    from stacked_dae.reproduction.table import cells
    from stacked_dae.utils.progress import TerminalReporter

    order = Order(problems, models, preset, budget, asked.seed, asked.source, asked.root)
    with TerminalReporter() as reporter:
        reporter.say(NOTES[preset])
        rows = reproduce_side_by_side(order, out, reporter)
    header, lines = cells(rows)
    table = Table(*header, title=f"Table 1, test error (%): {out}")
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    print(f"also in {out}: table.md, table.csv, table.png")


def _study(asked: Any) -> None:
    for option in ("models", "preset", "budget"):
        if getattr(asked, option) is not None:
            raise ConfigError(
                f"--{option}: reproduce {asked.what} searches nothing and takes no {option}; leave it out"
            )
    if len(asked.problems or ()) != 1:
        raise ConfigError(f"--problems: reproduce {asked.what} is of one problem; name one of {', '.join(PROBLEMS)}")
    (problem,) = asked.problems
    source = "" if asked.source == "regenerated" else f"-{asked.source}"
    out = Path(asked.out or f"runs/{asked.what}-{problem}{source}-seed{asked.seed}")
    from stacked_dae.data.registry import load
    from stacked_dae.reproduction.studies import errors_by_noise, filters_by_noise
    from stacked_dae.utils.progress import TerminalReporter

    data = load(problem, asked.root, asked.source)
    study = filters_by_noise if asked.what == "filters" else errors_by_noise
    with TerminalReporter() as reporter:
        picture = study(data, asked.source, asked.seed, out, reporter)
    print(picture)


def run_data(asked: Any) -> None:
    """List the data sets, make one ready, or show one."""
    from rich.console import Console
    from rich.table import Table

    from stacked_dae.data import registry

    if asked.action == "list":
        table = Table("name", "train / valid / test", "what")
        for name, entry in registry.ENTRIES.items():
            table.add_row(name, " / ".join(map(str, entry.rows)), f"{entry.description}; {entry.source}")
        Console().print(table)
        return
    if asked.name is None:
        raise ConfigError(f"data {asked.action} needs the name of a data set; data list names them")
    data = registry.load(asked.name, asked.root, asked.source)
    if asked.action == "show":
        from stacked_dae.reporting.run_figures import draw_samples

        print(draw_samples(data, Path(asked.out or f"{data.name}.png")))
        return
    rows = " / ".join(str(len(split)) for split in (data.train, data.valid, data.load_test()))
    print(f"{data.name} is ready: {rows} rows of {data.inputs} inputs, {data.classes} classes")


def run_compare(asked: Any) -> None:
    """Print runs side by side, and write what is asked for."""
    from stacked_dae.reporting.comparison import compare, find_runs, read_run, write_comparison
    from stacked_dae.reporting.terminal import print_comparison
    from stacked_dae.utils.files import check_output

    if bool(asked.runs) == bool(asked.wandb):
        raise ConfigError("compare needs run folders, or --wandb ENTITY/PROJECT[/GROUP], and not both")
    if asked.report and not asked.wandb:
        raise ConfigError("--report is of runs of Weights & Biases: name them with --wandb ENTITY/PROJECT[/GROUP]")
    files = {option: Path(name) for option in ("out", "csv") if (name := getattr(asked, option))}
    for option, file in files.items():
        check_output(f"--{option}", file)
    if len({file.resolve() for file in files.values()}) < len(files):
        raise ConfigError(f"--out and --csv are the same file, {asked.csv}; name two")
    if "out" in files and files["out"].suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {files['out']}: it is a web page; name a file that ends in .html")
    if asked.report:
        from stacked_dae.reporting.wandb_report import check_extra

        check_extra()
    if asked.wandb:
        from stacked_dae.reporting.wandb_runs import read_wandb

        runs = read_wandb(asked.wandb)
    else:
        runs = [read_run(folder, pictures=asked.out is not None) for folder in find_runs(asked.runs)]
    comparison = compare(runs, asked.sort)
    print_comparison(comparison)
    if asked.csv:
        write_comparison(comparison, Path(asked.csv))
        print(asked.csv)
    if asked.out:
        from stacked_dae.reporting.html import write_page

        write_page(comparison, Path(asked.out))
        print(asked.out)
    if asked.report:
        from stacked_dae.reporting.wandb_report import save_report

        print(save_report(asked.wandb, comparison.layers))


def run_sweep(asked: Any) -> None:
    """Run the trials of a sweep file here, and compare them."""
    if asked.local is None:
        raise ConfigError(f"sweep needs --local N, how many trials to run here; with W&B: wandb sweep {asked.file}")
    if asked.local < 1:
        raise ConfigError(f"--local must be a whole number above 0, not {asked.local}")
    if asked.seed < 0:
        raise ConfigError(f"--seed must be a whole number of at least 0, not {asked.seed}")
    from stacked_dae.reporting.comparison import compare, read_run
    from stacked_dae.reporting.run_figures import draw_run
    from stacked_dae.reporting.terminal import print_comparison
    from stacked_dae.tuning import sweep
    from stacked_dae.utils.progress import TerminalReporter

    plan = sweep.read_sweep(asked.file)
    out = Path(asked.out or f"runs/sweep-{Path(asked.file).stem}")
    with TerminalReporter() as reporter:
        folders = sweep.run_sweep(plan, asked.local, asked.seed, out, reporter)
        for folder in folders:
            draw_run(folder)
    print_comparison(compare([read_run(folder) for folder in folders], "valid"))
    print(f"run folders: {out}; a page of them: stacked-dae compare {out} --out report.html")
