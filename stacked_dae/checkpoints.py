"""Checkpoints: tensors and plain values, never half-written, and checked for damage when they are read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from stacked_dae.files import write_atomically


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written to a temporary name and renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_checkpoint(checkpoint, Path(path))


def write_checkpoint(state: dict[str, Any], file: Path) -> None:
    """Write tensors and plain values, as :func:`read_checkpoint` returns them."""
    # By way of memory: of a full disk torch says only that it could not write.
    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(file, lambda target: target.write(content.getbuffer()))


def read_checkpoint(file: Path) -> dict[str, Any] | None:
    """Return what a checkpoint holds, tensors and plain values; None where there is none, or a damaged one."""
    if not file.is_file():
        return None
    try:
        with zipfile.ZipFile(file) as members:
            # torch does not compare all checksums.
            if members.testzip() is not None:
                return None
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # what a changed byte makes zipfile and torch raise depends on where it is
        return None
    return state if isinstance(state, dict) else None
