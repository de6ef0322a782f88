"""The thread that talks to W&B: a server that is slow or does not answer neither stops nor slows training."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

# Seconds for any one call.
_TIMEOUT = 45.0


class BackgroundWorker:
    """Runs calls one after another in a thread of its own, which starts with the first."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._finished = threading.Condition()
        self._left = 0
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], None]) -> None:
        """Run ``call`` after all that were submitted before; it must not raise."""
        with self._finished:
            self._left += 1
        self._calls.put(call)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
            self._thread.start()

    def drain(self) -> bool:
        """Wait until all calls are done, and end the thread; return False where a call takes longer than its time."""
        with self._finished:
            while self._left and self._finished.wait(_TIMEOUT):
                pass
            done = not self._left
        if done:
            self._calls.put(None)
            self._thread = None
        return done

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            call()
            with self._finished:
                self._left -= 1
                self._finished.notify()
