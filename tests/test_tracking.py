"""Weights & Biases with the real client, offline."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import blobs, small

from stacked_dae import tracking, workflow
from stacked_dae.config import TrackingConfig


def tracked(mode):
    return replace(small(), tracking=TrackingConfig(mode=mode))


@pytest.mark.parametrize(
    ("setting", "environment", "key", "expected"),
    [
        ("off", None, None, "off"),
        ("auto", None, None, "offline"),
        ("auto", None, "k" * 40, "online"),
        ("offline", None, "k" * 40, "offline"),
        ("online", "offline", None, "offline"),
        ("offline", "disabled", None, "off"),
    ],
)
def test_the_environment_wins_over_the_setting(monkeypatch, tmp_path, setting, environment, key, expected):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in (("WANDB_MODE", environment), ("WANDB_API_KEY", key)):
        if value:
            monkeypatch.setenv(name, value)
    assert tracking.mode(tracked(setting)) == expected


def test_offline_makes_one_run_a_job_and_changes_no_result(tmp_path):
    plain = workflow.fit(small(), tmp_path / "plain", dataset=blobs())
    folder = workflow.fit(tracked("offline"), tmp_path / "run", dataset=blobs())
    runs = list((folder.path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2, "pre-training is one run, fine-tuning another"
    assert all(list(run.glob("*.wandb")) for run in runs)
    for stage in ("layer_1", "layer_2", "finetune"):
        one, two = (f.path / stage / "weights.safetensors" for f in (plain, folder))
        assert one.read_bytes() == two.read_bytes()


def test_off_never_imports_wandb(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    workflow.fit(small(), tmp_path / "run", dataset=blobs())
    assert not (tmp_path / "run" / "wandb").exists()
