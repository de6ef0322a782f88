"""Completion in a shell: what bash offers once it has read the script."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from stacked_dae.cli.main import main
from stacked_dae.cli.options import OTHER_COMMANDS, TRAINING_COMMANDS
from stacked_dae.config.loading import setting_names

# What bash does when somebody presses the tabulator after these words.
ASK = """
source "$1"; shift
offer() { COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
  $(complete -p stacked-dae | sed 's/.*-F \\([^ ]*\\).*/\\1/'); printf '%s\\n' "${COMPREPLY[@]}"; }
offer stacked-dae "$@"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    file = tmp_path_factory.mktemp("completion") / "script"
    with pytest.MonkeyPatch.context() as patch, file.open("w") as out:
        patch.setattr("sys.stdout", out)
        assert main(["completion", "bash"]) == 0
    return file


def offered(script, *words):
    done = subprocess.run(["bash", "-c", ASK, "bash", script, *words], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_offers_commands_settings_and_values(script):
    assert offered(script, "") == [*TRAINING_COMMANDS, *OTHER_COMMANDS]
    assert offered(script, "fi") == ["fit", "finetune"]
    assert set(offered(script, "fit", "--")) >= {f"--{name}" for name in setting_names()} | {"--out", "--layers"}
    assert offered(script, "fit", "--data.root", "x", "--pretrain.ti") == ["--pretrain.tied"]
    assert offered(script, "fit", "--model", "") == ["sda", "saa", "mlp"]
    assert offered(script, "export", "runs/x", "--format", "o") == ["onnx"]
    assert offered(script, "data", "") == ["list", "prepare", "show", "check"]
    assert "--layer" in offered(script, "encode", "runs/x", "--")


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script(shell, capsys):
    assert main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "stacked-dae" in out
    assert "reproduce" in out


def test_without_what_writes_it_one_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr("stacked_dae.cli.commands.completion.find_spec", lambda name: None)
    assert main(["completion", "bash"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "stacked-dae: error: completion needs shtab: pip install 'stacked-dae[completion]'\n"
