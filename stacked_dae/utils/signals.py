"""Told to stop by a signal: Ctrl-C, a scheduler's SIGTERM, SLURM's SIGUSR1. Training stops after its minibatch."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(KeyboardInterrupt):
    """Work was stopped by the signal ``signum``."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


_ours: set[signal.Signals] = set()
_asked: list[int] = []
_patient = False


def asked() -> int | None:
    """Return the signal that asked for a stop, None where none did."""
    return _asked[0] if _asked else None


def _hear(signum: int, frame: FrameType | None) -> None:
    if _patient and not _asked:
        _asked.append(signum)
        return
    # Nothing here ends with a minibatch, or it is asked a second time.
    raise Stopped(signum)


@contextmanager
def heard(*signals: signal.Signals) -> Iterator[None]:
    """Let these signals stop the work by :class:`Stopped`, at once or, inside :func:`patient`, when it asks."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, _hear) for signum in signals}
    _ours.update(signals)
    try:
        yield
    finally:
        _ours.difference_update(signals)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def listen_again() -> None:
    """Take back the signals that a library has put its own handlers before."""
    for signum in _ours:
        signal.signal(signum, _hear)


@contextmanager
def patient() -> Iterator[None]:
    """Let the block find out itself, by :func:`asked`, that it is to stop; a second signal stops it at once.

    Where nobody else handles Ctrl-C, it is heard too.
    """
    global _patient
    free = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    _asked.clear()
    _patient = True
    try:
        with heard(*([signal.SIGINT] if free else [])):
            yield
        late = _asked[0] if _asked else None
    finally:
        _patient = False
        _asked.clear()
    if late is not None:
        # It came when there was no minibatch left to end.
        raise Stopped(late)
