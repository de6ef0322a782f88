"""Weights & Biases: the unmodified client against a stand-in server on loopback, and what arrived there."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import matplotlib.image
import pytest
import yaml
from helpers.small_runs import ROOT
from helpers.wandb_server import ENTITY, KEY, Server

from stacked_dae.reporting import html, wandb_runs
from stacked_dae.reporting.comparison import compare
from stacked_dae.runs.folder import RunFolder
from stacked_dae.tracking.state import TrackingState
from stacked_dae.tracking.wandb_api import WandbRun
from stacked_dae.utils.files import load_checksummed

STAGES = ("layer_1", "layer_2", "layer_3", "finetune")
# Seconds of training: three layers on scikit-learn's digits.
CONFIG = {
    "data": {"name": "digits"},
    "pretrain": {"units": [30, 20, 15], "epochs": [3, 2, 4], "batch_size": 50},
    "finetune": {"epochs": 5, "batch_size": 50},
    "tracking": {"tags": ["a test"]},
}


def environment(server=None, **more):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return {**clean, "OMP_NUM_THREADS": "1", **(server.environment() if server else {}), **more}


def command(*words, env, cwd, check=True):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], env=env, cwd=cwd, capture_output=True, text=True, timeout=600
    )
    assert not check or done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    return done


def wandb(*words, env, cwd):
    return command("wandb", *words, env=env, cwd=cwd)


def fit(folder, *options, env, check=True):
    config = folder.parent / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    words = ("stacked_dae", "fit", "--config", config, "--out", folder, *options)
    return command(*words, env=env, cwd=folder.parent, check=check)


def rows_of(folder, stages):
    """Return the rows of metrics.csv, named as they are told, in order."""
    told = []
    for stage in stages:
        with (folder / stage / "metrics.csv").open(newline="") as file:
            told += [{f"{stage}/{k}": float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return told


def history(run):
    """Return the rows that arrived, without what the client adds, and without pictures."""
    rows = [{k: v for k, v in row.items() if "/" in k} for row in run.history]
    return [row for row in rows if row]


def check_histories(state, folder):
    """Check that W&B has metrics.csv, row by row."""
    for job, stages in (("pretrain", STAGES[:3]), ("finetune", STAGES[3:])):
        run = state.run(TrackingState(folder).entry(job)["id"])
        assert history(run) == rows_of(folder, stages)
        assert [row["_step"] for row in run.history] == list(range(len(run.history)))


@pytest.fixture(scope="module")
def two_fits(tmp_path_factory):
    """Return what arrived of two fits with different ν, and their folders."""
    place = tmp_path_factory.mktemp("online")
    with Server() as server:
        for nu in (0.1, 0.3):
            options = ("--pretrain.corruption.nu", nu, "--tracking.mode", "online")
            fit(place / f"nu{nu}", *options, env=environment(server))
        yield server.state, [place / "nu0.1", place / "nu0.3"]
        assert server.state.failures == server.state.unknown == []


def test_two_fits_are_two_groups_of_two_runs(two_fits):
    state, _ = two_fits
    told = sorted((run.fields["groupName"], run.fields["jobType"], run.project) for run in state.runs.values())
    assert told == [(f"nu{nu}", job, "stacked-dae") for nu in (0.1, 0.3) for job in ("finetune", "pretrain")]
    assert all(run.fields["tags"] == ["a test"] and run.exit_code == 0 for run in state.runs.values())


def flat(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_every_run_has_the_whole_config_with_equal_keys(two_fits):
    state, _ = two_fits
    settings = [dict(flat(run.settings())) for run in state.runs.values()]
    assert all(one.keys() == settings[0].keys() for one in settings)
    assert {one["pretrain.corruption.nu"] for one in settings} == {0.1, 0.3}
    assert settings[0]["pretrain.optimizer.options"] == "{}"
    assert settings[0]["finetune.patience"] == 10, "defaults are told too"


def test_histories_are_metrics_csv_row_by_row(two_fits):
    state, folders = two_fits
    for folder in folders:
        check_histories(state, folder)


def test_each_metric_is_bound_to_its_own_epoch(two_fits):
    state, folders = two_fits
    run = state.run(TrackingState(folders[0]).entry("pretrain")["id"])
    bound = {name: step for name, step in run.metrics().items() if not name.endswith("/epoch")}
    names = {f"layer_{k}/{name}" for k in (1, 2, 3) for name in ("train_loss", "valid_loss", "seconds")}
    assert bound == {name: f"{name.split('/')[0]}/epoch" for name in names}


def test_the_summary_has_the_result(two_fits):
    state, folders = two_fits
    for folder in folders:
        run = state.run(TrackingState(folder).entry("finetune")["id"])
        result = RunFolder.open(folder).result()
        for name in ("test_error_percent", "test_error_ci95_percent", "n_test", "best_valid_error_percent", "seconds"):
            assert run.summary[name] == getattr(result, name)


def test_artifacts_have_the_files_and_their_edges(two_fits):
    state, folders = two_fits
    artifacts = {artifact.name: artifact for artifact in state.artifacts}
    for folder in folders:
        ids = {job: TrackingState(folder).entry(job)["id"] for job in ("pretrain", "finetune")}
        layers, classifier = artifacts[f"layers-{ids['pretrain']}"], artifacts[f"classifier-{ids['finetune']}"]
        for artifact, stages in ((layers, STAGES[:3]), (classifier, STAGES[3:])):
            assert artifact.state == "COMMITTED"
            for stage in stages:
                file = f"{stage}/weights.safetensors"
                assert artifact.files[file] == (folder / file).read_bytes()
        assert load_checksummed(classifier.files["result.json"].decode()) == RunFolder.open(folder).result().to_dict()
        assert state.run(ids["pretrain"]).used == ["data-digits"]
        assert state.run(ids["finetune"]).used == ["data-digits", layers.name]


def test_the_config_names_what_a_run_was_made_from(two_fits):
    state, folders = two_fits
    for folder in folders:
        manifest = RunFolder.open(folder).manifest
        ids = {job: TrackingState(folder).entry(job)["id"] for job in ("pretrain", "finetune")}
        sums = [manifest.stages[stage].sha256 for stage in STAGES]
        data = manifest.dataset.fingerprint
        assert state.run(ids["pretrain"]).settings()["lineage"] == {
            "data": data,
            "parent_run": None,
            "parent_weights": None,
            "weights": sums[:3],
        }
        assert state.run(ids["finetune"]).settings()["lineage"] == {
            "data": data,
            "parent_run": ids["pretrain"],
            "parent_weights": sums[:3],
            "weights": sums[3:],
        }


def test_pictures_arrive_and_are_to_be_seen(two_fits):
    state, folders = two_fits
    for job, names in (("pretrain", {"filters", "reconstructions"}), ("finetune", {"confusion"})):
        run = state.run(TrackingState(folders[0]).entry(job)["id"])
        sent = {key: value["path"] for row in run.history for key, value in row.items() if key in names}
        assert set(sent) == names
        for path in sent.values():
            pixels = matplotlib.image.imread(io.BytesIO(run.files[path]))[..., :3]
            assert pixels.std() > 0.1
            assert pixels.max() == 1.0


def test_the_key_is_nowhere_in_the_run_folder(two_fits):
    _, folders = two_fits
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 20
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


def compared(state, path, place):
    """Return the rows of `compare --wandb PATH`."""
    # The stand-in of the fixture serves as long as the fixture lives.
    env = environment(WANDB_BASE_URL=state.urls[0], WANDB_API_KEY=KEY)
    command("stacked_dae", "compare", "--wandb", path, "--csv", place / "told.csv", env=env, cwd=place)
    return list(csv.DictReader((place / "told.csv").read_text().splitlines()))


def test_compare_reads_the_same_from_the_server(two_fits, tmp_path):
    state, folders = two_fits
    one = compared(state, f"{ENTITY}/stacked-dae", tmp_path)
    command("stacked_dae", "compare", *folders, "--csv", tmp_path / "here.csv", env=environment(), cwd=tmp_path)
    two = list(csv.DictReader((tmp_path / "here.csv").read_text().splitlines()))
    assert [row.pop("run") for row in one] == ["nu0.1-finetune", "nu0.3-finetune"]
    assert [row.pop("run") for row in two] == [str(folder) for folder in folders]
    for a, b in zip(one, two, strict=True):
        assert list(a) == list(b)
        assert abs(float(a.pop("seconds")) - float(b.pop("seconds"))) < 0.11
        assert a == b


@pytest.mark.slow
def test_a_regression_is_compared_from_the_server(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a,b,y\n" + "".join(f"{k % 13},{k % 7},{k % 13 + 0.5 * (k % 7)}\n" for k in range(90)))
    words = ("--task", "regression", "--data.path", table, "--data.target", "y", "--pretrain.units", "[4]")
    words += ("--pretrain.epochs", 1, "--finetune.epochs", 2, "--tracking.mode", "online", "--out", tmp_path / "run")
    with Server() as server:
        command("stacked_dae", "fit", *words, env=environment(server), cwd=tmp_path)
        (one,) = compared(server.state, f"{ENTITY}/stacked-dae", tmp_path)
        assert server.state.failures == server.state.unknown == []
    command("stacked_dae", "compare", tmp_path / "run", "--csv", tmp_path / "here.csv", env=environment(), cwd=tmp_path)
    (two,) = csv.DictReader((tmp_path / "here.csv").read_text().splitlines())
    assert float(one["test_rmse"]) == RunFolder.open(tmp_path / "run").result().test_rmse
    for name in ("run", "seconds"):
        one.pop(name), two.pop(name)
    assert one == two


def test_compare_bears_runs_that_are_not_ours():
    odd = {"lineage": 3, "pretrain": {"optimizer": {"options": "{"}}, "lr": [0.1], "name": None}
    summary = {"n_test": "many", "test_error_percent": float("nan"), "best_valid_error_percent": True}
    rows = [{"layer_1/epoch": 1, "loss": 3}, {"a/b/c": 1, "x/epoch": "one"}, {"gradients/w": {"_type": "histogram"}}]
    run = wandb_runs._compared(WandbRun("id", "name", "", "", "crashed", odd, summary, rows), None)
    assert (run.n_test, run.test_error_percent, run.valid_error_percent, run.losses) == (0, None, None, {})
    assert (run.state, run.test_text) == ("crashed", "crashed")
    assert run.settings["pretrain.optimizer.options"] == "{"
    rows = [{"finetune/epoch": 1, "finetune/loss": 3}, {"finetune/epoch": 2, "finetune/valid_error_percent": 4}]
    other = wandb_runs._compared(WandbRun("id", "other", "", "", "finished", {}, {}, rows), None)
    page = html.page(compare([run, other]))
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    drawn = [{stage: curve for stage, curve in one["curves"].items() if curve} for one in data["runs"]]
    assert drawn == [{}, {"finetune": [[2, 4.0]]}], "what there is is drawn"


def test_a_report_shows_the_runs_of_the_experiment(two_fits, tmp_path):
    state, _ = two_fits
    env = environment(WANDB_BASE_URL=state.urls[0], WANDB_API_KEY=KEY)
    words = ("stacked_dae", "compare", "--wandb", f"{ENTITY}/stacked-dae/nu0.1", "--report")
    done = command(*words, env=env, cwd=tmp_path)
    assert done.stdout.splitlines()[-1].startswith(f"{state.urls[0]}/{ENTITY}/stacked-dae/reports/")
    (report,) = state.reports
    spec = json.dumps(json.loads(report["spec"]))
    assert report["projectName"] == "stacked-dae"
    assert "nu0.1" in spec
    for key in ("layer_3/valid_loss", "layer_3/epoch", "finetune/valid_error_percent", "test_error_percent", "filters"):
        assert key in spec
    assert "layer_4" not in spec


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["layer_2", "finetune"])
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_job_that_was_killed_goes_on_in_its_run(tmp_path, mode, stage):
    folder = tmp_path / "run"
    with Server() as server:
        env = environment(server)
        options = ("--tracking.mode", mode, "--pretrain.epochs", "12", "--finetune.epochs", "12")
        kill(folder, stage, options, env)
        job = "finetune" if stage == "finetune" else "pretrain"
        before = TrackingState(folder).entry(job)
        assert before["id"]
        assert not before["ended"]
        fit(folder, *options, env=env)
        assert TrackingState(folder).entry(job) | {"ended": True} == TrackingState(folder).entry(job)
        assert TrackingState(folder).entry(job)["id"] == before["id"]
        if mode == "offline":
            wandb("sync", *sorted((folder / "wandb").glob("offline-run-*")), env=env, cwd=tmp_path)
        assert len(server.state.runs) == 2
        check_histories(server.state, folder)
        assert server.state.failures == server.state.unknown == []


def kill(folder, stage, options, env):
    """Kill a fit in the middle of a stage, when W&B has been told of it."""
    config = folder.parent / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    words = [sys.executable, "-m", "stacked_dae", "fit", "--config", config, "--out", folder, *options]
    process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    job = "finetune" if stage == "finetune" else "pretrain"
    end = time.monotonic() + 100
    while time.monotonic() < end and process.poll() is None:
        metrics = folder / stage / "metrics.csv"
        begun = metrics.exists() and len(metrics.read_text().splitlines()) > 2
        if begun and TrackingState(folder).entry(job).get("id"):
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"


@pytest.mark.slow
def test_lineage_names_no_run_that_did_not_make_the_layers(tmp_path):
    """Layers trained again, untracked: what W&B has of the earlier ones is not theirs."""
    folder = tmp_path / "run"
    with Server() as server:
        env = environment(server)
        fit(folder, "--tracking.mode", "online", env=env)
        fit(folder, "--seed", "1", "--rerun", env=env)
        words = ("stacked_dae", "finetune", "--pretrained", folder, "--finetune.epochs", 2, "--out", tmp_path / "few")
        command(*words, "--tracking.mode", "online", env=env, cwd=tmp_path)
        run = server.state.run(TrackingState(tmp_path / "few").entry("finetune")["id"])
        manifest = RunFolder.open(folder).manifest
        lineage = run.settings()["lineage"]
        assert lineage["parent_run"] is None
        assert lineage["parent_weights"] == [manifest.stages[stage].sha256 for stage in STAGES[:3]]
        assert run.used == ["data-digits"]


@pytest.mark.slow
def test_offline_then_sync_is_the_same(tmp_path):
    folder = tmp_path / "run"
    with Server() as server:
        done = fit(folder, "--tracking.mode", "offline", env=environment())
        assert "W&B" not in done.stderr
        assert server.state.asked == []
        wandb("sync", *sorted((folder / "wandb").glob("offline-run-*")), env=environment(server), cwd=tmp_path)
        check_histories(server.state, folder)
        sent = {a.name.partition("-")[0]: a for a in server.state.artifacts}
        assert (
            sent["layers"].files["layer_3/weights.safetensors"]
            == (folder / "layer_3" / "weights.safetensors").read_bytes()
        )
        assert server.state.failures == server.state.unknown == []


@pytest.mark.slow
def test_a_server_that_hangs_stops_nothing(tmp_path):
    plain, folder = tmp_path / "plain", tmp_path / "run"
    fit(plain, env=environment())
    with Server(hang="") as hanging, Server() as server:
        done = fit(folder, "--tracking.mode", "online", env=environment(hanging))
        said = [line for line in done.stderr.splitlines() if "W&B" in line]
        assert len(said) == 1
        assert "no server answers" in said[0]
        assert "wandb sync" in said[0]
        for stage in STAGES:
            one, two = (f / stage / "weights.safetensors" for f in (plain, folder))
            assert one.read_bytes() == two.read_bytes()
        # Nothing is lost: what was written meanwhile goes to a server that answers.
        wandb("sync", *sorted((folder / "wandb").glob("offline-run-*")), env=environment(server), cwd=tmp_path)
        check_histories(server.state, folder)


@pytest.mark.slow
def test_a_server_that_stops_taking_rows_is_told_the_rest_later(tmp_path):
    """Slow: it waits for the client's own time limits, 30 s and 45 s."""
    folder = tmp_path / "run"
    with Server(hang="file_stream") as stalling:
        done = fit(folder, "--tracking.mode", "online", env=environment(stalling))
        said = [line for line in done.stderr.splitlines() if "W&B" in line]
        assert len(said) == 2, "one line per job"
        assert all("not all has arrived after 30 s; give the same command again" in line for line in said)
        result = (folder / "result.json").read_bytes()
    with Server() as server:
        before = {file: file.stat().st_mtime_ns for file in folder.glob("*/weights.safetensors")}
        fit(folder, "--tracking.mode", "online", env=environment(server))
        assert {file: file.stat().st_mtime_ns for file in before} == before, "nothing is trained again"
        assert (folder / "result.json").read_bytes() == result
        check_histories(server.state, folder)


