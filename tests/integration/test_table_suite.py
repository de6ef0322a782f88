"""The development suite of tables measures every method once, and keeps what it has measured."""

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
