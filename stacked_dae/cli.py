"""The command line. The only file that imports jsonargparse; torch and Lightning are imported once they are needed."""

from __future__ import annotations

import os
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from stacked_dae.config import NOT_IDENTITY, Config, Source, check_keys, fingerprint, flatten, from_dict, suggest_key
from stacked_dae.errors import ConfigError, StackedDAEError, suggest
from stacked_dae.paper import PROBLEMS
from stacked_dae.presets import BUDGETS, MODELS, NOTES, Preset, check_order
from stacked_dae.version import __version__

_JOBS = {
    "fit": "pre-train each layer, fine-tune the stack, test it once",
    "pretrain": "pre-train each layer",
    "finetune": "fine-tune and test the layers of an earlier run (--pretrained RUN)",
}
_OTHERS = {
    "evaluate": "test error of a finished run, computed anew",
    "plot": "draw the figures of a run",
    "reproduce": "measure the paper's Table 1 again (reproduce icml2008), or its figures (filters, noise)",
    "data": "list the data sets, make one ready (data prepare NAME), or draw examples of it (data show NAME)",
}
_STUDIES = ("icml2008", "filters", "noise")
# What options beside the settings of an experiment take.
_OPTIONS = {
    "budget": "a whole number above 0",
    "seed": "a whole number of at least 0",
    "preset": "one of quick, paper",
    "source": "one of regenerated, original",
}
# What a job takes beside the settings of the experiment.
_JOB_OPTIONS = ("out", "rerun", "pretrained")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0, 2 for what the user can mend, 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except StackedDAEError as error:
        message = str(error)
    except ArgumentError as error:
        message = _explain(str(error), arguments)
    except KeyboardInterrupt:
        print(
            "stacked-dae: interrupted; run the same command again to go on from the last finished epoch",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None:
            raise
        message = f"{error.filename or 'a file'}: {error.strerror}"
    print(f"stacked-dae: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _run(arguments: list[str]) -> int:
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command in _JOBS:
        arguments = _files_first(arguments, command)
    parsed = _parser(command).parse_args(arguments)
    runners: dict[str, Callable[[Namespace], None]] = {
        "evaluate": _evaluate,
        "plot": _plot,
        "data": _data,
        "reproduce": _reproduce,
        **dict.fromkeys(_JOBS, _job),
    }
    runners[parsed.command](parsed)
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
    commands = parser.add_subcommands(dest="command", required=True)
    for name, text in {**_JOBS, **_OTHERS}.items():
        sub = ArgumentParser(exit_on_error=False, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        if name == command:
            if name in _JOBS:
                _add_job_arguments(sub, name)
            else:
                _add_other_arguments(sub, name)
        commands.add_subcommand(name, sub, help=text)
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
    else:
        parser.add_argument("run", type=str, help="Run folder.")
    parser.add_argument("--data.root", dest="root", type=str | None, help="Folder of the data files.")


def _add_reproduce_arguments(parser: ArgumentParser) -> None:
    models = "; ".join(f"{name}: {text}" for name, text in MODELS.items())
    parser.add_argument(
        "what",
        choices=list(_STUDIES),
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
        help="quick: for an evening on two cores (when not given); paper: the paper's ranges.",
    )
    budgets = ", ".join(f"{name} {budget}" for name, budget in BUDGETS.items())
    parser.add_argument(
        "--budget", type=int | None, help=f"Configurations tried for each problem and model ({budgets}, if not given)."
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the search and of every run.")
    parser.add_argument("--source", type=Source, default="regenerated", help="Of the problems.")
    parser.add_argument("--out", type=str | None, help="Folder of the runs and results; under runs/ when not given.")


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
    from stacked_dae.manifest import RunFolder

    return str(RunFolder.open(Path(run)).path / "config.yaml")


def _check_file(file: str) -> None:
    """Raise ConfigError unless ``file`` is YAML with nothing but known settings."""
    try:
        values = yaml.safe_load(Path(file).read_text())
    except OSError as error:
        raise ConfigError(f"--config {file}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable text"
        raise ConfigError(f"--config {file}{where}: not YAML ({problem})") from None
    check_keys({} if values is None else values, file, also=_JOB_OPTIONS)


def _explain(message: str, arguments: list[str]) -> str:
    """Return one line for an error of the argument parser: which setting, what is wrong, what it takes."""
    unknown = re.search(r"unrecognized arguments: (?:.*?\s)?--([\w.+-]+)", message) or re.search(
        r"does not accept option '([\w.-]+)'", message
    )
    if unknown:
        key = unknown.group(1)
        hint = suggest_key(key) or suggest(key, _JOB_OPTIONS)
        return f"--{key} is no setting{hint}; --help lists them all"
    if 'expected "command"' in message:
        return f"name a command: {', '.join([*_JOBS, *_OTHERS])}; --help tells more"
    command = re.search(r"invalid choice: '([^']*)'", message)
    if command and "reproduce" in arguments:
        word = command.group(1)
        return f"reproduce knows no {word!r}{suggest(word, _STUDIES)}; known: {', '.join(_STUDIES)}"
    if command:
        known = [*_JOBS, *_OTHERS]
        return f"there is no command {command.group(1)!r}{suggest(command.group(1), known)}; known: {', '.join(known)}"
    key_match = re.search(r'key "([\w.]+)"', message)
    if key_match:
        key = key_match.group(1)
        given = re.findall(r"(?:Given value|Got value): (.*)", message)
        value = given[-1].strip() if given else ""
        takes = _takes(key) or _OPTIONS.get(key)
        if takes:
            return f"{key} must be {takes}" + (f", not {value!r}" if value else "")
    return re.sub(r"\s+", " ", message)


def _takes(key: str) -> str:
    """Return in words what values the setting ``key`` takes; empty if it is no setting."""
    hint: Any = Config
    for name in key.split("."):
        hints = get_type_hints(hint) if isinstance(hint, type) else {}
        if name not in hints:
            return ""
        hint = hints[name]
    return _in_words(hint)


def _in_words(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_in_words(part) for part in inner)
    if origin is Literal:
        return f"one of {', '.join(inner)}"
    if origin is list:
        return f"a list of such, one a layer ([{', '.join(2 * [_example(inner[0])])}])"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return words.get(hint, "a mapping of settings")


def _example(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return str(typing.get_args(hint)[0])
    return {int: "500", float: "0.1"}.get(hint, "…")


def _job(parsed: Namespace) -> None:
    command = parsed.command
    values = parsed[command].as_dict()
    out, rerun, pretrained = values.pop("out"), values.pop("rerun"), values.pop("pretrained", None)
    values.pop("config", None)
    config = from_dict(values)
    if command == "finetune" and pretrained is None:
        raise ConfigError("finetune needs --pretrained RUN, the folder of an earlier pretrain or fit")
    from stacked_dae.data.registry import check_name

    check_name(config.data.name)
    folder_path = Path(out) if out else _default_out(config, command, pretrained)

    from stacked_dae import workflow
    from stacked_dae.figures import draw_run
    from stacked_dae.progress import TerminalReporter
    from stacked_dae.summary import print_summary

    with TerminalReporter() as reporter:
        how: dict[str, Any] = {"rerun": rerun, "reporter": reporter}
        if command == "finetune":
            folder = workflow.finetune(config, folder_path, pretrained, **how)
        else:
            folder = getattr(workflow, command)(config, folder_path, **how)
        draw_run(folder)
    print_summary(folder)
    print(f"run folder: {folder.path} (figures in {folder.path / 'figures'})")


def _default_out(config: Config, command: str, pretrained: str | None) -> Path:
    """Return a folder that the same command finds again."""
    identity = {key: v for key, v in flatten(config.to_dict()).items() if not key.startswith(NOT_IDENTITY)}
    mark = fingerprint(identity, command, pretrained)[:8]
    return Path("runs") / f"{config.data.name}-{config.model}-{mark}"


def _evaluate(parsed: Namespace) -> None:
    from stacked_dae.workflow import evaluate

    print(f"test error {evaluate(parsed.evaluate.run, root=parsed.evaluate.root)}")


def _plot(parsed: Namespace) -> None:
    from stacked_dae.figures import draw_run
    from stacked_dae.manifest import RunFolder

    for file in draw_run(RunFolder.open(Path(parsed.plot.run)), root=parsed.plot.root):
        print(file)


def _reproduce(parsed: Namespace) -> None:
    asked = parsed.reproduce
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

    from stacked_dae.progress import TerminalReporter
    from stacked_dae.reproduce import Order, reproduce
    from stacked_dae.table1 import cells

    order = Order(problems, models, preset, budget, asked.seed, asked.source, asked.root)
    with TerminalReporter() as reporter:
        reporter.say(NOTES[preset])
        rows = reproduce(order, out, reporter)
    header, lines = cells(rows)
    table = Table(*header, title=f"Table 1, test error (%): {out}")
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    print(f"also in {out}: table.md, table.csv, table.png")


def _study(asked: Namespace) -> None:
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
    from stacked_dae.progress import TerminalReporter
    from stacked_dae.studies import errors_by_noise, filters_by_noise

    data = load(problem, asked.root, asked.source)
    study = filters_by_noise if asked.what == "filters" else errors_by_noise
    with TerminalReporter() as reporter:
        picture = study(data, asked.source, asked.seed, out, reporter)
    print(picture)


def _data(parsed: Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from stacked_dae.data import registry

    if parsed.data.action == "list":
        table = Table("name", "train / valid / test", "what")
        for name, entry in registry.ENTRIES.items():
            table.add_row(name, " / ".join(map(str, entry.rows)), f"{entry.description}; {entry.source}")
        Console().print(table)
        return
    if parsed.data.name is None:
        raise ConfigError(f"data {parsed.data.action} needs the name of a data set; data list names them")
    data = registry.load(parsed.data.name, parsed.data.root, parsed.data.source)
    if parsed.data.action == "show":
        from stacked_dae.figures import draw_samples

        print(draw_samples(data, Path(parsed.data.out or f"{data.name}.png")))
        return
    rows = " / ".join(str(len(split)) for split in (data.train, data.valid, data.load_test()))
    print(f"{data.name} is ready: {rows} rows of {data.inputs} inputs, {data.classes} classes")
