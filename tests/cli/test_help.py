"""What --help says: commands that work, every setting, and lines that fit."""

from __future__ import annotations

import re
import shlex

import pytest
from helpers.small_runs import ROOT

from stacked_dae.cli import parser
from stacked_dae.cli.help import _GROUPS, EXAMPLES, MOST_CHANGED
from stacked_dae.cli.main import main
from stacked_dae.cli.option_fields import option_names
from stacked_dae.cli.options import OTHER_COMMANDS, TRAINING_COMMANDS
from stacked_dae.config.loading import setting_names
from stacked_dae.config.reference import all_settings
from stacked_dae.config.schema import Config
from stacked_dae.utils.nested import flatten

COMMANDS = [*TRAINING_COMMANDS, *OTHER_COMMANDS]


def said(capsys, *arguments):
    assert main(list(arguments)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_example_can_be_pasted(command, capsys, monkeypatch):
    out = said(capsys, *([command] if command else []), "--help").replace("\\\n", " ")
    shown = re.search(r"\nExamples?\n(.*?)\n\n", out, re.S)[1].splitlines()
    assert list(map(shlex.split, shown)) == list(map(shlex.split, EXAMPLES[command]))
    # Their settings files are there; the run of `finetune --pretrained` is the user's.
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(parser, "_settings_of", lambda run: "configs/digits.yaml")
    for name, *arguments in map(shlex.split, shown):
        assert name == "stacked-dae"
        assert parser.parse(arguments)[0] == arguments[0] == (command or arguments[0])


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_lines_fit_the_terminal(command, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    for flag in ("--help", "--help-all", "-h"):
        lines = said(capsys, *([command] if command else []), flag).splitlines()
        # A word of a command or a setting is longer than a narrow terminal, and is not broken.
        whole = [line for line in lines if not line.endswith(chr(92)) and len(line.split()) > 2]
        assert [line for line in whole if len(line) > min(width, 100)] == []


def test_the_overview_has_every_command_once(capsys):
    out = said(capsys, "--help")
    assert sorted(name for names in _GROUPS.values() for name in names) == sorted(COMMANDS)
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert said(capsys, "--help-all") == out
    assert main(["fitt", "--help"]) == 2
    assert "unknown command 'fitt' (did you mean 'fit'?)" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(command, capsys):
    out = said(capsys, command, "--help")
    options = {**TRAINING_COMMANDS, **OTHER_COMMANDS}[command].options
    assert all(f"  --{name}" in out for name in option_names(options))


@pytest.mark.parametrize("command", TRAINING_COMMANDS)
def test_help_has_what_people_change_and_help_all_the_rest(command, capsys):
    short, long = said(capsys, command, "--help"), said(capsys, command, "--help-all")
    assert [name for name in setting_names() if f"  --{name}\n" in short] == list(MOST_CHANGED)
    assert f"the other {len(setting_names()) - 5} settings" in short
    assert [name for name in setting_names() if f"  --{name}\n" in long] == setting_names()


def test_settings_are_told_as_they_are():
    found = {setting.name: setting for setting in all_settings()}
    assert list(found) == setting_names()
    assert all(setting.text for setting in found.values())
    defaults = flatten(Config().to_dict())
    for name, words in {
        "seed": "0",
        "pretrain.corruption.nu": "0.25",
        "data.path": "null",
        "data.header": "true",
    }.items():
        assert found[name].default == words
        assert str(defaults[name]).lower().replace("none", "null") == words
    assert found["data.split"].takes == "a list ([0.1, 0.1]) or text", "and not one per layer"
    assert found["pretrain.epochs"].takes == "a whole number or a list of such, one per layer ([500, 500]) or auto"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("epochs", "--pretrain.epochs or --finetune.epochs?"),
        ("lr", "--pretrain.optimizer.lr or --finetune.optimizer.lr?"),
        ("optimizer.lr", "--pretrain.optimizer.lr or --finetune.optimizer.lr?"),
        ("nu", "--pretrain.corruption.nu?"),
        ("pretrain.unit", "--pretrain.units?"),
    ],
)
def test_a_setting_without_its_stage_is_suggested_with_it(wrong, right, capsys):
    assert main(["fit", f"--{wrong}", "3"]) == 2
    assert f"unknown setting --{wrong} (did you mean {right})" in capsys.readouterr().err
