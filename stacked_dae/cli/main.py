"""The command line. The only file that imports jsonargparse; torch and Lightning are imported once they are needed."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

from stacked_dae.cli.commands import runs, train
from stacked_dae.cli.messages import JOB_OPTIONS, explain
from stacked_dae.config.loading import check_keys
from stacked_dae.config.schema import Config, Format, Source, Weights
from stacked_dae.errors import ConfigError, StackedDAEError
from stacked_dae.reproduction.models import MODELS, STUDIES
from stacked_dae.reproduction.published import PROBLEMS
from stacked_dae.reproduction.search_space import BUDGETS, Preset
from stacked_dae.utils import distributed
from stacked_dae.utils.signals import SIGNALS, Stopped, heard
from stacked_dae.utils.yaml_io import read_yaml
from stacked_dae.version import __version__

_JOBS = {
    "fit": "pre-train each layer, fine-tune the stack, test it once",
    "pretrain": "pre-train each layer",
    "finetune": "fine-tune and test the layers of an earlier run (--pretrained RUN)",
}
_ON_A_RUN = ("summary", "evaluate", "plot", "predict", "encode", "export")
_OTHERS = {
    "summary": "what a run is: data, layers, stages, result",
    "evaluate": "test error of a finished run, computed anew",
    "plot": "draw the figures of a run",
    "predict": "class and probabilities of each row of a file (--data FILE --out preds.csv)",
    "encode": "codes of each row of a file (--data FILE --layer K --out codes.parquet)",
    "export": "a run's model for other programs: ONNX, or torch.export (--format onnx)",
    "reproduce": "measure the paper's Table 1 again (reproduce icml2008), or its figures (filters, noise)",
    "compare": "runs side by side: a table, and a page (--out report.html)",
    "sweep": "run the trials of a W&B sweep file here, without W&B (--local N)",
    "data": "list the data sets, make one ready (data prepare NAME), or draw examples of it (data show NAME)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0, 2 for what the user can mend, 128 + the signal that stopped it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with heard(*SIGNALS):
            return _run(arguments)
    except StackedDAEError as error:
        message = str(error)
    except ArgumentError as error:
        message = explain(str(error), arguments, _JOBS, _OTHERS)
    except KeyboardInterrupt as stop:
        signum = stop.signum if isinstance(stop, Stopped) else signal.SIGINT
        how = "interrupted" if signum == signal.SIGINT else "stopped"
        print(f"stacked-dae: {how}; run the same command again to go on from there", file=sys.stderr)
        return 128 + signum
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not distributed.first() and "onnection" in str(error):
            # Of several processes the first said why it ended.
            return 2
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        reason = (str(error).splitlines() or ["no more could be had"])[0]
        message = f"out of memory ({reason}); lower pretrain.units, a batch_size or data.memory_budget"
    except OSError as error:
        if error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        mend = "; make room, and run the same command again to go on" if full else ""
        message = f"{error.filename or 'a file'}: {error.strerror}{mend}"
    print(f"stacked-dae: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _run(arguments: list[str]) -> int:
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command in _JOBS:
        arguments = _files_first(arguments, command)
    try:
        parsed = _parser(command).parse_args(arguments)
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        # The parser's own, on values that nobody has in mind.
        raise ConfigError(f"an option has a value that cannot be read ({error})") from None
    asked = parsed[parsed.command]
    if parsed.command in _JOBS:
        train.run_job(parsed.command, asked.as_dict())
    else:
        module = runs if parsed.command in _ON_A_RUN else train
        getattr(module, f"run_{parsed.command}")(asked)
    return 0


def _parser(command: str | None) -> ArgumentParser:
    """Return the parser; only the command that is asked for gets its arguments, so that --help answers at once."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog="stacked-dae",
        exit_on_error=False,
        description="Pre-train a deep network layer by layer with denoising autoencoders, and fine-tune it.",
        version=__version__,
        allow_abbrev=False,
    )
    subcommands = parser.add_subcommands(dest="command", required=True)
    for name, text in {**_JOBS, **_OTHERS}.items():
        sub = ArgumentParser(exit_on_error=False, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        if name == command:
            if name in _JOBS:
                _add_job_arguments(sub, name)
            else:
                _add_other_arguments(sub, name)
        subcommands.add_subcommand(name, sub, help=text)
    return parser


def _add_job_arguments(parser: ArgumentParser, command: str) -> None:
    parser.add_argument("--config", action="config", help="YAML file of settings; later options override it.")
    if command == "finetune":
        parser.add_argument("--pretrained", type=str, help="Run folder of the layers; its settings are the defaults.")
    parser.add_argument("--out", type=str | None, help="Run folder; runs/DATA-MODEL-FINGERPRINT when not given.")
    parser.add_argument(
        "--rerun", action="store_true", help="In a folder of another experiment: train from the first difference on."
    )
    parser.add_class_arguments(Config, help="The experiment.")


def _add_other_arguments(parser: ArgumentParser, command: str) -> None:
    if command == "data":
        parser.add_argument(
            "action",
            choices=["list", "prepare", "show"],
            help="list: name the data sets; prepare: fetch or make one; show: draw a sheet of its training examples.",
        )
        parser.add_argument("name", type=str, nargs="?", help="Data set to prepare or show.")
        parser.add_argument("--source", type=Source, default="regenerated", help="Of an ICML-2007 problem.")
        parser.add_argument("--out", type=str | None, help="Picture that show draws; NAME.png when not given.")
    elif command == "reproduce":
        _add_reproduce_arguments(parser)
    elif command == "compare":
        _add_compare_arguments(parser)
        return
    elif command == "sweep":
        _add_sweep_arguments(parser)
        return
    else:
        parser.add_argument("run", type=str, help="Run folder.")
        if command not in ("evaluate", "plot"):
            _add_model_arguments(parser, command)
            return
    parser.add_argument("--data.root", dest="root", type=str | None, help="Folder of the data files.")


def _add_model_arguments(parser: ArgumentParser, command: str) -> None:
    if command in ("predict", "encode"):
        parser.add_argument(
            "--data", type=str, required=True, help="Rows as the run was trained on: .csv, .parquet, .npy or .npz."
        )
    if command == "predict":
        parser.add_argument("--out", type=str | None, help="Needed: CSV file to write: class, and p_CLASS.")
    elif command == "encode":
        parser.add_argument("--layer", type=int | None, help="Layer, from 1; the uppermost when not given.")
        parser.add_argument(
            "--weights",
            type=Weights | None,
            help="Of the fine-tuned stack or of the pre-trained layers; the fine-tuned where there are, if not given.",
        )
        parser.add_argument("--out", type=str | None, help="Needed: .npy, .parquet or .csv file to write.")
    elif command == "export":
        parser.add_argument("--format", type=Format, default="onnx", help="onnx: with a table's preprocessing; torch.")
        parser.add_argument("--out", type=str | None, help="File to write; model.onnx or model.pt2 in the run folder.")


def _add_reproduce_arguments(parser: ArgumentParser) -> None:
    models = "; ".join(f"{name}: {text}" for name, text in MODELS.items())
    parser.add_argument(
        "what",
        choices=list(STUDIES),
        help="icml2008: the table; filters: first-layer filters against nu (the paper's Figure 3); noise: test error"
        " against nu and depth (the journal's Figures 10 and 11).",
    )
    parser.add_argument(
        "--problems",
        nargs="+",
        type=str,
        help=f"Of {', '.join(PROBLEMS)}; all when not given. The figures: one of them.",
    )
    parser.add_argument("--models", nargs="+", type=str, help=f"sda-3 and mlp-3 when not given. {models}.")
    parser.add_argument(
        "--preset",
        type=Preset | None,
        help="quick: for an evening on two cores (when not given); paper: the journal's ranges, but for the rates.",
    )
    budgets = ", ".join(f"{name} {budget}" for name, budget in BUDGETS.items())
    parser.add_argument(
        "--budget", type=int | None, help=f"Configurations tried for each problem and model ({budgets}, if not given)."
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the search and of every run.")
    parser.add_argument("--source", type=Source, default="regenerated", help="Of the problems.")
    parser.add_argument("--out", type=str | None, help="Folder of the runs and results; under runs/ when not given.")


def _add_compare_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", type=str, nargs="*", help="Run folders, folders above them, or patterns of either.")
    parser.add_argument(
        "--wandb", type=str | None, help="Runs of Weights & Biases instead: ENTITY/PROJECT or ENTITY/PROJECT/GROUP."
    )
    parser.add_argument(
        "--sort", type=str | None, help="valid, test, seconds, name, or a setting; --sort=-test for the reverse."
    )
    parser.add_argument("--out", type=str | None, help="Web page to write: table, learning curves, filters.")
    parser.add_argument("--csv", type=str | None, help="CSV file to write.")
    parser.add_argument(
        "--report", action="store_true", help="With --wandb: write a report on the site too (extra: report)."
    )


def _add_sweep_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=str, help="Sweep file of Weights & Biases; its own program runs it otherwise.")
    parser.add_argument("--local", type=int | None, help="Trials to run here; a grid may have fewer.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draws of a random sweep.")
    parser.add_argument("--out", type=str | None, help="Folder of the run folders; runs/sweep-FILE when not given.")


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
                    raise ConfigError(f"{name} needs a value")
            if name == "--config":
                files.append(value)
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
        raise ConfigError(f"--config {error}") from None
    check_keys({} if values is None else values, file, also=JOB_OPTIONS)
