"""Checkpoints: tensors and plain values, never half-written, and checked for damage when they are read."""

from __future__ import annotations

import io
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
