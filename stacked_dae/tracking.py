"""Weights & Biases: the window onto a run folder. The only file that imports wandb, and only when it is used."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from stacked_dae.config import Config


class Job(Protocol):
    """What a job tells about itself while it runs."""

    def log(self, stage: str, row: Mapping[str, float]) -> None:
        """Take a row of the stage's ``metrics.csv``."""

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Take the job's results."""


class _Silent:
    def log(self, stage: str, row: Mapping[str, float]) -> None: ...

    def summarise(self, values: Mapping[str, Any]) -> None: ...


class _WandbJob:
    def __init__(self, run: Any) -> None:
        self._run = run
        self._known: set[str] = set()

    def log(self, stage: str, row: Mapping[str, float]) -> None:
        # Each key is bound by its exact name to its own stage's epoch: W&B's own step never restarts, an epoch does.
        named = {f"{stage}/{name}": value for name, value in row.items()}
        for name in named.keys() - self._known:
            self._run.define_metric(name, step_metric=f"{stage}/epoch")
        self._known |= named.keys()
        self._run.log(named)

    def summarise(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))


def mode(config: Config) -> str:
    """Return online, offline or off: $WANDB_MODE where the user set it, else what ``tracking.mode`` says."""
    wanted = os.environ.get("WANDB_MODE") or config.tracking.mode
    if wanted == "auto":
        return "online" if _has_key() else "offline"
    return {"disabled": "off", "dryrun": "offline", "run": "online"}.get(wanted, wanted)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


@contextmanager
def job(config: Config, out: Path, job_type: str) -> Iterator[Job]:
    """Open one W&B run for one job (pretrain, finetune or baseline), and finish it when the block ends.

    The jobs of one experiment share a group and carry the whole resolved configuration.
    """
    how = mode(config)
    if how == "off":
        yield _Silent()
        return
    import wandb

    group = config.tracking.group or out.resolve().name
    run = wandb.init(
        project=config.tracking.project,
        group=group,
        job_type=job_type,
        name=f"{group}-{job_type}",
        config=config.to_dict(),
        dir=str(out),
        mode=how,  # type: ignore[arg-type]
        settings=wandb.Settings(silent=True),
    )
    try:
        yield _WandbJob(run)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
