"""Several processes, as torchrun starts them, against one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.small_runs import ROOT
from safetensors.numpy import load_file

from stacked_dae.errors import ConfigError
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils import distributed

# 1260 rows: the last minibatch has 23 of 30, of which the first of two processes gets 11.
CONFIG = {
    "data": {"name": "digits"},
    "pretrain": {"units": [40, 30], "epochs": 2, "batch_size": 30, "optimizer": {"lr": 0.05}},
    "finetune": {"epochs": 3, "batch_size": 30},
    "trainer": {"accelerator": "cpu"},
}
ADAM = {"name": "adam", "lr": 0.003}
OTHER = {
    **CONFIG,
    # Fewer rows in the last minibatch than processes, codes on disk, masks, emphasis.
    "data": {"name": "digits", "memory_budget": 0.0, "labels_per_class": 9},
    "pretrain": {**CONFIG["pretrain"], "batch_size": 1259, "emphasis": {"alpha": 1.0, "beta": 0.5}, "optimizer": ADAM},
    "finetune": {"epochs": 3, "batch_size": 89, "dropout": 0.2, "optimizer": ADAM},
}


def fit(place: Path, name: str, config: dict, processes: int) -> tuple[RunFolder, str]:
    file = place / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    words = ["-m", "stacked_dae", "fit", "--config", file, "--out", place / name]
    if processes > 1:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes, *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return RunFolder.open(place / name), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("config", "processes"), [(CONFIG, 2), (OTHER, 2), (OTHER, 3)])
def test_several_processes_equal_one(tmp_path, config, processes):
    one, said = fit(tmp_path, "one", config, 1)
    several, said_by_several = fit(tmp_path, "several", config, processes)
    for stage in ("layer_1", "layer_2", "finetune"):
        ours, theirs = (load_file(folder.weights_path(stage)) for folder in (several, one))
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=2e-4)
        for row, other in zip(several.metrics(stage).rows(), one.metrics(stage).rows(), strict=True):
            assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
            assert row["valid_loss"] == pytest.approx(other["valid_loss"], rel=1e-4)
    assert abs(several.result().test_error_percent - one.result().test_error_percent) < 0.6
    # One of them speaks.
    assert said_by_several.count("test error") == said.count("test error") == 1
    assert not list(several.path.rglob("codes_*"))
    # Finished is finished, with another number of processes too.
    before = {file: file.stat().st_mtime_ns for file in several.path.rglob("weights.safetensors")}
    fit(tmp_path, "several", config, 1)
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 20])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_are_a_partition(monkeypatch, rows, count):
    monkeypatch.setenv("WORLD_SIZE", str(count))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count))
    shares = []
    for rank in range(count):
        monkeypatch.setenv("RANK", str(rank))
        shares += list(range(rows))[distributed.shard(rows)]
    assert shares == list(range(rows))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (1, 1, 0)),
        ({"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6", "RANK": "5"}, (2, 3, 5)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "3"}, (4, 2, 3)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "3"}, (4, 2, 3)),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, (1, 1, 0)),
        ({"SLURM_NTASKS": "4"}, (1, 1, 0)),
        # The shell of sbatch, and one that srun started alone in a larger allocation.
        ({"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "0"}, (1, 1, 0)),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, (1, 1, 0)),
    ],
)
def test_the_launcher_says_how_many(monkeypatch, environment, expected):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (*distributed.launch_topology(), distributed.rank()) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "5", "RANK": "0"},
        {"SLURM_STEP_NUM_TASKS": "3", "SLURM_NNODES": "2", "SLURM_PROCID": "0"},
    ],
)
def test_machines_of_unequal_shares_are_refused(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="start as many on each"):
        distributed.launch_topology()


@pytest.mark.parametrize("name", ["job", "interactive"])
def test_a_shell_of_slurm_trains_alone_and_says_so(name, tmp_path):
    """Nobody starts the other tasks there: a rendezvous would wait for ever."""
    shell = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_PROCID": "0"}
    shell |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": name}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    words = [sys.executable, "-m", "stacked_dae", "fit", "--config", "config.yaml", "--out", "one"]
    env = {**os.environ, **shell, "SLURM_JOB_NODELIST": "here", "PYTHONPATH": str(ROOT)}
    # Waiting in the rendezvous, torch hears no signal but SIGKILL, which ends this call.
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "srun did not start this command" in done.stderr


@pytest.mark.slow
def test_a_job_of_several_processes_stops_and_goes_on(tmp_path):
    """torchrun hands SIGTERM on; all processes stop at one place.

    Slow: three jobs of several processes, each of which imports torch.
    """
    config = {**CONFIG, "pretrain": {**CONFIG["pretrain"], "epochs": [300, 2]}}
    whole, _ = fit(tmp_path, "whole", config, 2)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "stacked_dae", "fit"]
    words += ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "cut")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(
        [sys.executable, *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "cut" / "layer_1" / "metrics.csv"
    deadline = time.monotonic() + 100
    while job.poll() is None and time.monotonic() < deadline:
        if metrics.exists() and len(metrics.read_text().splitlines()) > 5:
            break
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    _, err = job.communicate(timeout=100)
    assert job.returncode != 0
    assert err.count("stopped; run the same command again") >= 1, err
    assert (tmp_path / "cut" / "layer_1" / "minibatch.ckpt").exists()
    again, _ = fit(tmp_path, "cut", config, 2)
    for stage in ("layer_1", "layer_2", "finetune"):
        assert again.weights_path(stage).read_bytes() == whole.weights_path(stage).read_bytes()
        rows = [[{**row, "seconds": 0} for row in run.metrics(stage).rows()] for run in (again, whole)]
        for one, other in zip(*rows, strict=True):
            assert one == pytest.approx(other, rel=1e-6)


def same(place, ours, config):
    """Whether a run equals that of one process."""
    one, _ = fit(place, "one", config, 1)
    for stage in ("layer_1", "layer_2", "finetune"):
        mine, theirs = (load_file(folder.weights_path(stage)) for folder in (RunFolder.open(ours), one))
        for name in mine:
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-3, atol=2e-4)


@pytest.mark.slow
def test_torchrun_on_two_machines(tmp_path):
    """As docs/reliability.md has it; both machines are this one."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    words = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d"]
    words += ["--rdzv_endpoint", "localhost:29517", "-m", "stacked_dae", "fit"]
    words += ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "two")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    machines = [
        subprocess.Popen([sys.executable, *words], env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for machine in machines:
        _, err = machine.communicate(timeout=300)
        assert machine.returncode == 0, err
    same(tmp_path, tmp_path / "two", CONFIG)


@pytest.mark.slow
def test_the_slurm_script_on_two_machines(tmp_path):
    """``configs/slurm.sh``, with stand-ins for SLURM's srun and scontrol: what it starts, not how SLURM does."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    srun = """#!/bin/bash
for task in 0 1; do
    SLURM_PROCID=$task SLURM_NODEID=$task SLURM_LOCALID=0 SLURM_STEP_NUM_TASKS=2 \\
    SLURM_NTASKS=2 SLURM_NNODES=2 SLURM_NTASKS_PER_NODE=1 "$@" &
    tasks="$tasks $!"
done
for task in $tasks; do wait $task || code=$?; done
exit ${code:-0}
"""
    commands = {
        "srun": srun,
        "scontrol": "#!/bin/bash\necho 127.0.0.1\n",
        "stacked-dae": f'#!/bin/bash\nexec {sys.executable} -m stacked_dae "$@"\n',
    }
    (tmp_path / "bin").mkdir()
    for name, text in commands.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "stacked-dae", "SLURM_JOB_NODELIST": "here"}
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    env = {**os.environ, **slurm, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = ["bash", str(ROOT / "configs" / "slurm.sh"), "--config", "config.yaml", "--out", "two"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    same(tmp_path, tmp_path / "two", CONFIG)
