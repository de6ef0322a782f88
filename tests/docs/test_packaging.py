"""The wheel and the sdist: what is in them, and that a stranger can use them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers.small_runs import ROOT

DEMO = (ROOT / "configs" / "demo.yaml").read_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build both, the wheel out of the sdist."""
    place = tmp_path_factory.mktemp("built")
    source = place / "source"
    everywhere = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__")
    at_the_top = {"runs", "results", "site", "dist", "build"}
    shutil.copytree(
        ROOT,
        source,
        ignore=lambda folder, names: {
            *everywhere(folder, names),
            *(at_the_top if Path(folder) == ROOT else ()),
        },
    )
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(place / "dist"), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return place / "dist"


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_package_and_nothing_else(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as members:
        names = set(members.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"stacked_dae"}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "stacked_dae").rglob("*.py")}
    data = {"py.typed", "config/recipes/table.yaml", "config/recipes/regression.yaml", "reproduction/published.yaml"}
    data |= {f"reporting/page/compare.{kind}" for kind in ("html.jinja", "css", "js")}
    assert modules | {f"stacked_dae/{name}" for name in data} <= names
    with tarfile.open(sdist) as members:
        inside = {name.partition("/")[2] for name in members.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "stacked_dae/cli/main.py"} <= inside


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_runs_the_demo(built, tmp_path):
    """Slow: pip installs torch and all else into an empty environment, as a newcomer's does."""
    (wheel,) = built.glob("*.whl")
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    words = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([python, *words, f"{wheel}[demo]"], check=True)
    (tmp_path / "demo.yaml").write_text(DEMO)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = [tmp_path / "env" / "bin" / "stacked-dae", "fit", "--config", "demo.yaml", "--out", "run"]
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test_error_percent"] < 25
    # What needs an extra says which.
    table = tmp_path / "t.csv"
    table.write_text("a,y\n1,p\n")
    words = [run[0], "fit", "--data.path", str(table), "--data.target", "y"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install 'stacked-dae[tables]'" in done.stderr
