"""Damage to what a run keeps: truncated, changed, deleted and foreign files are found, and made again or refused.

The table at the end of docs/reliability.md is made of these cases.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pickle
import platform
import re
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_runs import MessageRecorder, blobs, small, stop_after

from stacked_dae.errors import StageError
from stacked_dae.pipeline import api
from stacked_dae.pipeline.run_store import RunStore
from stacked_dae.runs.folder import RunFolder
from stacked_dae.training.checkpoints import is_state_of, read_checkpoint, write_checkpoint
from stacked_dae.utils import signals
from stacked_dae.utils.files import dump_checksummed

DATA = blobs()
CONFIG = small()


def fit(out, progress=True, **how):
    return api.fit(CONFIG, out, dataset=DATA, progress=progress, **how)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("done") / "run").path


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Return a run that was stopped in the second epoch of layer 2, after a minibatch."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 13 * 4 + 7)
        with pytest.raises(signals.Interrupted):
            fit(tmp_path_factory.mktemp("cut") / "run")
    return tmp_path_factory.getbasetemp().joinpath("cut0", "run")


def truncated(file: Path):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path):
    file.write_bytes(b"")


def flipped(file: Path):
    """Change one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x04
    file.write_bytes(content)


def foreign(file: Path):
    file.write_bytes(b"\x00not what belongs here\n" * 40)


def bomb(file: Path):
    """Write what runs code in whoever unpickles it."""

    class Bomb:
        def __reduce__(self):
            return Path.touch, (file.with_name("exploded"),)

    file.write_bytes(pickle.dumps(Bomb()))


def zipped_bomb(file: Path):
    """Write it as torch's own format has it."""
    bomb(file)
    content = file.read_bytes()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("archive/data.pkl", content)
        members.writestr("archive/version", "3\n")


def deleted(file: Path):
    file.unlink()


DAMAGES = [truncated, emptied, flipped, foreign, bomb]
READERS = {
    "fit": lambda run, new: fit(run),
    "evaluate": lambda run, new: api.evaluate(run, dataset=DATA),
    "finetune": lambda run, new: api.finetune(replace(CONFIG, seed=9), new, run, dataset=DATA),
}
# By file, who reads it.
REFUSED = {
    "manifest.json": READERS,
    "config.yaml": READERS,
    "layer_1/weights.safetensors": ("fit", "finetune"),
    "finetune/weights.safetensors": ("fit", "evaluate"),
    "layer_2/metrics.csv": ("fit",),
    "finetune/metrics.csv": ("fit",),
}


@pytest.mark.parametrize("damage", [*DAMAGES, deleted])
@pytest.mark.parametrize("name", REFUSED)
def test_a_finished_file_that_changed_is_refused_by_its_name(done, tmp_path, name, damage):
    run = tmp_path / "run"
    shutil.copytree(done, run)
    damage(run / name)
    for reader in REFUSED[name]:
        before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
        with pytest.raises(StageError) as error:
            READERS[reader](run, tmp_path / "new")
        assert Path(name).name in str(error.value)
        assert "\n" not in str(error.value)
        assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before, "nothing is touched"
        assert not (tmp_path / "new").exists()
    assert not list(run.rglob("exploded"))
    if name.startswith(("layer", "finetune")):
        # And the way out that the line names leads out.
        folder = fit(run, rerun=True)
        for stage in ("layer_1", "layer_2", "finetune"):
            assert (run / stage / "weights.safetensors").read_bytes() == (
                done / stage / "weights.safetensors"
            ).read_bytes()
        assert folder.result().n_test == 90


@pytest.mark.parametrize("damage", [*DAMAGES, deleted])
def test_a_result_that_changed_is_measured_again(done, tmp_path, damage):
    run = tmp_path / "run"
    shutil.copytree(done, run)
    damage(run / "result.json")
    before = {file: file.stat().st_mtime_ns for file in run.rglob("weights.safetensors")}
    reporter = MessageRecorder()
    assert fit(run, reporter).result().to_dict() == json.loads(
        (done / "result.json").read_text(), object_hook=without_seal
    )
    assert {file: file.stat().st_mtime_ns for file in before} == before, "nothing is trained again"
    assert any("result.json is damaged" in line for line in reporter.lines) == (damage is not deleted)


def without_seal(values):
    return {key: value for key, value in values.items() if key != "sha256"}


