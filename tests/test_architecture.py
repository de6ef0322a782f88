"""The packages: imports point one way, and nothing heavy or optional is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache

import pytest
from helpers.programs import assert_made_by
from helpers.small_runs import ROOT, blobs, small

from stacked_dae.pipeline import api

# A package imports from itself and from those of the lines above its own.
ORDER = """
errors version
utils
config nn
data
runs
tracking
training
inference
estimators lightning
figures
reporting
pipeline
tuning
reproduction
cli
"""
LEVELS = {name: level for level, line in enumerate(ORDER.strip().splitlines()) for name in line.split()}
# Each of these may be imported in its own package only.
OWNED = {"wandb": "tracking", "jsonargparse": "cli"}
PACKAGE = ROOT / "stacked_dae"


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {module_name(p): p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.stem in LEVELS}
MODULES = sorted(name for name, path in FILES.items() if path.name != "__init__.py")


@cache
def imports(name):
    """Return the dotted names that a module imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def own_imports(name):
    """Return the modules of this package that a module imports."""
    inner = {imported.removeprefix("stacked_dae.") for imported in imports(name) if imported.startswith("stacked_dae.")}
    return sorted(inner & set(MODULES))


def package(name):
    return name.split(".")[0]


def longest_chain(name, above=()):
    """Return the longest chain of modules that import one another, from ``name`` on."""
    assert name not in above, f"a cycle: {' → '.join([*above, name])}"
    chains = (longest_chain(other, (*above, name)) for other in own_imports(name))
    return [name, *max(chains, key=len, default=[])]


def test_every_package_has_a_level():
    assert {package(name) for name in MODULES} == set(LEVELS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    for other in own_imports(name):
        if package(other) != package(name):
            assert LEVELS[package(other)] < LEVELS[package(name)], f"{name} imports {other}"
    for imported in imports(name):
        owner = OWNED.get(imported.split(".")[0])
        assert owner in (None, package(name)), f"only {owner} may import {imported}"


def test_no_cycle_and_no_long_chain():
    chain = max((longest_chain(name) for name in MODULES), key=len)
    print(len(chain), " → ".join(chain))
    assert len(chain) <= len(LEVELS), " → ".join(chain)


def test_the_map_is_up_to_date():
    assert_made_by("package_map", "svg()", "images/packages.svg")


def test_packages_and_modules_are_small():
    top = [path for path in PACKAGE.iterdir() if path.suffix == ".py"]
    assert len(top) <= 8
    for folder in [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
        inside = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(inside) <= 10, f"{folder.name}: {inside}"
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 350, path


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("nn.")])
def test_nn_knows_torch_only(name):
    for imported in imports(name):
        top = imported.split(".")[0]
        if top == "stacked_dae" and imported != "stacked_dae.utils":
            allowed = ("stacked_dae.nn", "stacked_dae.utils.distributed", "stacked_dae.errors")
            assert imported.startswith(allowed), imported
        else:
            assert top in {*sys.stdlib_module_names, "torch", "stacked_dae"}, imported


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
        api.fit(small(), tmp_path / "run", dataset=blobs())
        arguments = ["compare", str(tmp_path / "run")]
    done = run_python(
        f"""
import sys
from stacked_dae.cli.main import main
try:
    main({arguments!r})
except SystemExit:
    pass
print([name for name in ("torch", "pytorch_lightning", "wandb", "matplotlib") if name in sys.modules])
"""
    )
    assert done.stdout.strip().endswith("[]"), done.stdout[-300:] + done.stderr[-300:]


def test_every_module_imports_without_the_optional_extras():
    # What talks to Optuna is imported once a search begins.
    modules = [f"stacked_dae.{name}" for name in FILES if not name.startswith(("tuning.study.", "tuning.worker"))]
    done = run_python(
        f"""
import importlib, sys
for name in ("mlxtend", "pandas", "pyarrow", "wandb", "wandb_workspaces", "tensorboard", "optuna", "sqlalchemy"):
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
