"""Run the notebooks and keep their outputs in them, for GitHub and the site: python docs/run_notebooks.py [NAME...]"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]


def run(file: Path) -> None:
    """Run one notebook, in a folder of its own."""
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": place}})
        client.execute()
    for cell in notebook.cells:
        # When a cell ran says nothing, and would be another line in each commit.
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        # tqdm, which others import, misses a widget.
        cell.outputs = [output for output in cell.get("outputs", []) if "TqdmWarning" not in output.get("text", "")]
    nbformat.write(notebook, file)
    print(f"{file}: {file.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(ROOT)
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if not sys.argv[1:] or any(name in file.stem for name in sys.argv[1:]):
            run(file)
