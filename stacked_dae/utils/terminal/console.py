"""The console of all tables and bars."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from stacked_dae.utils.terminal.text import printable


class Terminal(Console):
    """A console that shows text as it is: neither obeys its control characters, nor makes a picture of ``:name:``."""

    def __init__(self, **how: Any) -> None:
        super().__init__(emoji=False, **how)

    def render_str(self, text: str, *arguments: Any, **how: Any) -> Text:
        """Return text as rich renders it, made :func:`printable`."""
        return super().render_str(printable(text), *arguments, **how)
