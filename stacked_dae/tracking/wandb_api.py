"""Earlier runs, as the public API of W&B has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stacked_dae.errors import StageError
from stacked_dae.tracking.mode import line_of


@dataclass(frozen=True)
class WandbRun:
    """A W&B run, as the server has it."""

    id: str
    name: str
    group: str
    job_type: str
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]


def read_runs(project: str, filters: Mapping[str, Any]) -> list[WandbRun]:
    """Return the runs of ``ENTITY/PROJECT`` that W&B's ``filters`` let through, oldest first.

    Raises:
        StageError: W&B does not answer, or not for this key.
    """
    import wandb

    try:
        runs = wandb.Api(timeout=30).runs(project, filters=dict(filters), order="+created_at")
        return [
            WandbRun(
                run.id,
                run.name or run.id,
                run.group or "",
                run.job_type or "",
                run.state,
                dict(run.config),
                dict(run.summary),
                list(run.scan_history()),
            )
            for run in runs
        ]
    except Exception as error:  # the client has no common class of what it raises
        raise StageError(f"--wandb {project}: {line_of(error)}") from None
