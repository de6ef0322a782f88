"""The thread that talks to W&B: a server that is slow or does not answer neither stops nor slows training."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

# Seconds for any one thing that it is told.
_STUCK = 45.0


class _Teller:
    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self._told = threading.Condition()
        self._left = 0
        threading.Thread(target=self._work, name="wandb", daemon=True).start()

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            call()
            with self._told:
                self._left -= 1
                self._told.notify()

    def tell(self, call: Callable[[], None]) -> None:
        with self._told:
            self._left += 1
        self._calls.put(call)

    def wait(self, seconds: float) -> bool:
        """Wait while there is something left and any of it gets done within ``seconds``; return whether all is."""
        with self._told:
            while self._left and self._told.wait(seconds):
                pass
            return not self._left


_tellers: list[_Teller] = []


def tell(call: Callable[[], None]) -> None:
    """Let the thread do ``call``, after all it was told before; ``call`` must not raise."""
    if not _tellers:
        _tellers.append(_Teller())
    _tellers[-1].tell(call)


def all_told() -> bool:
    """Wait until the thread has done all it was told; return False, and leave it to itself, where it is stuck."""
    if _tellers and not _tellers[-1].wait(_STUCK):
        _tellers.pop()
        return False
    return True
