"""Checkpoints that are written beside the training."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from helpers.small_runs import blobs, small, stop_after

from stacked_dae import fit
from stacked_dae.training import checkpoints
from stacked_dae.training.checkpoints import BackgroundCheckpoints, read_checkpoint
from stacked_dae.utils.signals import Interrupted


class Writes:
    """Counts the checkpoints that are written, and holds each back until it may go on."""

    def __init__(self, monkeypatch, hold=False):
        self.states, self.go, self.began = [], threading.Event(), threading.Event()
        write = checkpoints.write_checkpoint
        if not hold:
            self.go.set()

        def counted(state, file):
            self.began.set()
            assert self.go.wait(10)
            self.states.append(state)
            write(state, file)

        monkeypatch.setattr(checkpoints, "write_checkpoint", counted)


def test_the_latest_is_on_disk_at_the_end_and_no_more_than_asked_for(tmp_path, monkeypatch):
    writes = Writes(monkeypatch)
    with BackgroundCheckpoints(tmp_path / "a.ckpt", 1e6) as saving:
        for epoch in range(20):
            saving.save_checkpoint({"epoch": epoch}, tmp_path / "a.ckpt")
        assert writes.began.wait(10)
    assert read_checkpoint(tmp_path / "a.ckpt") == {"epoch": 19}
    # The first, at once, or a later one that came before the thread looked; and the last.
    assert len(writes.states) <= 2
    assert not any(thread.name == "checkpoints" for thread in threading.enumerate())


def test_every_one_is_written_where_there_is_time(tmp_path, monkeypatch):
    writes = Writes(monkeypatch)
    with BackgroundCheckpoints(tmp_path / "a.ckpt", 0.0) as saving:
        for epoch in range(5):
            writes.began.clear()
            saving.save_checkpoint({"epoch": epoch}, tmp_path / "a.ckpt")
            assert writes.began.wait(10)
    assert [state["epoch"] for state in writes.states] == [0, 1, 2, 3, 4]


def test_a_checkpoint_is_of_the_moment_it_was_made(tmp_path, monkeypatch):
    writes = Writes(monkeypatch, hold=True)
    weight, rows = torch.zeros(3), [{"step": torch.tensor(1.0)}]
    with BackgroundCheckpoints(tmp_path / "a.ckpt", 0.0) as saving:
        saving.save_checkpoint({"weight": weight, "rows": rows}, tmp_path / "a.ckpt")
        weight.add_(1)
        rows[0]["step"].add_(1)
        rows.append({})
        writes.go.set()
    state = read_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(state["weight"], torch.zeros(3))
    assert state["rows"] == [{"step": torch.tensor(1.0)}]


def test_what_is_of_no_more_use_is_not_written(tmp_path, monkeypatch):
    writes = Writes(monkeypatch, hold=True)
    with BackgroundCheckpoints(tmp_path / "a.ckpt", 0.0) as saving:
        saving.save_checkpoint({"epoch": 1}, tmp_path / "a.ckpt")
        assert writes.began.wait(10)
        saving.save_checkpoint({"epoch": 2}, tmp_path / "a.ckpt")
        saving.discard()
        writes.go.set()
    assert read_checkpoint(tmp_path / "a.ckpt") == {"epoch": 1}


def test_an_error_of_the_disk_reaches_the_training(tmp_path, monkeypatch):
    def full(state, file):
        raise OSError(28, "No space left on device", str(file))

    def save(again):
        with BackgroundCheckpoints(tmp_path / "a.ckpt", 0.0) as saving:
            saving.save_checkpoint({}, tmp_path / "a.ckpt")
            saving._thread.join(10)
            if again:
                saving.save_checkpoint({}, tmp_path / "a.ckpt")
                pytest.fail("the training went on")

    monkeypatch.setattr(checkpoints, "write_checkpoint", full)
    for again in (True, False):
        with pytest.raises(OSError, match="No space left"):
            save(again)


def test_other_files_are_written_at_once(tmp_path):
    with BackgroundCheckpoints(tmp_path / "a.ckpt", 1e6) as saving:
        saving.save_checkpoint({"epoch": 1}, tmp_path / "users" / "best.ckpt")
        assert read_checkpoint(tmp_path / "users" / "best.ckpt") == {"epoch": 1}


@pytest.mark.parametrize("seconds", [0.0, 1e6])
@pytest.mark.parametrize("looks", [30, 47, 90])
def test_a_stopped_run_goes_on_where_it_was(seconds, looks, tmp_path):
    config = small()
    config = replace(config, trainer=replace(config.trainer, checkpoint_seconds=seconds))
    whole = fit(small(), tmp_path / "whole", dataset=blobs())
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, looks)
        with pytest.raises(Interrupted):
            fit(config, tmp_path / "cut", dataset=blobs())
    stage = next(name for name, record in fit_state(tmp_path / "cut") if record == "running")
    state = read_checkpoint(tmp_path / "cut" / stage / "checkpoint.ckpt")
    cut = read_checkpoint(tmp_path / "cut" / stage / "minibatch.ckpt")
    assert (state["epoch"] + 1 if state else 0) == cut["epoch"]
    cut = fit(config, tmp_path / "cut", dataset=blobs())
    for name, record in whole.manifest.stages.items():
        assert cut.manifest.stages[name].sha256 == record.sha256


def fit_state(folder):
    from stacked_dae.runs.folder import RunFolder

    return [(name, record.status) for name, record in RunFolder.open(folder).manifest.stages.items()]