@pytest.mark.parametrize("damage", [*DAMAGES, zipped_bomb, deleted])
@pytest.mark.parametrize("name", ["checkpoint.ckpt", "minibatch.ckpt", "metrics.csv"])
def test_what_a_cut_stage_left_is_made_again(done, cut, tmp_path, name, damage):
    run = tmp_path / "run"
    shutil.copytree(cut, run)
    assert (run / "layer_2" / name).exists()
    damage(run / "layer_2" / name)
    reporter = MessageRecorder()
    fit(run, reporter)
    for stage in ("layer_1", "layer_2", "finetune"):
        assert (run / stage / "weights.safetensors").read_bytes() == (done / stage / "weights.safetensors").read_bytes()
        rows = [(f / stage / "metrics.csv").read_text().splitlines() for f in (run, done)]
        assert [line.rpartition(",")[0] for line in rows[0]] == [line.rpartition(",")[0] for line in rows[1]]
    said = any("checkpoint.ckpt is damaged: training begins at the stage's first epoch" in s for s in reporter.lines)
    assert said == (name == "checkpoint.ckpt" and damage is not deleted)
    assert not list(run.rglob("exploded"))


@pytest.mark.parametrize("stages_left", [0, 1, 2])
def test_what_a_kill_left_beside_finished_stages_is_deleted(done, tmp_path, stages_left):
    """Whatever is still to be trained: codes of layers that are all trained, checkpoints of stages that are."""
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunStore, "delete_codes", lambda store: None)
        low = replace(CONFIG, data=replace(CONFIG.data, memory_budget=0.0))
        api.pretrain(low, run, dataset=DATA) if stages_left else api.fit(low, run, dataset=DATA)
    (run / "layer_1" / "checkpoint.ckpt").write_bytes(b"left")
    if stages_left == 2:
        shutil.rmtree(run / "layer_2")
        folder = RunFolder.open(run)
        folder.update_stage("layer_2", status="pending")
    assert list(run.rglob("codes_*"))
    api.fit(low, run, dataset=DATA)
    assert not [*run.rglob("codes_*"), *run.rglob("*.ckpt")]
    for stage in ("layer_1", "layer_2", "finetune"):
        assert (run / stage / "weights.safetensors").read_bytes() == (done / stage / "weights.safetensors").read_bytes()


def test_a_checkpoint_of_another_stage_is_not_taken(done, cut, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(cut, run)
    other = replace(CONFIG, pretrain=replace(CONFIG.pretrain, optimizer=replace(CONFIG.pretrain.optimizer, lr=0.03)))
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 13 * 4 + 7)
        with pytest.raises(signals.Interrupted):
            api.fit(other, tmp_path / "other", dataset=DATA)
    for name in ("checkpoint.ckpt", "minibatch.ckpt"):
        shutil.copy(tmp_path / "other" / "layer_2" / name, run / "layer_2" / name)
    reporter = MessageRecorder()
    fit(run, reporter)
    assert any("checkpoint.ckpt belongs to another stage" in line for line in reporter.lines)
    assert (run / "layer_2" / "weights.safetensors").read_bytes() == (
        done / "layer_2" / "weights.safetensors"
    ).read_bytes()


def seen(run):
    """Return all that the small files of a run say."""
    folder = RunFolder.open(run)
    return folder.manifest, folder.config(), folder.result(), folder.metrics("layer_1").rows()


def test_every_bit_of_the_small_files_counts(done, tmp_path):
    random = np.random.default_rng(0)
    for name in ("manifest.json", "config.yaml", "result.json", "layer_1/metrics.csv"):
        content = (done / name).read_bytes()
        for place in random.integers(0, 8 * len(content), 40):
            run = tmp_path / "run"
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(done, run)
            changed = bytearray(content)
            changed[place // 8] ^= 1 << place % 8
            (run / name).write_bytes(changed)
            with pytest.raises(StageError, match=Path(name).name):
                seen(run)


@pytest.mark.parametrize("name", ["layer_1", "layer_3", "figures", "csv", "csv/layer_1", "wandb"])
def test_a_link_out_of_the_run_folder_is_refused(done, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(done, run)
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StageError, match=f"{name} is a link to elsewhere"):
        fit(run, rerun=True)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["../outside", "layer_1/../../outside", "/tmp", ""])
