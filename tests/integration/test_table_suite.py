"""The development suites of tables measure every method once, and keep what they have measured."""

from __future__ import annotations

import csv

import pytest
from helpers.programs import run_program

pytestmark = pytest.mark.slow


def test_it_measures_each_method_once_and_reports(tmp_path):
    asked = ("benchmarks/tables.py", "--tables", "iris", "--labels", 5, "--out", tmp_path)
    run_program(*asked)
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert len({row["method"] for row in rows}) == 5
    assert len(rows) == 5 * 5 * 3
    for row in rows:
        assert 0 <= int(row["wrong"]) <= int(row["n_test"]) == 30
    report = (tmp_path / "table.md").read_text()
    assert "lowest of the five, ties included, on" in report
    before = (tmp_path / "rows.csv").read_text()
    run_program(*asked)
    assert (tmp_path / "rows.csv").read_text() == before


def test_anomalies_are_measured_once(tmp_path):
    asked = ("benchmarks/anomalies.py", "--tables", "iris", "--out", tmp_path)
    run_program(*asked)
    before = (tmp_path / "rows.csv").read_text()
    rows = list(csv.DictReader(before.splitlines()))
    assert len(rows) == 4 * 5
    # One species of iris lies apart from the two others.
    assert all(float(row["auc"]) > 0.9 for row in rows)
    assert "isolation forest" in (tmp_path / "table.md").read_text()
    run_program(*asked)
    assert (tmp_path / "rows.csv").read_text() == before
