"""What README and docs say is run: every command, every block of Python, every example; and the site is built."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys

import pytest
from helpers.programs import assert_made_by
from helpers.small_runs import ROOT

from stacked_dae.cli.parser import build_parser

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Commands that take hours, a cluster, an account or a build: their words are checked here, and the test that runs them,
# or the same on something small, is named. A key is the beginning of a command.
ELSEWHERE = {
    "make demo": "integration/test_full_size.py::test_the_demo_gains_three_points",
    "make test": ".ci/run",
    "pip install": "docs/test_packaging.py::test_a_wheel_in_an_empty_environment_runs_the_demo",
    "stacked-dae reproduce icml2008": "reproduction/test_runner.py::test_every_model_has_its_row",
    "stacked-dae reproduce filters": "reproduction/test_studies.py::test_the_filters_of_four_noise_levels_start_alike",
    "stacked-dae reproduce noise": "reproduction/test_studies.py::test_the_errors_of_every_noise_and_depth",
    "stacked-dae fit --config configs/digits.yaml --track": (
        "integration/test_wandb.py::test_two_fits_are_two_groups_of_two_runs"
    ),
    "stacked-dae compare --wandb": "integration/test_wandb.py::test_compare_reads_the_same_from_the_server",
    "wandb sync": "integration/test_wandb.py::test_offline_then_sync_is_the_same",
    "wandb sweep": "integration/test_wandb.py::test_wandb_sweep_and_agent_run_a_shipped_sweep",
    "torchrun --nproc_per_node 2": "integration/test_distributed.py::test_several_processes_equal_one",
    "torchrun --nnodes": "integration/test_distributed.py::test_torchrun_on_two_machines",
    "stacked-dae fit --data.path digits.npz": (
        "data/formats/test_images.py::test_figures_are_drawn_in_the_shape_of_the_images"
    ),
    **dict.fromkeys(
        ("stacked-dae fit --data.path photos", "stacked-dae predict runs/photos"),
        "data/formats/test_images.py::test_a_model_of_images_answers_alike_for_every_kind_of_rows",
    ),
    **dict.fromkeys(
        ("stacked-dae data check houses.csv", "stacked-dae fit --config regression"),
        "pipeline/test_regression.py::test_the_command_line_from_check_to_export",
    ),
    "sbatch": "integration/test_distributed.py::test_the_slurm_script_on_two_machines",
}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page):
    """Return the commands of a page, whole and without comments."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [re.sub(r" # .*", "", line) for line in lines]


def elsewhere(command):
    return next((test for start, test in ELSEWHERE.items() if command.startswith(start)), False)


ALL = [(page.name, command) for page in PAGES for command in commands(page)]


def test_pages_have_commands():
    assert len(ALL) > 30
    assert {name for name, _ in ALL} >= {"README.md", "tables.md", "wandb.md", "reliability.md", "research.md"}


@pytest.mark.parametrize("command", sorted({command for _, command in ALL}))
def test_every_command_is_one(command, tmp_path, monkeypatch):
    """Its options are there, and a command that is not run below is run by the test that is named."""
    words = shlex.split(command)
    if words[0] == "stacked-dae":
        for option in [word.partition("=")[0] for word in words if word.startswith("--")]:
            assert option in help_of(words[1]), option
    test = elsewhere(command)
    if test and "::" in test:
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), test
    elif test:
        assert (ROOT / test).exists()
    elif test is False:
        assert words[0] == "stacked-dae", f"nothing runs {command}"


HELP: dict[str, str] = {}


def help_of(command):
    if command not in HELP:
        parser = build_parser(command)
        HELP[command] = parser._subcommands_action._name_parser_map[command].format_help()
    return HELP[command]


def run(place, command, **more):
    words = shlex.split(command)
    words[:1] = [sys.executable, "-m", "stacked_dae"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(place / "cache"), **more}
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stderr[-1000:]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "sh") or blocks(page, "python")], ids=lambda page: page.name
)
def test_a_page_runs_from_top_to_bottom(page, tmp_path):
    """Its commands in their order, then its blocks of Python beside what they made.

    Slow: what a page says is run as it stands, not something smaller.
    """
    for name in ("configs", "docs", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    for command in commands(page):
        if elsewhere(command) is False:
            run(tmp_path, command)
    for k, block in enumerate(blocks(page, "python")):
        (tmp_path / f"block_{k}.py").write_text(block)
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, f"block_{k}.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-1000:]


@pytest.mark.slow
def test_the_examples_of_the_python_page_are_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert tried > 15
    assert failed == 0


def test_the_site_is_built(tmp_path):
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-q",
        "--strict",
        "-f",
        str(ROOT / "mkdocs.yml"),
        "-d",
        str(tmp_path),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-1000:]
    page = (tmp_path / "api" / "index.html").read_text()
    for name in ("fit", "make_dataset", "StackedDAEClassifier", "DenoisingAutoencoder", "export_onnx"):
        assert f">{name}<" in page.replace("<wbr>", ""), name
    assert ":meth:" not in page
    for page in tmp_path.glob("*/index.html"):
        for target in re.findall(r'href="(\.\./results/[^"#]+)', page.read_text()):
            assert (page.parent / target).resolve().is_file(), f"{page.parent.name}: {target}"


def test_pictures_and_files_that_pages_name_are_there():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_source_files_that_pages_name_are_there():
    """Whole paths, and ends of paths such as `nn/losses.py`; `record.py` is of an earlier commit."""
    files = [
        f"/{path.relative_to(ROOT)}"
        for top in ("stacked_dae", "tests", "benchmarks", "docs", "configs")
        for path in (ROOT / top).rglob("*.*")
    ]
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for path in re.findall(r"`([\w/.-]+\.(?:py|yaml|sh))\b", page.read_text()):
            where = page.name, path
            assert path == "record.py" or any(file.endswith(f"/{path}") for file in files), where


def test_the_page_of_settings_is_up_to_date():
    assert_made_by("settings_page", "page()", "settings.md")