@pytest.mark.slow
def test_a_run_that_was_finished_untold_is_told_when_that_is_asked_for(two_fits, tmp_path):
    state, _ = two_fits
    server = environment(WANDB_BASE_URL=state.urls[0], WANDB_API_KEY=KEY)
    folder = tmp_path / "late"
    fit(folder, env=environment())
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*/weights.safetensors")}
    words = ("--tracking.mode", "online", "--tracking.group", "study")
    fit(folder, *words, env=server)
    assert {file: file.stat().st_mtime_ns for file in before} == before, "nothing is trained again"
    check_histories(state, folder)
    told = {job: state.run(entry["id"]) for job, entry in TrackingState(folder).all().items()}
    assert {job: run.fields["displayName"] for job, run in told.items()} == {
        "pretrain": "late-pretrain",
        "finetune": "late-finetune",
    }, "in a group of many runs each has its folder's name"
    assert {run.fields["groupName"] for run in told.values()} == {"study"}
    arrived = len(state.runs)
    assert "finished already" in fit(folder, *words, env=server).stderr, "and once is enough"
    assert len(state.runs) == arrived
    for run in told.values():
        state.runs.pop(run.name)


@pytest.mark.slow
def test_finetuning_another_runs_layers_names_their_run(two_fits, tmp_path):
    state, folders = two_fits
    env = environment(WANDB_BASE_URL=state.urls[0], WANDB_API_KEY=KEY)
    words = ("stacked_dae", "finetune", "--pretrained", folders[0], "--finetune.epochs", 2, "--out", tmp_path / "few")
    command(*words, "--tracking.mode", "online", env=env, cwd=tmp_path)
    parent = TrackingState(folders[0]).entry("pretrain")["id"]
    # A group of its own: the layers, of another one, are found all the same.
    told = compared(state, f"{ENTITY}/stacked-dae/few", tmp_path)
    assert [row["layer_3/valid_loss"] != "" for row in told] == [True]
    run = state.runs.pop(TrackingState(tmp_path / "few").entry("finetune")["id"])
    assert run.settings()["lineage"]["parent_run"] == parent
    assert run.used == ["data-digits", f"layers-{parent}"]


