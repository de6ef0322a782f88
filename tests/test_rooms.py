"""The rooms: imports point one way, and nothing heavy or optional is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from conftest import ROOT, blobs, small

from stacked_dae import workflow

# Each file imports only from rooms above it.
ROOMS = """
version errors stopping address interval files hints disk config settings stages machine ranks paper presets
corruption losses descent layer stack
data.columns data.dataset data.tablefile data.scan data.table data.frames data.idx data.splits data.digits data.mnist
data.photographs data.shapes data.digit_problems data.amat data.icml2007 data.registry
loader codes replay checkpoints
tasks.chunked tasks.pretrain tasks.finetune
progress tracking.subject tracking.records tracking.teller tracking.place tracking.wandb_run tracking.jobs
tracking.reading metrics kept manifest networks trained fitting scoring plan telling figures workflow
greedy estimator model export predictions
svm search table1 reproduce side_by_side
studies gallery compare compare_page compare_wandb wandb_report sweep summary
explain commands run_commands cli
""".split()
# Each of these may be imported in its own room only.
OWNED = {"wandb": "tracking", "jsonargparse": "cli"}
PACKAGE = ROOT / "stacked_dae"


def imports(path):
    """Return the dotted names that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


FILES = [p for p in PACKAGE.rglob("*.py") if p.name not in ("__init__.py", "__main__.py")]


def test_every_file_has_a_room():
    assert sorted(map(room, FILES)) == sorted(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=room)
def test_imports_point_up(path):
    here = ROOMS.index(room(path))
    for name in imports(path):
        inner = name.removeprefix("stacked_dae.")
        if name.startswith("stacked_dae.") and inner in ROOMS:
            assert ROOMS.index(inner) < here, f"{room(path)} imports {inner}, which is below it"
        owner = OWNED.get(name.split(".")[0])
        assert owner in (None, room(path).split(".")[0]), f"only {owner} may import {name}"


@pytest.mark.parametrize("name", ["corruption", "losses", "descent", "layer", "stack"])
def test_the_network_rooms_know_torch_only(name):
    for imported in imports(PACKAGE / f"{name}.py"):
        assert not imported.startswith(("pytorch_lightning", "stacked_dae.config", "stacked_dae.data")), imported


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["fit", "--help"],
        ["data", "list"],
        ["fit", "--pretrain.units", "0"],
        ["fit", "--x"],
        ["compare", "run"],
        ["sweep", "configs/sweeps/rates.yaml"],
    ],
)
def test_quick_commands_do_not_import_torch(arguments, tmp_path):
    if arguments == ["compare", "run"]:
        workflow.fit(small(), tmp_path / "run", dataset=blobs())
        arguments = ["compare", str(tmp_path / "run")]
    done = run_python(
        f"""
import sys
from stacked_dae.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
print([name for name in ("torch", "pytorch_lightning", "wandb", "matplotlib") if name in sys.modules])
"""
    )
    assert done.stdout.strip().endswith("[]"), done.stdout[-300:] + done.stderr[-300:]


def test_every_module_imports_without_the_optional_extras():
    modules = [f"stacked_dae.{name}" for name in ROOMS]
    done = run_python(
        f"""
import importlib, sys
for name in ("mlxtend", "pandas", "pyarrow", "wandb", "wandb_workspaces", "tensorboard"):
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
"""
    )
    assert done.returncode == 0, done.stderr


def test_public_names_are_there():
    import stacked_dae

    for name in stacked_dae.__all__:
        assert getattr(stacked_dae, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        _ = stacked_dae.fti
