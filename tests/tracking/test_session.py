"""Weights & Biases with the real client: offline, and what decides where a run is told."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace

import pytest
from helpers.components import Inverting
from helpers.small_runs import MessageRecorder, blobs, small

from stacked_dae import Components
from stacked_dae.config.tracking_schema import TrackingConfig
from stacked_dae.errors import ConfigError
from stacked_dae.pipeline import api
from stacked_dae.tracking.base import TrackedJob
from stacked_dae.tracking.mode import OfflineNotices, resolve_mode
from stacked_dae.tracking.state import TrackingState
from stacked_dae.utils.terminal.progress import Reporter


def tracked(mode, **changes):
    return replace(small(), tracking=TrackingConfig(mode=mode, **changes))


def subject(config, out):
    return TrackedJob(config, out, {"name": "blobs", "fingerprint": "f"}, "mark")


@pytest.mark.parametrize(
    ("setting", "environment", "key", "expected"),
    [
        ("off", None, None, "off"),
        ("auto", None, None, "offline"),
        ("auto", None, "k" * 40, "online"),
        ("online", None, None, "offline"),
        ("offline", None, "k" * 40, "offline"),
        ("online", "offline", None, "offline"),
        ("offline", "disabled", None, "off"),
    ],
)
def test_where_a_run_is_told(monkeypatch, tmp_path, setting, environment, key, expected):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    for name, value in (("WANDB_MODE", environment), ("WANDB_API_KEY", key)):
        if value:
            monkeypatch.setenv(name, value)
    reporter = MessageRecorder()
    config = tracked(setting)
    assert resolve_mode(config, tmp_path, OfflineNotices(reporter)) == expected
    # Offline without being asked for is said, in one line that tells what to do.
    surprised = expected == "offline" and "offline" not in (setting, environment)
    assert len(reporter.lines) == surprised
    assert all("no API key" in line and "wandb sync" in line and "\n" not in line for line in reporter.lines)


def test_a_key_is_found_in_the_netrc_file_of_the_server(monkeypatch, tmp_path):
    file = tmp_path / "netrc"
    file.write_text("machine api.wandb.ai login user password " + "k" * 40 + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    assert resolve_mode(tracked("auto"), tmp_path, OfflineNotices(Reporter())) == "online"
    file.write_text("machine elsewhere.org login user password " + "k" * 40 + "\n")
    assert resolve_mode(tracked("auto"), tmp_path, OfflineNotices(Reporter())) == "offline"


def test_a_netrc_file_that_is_none_has_no_key(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_bytes(b"\xff\xfe machine")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert resolve_mode(tracked("auto"), tmp_path, OfflineNotices(Reporter())) == "offline"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WANDB_MODE", "ofline", r"\$WANDB_MODE must be one of online, offline, disabled, not 'ofline' \(did you mean"),
        ("WANDB_MODE", "shared", r"\$WANDB_MODE must be one of"),
        ("WANDB_BASE_URL", "localhost", r"\$WANDB_BASE_URL must be an address such as"),
        ("WANDB_BASE_URL", "http://[", r"\$WANDB_BASE_URL must be an address such as"),
        ("WANDB_BASE_URL", "http://x:port", r"\$WANDB_BASE_URL must be an address such as"),
    ],
)
def test_what_the_environment_says_wrongly_is_one_line(monkeypatch, tmp_path, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        api.fit(tracked("auto"), tmp_path / "run", dataset=blobs())
    assert not (tmp_path / "run").exists()


def test_offline_makes_one_run_a_job_and_changes_no_result(tmp_path):
    plain = api.fit(small(), tmp_path / "plain", dataset=blobs())
    folder = api.fit(tracked("offline"), tmp_path / "run", dataset=blobs())
    runs = list((folder.path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2, "pre-training is one run, fine-tuning another"
    assert all(list(run.glob("*.wandb")) for run in runs)
    assert all(entry["ended"] for entry in TrackingState(folder.path).all().values())
    for stage in ("layer_1", "layer_2", "finetune"):
        one, two = (f.path / stage / "weights.safetensors" for f in (plain, folder))
        assert one.read_bytes() == two.read_bytes()


def test_off_never_imports_wandb(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    api.fit(small(), tmp_path / "run", dataset=blobs())
    assert not (tmp_path / "run" / "wandb").exists()


def test_a_client_that_fails_stops_nothing(tmp_path, monkeypatch):
    import wandb

    def fails(**arguments):
        raise wandb.errors.UsageError("no such project")

    monkeypatch.setattr(wandb, "init", fails)
    reporter = MessageRecorder()
    folder = api.fit(tracked("offline"), tmp_path / "run", dataset=blobs(), progress=reporter)
    assert folder.result().n_test == 90
    said = [line for line in reporter.lines if "no such project" in line]
    assert len(said) == 2, "one line per job"


def test_parts_of_ones_own_are_told(tmp_path, monkeypatch):
    import wandb

    told = []

    def init(**arguments):
        told.append(arguments["config"])
        raise wandb.errors.UsageError("not now")

    monkeypatch.setattr(wandb, "init", init)
    for out, parts in (("own", Components(corruption=Inverting(0.2))), ("plain", None)):
        api.fit(tracked("offline"), tmp_path / out, dataset=blobs(), components=parts)
    assert [config["parts"] for config in told] == 2 * ["corruption: Inverting(nu=0.2)"] + 2 * [None]


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_lightnings_own_loggers(tmp_path, logger, capsys):
    if logger == "tensorboard":
        pytest.importorskip("tensorboard")
    folder = api.fit(tracked("off", loggers=[logger]), tmp_path / "run", dataset=blobs())
    files = [file for file in (folder.path / logger).rglob("*") if file.is_file() and "hparams" not in file.name]
    assert len(files) == 3, "one per stage"
    if logger == "csv":
        for stage in ("layer_1", "layer_2", "finetune"):
            (file,) = (file for file in files if file.is_relative_to(folder.path / logger / stage))
            told = [row for row in csv.DictReader(file.read_text().splitlines()) if row["valid_loss"]]
            rows = folder.metrics(stage).rows()
            assert [float(row["valid_loss"]) for row in told] == pytest.approx([row["valid_loss"] for row in rows])
    else:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        (file,) = (file for file in files if file.is_relative_to(folder.path / logger / "finetune"))
        events = EventAccumulator(str(file)).Reload()
        rows = folder.metrics("finetune").rows()
        assert [event.value for event in events.Scalars("valid_loss")] == pytest.approx(
            [row["valid_loss"] for row in rows]
        )
    assert capsys.readouterr().err == ""


def test_an_absent_logger_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("stacked_dae.training.trainer.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tracking\.loggers: tensorboard is not installed; pip install"):
        api.fit(tracked("off", loggers=["tensorboard"]), tmp_path / "run", dataset=blobs())
    assert not (tmp_path / "run").exists()
