"""Signals that stop a command: Ctrl-C, a scheduler's SIGTERM, SLURM's SIGUSR1, the SIGHUP of a closed terminal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has the first two.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Work was stopped by the signal ``signum``."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


def _interrupt(signum: int, frame: FrameType | None) -> None:
    _leave_closed_terminal()
    raise Interrupted(signum)


def _leave_closed_terminal() -> None:
    """Send output nowhere where its terminal is closed: each word to it would be an error, and end the work by that."""
    for output in (1, 2):
        try:
            os.write(output, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, output)
            os.close(nowhere)


@contextmanager
def handle_signals(*signals: signal.Signals) -> Iterator[None]:
    """Raise :class:`Interrupted` in the block when a signal arrives, or later inside :func:`deferred_stop`."""
    # What `nohup` ignores stays ignored.
    heeded = [signum for signum in signals if signum == signal.SIGINT or signal.getsignal(signum) != signal.SIG_IGN]
    with _installed(_interrupt, heeded):
        yield


class StopRequest:
    """A signal that training finds out about between two minibatches; a second signal raises :class:`Interrupted`."""

    def __init__(self) -> None:
        self._signum: int | None = None
        self._handled: tuple[signal.Signals, ...] = ()

    def pending_signal(self) -> int | None:
        """Return the signal that asked for a stop, or None."""
        return self._signum

    def reinstall_handlers(self) -> None:
        """Handle the signals again, where a library has replaced the handlers."""
        for signum in self._handled:
            signal.signal(signum, self._receive)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        _leave_closed_terminal()
        if self._signum is not None:
            raise Interrupted(signum)
        self._signum = signum

    @contextmanager
    def _receiving(self) -> Iterator[None]:
        handled = [signum for signum in SIGNALS if signal.getsignal(signum) is _interrupt]
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Nobody else handles Ctrl-C.
            handled.append(signal.SIGINT)
        with _installed(self._receive, handled) as installed:
            self._handled = tuple(handled) if installed else ()
            yield


@contextmanager
def deferred_stop() -> Iterator[StopRequest]:
    """Let the block stop itself: signals of :func:`handle_signals`, and Ctrl-C, become a :class:`StopRequest`.

    Raises:
        Interrupted: a signal arrived after the block had looked for one for the last time.
    """
    request = StopRequest()
    with request._receiving():
        yield request
    if request._signum is not None:
        raise Interrupted(request._signum)


@contextmanager
def _installed(handler: signal._HANDLER, signals: list[signal.Signals] | tuple[signal.Signals, ...]) -> Iterator[bool]:
    """Install ``handler`` for ``signals`` in the block; only the main thread can, and False is given elsewhere."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = {signum: signal.signal(signum, handler) for signum in signals}
    try:
        yield True
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)
