"""Docstrings name things as Sphinx does, :meth:`~package.Class.method`; the site shows Class.method."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:class|meth|func|mod|data):<code>(~?)([\w.]+)</code>")


def on_page_content(html: str, **others: Any) -> str:
    """Return the page with its roles taken out; mkdocs calls this."""
    return _ROLE.sub(lambda match: f"<code>{match[2].rpartition('.')[2] if match[1] else match[2]}</code>", html)
