"""Print ``--help`` and ``--help-all``: examples first, then what people change, then the rest."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby

from stacked_dae.cli.option_fields import accepted_values, flag_of
from stacked_dae.cli.options import OTHER_COMMANDS, TRAINING_COMMANDS
from stacked_dae.config.loading import RECIPES
from stacked_dae.config.reference import Setting, all_settings

_GROUPS = {
    "Train": ("fit", "pretrain", "finetune", "search", "sweep"),
    "Look at runs": ("summary", "compare", "plot", "evaluate", "baselines", "runs"),
    "Use a run": ("predict", "encode", "reconstruct", "anomalies", "export"),
    "Data, the paper, the shell": ("data", "reproduce", "completion"),
}
EXAMPLES: Mapping[str, Sequence[str]] = {
    "": (
        "stacked-dae fit --data.name digits --out runs/digits",
        "stacked-dae fit --config table --data.path people.csv --data.target bought --out runs/people",
        "stacked-dae compare runs --out report.html",
    ),
    "fit": (
        "stacked-dae fit --data.name digits --out runs/digits",
        "stacked-dae fit --data.name digits --pretrain.units '[500, 500]' --pretrain.corruption.nu 0.4 --out runs/wide",
        "stacked-dae fit --config table --data.path people.csv --data.target bought --out runs/people",
    ),
    "pretrain": ("stacked-dae pretrain --data.name digits --pretrain.corruption.nu 0.25 --out runs/layers",),
    "finetune": ("stacked-dae finetune --pretrained runs/layers --data.labels_per_class 10 --out runs/few",),
    "search": (
        "stacked-dae search --config configs/digits.yaml --space configs/spaces/digits.yaml --trials 30 --pruner asha",
    ),
    "sweep": ("stacked-dae sweep configs/sweeps/noise.yaml --local 10",),
    "summary": ("stacked-dae summary runs/digits",),
    "evaluate": ("stacked-dae evaluate runs/people --data new.csv",),
    "baselines": ("stacked-dae baselines runs/people",),
    "plot": ("stacked-dae plot runs/digits",),
    "predict": ("stacked-dae predict runs/people --data new.csv --out predictions.csv",),
    "encode": ("stacked-dae encode runs/people --data new.csv --layer 2 --out codes.parquet",),
    "reconstruct": ("stacked-dae reconstruct runs/people --data people.csv --out rebuilt.csv",),
    "anomalies": ("stacked-dae anomalies runs/people --data people.csv --out scores.csv",),
    "export": ("stacked-dae export runs/people --format onnx",),
    "compare": ("stacked-dae compare runs --sort valid --out report.html",),
    "runs": ("stacked-dae runs list runs", "stacked-dae runs clean runs --dry-run"),
    "data": ("stacked-dae data list", "stacked-dae data check people.csv --target bought"),
    "reproduce": ("stacked-dae reproduce icml2008 --problems rect --budget 4",),
    "completion": ("stacked-dae completion bash",),
}
"""Commands that can be pasted, by the command whose help shows them; "" for the help of all."""
MOST_CHANGED = ("data.path", "data.target", "pretrain.units", "pretrain.corruption.nu", "finetune.optimizer.lr")
"""The settings that people change."""


def help_text(command: str | None, *, everything: bool, width: int | None = None) -> str:
    """Return the help of a command, or of all commands.

    Args:
        command: its name; None for the overview.
        everything: whether all settings are listed, not only those that people change.
        width: columns of the terminal; found out if None.
    """
    width = min(width or shutil.get_terminal_size().columns, 100)
    known = {**TRAINING_COMMANDS, **OTHER_COMMANDS}
    if command is None:
        lines = [*_overview(width)]
    else:
        this = known[command]
        trains = command in TRAINING_COMMANDS
        usage = f"stacked-dae {command}{_required(this.options)}{' [--SETTING VALUE …]' if trains else ' [options]'}"
        lines = [*_paragraph(f"{this.help[0].upper()}{this.help[1:]}.", width), "", *_paragraph(usage, width, 2)]
        lines += _examples(command, width)
        lines += ["", "Options", *_table(_options(this.options, trains), width)]
        if trains:
            settings = {setting.name: setting for setting in all_settings()}
            if everything:
                lines += _sections(settings.values(), width)
            else:
                chosen = [_entry(settings[name]) for name in MOST_CHANGED]
                lines += ["", "Settings that people change", *_table(chosen, width), ""]
                more = f"stacked-dae {command} --help-all lists the other {len(settings) - len(chosen)} settings."
                lines += _paragraph(more, width)
    return "\n".join(lines) + "\n"


def _overview(width: int) -> Iterator[str]:
    what = "Pre-train a deep network layer by layer with denoising autoencoders, fine-tune it, and use it."
    yield from _paragraph(what, width)
    yield from _examples("", width)
    known = {**TRAINING_COMMANDS, **OTHER_COMMANDS}
    for title, names in _GROUPS.items():
        yield from ("", title)
        yield from _table([(name, known[name].help) for name in names], width)
    yield ""
    yield from _paragraph("stacked-dae COMMAND --help describes one command; --version prints the version.", width)


def _examples(command: str, width: int) -> Iterator[str]:
    examples = EXAMPLES[command]
    yield from ("", "Examples" if len(examples) > 1 else "Example")
    for example in examples:
        yield from _command_line(example, width)


def _command_line(text: str, width: int) -> list[str]:
    """Return a command, broken between its options where it is too long, so that it can still be pasted."""
    lines = [f"  {text.split(' --')[0]}"]
    for option in text.split(" --")[1:]:
        if len(lines[-1]) + len(option) + 5 > width:
            lines[-1] += " \\"
            lines.append(f"      --{option}")
        else:
            lines[-1] += f" --{option}"
    return lines


def _required(options: type) -> str:
    """Return the arguments that a command needs."""
    words = []
    for field in fields(options):
        if field.metadata.get("positional"):
            words.append(f"[{field.name.upper()}]" if "nargs" in field.metadata else field.name.upper())
        elif field.metadata.get("required") or "(required)" in field.metadata["help"]:
            words.append(f"--{flag_of(field.name, field.metadata)} …")
    return "".join(f" {word}" for word in words)


def _options(options: type, trains: bool) -> Iterator[tuple[str, str]]:
    """Yield what each option is called and does."""
    if trains:
        yield (
            "--config FILE",
            f"YAML file of settings, or {' or '.join(RECIPES)}; options override it wherever they stand.",
        )
    for field in fields(options):
        text = field.metadata["help"]
        if field.metadata.get("positional"):
            yield field.name.upper(), text
            continue
        takes = "" if isinstance(field.default, bool) else f" ({accepted_values(options, field.name)})"
        default = "" if field.default is None or isinstance(field.default, bool) else f" Default: {field.default}."
        yield f"--{flag_of(field.name, field.metadata)}", f"{text}{takes}{default}"
    if trains:
        yield "--print_config", "Print the settings that would be used, as YAML, and train nothing."


def _entry(setting: Setting) -> tuple[str, str]:
    default = "" if setting.default == "null" else f" Default: {setting.default}."
    return f"--{setting.name}", f"{setting.text} ({setting.takes}){default}"


def _sections(settings: Iterable[Setting], width: int) -> Iterator[str]:
    """Yield all settings, under the part that each belongs to."""
    for part, members in groupby(settings, lambda setting: setting.part):
        yield from ("", f"Settings: {part}")
        yield from _table(map(_entry, members), width, whole=False)


def _paragraph(text: str, width: int, indent: int = 0) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(
        text,
        width,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(entries: Iterable[tuple[str, str]], width: int, *, whole: bool = True) -> Iterator[str]:
    """Yield names with their texts: beside them where there is room, else below."""
    entries = list(entries)
    longest = max((len(name) for name, _ in entries), default=0)
    if whole and longest <= 18 and width >= 60:
        for name, text in entries:
            first, *others = _paragraph(text, width, longest + 4) or [""]
            yield f"  {name.ljust(longest)}  {first.strip()}".rstrip()
            yield from others
        return
    for name, text in entries:
        yield f"  {name}"
        yield from _paragraph(text, width, 6)
