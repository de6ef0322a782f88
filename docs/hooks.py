"""What the site needs beyond its pages: names out of docstrings, and the measured figures.

Docstrings name things as Sphinx does, :meth:`~package.Class.method`; the site shows Class.method.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

_ROLE = re.compile(r":(?:class|meth|func|mod|data):<code>(~?)([\w.]+)</code>")


def on_page_content(html: str, **others: Any) -> str:
    """Return the page with its roles taken out; mkdocs calls this."""
    return _ROLE.sub(lambda match: f"<code>{match[2].rpartition('.')[2] if match[1] else match[2]}</code>", html)


def on_post_build(config: Any, **others: Any) -> None:
    """Put results/ where the pages link to it; mkdocs calls this."""
    results = Path(config["config_file_path"]).parent / "results"
    shutil.copytree(results, Path(config["site_dir"]) / "results", dirs_exist_ok=True)
