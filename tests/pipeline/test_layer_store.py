"""Layers that runs share: trained once, also by processes at the same time, and never taken where they are others."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from helpers.components import Scaled
from helpers.small_runs import SMALL, MessageRecorder, blobs, small, stop_after

from stacked_dae import Components, fit, pretrain
from stacked_dae.cli.main import main
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.signals import Interrupted

LAYERS = ("layer_1", "layer_2")


def with_rate(rate):
    config = small()
    return replace(config, finetune=replace(config.finetune, optimizer=replace(config.finetune.optimizer, lr=rate)))


def with_noise(*nu):
    config = small()
    corruption = replace(config.pretrain.corruption, nu=list(nu))
    return replace(config, pretrain=replace(config.pretrain, corruption=corruption))


def bits(run):
    return {name: record.sha256 for name, record in run.manifest.stages.items()}


def taken(recorder):
    return [line.split(":")[0] for line in recorder.lines if ": taken from" in line]


def shared_fit(config, place, name, **arguments):
    recorder = MessageRecorder()
    arguments = {"dataset": blobs(), **arguments}
    run = fit(config, place / name, progress=recorder, layers=place / "layers", **arguments)
    return run, taken(recorder)


def test_a_run_takes_the_layers_that_another_has_trained(tmp_path):
    first, none = shared_fit(with_rate(0.1), tmp_path, "first")
    assert none == []
    second, both = shared_fit(with_rate(0.5), tmp_path, "second")
    assert both == list(LAYERS)
    alone = fit(with_rate(0.5), tmp_path / "alone", dataset=blobs())
    assert bits(second) == bits(alone)
    for stage in LAYERS:
        assert second.metrics(stage).rows() == first.metrics(stage).rows()
        assert second.stage(stage) == first.stage(stage)
    assert second.result().test_error_percent == alone.result().test_error_percent
    # From layer 2 on another one.
    third, one = shared_fit(with_noise(0.25, 0.1), tmp_path, "third")
    assert one == ["layer_1"]
    assert bits(third) == bits(fit(with_noise(0.25, 0.1), tmp_path / "other", dataset=blobs()))
    # The files are the run's own: it needs neither the store nor the first run.
    shutil.rmtree(tmp_path / "layers")
    shutil.rmtree(tmp_path / "first")
    recorder = MessageRecorder()
    fit(with_rate(0.5), tmp_path / "second", dataset=blobs(), progress=recorder)
    assert "finished already" in recorder.lines[-1]


@pytest.mark.parametrize("other", ["data", "seed", "epochs", "components"])
def test_other_layers_are_trained(other, tmp_path):
    shared_fit(small(), tmp_path, "first")
    config = small()
    arguments = {}
    if other == "data":
        arguments["dataset"] = blobs(seed=1)
    elif other == "seed":
        config = replace(config, seed=4)
    elif other == "epochs":
        config = replace(config, pretrain=replace(config.pretrain, epochs=2))
    else:
        arguments["components"] = Components(layer=Scaled)
    assert shared_fit(config, tmp_path, "other", **arguments)[1] == []


def test_pretraining_alone_shares_too(tmp_path):
    pretrain(small(), tmp_path / "layers_alone", dataset=blobs(), layers=tmp_path / "layers")
    run, both = shared_fit(small(), tmp_path, "run")
    assert both == list(LAYERS)
    assert run.result().n_test == 90


@pytest.mark.parametrize("looks", [20, 47])
def test_a_run_that_was_cut_takes_what_another_has_finished(looks, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, looks)
        with pytest.raises(Interrupted):
            shared_fit(with_rate(0.5), tmp_path, "cut")
    shared_fit(with_rate(0.1), tmp_path, "whole")
    run, found = shared_fit(with_rate(0.5), tmp_path, "cut")
    assert found == (["layer_1", "layer_2"] if looks == 20 else ["layer_2"])
    assert bits(run) == bits(fit(with_rate(0.5), tmp_path / "alone", dataset=blobs()))
    assert not list((tmp_path / "cut").rglob("*.ckpt"))


DAMAGE = {
    "a changed bit": lambda entry: _flip(entry / "weights.safetensors"),
    "half of the weights": lambda entry: os.truncate(entry / "weights.safetensors", 100),
    "no weights": lambda entry: (entry / "weights.safetensors").unlink(),
    "other metrics": lambda entry: _flip(entry / "metrics.csv"),
    "half a record": lambda entry: os.truncate(entry / "record.json", 20),
    "a record that is a folder": lambda entry: ((entry / "record.json").unlink(), (entry / "record.json").mkdir()),
}


def _flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    # A new file: the run's own is the same one.
    file.unlink()
    file.write_bytes(content)


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_layer_is_trained_again(case, tmp_path):
    first, _ = shared_fit(small(), tmp_path, "first")
    entry = tmp_path / "layers" / first.stage("layer_1").fingerprint
    if case == "half of the weights":
        shutil.copyfile(entry / "weights.safetensors", entry / "copy")
        (entry / "copy").replace(entry / "weights.safetensors")
    DAMAGE[case](entry)
    if case == "a record that is a folder":
        shutil.rmtree(entry / "record.json")
    run, found = shared_fit(with_rate(0.5), tmp_path, "second")
    assert found == ["layer_2"]
    assert bits(run) == bits(fit(with_rate(0.5), tmp_path / "alone", dataset=blobs()))
    assert bits(RunFolder.open(first.path)) == bits(first), "the first run is whole"
    assert shared_fit(with_rate(0.3), tmp_path, "third")[1] == list(LAYERS), "and the store is mended"


# Real processes.


def start(place, name, rate):
    config = {
        **SMALL,
        "data": {"name": "digits"},
        "pretrain": {"units": [40, 30], "epochs": 12},
        "finetune": {"epochs": 2, "optimizer": {"lr": rate}},
    }
    (place / f"{name}.yaml").write_text(yaml.safe_dump(config))
    words = ["fit", "--config", f"{name}.yaml", "--out", name, "--layers", "layers", "--tracking.mode", "off"]
    return subprocess.Popen(
        [sys.executable, "-m", "stacked_dae", *words],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    _, said = process.communicate(timeout=300)
    return process.returncode, " ".join(said.split())


@pytest.mark.slow
def test_processes_at_the_same_time_train_each_layer_once(tmp_path):
    processes = [start(tmp_path, f"run{k}", 0.1 * k) for k in (1, 2)]
    results = [ended(process) for process in processes]
    assert [code for code, _ in results] == [0, 0]
    runs = [RunFolder.open(tmp_path / f"run{k}") for k in (1, 2)]
    for stage in LAYERS:
        # The times of a training never agree by chance.
        assert runs[0].stage(stage) == runs[1].stage(stage)
        files = [run.path / stage / "weights.safetensors" for run in runs]
        assert files[0].stat().st_ino == files[1].stat().st_ino
        assert sum(f"{stage}: taken from" in said for _, said in results) == 1
    assert runs[0].stage("finetune").sha256 != runs[1].stage("finetune").sha256


HOLD = """
import sys, time
from pathlib import Path
from stacked_dae.utils.files import lock_folder
Path(sys.argv[1]).mkdir(parents=True)
lock = lock_folder(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def waiting(place):
    """Return a process that trains layer 1, as others see it, and one that waits for it."""
    assert ended(start(place, "alone", 0.1))[0] == 0
    mark = RunFolder.open(place / "alone").stage("layer_1").fingerprint
    shutil.rmtree(place / "layers")
    words = [sys.executable, "-c", HOLD, str(place / "layers" / mark)]
    first = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    second = start(place, "run", 0.1)
    assert any("waiting for another process" in line for line in second.stderr)
    return first, second


@pytest.mark.slow
def test_where_the_process_that_trains_is_killed_the_one_that_waits_does(tmp_path):
    first, second = waiting(tmp_path)
    assert second.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    code, said = ended(second)
    assert code == 0
    assert "taken from" not in said
    assert bits(RunFolder.open(tmp_path / "run")) == bits(RunFolder.open(tmp_path / "alone"))


@pytest.mark.slow
def test_ctrl_c_ends_the_wait(tmp_path):
    first, second = waiting(tmp_path)
    second.send_signal(signal.SIGINT)
    code, said = ended(second)
    first.kill()
    first.wait()
    assert code == 130
    assert "Traceback" not in said


def test_places_that_are_none_are_one_line(tmp_path, capsys):
    run, _ = shared_fit(small(), tmp_path, "run")
    (tmp_path / "file").write_text("")
    quick = ["fit", "--data.name", "digits", "--pretrain.units", "[5]"]
    for layers, message in (
        (str(run.path), "is a run folder"),
        (str(tmp_path / "new" / "layers"), "lies in the run folder"),
        (str(tmp_path / "file"), "is a file"),
    ):
        assert main([*quick, "--out", str(tmp_path / "new"), "--layers", layers]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new").exists()
    assert main(["finetune", "--pretrained", str(run.path), "--layers", "x", "--out", str(tmp_path / "new")]) == 2
