"""The hardware and the library versions that a measurement depends on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from stacked_dae.version import __version__


def processor() -> str:
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def describe_hardware(gpu: str = "") -> str:
    """Return the ``gpu`` if there is one, processor, cores, and the versions that figures depend on, in one line."""
    versions = [f"{name} {version(name)}" for name in ("torch", "scikit-learn", "numpy")]
    parts = [gpu, processor(), f"{os.cpu_count()} cores", f"stacked-dae {__version__}", *versions]
    return ", ".join(part for part in parts if part)
