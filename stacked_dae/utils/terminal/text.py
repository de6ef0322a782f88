"""Text on a terminal: what a user's names hold can neither command it nor fail on it."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import TextIO

# Of ASCII and Latin-1, but for the ends of lines and tabulators: a terminal obeys them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return text with its control characters written out, such as ``\\x1b``."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def say(text: object, file: TextIO | None = None) -> None:
    """Print a line of :func:`printable` text, on standard output without ``file``."""
    print(printable(str(text)), file=file)


@contextlib.contextmanager
def tolerant_output() -> Iterator[None]:
    """Write out what an encoding lacks in the block, such as ``\\xb1`` for ± in ASCII, where Python would fail."""
    changed = []
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
            changed.append(stream)
    try:
        yield
    finally:
        for stream in changed:
            stream.reconfigure(errors="strict")