@pytest.mark.slow
def test_wandb_sweep_and_agent_run_a_shipped_sweep(tmp_path):
    """Slow: the unmodified agent starts a process of its own for each of two trials."""
    file = ROOT / "configs" / "sweeps" / "noise.yaml"
    metric = yaml.safe_load(file.read_text())["metric"]["name"]
    with Server() as server:
        env = environment(server, PYTHONPATH=str(ROOT))
        env["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), env["PATH"]])
        # What it names is named from the folder that it is started in.
        (tmp_path / "configs").symlink_to(ROOT / "configs")
        wandb("sweep", "--project", "p", "--entity", ENTITY, "configs/sweeps/noise.yaml", env=env, cwd=tmp_path)
        (sweep_id,) = server.state.sweeps
        wandb("agent", "--count", 2, f"{ENTITY}/p/{sweep_id}", env=env, cwd=tmp_path)
        given = server.state.sweeps[sweep_id]["given"]
        trials = [server.state.run(f"trial{k}") for k in (1, 2)]
        assert len(server.state.runs) == 2, "one W&B run per trial: the layers are told in it too"
        for values, run in zip(given, trials, strict=False):
            settings = dict(flat(run.settings()))
            assert {name: settings[name] for name in values} == values
            assert run.fields["sweep"] == sweep_id
            assert run.fields["groupName"] == sweep_id
            assert run.exit_code == 0
            assert run.summary[metric] < 20
            (folder,) = [f for f in (tmp_path / "runs").iterdir() if TrackingState(f).entry("trial")["id"] == run.name]
            assert history(run) == rows_of(folder, STAGES)
            before = {file: file.stat().st_mtime_ns for file in folder.rglob("weights.safetensors")}
        # The last trial once more, in a W&B run of its own: trained already, and told from the first row on.
        words = [f"--{name}={value}" for name, value in values.items()]
        again = {**env, "WANDB_SWEEP_ID": sweep_id, "WANDB_RUN_ID": "again"}
        base = ("stacked_dae", "fit", "--config", "configs/digits.yaml")
        command(*base, "--tracking.mode=auto", *words, "--out", folder, env=again, cwd=tmp_path)
        assert {file: file.stat().st_mtime_ns for file in before} == before
        assert history(server.state.run("again")) == rows_of(folder, STAGES)
        assert server.state.run("again").summary[metric] == run.summary[metric]
        assert len({json.dumps(values) for values in given[:2]}) == 2
        assert server.state.failures == server.state.unknown == []


@pytest.mark.slow
def test_the_server_stops_a_hopeless_trial_of_a_bayesian_sweep(tmp_path):
    """Slow: the file through the unmodified client, and without a server."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({
        "data": {"name": "digits"},
        "pretrain": {"units": [12], "epochs": 1, "batch_size": 50},
        "finetune": {"epochs": 4, "patience": 100_000, "batch_size": 50},
    }))  # fmt: skip
    sweep = {
        "method": "bayes",
        "metric": {"name": "best_valid_error_percent", "goal": "minimize"},
        "parameters": {
            "finetune.optimizer.lr": {"values": [0.5, 1e-6]},
            # The one without hope would go on for long.
            "finetune.epochs": {"values": [4, 100_000]},
        },
        "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2},
        "command": ["${env}", "stacked-dae", "fit", "--config", "base.yaml", "--tracking.mode=auto", "${args}"],
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    with Server() as server:
        env = environment(server, PYTHONPATH=str(ROOT))
        env["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), env["PATH"]])
        wandb("sweep", "--project", "p", "--entity", ENTITY, "sweep.yaml", env=env, cwd=tmp_path)
        ((sweep_id, kept),) = server.state.sweeps.items()
        rate = "finetune.optimizer.lr"
        kept["trials"] = [{rate: 0.5, "finetune.epochs": 4}, {rate: 1e-6, "finetune.epochs": 100_000}]
        wandb("agent", "--count", 2, f"{ENTITY}/p/{sweep_id}", env=env, cwd=tmp_path)
        good, hopeless = (server.state.run(f"trial{k}") for k in (1, 2))
        for run in (good, hopeless):
            rows = [row for row in run.history if "finetune/epoch" in row]
            lowest = [min(row["finetune/valid_error_percent"] for row in rows[: k + 1]) for k in range(len(rows))]
            assert [row["best_valid_error_percent"] for row in rows] == lowest
            assert run.metrics()["best_valid_error_percent"] == "finetune/epoch"
        assert good.exit_code == 0
        assert good.summary["best_valid_error_percent"] == min(
            row.get("best_valid_error_percent", 100) for row in good.history
        )
        assert hopeless.exit_code == 1
        assert server.state.failures == server.state.unknown == []
    # Without a server nobody would stop a good trial of so many epochs.
    sweep["parameters"] = {rate: {"values": [0.5, 1e-6, 2e-6, 3e-6]}, "finetune.epochs": {"value": 4}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    command("stacked_dae", "sweep", "sweep.yaml", "--local", 8, "--out", "local", env=environment(None), cwd=tmp_path)
    with (tmp_path / "local" / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert {row["state"] for row in trials} == {"complete", "pruned"}
    assert "0.5" not in {row[rate] for row in trials if row["state"] == "pruned"}
