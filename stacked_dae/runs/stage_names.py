"""The names of the stages of a run."""

from __future__ import annotations

FINETUNE = "finetune"
"""Name of the stage that trains the stack."""


def stage_name(k: int) -> str:
    """Return the name of the stage that trains layer ``k``, from 1."""
    return f"layer_{k}"
