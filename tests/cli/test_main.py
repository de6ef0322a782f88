"""The command line, as a person uses it: real processes where it matters, main() elsewhere."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from helpers.small_runs import ROOT

from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Config
from stacked_dae.data.builtin import mnist

SMALL = """
data: {name: digits}
pretrain: {units: [12, 9], epochs: 2, batch_size: 50, corruption: {nu: [0.1, 0.2]}}
finetune: {epochs: 3, batch_size: 50}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a finished run folder, to be read only."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "small.yaml").write_text(SMALL)
    assert main(["fit", "--config", str(folder / "small.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def command(*arguments, **how):
    return subprocess.run(
        [sys.executable, "-m", "stacked_dae", *map(str, arguments)], capture_output=True, text=True, timeout=200, **how
    )


def printed_config(capsys, *arguments):
    """Return the config that --print_config shows."""
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--print_config"])
    assert stop.value.code in (0, None)
    values = yaml.safe_load(capsys.readouterr().out)
    return config_from_dict({k: v for k, v in values.items() if k not in ("out", "rerun", "pretrained", "layers")})


def refused(capsys, arguments, *texts):
    """Check that a command ends in one line with these texts and exit code 2."""
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("stacked-dae: error: ")
    assert err.count("\n") == 1, err
    for text in texts:
        assert str(text) in err, err


def test_fit_ends_in_a_table_and_pictures(tmp_path, config, capsys):
    done = command("fit", "--config", config, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    for text in ("layer_1", "layer_2", "finetune", "seconds", "n = 358", f"{result['test_error_percent']:.2f} ±"):
        assert text in done.stdout
    assert "layer_1 codes (train): 1260/1260 rows" in done.stderr
    pictures = {p.name for p in (tmp_path / "run" / "figures").iterdir()}
    assert pictures == {"filters.png", "reconstructions.png", "curves.png", "confusion.png"}
    assert main(["fit", "--config", str(config), "--out", str(tmp_path / "run")]) == 0
    assert "finished already: nothing to train" in " ".join(capsys.readouterr().err.split())


def test_pretrain_then_finetune(tmp_path, config, run):
    assert main(["pretrain", "--config", config, "--out", str(tmp_path / "layers")]) == 0
    assert main(["finetune", "--pretrained", str(tmp_path / "layers"), "--out", str(tmp_path / "fine")]) == 0
    one, two = (json.loads((folder / "result.json").read_text()) for folder in (run, tmp_path / "fine"))
    assert one["test_error_percent"] == two["test_error_percent"]
    assert one["confusion"] == two["confusion"]


def test_evaluate_plot_and_data(run, capsys):
    result = json.loads((run / "result.json").read_text())
    assert main(["evaluate", str(run)]) == 0
    assert f"{result['test_error_percent']:.2f} ±" in capsys.readouterr().out
    assert main(["plot", str(run)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["data", "prepare", "digits"]) == 0
    assert "1260 / 179 / 358 rows of 64 inputs, 10 classes" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    assert "mnist5k" in capsys.readouterr().out


def test_the_default_folder_is_found_again(tmp_path, config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", config]) == 0
    assert main(["fit", "--config", config, "--tracking.project", "other"]) == 0
    folders = list((tmp_path / "runs").iterdir())
    assert len(folders) == 1
    assert folders[0].name.startswith("digits-sda-")
    assert main(["fit", "--config", config, "--model", "mlp"]) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_the_resolved_config_is_in_the_run_folder(run, config):
    written = config_from_dict(yaml.safe_load((run / "config.yaml").read_text()))
    assert written == config_from_dict(yaml.safe_load(SMALL))


def test_an_option_wins_over_the_file_wherever_it_stands(config, capsys):
    before = printed_config(capsys, "fit", "--seed", "7", "--config", config)
    after = printed_config(capsys, "fit", f"--config={config}", "--seed=7")
    assert before == after
    assert before.seed == 7
    assert before.pretrain.units == [12, 9]


def test_a_later_file_wins_over_an_earlier_one(config, tmp_path, capsys):
    (tmp_path / "more.yaml").write_text("seed: 5\npretrain: {units: [3, 3]}\n")
    both = printed_config(capsys, "fit", "--config", config, "--config", str(tmp_path / "more.yaml"))
    assert (both.seed, both.pretrain.units, both.finetune.epochs) == (5, [3, 3], 3)


def test_a_printed_config_reads_back(config, capsys, tmp_path):
    one = printed_config(capsys, "fit", "--config", config, "--pretrain.optimizer.options.momentum", "0.5")
    assert one.pretrain.optimizer.options == {"momentum": 0.5}
    (tmp_path / "printed.yaml").write_text(yaml.safe_dump({**one.to_dict(), "out": None}))
    assert printed_config(capsys, "fit", "--config", str(tmp_path / "printed.yaml")) == one


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_config_parses(path, capsys):
    table = (
        ["--data.path", "docs/data/people.csv", "--data.target", "bought"]
        if "scale: standard" in path.read_text()
        else []
    )
    assert printed_config(capsys, "fit", "--config", str(path), *table) != Config()


def test_finetune_starts_from_the_settings_of_the_pretrained_run(run, capsys):
    got = printed_config(capsys, "finetune", "--finetune.epochs", "9", "--pretrained", str(run))
    assert got.pretrain.units == [12, 9]
    assert got.finetune.epochs == 9


BAD_SETTINGS = {
    "unknown key": (["--pretrain.unitss", "3"], "did you mean --pretrain.units"),
    "nu": (["--pretrain.corruption.nu", "1.5"], "pretrain.corruption.nu must be in [0, 1], not 1.5"),
    "units": (["--pretrain.units", "0"], "pretrain.units must be a whole number above 0, not 0"),
    "units text": (["--pretrain.units", "many"], "pretrain.units must be a whole number or a list"),
    "no layers": (["--pretrain.units", "[]"], "pretrain.units is an empty list"),
    "list length": (["--pretrain.epochs", "[1,2,3]"], "pretrain.epochs has 3 values"),
    "dataset": (["--data.name", "digit"], "did you mean 'digits'"),
    "choice": (["--pretrain.optimizer.name", "addam"], "pretrain.optimizer.name must be one of sgd, adam"),
    "option": (["--pretrain.optimizer.options.nestrov", "true"], "did you mean 'nesterov'"),
    "labels": (["--data.labels_per_class", "900"], "has only 125 training rows"),
    "gpu": (["--trainer.accelerator", "cuda"], "trainer.accelerator: cuda cannot be used here"),
    "stray word": (["stray"], "stray"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_a_bad_setting_is_one_line_and_nothing_is_written(case, tmp_path, config, capsys):
    if case == "gpu":
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
    extra, text = BAD_SETTINGS[case]
    refused(capsys, ["fit", "--config", config, "--out", tmp_path / "run", *extra], text)
    assert not (tmp_path / "run").exists()


BAD_FILES = {
    "absent": (None, "cannot be read (No such file or directory)"),
    "not yaml": ("a: [1,\n", "line 2: not YAML"),
    "a tag": ("!!python/object/apply:os.system ['true']", "not YAML"),
    "binary": (b"\xff\xfe\x00", "not YAML"),
    "a list": ("[1, 2]", "must be a mapping of settings"),
    "unknown key": ("pretrain: {unit: 3}", "unknown setting pretrain.unit (did you mean 'pretrain.units'?)"),
    "bad value": ("pretrain: {units: many}", "pretrain.units must be a whole number"),
    "bad range": ("finetune: {patience: 0}", "finetune.patience"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_config_file_is_one_line(case, tmp_path, capsys):
    content, text = BAD_FILES[case]
    path = tmp_path / "bad.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(capsys, ["fit", "--config", path, "--out", tmp_path / "run"], text)
    assert not (tmp_path / "run").exists()


def test_a_folder_is_one_line_as_config_file(tmp_path, capsys):
    refused(capsys, ["fit", "--config", tmp_path], "cannot be read (Is a directory)")


def test_commands_that_are_wrong_are_one_line(tmp_path, capsys, run):
    refused(capsys, ["fitt"], "unknown command 'fitt' (did you mean 'fit'?)")
    refused(capsys, [], "name a command: fit, pretrain")
    refused(capsys, ["fit", "--config"], "--config needs a file")
    refused(capsys, ["finetune"], "finetune needs --pretrained RUN")
    refused(capsys, ["finetune", "--pretrained", tmp_path / "no"], "is not a run folder: it is not there")
    refused(capsys, ["finetune", "--pretrained", run, "--data.name", "mnist5k"], "data.name is 'digits' there")
    refused(capsys, ["evaluate", tmp_path], "is not a run folder")
    refused(capsys, ["plot", tmp_path / "no"], "is not a run folder")
    refused(capsys, ["data", "prepare"], "needs the name")
    refused(capsys, ["data", "prepare", "minst"], "did you mean 'mnist'")


def test_a_folder_of_another_experiment_is_refused_with_the_first_key(run, config, capsys):
    before = sorted(run.rglob("*"))
    refused(
        capsys,
        ["fit", "--config", config, "--out", run, "--pretrain.epochs", "3"],
        "pretrain.epochs is 2 there and 3 here",
    )
    assert sorted(run.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, config, capsys):
    (tmp_path / "file").write_text("")
    refused(capsys, ["fit", "--config", config, "--out", tmp_path / "file" / "run"], "no permission to write")
    refused(capsys, ["fit", "--config", config, "--out", tmp_path / "file"], "is not a run folder")
    if os.getuid():
        (tmp_path / "shut").mkdir(mode=0o500)
        refused(capsys, ["fit", "--config", config, "--out", tmp_path / "shut" / "run"], "no permission to write")
    refused(capsys, ["fit", "--config", config, "--out", "/proc/run"], "/proc/run")


def write_mnist(folder, x, y, kind=0x0D, test_labels=10000):
    """Write an MNIST of these images: the training ones to both parts."""
    folder.mkdir()
    for name in mnist.SHA256:
        n = 60000 if name.startswith("train") else 10000
        if "images" in name:
            head, array = struct.pack(">BBBBIII", 0, 0, kind, 3, n, 28, 28), x[:n]
        else:
            n = n if name.startswith("train") else test_labels
            head, array = struct.pack(">BBBBI", 0, 0, 8, 1, n), y[:n]
        (folder / name).write_bytes(head + array.tobytes())


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.nan, "row 4, input 7 is nan"), (-np.inf, "is -inf"), (255.0, "cross_entropy needs inputs in [0, 1]")],
)
def test_unusable_pixels_are_one_line(tmp_path, capsys, value, text):
    x = np.zeros((60000, 784), ">f4")
    x[4, 7] = value
    write_mnist(tmp_path / "mnist", x, np.arange(60000, dtype=np.uint8) % 10)
    refused(
        capsys,
        ["fit", "--data.name", "mnist", "--data.root", tmp_path, "--out", tmp_path / "run"],
        "training rows",
        text,
    )
    assert not (tmp_path / "run").exists()


def test_images_without_labels_are_one_line(tmp_path, capsys):
    write_mnist(
        tmp_path / "mnist", np.zeros((60000, 784), np.uint8), np.arange(60000, dtype=np.uint8) % 10, 8, test_labels=9999
    )
    refused(
        capsys,
        ["fit", "--data.name", "mnist", "--data.root", tmp_path, "--out", tmp_path / "run"],
        "9999 labels",
        "not a pair",
    )


@pytest.mark.parametrize(
    ("sent", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "stopped"),
        (signal.SIGUSR1, 138, "stopped"),
    ],
)
@pytest.mark.slow
def test_a_signal_ends_in_a_line_and_the_run_goes_on(tmp_path, config, run, sent, code, word):
    arguments = ["fit", "--config", config, "--out", str(tmp_path / "run"), "--pretrain.epochs", "[2,400]"]
    job = subprocess.Popen([sys.executable, "-m", "stacked_dae", *arguments], stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "layer_2" / "metrics.csv"
    deadline = time.monotonic() + 100
    # Two epochs: before the first there may be no minibatch yet to end, and nothing to keep.
    while not (metrics.exists() and metrics.read_text().count("\n") > 2) and job.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.send_signal(sent)
    _, err = job.communicate(timeout=100)
    assert job.returncode == code, err
    assert f"{word}; run the same command again" in err
    assert "Traceback" not in err
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [e["status"] for e in manifest["stages"].values()] == ["done", "running", "pending"]
    assert (tmp_path / "run" / "layer_2" / "minibatch.ckpt").exists(), "it ended its minibatch, and kept it"
    assert main(arguments) == 0
    first = (tmp_path / "run" / "layer_1" / "weights.safetensors").read_bytes()
    assert first == (run / "layer_1" / "weights.safetensors").read_bytes()
    assert not (tmp_path / "run" / "layer_2" / "minibatch.ckpt").exists()


@pytest.mark.slow
def test_a_second_process_on_a_run_folder_is_refused(tmp_path, config):
    arguments = ["fit", "--config", config, "--out", str(tmp_path / "run"), "--pretrain.epochs", "[2,4000]"]
    first = subprocess.Popen([sys.executable, "-m", "stacked_dae", *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (tmp_path / "run" / "layer_1" / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = command(*arguments)
    assert second.returncode == 2
    assert "is in use by another process" in second.stderr
    assert second.stderr.count("\n") == 1
    assert first.poll() is None, "the first goes on"
    first.kill()
    first.communicate()
    # A killed process leaves no lock behind.
    shorter = [*arguments[:-1], "[2,3]"]
    assert main([*shorter, "--rerun"]) == 0
