"""Checkpoints: tensors and plain values, never half-written, and checked for damage when they are read."""

from __future__ import annotations

import copy
import io
import math
import threading
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from torch import Tensor, nn
from torch.optim import Optimizer

from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.type_hints import matches_type


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written to a temporary name and renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, file)


class BackgroundCheckpoints(AtomicCheckpoints):
    """Writes the checkpoints of one file in a thread of its own, and only the latest of those that would come too soon.

    Use it as a context: at its end the latest checkpoint is on disk, and the thread has ended. Other files are written
    at once.

    Args:
        file: the checkpoint.
        seconds: the least time from the end of one writing to the next, at least 0.
    """

    def __init__(self, file: Path, seconds: float) -> None:
        super().__init__()
        self._file, self._seconds = file, seconds
        self._changed = threading.Condition()
        self._waiting: dict[str, Any] | None = None
        self._error: BaseException | None = None
        self._ends = False
        self._thread = threading.Thread(target=self._write_all, name="checkpoints", daemon=True)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if Path(path) != self._file:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        state = _copied(checkpoint)
        with self._changed:
            self._raise_error()
            self._waiting = state
            self._changed.notify()

    def discard(self) -> None:
        """Forget what has not been written, since the file is of no more use."""
        with self._changed:
            self._waiting = None

    def _write_all(self) -> None:
        earliest = -math.inf
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ends or self._waiting is not None)
                self._changed.wait_for(lambda: self._ends, timeout=max(0.0, earliest - time.monotonic()))
                state, self._waiting = self._waiting, None
            if state is None:
                if self._ends:
                    return
                continue
            try:
                write_checkpoint(state, self._file)
            except BaseException as error:  # the training thread raises it
                self._error = error
                return
            earliest = time.monotonic() + self._seconds

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self) -> BackgroundCheckpoints:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join()
        if kind is None:
            self._raise_error()


def _copied(value: Any) -> Any:
    """Return a checkpoint that training leaves alone."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        found = copy.copy(value)
        found.update((key, _copied(item)) for key, item in value.items())
        return found
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return tuple(_copied(item) for item in value) if type(value) is tuple else copy.copy(value)


def write_checkpoint(state: dict[str, Any], file: Path) -> None:
    """Write tensors and plain values, as :func:`read_checkpoint` returns them."""
    # By way of memory: of a full disk torch says only that it could not write.
    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(file, lambda target: target.write(content.getbuffer()))


def read_checkpoint(file: Path) -> dict[str, Any] | None:
    """Return what a checkpoint holds, tensors and plain values; None where there is none, or a damaged one.

    Raises:
        OSError: it cannot be read, which says nothing of what it holds.
    """
    if not file.is_file():
        return None
    # First read, then understood: a disk that cannot be read now does not mean damage.
    content = io.BytesIO(file.read_bytes())
    try:
        with zipfile.ZipFile(content) as members:
            # torch does not compare all checksums, and packs nothing: what is packed may be of any size.
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members.infolist())
            if packed or members.testzip() is not None:
                return None
        content.seek(0)
        state = torch.load(content, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception:  # what a changed byte makes zipfile and torch raise depends on where it is
        return None
    return state if isinstance(state, dict) else None


def holds(state: Mapping[str, Any], hints: Mapping[str, Any], weights: str, module: nn.Module) -> bool:
    """Return whether a checkpoint has values of these types, and under ``weights`` tensors that fit ``module``."""
    if not all(matches_type(hint, state.get(name)) for name, hint in hints.items()):
        return False
    return same_shapes(state.get(weights), module.state_dict())


def same_shapes(there: Any, wanted: Mapping[str, Tensor]) -> bool:
    """Return whether ``there`` holds tensors of the names and shapes that are wanted."""
    return (
        isinstance(there, dict)
        and there.keys() == wanted.keys()
        and all(isinstance(there[name], Tensor) and there[name].shape == wanted[name].shape for name in wanted)
    )


def is_state_of(optimizer: Optimizer, state: Any, *, same_settings: bool = True) -> bool:
    """Return whether a new ``optimizer`` accepts ``state``: equal settings, tensors of its parameters' shapes.

    Without ``same_settings`` the settings need only have the same names, as where a schedule has changed them.
    """
    settings = _settings_of(optimizer)
    try:
        optimizer.load_state_dict(state)
        found = _settings_of(optimizer)
        names = [group.keys() for group in settings]
        fits = found == settings if same_settings else all(a <= b.keys() for a, b in zip(names, found, strict=True))
        return fits and all(
            value.shape == parameter.shape
            for parameter, kept in optimizer.state.items()
            for value in kept.values()
            if isinstance(value, Tensor) and value.dim()
        )
    except Exception:  # what a state that is none makes an optimiser raise depends on what it is
        return False


# How an optimiser computes on this device or that, not what.
_MEANS = ("params", "fused", "foreach", "capturable", "differentiable")


def _settings_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [{k: v for k, v in group.items() if k not in _MEANS} for group in optimizer.param_groups]
