"""The paper's figures, on a small data set."""

from __future__ import annotations

import csv

import matplotlib.image
import pytest
from helpers.small_runs import blobs
from safetensors.torch import load_file

from stacked_dae.config.loading import config_from_dict
from stacked_dae.reproduction import studies
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.terminal.progress import Reporter


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Make the studies ones of seconds."""
    make = studies._config

    def small(*arguments):
        values = make(*arguments).to_dict()
        values["pretrain"] |= {"units": [9] * len(values["pretrain"]["units"]), "epochs": 2}
        values["finetune"]["epochs"] = 2
        return config_from_dict(values)

    monkeypatch.setattr(studies, "_config", small)


class Counter(Reporter):
    """Counts the stages that begin."""

    def __init__(self):
        self.begun = 0

    def start(self, name, total, unit, done=0):
        self.begun += 1


def test_the_filters_of_four_noise_levels_start_alike(tmp_path):
    file = studies.filters_by_noise(blobs(), "regenerated", 0, tmp_path, Reporter())
    assert matplotlib.image.imread(file).std() > 0.05
    runs = sorted(tmp_path.glob("nu_*"))
    assert [RunFolder.open(run).config().layers()[0].nu for run in runs] == [0.0, 0.1, 0.25, 0.5]
    weights = [load_file(run / "layer_1" / "weights.safetensors")["weight"] for run in runs]
    assert len(weights[0]) == 9
    spread = weights[0].std()
    for other in weights[1:]:
        assert not other.equal(weights[0])
        assert (other - weights[0]).std() < spread / 2, "another start would differ by more"


def test_the_errors_of_every_noise_and_depth(tmp_path):
    file = studies.errors_by_noise(blobs(), "regenerated", 0, tmp_path, Reporter())
    assert matplotlib.image.imread(file).std() > 0.05
    rows = list(csv.DictReader((tmp_path / "errors.csv").read_text().splitlines()))
    assert [(int(r["depth"]), r["model"], float(r["nu"])) for r in rows] == [
        (depth, model, nu)
        for depth in (1, 2, 3)
        for model, nu in (("mlp", 0.0), ("sda", 0.0), ("sda", 0.1), ("sda", 0.25), ("sda", 0.4))
    ]
    for row in rows:
        run = RunFolder.open(tmp_path / f"depth_{row['depth']}_{row['model']}_{float(row['nu']):g}")
        assert run.result().test_error_percent == float(row["test_error_percent"])
        assert len(run.config().layers()) == int(row["depth"])
    again = Counter()
    studies.errors_by_noise(blobs(), "regenerated", 0, tmp_path, again)
    assert again.begun == 0
