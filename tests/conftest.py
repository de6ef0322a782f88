"""Fixtures of all tests, and how hypothesis runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.small_runs import ROOT
from hypothesis import settings

# Machines are noisy: how long an example takes is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items):
    """Begin with the longest tests, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.path.stem != "test_full_size")


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
