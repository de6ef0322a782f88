"""Programs of the repository in a process of their own."""

from __future__ import annotations

import subprocess
import sys

from helpers.small_runs import ROOT


def run_program(*arguments):
    """Run Python with these arguments at the top of the repository, and see that it succeeds."""
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, text=True, timeout=3600)
    assert done.returncode == 0
