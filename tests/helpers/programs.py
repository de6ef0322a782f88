"""Programs of the repository in a process of their own."""

from __future__ import annotations

import subprocess
import sys

from helpers.small_runs import ROOT


def run_program(*arguments):
    """Run Python with these arguments at the top of the repository, and see that it succeeds."""
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, text=True, timeout=3600)
    assert done.returncode == 0


def assert_made_by(program, expression, file):
    """See that ``file`` of docs/ is what the program of docs/ makes today, given as an expression within it."""
    code = f"import {program}; print({program}.{expression}, end='')"
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "docs", capture_output=True, text=True, check=True, timeout=600
    )
    assert made.stdout == (ROOT / "docs" / file).read_text(), f"run: python docs/{program}.py"
