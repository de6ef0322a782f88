"""Runs of seconds: on a table, scaled in both ways, and on images without one."""

from __future__ import annotations

import pytest
from helpers.small_runs import blobs, small
from helpers.tables import people, settings

from stacked_dae.config.loading import config_from_dict
from stacked_dae.pipeline import api


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return people(tmp_path_factory.mktemp("table") / "people.csv")


@pytest.fixture(scope="module", params=["minmax", "standard"])
def run(request, table, tmp_path_factory):
    return api.fit(config_from_dict(settings(table, scale=request.param)), tmp_path_factory.mktemp("run") / "run").path


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    return api.fit(small(), tmp_path_factory.mktemp("run") / "run", dataset=blobs()).path
