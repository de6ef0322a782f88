"""The notebooks: with their outputs in git, and each executed as it is."""

from __future__ import annotations

import ast
import importlib
import re
import time

import nbformat
import pytest
from helpers.small_runs import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_notebooks_hold_the_outputs_of_their_cells():
    assert [file.stem[:2] for file in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07", "08"]
    for file in NOTEBOOKS:
        cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), file.name
        outputs = [output for cell in cells for output in cell.outputs]
        assert outputs, file.name
        assert not [output for output in outputs if output.output_type == "error"], file.name
        assert file.stat().st_size < 1_500_000, f"{file.name} is too large for a repository"


def test_a_frame_becomes_a_picture_in_fifteen_lines():
    cells = nbformat.read(ROOT / "notebooks" / "08_see_it.ipynb", as_version=4).cells
    statements = [node for cell in cells if cell.cell_type == "code" for node in ast.parse(cell.source).body]
    assert len(statements) <= 15


def imported():
    """Yield where each import of the package stands in notebooks and benchmarks, its module, and the name."""
    sources = {file: file.read_text() for file in sorted((ROOT / "benchmarks").glob("*.py"))}
    for file in NOTEBOOKS:
        cells = [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
        sources[file] = "\n".join(re.sub(r"^[%!].*", "", cell, flags=re.MULTILINE) for cell in cells)
    for file, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stacked_dae"):
                yield from ((file.name, node.module, alias.name) for alias in node.names)


def test_what_notebooks_and_benchmarks_import_is_there():
    found = list(imported())
    assert len(found) > 50
    missing = [line for line in found if not hasattr(importlib.import_module(line[1]), line[2])]
    assert missing == []


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(file, as_version=4)
    begun = time.monotonic()
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    print(f"\n{file.name}: {time.monotonic() - begun:.0f} s")
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    # tqdm, which others import, misses a widget; matplotlib looks for fonts where it is used for the first time.
    said = [output.text for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in said if "tqdm" not in text and "font cache" not in text], "no warnings"
    if "compare" not in file.name:
        assert any("image/png" in output.get("data", {}) for output in outputs) or "table" in file.name
