"""Files that are never half-written, and their checksums."""

from __future__ import annotations

import csv
import fcntl
import glob
import hashlib
import io
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from stacked_dae.errors import ConfigError

# A file that is there to be locked alone.
LOCK = ".lock"
_BLOCK = 2**20


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: ``path`` is never half-written."""
    mark = f".{path.name}.{re.sub(r'[^A-Za-z0-9]', '', platform.node())}-"
    for other in path.parent.glob(f"{glob.escape(mark)}*.tmp"):
        if not _alive(other.name.removeprefix(mark).removesuffix(".tmp")):
            # Of a process of this machine that was killed while it wrote.
            other.unlink(missing_ok=True)
    temporary = path.with_name(f"{mark}{os.getpid()}.tmp")
    # What lies there is from a process that had this number before, or a link to elsewhere.
    temporary.unlink(missing_ok=True)
    try:
        with named(path):
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let a new name in ``folder`` outlast a power cut, where the file system can."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Give the OSError of the block the file's name: a full disk does not say whose file it was."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _alive(pid: str) -> bool:
    """Return whether there is a process of this number; a text that is not a number counts as one."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        return True
    return True


def lock_folder(folder: Path, *, wait: bool = False) -> int:
    """Keep other processes off ``folder`` until the descriptor that is returned is closed, however the process ends.

    Raises:
        BlockingIOError: another process holds it, and this one is not to ``wait``.
    """
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    # On the folder itself: nothing is left behind.
    lock = os.open(folder, os.O_RDONLY)
    if _locks(lock, how):
        return lock
    # NFS locks what is open for writing only, so no folder: a file in it, which stays.
    os.close(lock)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    # Where this does nothing either, the file system has no locks.
    _locks(lock, how)
    return lock


def _locks(lock: int, how: int) -> bool:
    """Lock an open descriptor, and return whether it can be locked."""
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        os.close(lock)
        raise
    except OSError:
        return False
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


def check_output(option: str, file: Path) -> None:
    """Raise ConfigError, which names ``option``, unless ``file`` can be written or replaced."""
    if file.is_dir():
        raise ConfigError(f"{option}: {file} is a folder; name a file")
    if not file.parent.is_dir():
        raise ConfigError(f"{option}: there is no folder {file.parent}; make it first")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{option}: no permission to write in {file.parent}; choose another folder")


def check_apart(option: str, out: Path, data: str | None) -> None:
    """Raise ConfigError, which names ``option``, where ``out`` is the file ``data`` or lies in the folder ``data``."""
    if data is not None and Path(data).resolve() in (out.resolve(), *out.resolve().parents):
        what = "that is the file to read" if Path(data).is_file() else f"it lies in {data}, the folder to read"
        raise ConfigError(f"{option} {out}: {what}; name another")


def dump_checksummed(values: Mapping[str, Any]) -> str:
    """Return ``values`` as JSON with their own checksum, so that a change of one bit is seen."""
    return json.dumps({**values, "sha256": _mark(values)}, indent=2) + "\n"


def load_checksummed(text: str) -> dict[str, Any]:
    """Return the values of :func:`seal`.

    Raises:
        ValueError: that is not what ``text`` is, any more.
    """
    try:
        values: Any = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict) or values.pop("sha256", None) != _mark(values):
        raise ValueError("has changed since it was written")
    return values


def _mark(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def checksum(path: Path, algorithm: str = "sha256") -> str:
    """Return the checksum (hexadecimal) of a file."""
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
