"""The record of a run folder about its W&B runs."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from stacked_dae.utils.files import write_text

_writing = threading.Lock()


class TrackingState:
    """``tracking.json`` of a run folder, an entry for each job.

    DatasetInfo: ``id`` and ``mode`` of its W&B run, ``mark`` (fingerprint of its last stage), whether it ``ended``, the
    SHA-256 of the ``weights`` that it made, and their ``artifact``, where there is one.
    """

    def __init__(self, out: Path) -> None:
        self._file = out / "tracking.json"

    def entry(self, job_type: str) -> dict[str, Any]:
        """Return the entry of a job; empty where there is none."""
        return self.all().get(job_type, {})

    def write(self, job_type: str, **entry: Any) -> None:
        """Update the entry of a job."""
        with _writing:
            entries = self.all()
            entries[job_type] = {**entries.get(job_type, {}), **entry}
            write_text(self._file, json.dumps(entries, indent=2) + "\n")

    def all(self) -> dict[str, dict[str, Any]]:
        """Return the entries by job."""
        try:
            return {name: dict(entry) for name, entry in json.loads(self._file.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            # Absent, or damaged: nothing but W&B's own view is lost with it.
            return {}
