"""A job and the W&B run that it is told in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from stacked_dae.config.schema import Config
from stacked_dae.tracking.base import Job, Silent, Subject
from stacked_dae.tracking.mode import wanted, where
from stacked_dae.tracking.state import Records
from stacked_dae.tracking.wandb_tracker import WandbJob, forget_staged
from stacked_dae.tracking.worker import all_told
from stacked_dae.utils import distributed
from stacked_dae.utils.progress import Reporter


@contextmanager
def job(subject: Subject, job_type: str, reporter: Reporter) -> Iterator[Job]:
    """Open one W&B run for one job, and end it when the block ends; a job that was cut goes on in its own.

    The jobs of one experiment share a group and carry the whole resolved configuration.
    """
    how = where(subject.config, subject.out, reporter) if distributed.first() else "off"
    if how == "off":
        yield Silent()
        return
    told = WandbJob(how, subject, job_type, reporter)
    try:
        yield told
    except BaseException:
        told.end(exit_code=1)
        raise
    told.end(exit_code=0)


def wait(reporter: Reporter) -> None:
    """Wait until W&B has taken all it was told, or has not answered for its time."""
    if not all_told():
        forget_staged()
        reporter.say("W&B: the server stopped answering; give the same command again later to send the rest")


def is_trial(config: Config) -> bool:
    """Whether this process is a trial of a sweep, started by `wandb agent`."""
    return wanted(config) != "off" and bool(os.environ.get("WANDB_SWEEP_ID"))


def untold(subject: Subject, job_type: str) -> bool:
    """Whether this job is to be told, and no W&B run of it has come to its end."""
    entry = Records(subject.out).entry(job_type)
    return wanted(subject.config) != "off" and not (entry.get("mark") == subject.mark and entry.get("ended"))
