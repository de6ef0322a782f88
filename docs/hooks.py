"""What the site needs beyond its pages: names out of docstrings, the notebooks, and the measured figures.

Docstrings name things as Sphinx does, :meth:`~package.Class.method`; the site shows Class.method.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROLE = re.compile(r":(?:class|meth|func|mod|data):<code>(~?)([\w.]+)</code>")


def on_page_content(html: str, **others: Any) -> str:
    """Return the page with its roles taken out; mkdocs calls this."""
    return _ROLE.sub(lambda match: f"<code>{match[2].rpartition('.')[2] if match[1] else match[2]}</code>", html)


def on_post_build(config: Any, **others: Any) -> None:
    """Put results/ where the pages link to it; mkdocs calls this."""
    results = Path(config["config_file_path"]).parent / "results"
    shutil.copytree(results, Path(config["site_dir"]) / "results", dirs_exist_ok=True)


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook, with its outputs; mkdocs calls this."""
    notebooks = Path(config["config_file_path"]).parent / "notebooks"
    for notebook in sorted(notebooks.glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page_of(notebook)))
    return files


def page_of(notebook: Path) -> str:
    """Return a notebook as Markdown: its text, its code, and what each cell put out."""
    parts = []
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [_shown(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts) + "\n"


def _shown(output: dict[str, Any]) -> str:
    """Return an output in the richest form that a page shows."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).strip()
        return f'<img alt="The figure that the cell above draws" src="data:image/png;base64,{picture}">'
    if "text/html" in data:
        # A blank line would end the HTML for Markdown.
        return re.sub(r"\n\s*\n", "\n", "".join(data["text/html"]))
    text = "".join(output.get("text", data.get("text/plain", "")))
    return "```text\n" + re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip() + "\n```"
