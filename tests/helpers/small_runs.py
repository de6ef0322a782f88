"""A data set and settings that train in seconds, and what tests do to such runs."""

from __future__ import annotations

import itertools
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np

from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset, make_dataset
from stacked_dae.utils.signals import StopRequest
from stacked_dae.utils.terminal.progress import Reporter

ROOT = Path(__file__).parents[2]


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
    return replace(config_from_dict(SMALL), **changes)


class MessageRecorder(Reporter):
    """Keeps the lines that it is given to say."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def stop_after(patch, looks):
    """Let a signal arrive just before training looks for one for the time ``looks``, from 1."""
    seen = itertools.count(1)
    patch.setattr(StopRequest, "pending_signal", lambda request: signal.SIGTERM if next(seen) == looks else None)
