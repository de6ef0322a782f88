"""The W&B runs of one command on one run folder, and what W&B does not have of it yet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType

from stacked_dae.runs.experiment import Experiment, Stage
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.tracking import base
from stacked_dae.tracking.base import NullTracker, TrackedJob, Tracker
from stacked_dae.tracking.mode import configured_mode, resolve_mode
from stacked_dae.tracking.state import TrackingState
from stacked_dae.tracking.wandb_tracker import WandbProcess, WandbTracker
from stacked_dae.utils import distributed
from stacked_dae.utils.terminal.progress import Reporter


class TrackingSession:
    """The jobs of one command: pre-training, then fine-tuning; of a trial of a sweep, both in one W&B run.

    Inside the ``with`` block jobs can be opened; at its end the session waits for W&B.

    Args:
        experiment: what is trained.
        folder: its run folder.
        stages: those of the command, done or not.
        reporter: says what W&B does not take.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder, stages: Sequence[Stage], reporter: Reporter) -> None:
        self._experiment, self._folder, self._reporter = experiment, folder, reporter
        self._layers = [stage for stage in stages if stage.name != FINETUNE]
        self._last = stages[-1]
        self._process = WandbProcess(reporter)
        self._is_trial = self._mode != "off" and bool(os.environ.get("WANDB_SWEEP_ID"))
        # Asked now, before the first process writes anything: all have to find the same.
        self._layers_unlogged = bool(self._layers) and self._is_unlogged(base.PRETRAIN, self._layers[-1])
        self._trial: Tracker | None = None
        self._open = ExitStack()

    @property
    def _mode(self) -> str:
        return configured_mode(self._experiment.config)

    def __enter__(self) -> None:
        if self._is_trial:
            self._trial = self._open.enter_context(self._track(base.TRIAL, self._last))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            self._open.__exit__(kind, error, where)
        finally:
            self._process.wait()

    def has_unlogged(self) -> bool:
        """Return whether W&B lacks a job of this run, or this is a trial, whose W&B run is new."""
        return self._is_trial or self.logs_pretraining() or self._is_unlogged(self._last_job, self._last)

    def logs_pretraining(self) -> bool:
        """Return whether the job of the layers is to be logged, though they may be trained already."""
        return self._is_trial or self._layers_unlogged

    def pretraining(self) -> AbstractContextManager[Tracker]:
        """Open the job that trains the layers."""
        return self._job(base.PRETRAIN, self._layers[-1])

    def finetuning(self) -> AbstractContextManager[Tracker]:
        """Open the job that trains the stack."""
        return self._job(self._last_job, self._last)

    def log_weights(self, kind: str, stages: Sequence[Stage], tracker: Tracker, *others: str) -> None:
        """Log the weights of these stages (``kind``: layers or classifier), and other files of the run folder."""
        files = [f"{stage.name}/weights.safetensors" for stage in stages]
        sums = [self._folder.stage(stage.name).sha256 or "" for stage in stages]
        tracker.log_artifact(kind, ["config.yaml", *files, *others], sums)

    @property
    def _last_job(self) -> str:
        if self._last.name != FINETUNE:
            return base.PRETRAIN
        return base.BASELINE if self._experiment.config.model == "mlp" else base.FINETUNE

    def _is_unlogged(self, job_type: str, last: Stage) -> bool:
        """Return whether this job is to be logged, and no W&B run of it has come to its end."""
        entry = TrackingState(self._folder.path).entry(job_type)
        return self._mode != "off" and not (entry.get("mark") == last.fingerprint and entry.get("ended"))

    @contextmanager
    def _job(self, job_type: str, last: Stage) -> Iterator[Tracker]:
        if self._trial is not None:
            yield self._trial
            return
        with self._track(job_type, last) as tracker:
            yield tracker

    @contextmanager
    def _track(self, job_type: str, last: Stage) -> Iterator[Tracker]:
        """Open one W&B run, and end it with the block; a job that was killed continues in its own.

        The jobs of one experiment share a group and carry the whole resolved configuration.
        """
        job = self._tracked_job(last)
        mode = resolve_mode(job.config, job.out, self._process.notices) if distributed.is_rank_zero() else "off"
        if mode == "off":
            yield NullTracker()
            return
        tracker = WandbTracker(mode, job, job_type, self._process)
        try:
            yield tracker
        except BaseException:
            tracker.end(exit_code=1)
            raise
        tracker.end(exit_code=0)

    def _tracked_job(self, last: Stage) -> TrackedJob:
        """Return what is logged of the job whose last stage is ``last``."""
        experiment = self._experiment
        config, data = experiment.config, experiment.data
        layers: list[str] = []
        if last.name == FINETUNE and config.model != "mlp" and not self._is_trial:
            stages = (experiment.parent or self._folder).manifest.stages
            names = [stage_name(k) for k in range(1, len(config.layers()) + 1)]
            layers = [(stages[name].sha256 or "") if name in stages else "" for name in names]
        return TrackedJob(
            config=config,
            out=self._folder.path,
            data={
                "name": data.name,
                "fingerprint": data.fingerprint,
                "inputs": data.inputs,
                "classes": data.classes,
                "train": len(data.train),
                "valid": len(data.valid),
            },
            fingerprint=last.fingerprint,
            parent=experiment.parent.path if experiment.parent else None,
            layers=layers,
            components=experiment.component_names,
            target_width=data.target_column.width if data.target_column is not None else None,
        )