def test_a_manifest_names_no_folder_outside(done, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(done, run)
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["sha256"]
    manifest["stages"][name] = manifest["stages"]["layer_1"]
    (run / "manifest.json").write_text(dump_checksummed(manifest))
    (tmp_path / "outside").mkdir()
    with pytest.raises(StageError, match=r"manifest.json is damaged"):
        fit(run, rerun=True)
    assert (tmp_path / "outside").exists()


def test_a_link_in_place_of_a_file_is_replaced_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(signals.Interrupted):
            fit(run)
    for name in ("metrics.csv", "checkpoint.ckpt", "weights.safetensors", "codes_train.npy"):
        (run / "layer_1" / name).unlink(missing_ok=True)
        (run / "layer_1" / name).symlink_to(tmp_path / "precious")
    low = replace(CONFIG, data=replace(CONFIG.data, memory_budget=0.0))
    api.fit(low, run, dataset=DATA)
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_link_with_the_name_of_the_next_temporary_file_is_not_followed(done, tmp_path):
    (tmp_path / "precious").write_text("mine")
    run = tmp_path / "run"
    shutil.copytree(done, run)
    (run / "result.json").unlink()
    mark = re.sub(r"[^A-Za-z0-9]", "", platform.node())
    for name in ("manifest.json", "config.yaml", "result.json"):
        (run / f".{name}.{mark}-{os.getpid()}.tmp").symlink_to(tmp_path / "precious")
    assert fit(run).result().n_test == 90
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Return a finished run of the same shapes, trained otherwise."""
    layers = replace(CONFIG.pretrain, activation="tanh", loss="squared_error")
    config = replace(CONFIG, pretrain=layers, seed=8)
    return api.fit(config, tmp_path_factory.mktemp("other") / "run", dataset=DATA).path


def test_a_whole_file_of_another_run_is_told_from_this_ones(done, other, tmp_path):
    for name in ("config.yaml", "manifest.json", "layer_1/weights.safetensors", "layer_1/metrics.csv"):
        run = tmp_path / Path(name).name
        shutil.copytree(done, run)
        shutil.copy(other / name, run / name)
        with pytest.raises(StageError, match=r"damaged|changed"):
            fit(run)
        if name == "config.yaml":
            with pytest.raises(StageError, match="belongs to another run"):
                api.evaluate(run, dataset=DATA)
    run = tmp_path / "run"
    shutil.copytree(done, run)
    shutil.copy(other / "result.json", run / "result.json")
    with pytest.raises(StageError, match=r"result\.json is damaged"):
        RunFolder.open(run).result()
    assert fit(run).result() == RunFolder.open(done).result()


def test_what_cannot_be_read_now_is_not_taken_for_damage(cut, tmp_path, monkeypatch):
    """A disk that fails, or too many open files, cost no finished epoch."""
    run = tmp_path / "run"
    shutil.copytree(cut, run)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    read = Path.read_bytes

    def failing(path):
        if path.name == "checkpoint.ckpt":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        with pytest.raises(OSError, match="Input/output"):
            fit(run)
    after = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    names = {file for file in before if file.suffix in (".ckpt", ".csv", ".safetensors")}
    assert {file: after.get(file) for file in names} == {file: before[file] for file in names}


@pytest.mark.parametrize("what", ["device", "pipe", "folder"])
def test_metrics_that_are_no_file_do_not_hang(done, cut, tmp_path, what):
    for k, (source, finished) in enumerate(((done, True), (cut, False))):
        run = tmp_path / f"run{k}"
        shutil.copytree(source, run)
        file = run / "layer_2" / "metrics.csv"
        file.unlink()
        if what == "device":
            file.symlink_to("/dev/zero")
        elif what == "pipe":
            os.mkfifo(file)
        else:
            file.mkdir()
        if finished:
            with pytest.raises(StageError, match=r"metrics\.csv is damaged"):
                fit(run)
        elif what != "folder":
            fit(run)


def packed_bomb(state, file):
    """Write a checkpoint that is small on disk and large in memory."""
    content = io.BytesIO()
    torch.save({**state, "more": torch.zeros(30_000_000)}, content)
    with zipfile.ZipFile(content) as members, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in members.namelist():
            packed.writestr(name, members.read(name))


def test_a_packed_checkpoint_is_not_unpacked(cut, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(cut, run)
    file = run / "layer_2" / "checkpoint.ckpt"
    packed_bomb(read_checkpoint(file), file)
    assert file.stat().st_size < 10**6
    assert read_checkpoint(file) is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("checkpoint.ckpt", lambda state: state.pop("metrics")),
        ("checkpoint.ckpt", lambda state: state.pop("epoch")),
        ("checkpoint.ckpt", lambda state: state["state_dict"].clear()),
        ("checkpoint.ckpt", lambda state: state.update(optimizer_states=None)),
        ("minibatch.ckpt", lambda state: state.pop("weights")),
        ("minibatch.ckpt", lambda state: state.update(minibatches=10**9)),
        ("minibatch.ckpt", lambda state: state.update(optimizer=None)),
        ("minibatch.ckpt", lambda state: state["weights"].update({"layer.bias": torch.zeros(1)})),
        ("minibatch.ckpt", lambda state: state["optimizer"]["param_groups"][0].update(lr="0.1")),
        ("minibatch.ckpt", lambda state: state["optimizer"]["param_groups"][0].update(lr=7.0)),
        ("minibatch.ckpt", lambda state: state.update(total=torch.zeros(3))),
        ("checkpoint.ckpt", lambda state: state["optimizer_states"].clear()),
        ("checkpoint.ckpt", lambda state: state["optimizer_states"][0]["param_groups"][0].pop("lr")),
    ],
)
def test_a_checkpoint_that_holds_something_else_is_no_checkpoint(done, cut, tmp_path, name, change):
    run = tmp_path / "run"
    shutil.copytree(cut, run)
    state = read_checkpoint(run / "layer_2" / name)
    change(state)
    write_checkpoint(state, run / "layer_2" / name)
    fit(run)
    for stage in ("layer_1", "layer_2", "finetune"):
        assert (run / stage / "weights.safetensors").read_bytes() == (done / stage / "weights.safetensors").read_bytes()


def test_large_files_in_place_of_small_ones_are_not_read_whole(done, tmp_path):
    for name in ("manifest.json", "config.yaml", "result.json"):
        run = tmp_path / name
        shutil.copytree(done, run)
        with (run / name).open("r+b") as file:
            file.truncate(10**11)
        with pytest.raises(StageError, match="damaged"):
            seen(run)


def test_what_a_killed_process_left_of_done_stages_is_taken_away(done, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(done, run)
    left = [run / "layer_1" / "codes_train.npy", run / "layer_2" / "checkpoint.ckpt"]
    for file in left:
        file.write_bytes(b"large")
    fit(run)
    assert not any(file.exists() for file in left)


def test_settings_files_of_ones_own_are_not_written_over(tmp_path):
    (tmp_path / "config.yaml").write_text("# my notes\nseed: 5\n")
    with pytest.raises(StageError, match="not a run folder"):
        fit(tmp_path)
    assert (tmp_path / "config.yaml").read_text() == "# my notes\nseed: 5\n"


def test_a_setting_may_contain_the_words_of_the_seal(tmp_path):
    config = replace(CONFIG, tracking=replace(CONFIG.tracking, tags=["# SHA-256 of the lines above: x"]))
    run = api.fit(config, tmp_path / "run", dataset=DATA)
    assert run.config() == config


def test_layers_are_not_lost_to_a_fine_tuning(done, tmp_path):
    layers = api.pretrain(CONFIG, tmp_path / "layers", dataset=DATA)
    before = {file: file.read_bytes() for file in layers.path.rglob("*") if file.is_file()}
    with pytest.raises(StageError, match="are one folder"):
        api.finetune(CONFIG, layers.path, layers.path, dataset=DATA)
    with pytest.raises(StageError, match="holds a layer_1 of its own, which would be lost"):
        api.finetune(CONFIG, layers.path, done, dataset=DATA)
    assert {file: file.read_bytes() for file in layers.path.rglob("*") if file.is_file()} == before


def test_a_format_of_many_digits_is_damage(done, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(done, run)
    text = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(re.sub(r'"format": \d', f'"format": {"3" * 5000}', text))
    with pytest.raises(StageError, match="damaged"):
        fit(run)


def test_a_folder_that_cannot_be_locked_has_a_file_that_can(tmp_path, monkeypatch):
    """As on NFS, which locks only what is open for writing; stands in for it, since none is at hand."""
    lock = fcntl.flock

    def flock(fd, how):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    run = fit(tmp_path / "run")
    first, second = (RunFolder.open(run.path) for _ in range(2))
    with first.locked(), pytest.raises(StageError, match="in use by another process"), second.locked():
        pass


@pytest.mark.parametrize("best", [None, (1, 2.0), (1, "low", {}), (1, 2.0, {"head.bias": torch.zeros(9)})])
def test_best_weights_that_are_none_are_no_checkpoint(done, tmp_path, best):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 13 * 7 + 3)
        with pytest.raises(signals.Interrupted):
            fit(run)
    file = run / "finetune" / "checkpoint.ckpt"
    write_checkpoint({**read_checkpoint(file), "best": best}, file)
    reporter = MessageRecorder()
    fit(run, reporter)
    assert any("checkpoint.ckpt is damaged" in line for line in reporter.lines)
    assert (run / "finetune" / "weights.safetensors").read_bytes() == (
        done / "finetune" / "weights.safetensors"
    ).read_bytes()


def test_a_state_is_told_from_another_optimisers():
    layer = torch.nn.Linear(3, 2)

    def adam(lr=0.1):
        return torch.optim.Adam(layer.parameters(), lr=lr)

    used = adam()
    layer(torch.ones(1, 3)).sum().backward()
    used.step()
    state = used.state_dict()
    assert is_state_of(adam(), state)
    assert not is_state_of(adam(lr=0.2), state)
    assert not is_state_of(torch.optim.SGD(layer.parameters(), lr=0.1), state)
    state["state"][0]["exp_avg"] = torch.zeros(5)
    assert not is_state_of(adam(), state)
