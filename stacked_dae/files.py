"""Files that are never half-written, and their checksums."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_BLOCK = 2**20


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: ``path`` is never half-written."""
    mark = f".{path.name}.{re.sub(r'[^A-Za-z0-9]', '', platform.node())}-"
    for other in path.parent.glob(f"{glob.escape(mark)}*.tmp"):
        if not _alive(other.name.removeprefix(mark).removesuffix(".tmp")):
            # Of a process of this machine that was killed while it wrote.
            other.unlink(missing_ok=True)
    temporary = path.with_name(f"{mark}{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _alive(pid: str) -> bool:
    """Whether there is a process of this number; what is no number counts as one."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``rows``, one or more with equal keys, under a header to ``path`` atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def checksum(path: Path, algorithm: str = "sha256") -> str:
    """Return the checksum (hexadecimal) of a file."""
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
