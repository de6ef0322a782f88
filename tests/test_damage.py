"""Damage to what a run keeps: truncated, changed, deleted and foreign files are found, and made again or refused.

The table at the end of docs/reliability.md is made of these cases.
"""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import blobs, small

from stacked_dae import stopping, workflow
from stacked_dae.errors import StageError
from stacked_dae.files import seal
from stacked_dae.progress import Reporter

DATA = blobs()
CONFIG = small()


class Heard(Reporter):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def fit(out, reporter=None, **how):
    return workflow.fit(CONFIG, out, dataset=DATA, reporter=reporter, **how)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("done") / "run").path


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Return a run that was stopped in the second epoch of layer 2, after a minibatch."""
    with pytest.MonkeyPatch.context() as patch:
        looks = iter(range(10**6))
        patch.setattr(stopping, "asked", lambda: 15 if next(looks) == 13 * 4 + 6 else None)
        with pytest.raises(stopping.Stopped):
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
    "evaluate": lambda run, new: workflow.evaluate(run, dataset=DATA),
    "finetune": lambda run, new: workflow.finetune(replace(CONFIG, seed=9), new, run, dataset=DATA),
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
        assert folder.result()["n_test"] == 90


@pytest.mark.parametrize("damage", [*DAMAGES, deleted])
def test_a_result_that_changed_is_measured_again(done, tmp_path, damage):
    run = tmp_path / "run"
    shutil.copytree(done, run)
    damage(run / "result.json")
    before = {file: file.stat().st_mtime_ns for file in run.rglob("weights.safetensors")}
    reporter = Heard()
    assert fit(run, reporter).result() == json.loads((done / "result.json").read_text(), object_hook=without_seal)
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
    reporter = Heard()
    fit(run, reporter)
    for stage in ("layer_1", "layer_2", "finetune"):
        assert (run / stage / "weights.safetensors").read_bytes() == (done / stage / "weights.safetensors").read_bytes()
        rows = [(f / stage / "metrics.csv").read_text().splitlines() for f in (run, done)]
        assert [line.rpartition(",")[0] for line in rows[0]] == [line.rpartition(",")[0] for line in rows[1]]
    said = any("checkpoint.ckpt is damaged: training begins at the stage's first epoch" in s for s in reporter.lines)
    assert said == (name == "checkpoint.ckpt" and damage is not deleted)
    assert not list(run.rglob("exploded"))


def test_a_checkpoint_of_another_stage_is_not_taken(done, cut, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(cut, run)
    other = replace(CONFIG, pretrain=replace(CONFIG.pretrain, optimizer=replace(CONFIG.pretrain.optimizer, lr=0.03)))
    with pytest.MonkeyPatch.context() as patch:
        looks = iter(range(10**6))
        patch.setattr(stopping, "asked", lambda: 15 if next(looks) == 13 * 4 + 6 else None)
        with pytest.raises(stopping.Stopped):
            workflow.fit(other, tmp_path / "other", dataset=DATA)
    for name in ("checkpoint.ckpt", "minibatch.ckpt"):
        shutil.copy(tmp_path / "other" / "layer_2" / name, run / "layer_2" / name)
    reporter = Heard()
    fit(run, reporter)
    assert any("checkpoint.ckpt is of another stage" in line for line in reporter.lines)
    assert (run / "layer_2" / "weights.safetensors").read_bytes() == (
        done / "layer_2" / "weights.safetensors"
    ).read_bytes()


def seen(run):
    """Return all that the small files of a run say."""
    folder = workflow.RunFolder.open(run)
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


@pytest.mark.parametrize("name", ["layer_1", "figures"])
def test_a_link_out_of_the_run_folder_is_refused(done, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(done, run)
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StageError, match=f"{name} is a link to elsewhere"):
        fit(run, rerun=True)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["../outside", "layer_1/../../outside", "/tmp", ""])
def test_a_manifest_names_no_folder_outside(done, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(done, run)
    manifest = workflow.RunFolder.open(run).manifest
    manifest["stages"][name] = manifest["stages"]["layer_1"]
    (run / "manifest.json").write_text(seal(manifest))
    (tmp_path / "outside").mkdir()
    with pytest.raises(StageError, match=r"manifest.json is damaged"):
        fit(run, rerun=True)
    assert (tmp_path / "outside").exists()


def test_a_link_in_place_of_a_file_is_replaced_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        looks = iter(range(10**6))
        patch.setattr(stopping, "asked", lambda: 15 if next(looks) == 3 else None)
        with pytest.raises(stopping.Stopped):
            fit(run)
    for name in ("metrics.csv", "checkpoint.ckpt", "weights.safetensors", "codes_train.npy"):
        (run / "layer_1" / name).unlink(missing_ok=True)
        (run / "layer_1" / name).symlink_to(tmp_path / "precious")
    low = replace(CONFIG, data=replace(CONFIG.data, memory_budget=0.0))
    workflow.fit(low, run, dataset=DATA)
    assert (tmp_path / "precious").read_text() == "mine"
