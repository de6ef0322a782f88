"""What several test files share."""

from __future__ import annotations

import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from stacked_dae.config.loading import from_dict
from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset, make_dataset
from stacked_dae.utils import signals
from stacked_dae.utils.progress import Reporter

# Machines are noisy: how long an example takes is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    """Keep the machine's own W&B settings out of the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder of the real MNIST and ICML-2007 files; there in development and in CI."""
    root = Path(os.environ.get("STACKED_DAE_DATA") or ROOT.parent / "shared" / "data")
    if not (root / "mnist").is_dir():
        pytest.skip("the real data files are not here; set STACKED_DAE_DATA")
    return root


def blobs(seed: int = 0, load_test=None) -> Dataset:
    """Return a small data set of 4×3 images in three classes, noisy but learnable."""
    random = np.random.default_rng(seed)
    centres = random.random((3, 12))

    def rows(n):
        y = random.integers(0, 3, n)
        return np.clip(centres[y] + 0.25 * random.standard_normal((n, 12)), 0, 1).astype(np.float32), y

    train, valid, test = rows(230), rows(60), rows(90)
    return make_dataset("blobs", train, valid, load_test or (lambda: test), image_shape=(4, 3))


SMALL = {
    "seed": 3,
    "data": {"name": "blobs"},
    "pretrain": {"units": [10, 8], "epochs": 3, "corruption": {"nu": [0.25, 0.4]}},
    "finetune": {"epochs": 6, "patience": 3},
}


def small(**changes) -> Config:
    """Return a config of seconds for :func:`blobs`."""
    return replace(from_dict(SMALL), **changes)


class Heard(Reporter):
    """Keeps what it is told to say."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def stop_after(patch, looks):
    """Let a signal arrive just before training looks for one for the time ``looks``, from 1."""
    seen = itertools.count(1)
    patch.setattr(signals, "asked", lambda: signal.SIGTERM if next(seen) == looks else None)
