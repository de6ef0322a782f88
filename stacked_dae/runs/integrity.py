"""The small files of a run folder, read whole and held to their own checksums."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from stacked_dae.errors import StageError
from stacked_dae.utils.files import LOCK, load_checksummed

# Characters in one of the small files at the most: far beyond any.
_LONGEST = 2**24
# How the last line of config.yaml begins, before the checksum of all above it.
_CHECKSUM = "# SHA-256 of the lines above: "


def with_checksum(text: str) -> str:
    """Return ``text``, the settings of a ``config.yaml``, with its checksum as the last line."""
    return f"{text}{_CHECKSUM}{hashlib.sha256(text.encode()).hexdigest()}\n"


def is_intact(whole: str) -> bool:
    """Return whether the text of a ``config.yaml`` is as :func:`with_checksum` made it."""
    return whole == with_checksum(whole.rpartition(_CHECKSUM)[0])


def read_small(file: Path) -> str:
    """Return the text of a small file; of a larger one the beginning, which fails every check."""
    with file.open(errors="replace") as opened:
        return opened.read(_LONGEST)


def parse_checksummed(file: Path, text: str, remedy: str) -> dict[str, Any]:
    """Return what ``text``, read from ``file``, holds.

    Raises:
        StageError: the text has changed since it was written; the error ends with ``remedy``.
    """
    try:
        return load_checksummed(text)
    except ValueError:
        raise StageError(f"{file} is damaged: it is not as it was written; {remedy}") from None


def link_out_of(path: Path) -> Path | None:
    """Return a link in the run folder to a folder outside it, None where there is none."""
    whole = path.resolve()
    for place, folders, _ in os.walk(path):
        for name in folders:
            link = Path(place, name)
            if link.is_symlink() and not link.resolve().is_relative_to(whole):
                return link
    return None


def is_left_by_start(file: Path) -> bool:
    """Return whether a run that was killed before its first manifest leaves such a file."""
    if file.name == "config.yaml":
        # A settings file of the user's must not be overwritten.
        return file.is_file() and is_intact(read_small(file))
    return file.name in ("preprocessing.json", LOCK) or (file.name.startswith(".") and file.name.endswith(".tmp"))
