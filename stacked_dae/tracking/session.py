"""What a run tells of itself while it works: its jobs, and what of them W&B has not got yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType

from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset
from stacked_dae.runs.fingerprints import FINETUNE, stage_name
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.planning import Stage
from stacked_dae.tracking import base, jobs
from stacked_dae.tracking.base import Job, Subject
from stacked_dae.utils.progress import Reporter


class Telling:
    """The jobs of one command on one run folder: pre-training, then fine-tuning; of a trial, both in one.

    Inside the ``with`` block jobs can be opened; at its end W&B is waited for.

    Args:
        config: the experiment.
        folder: its run folder.
        data: its data.
        stages: those of the command, done or not.
        parent: the run whose layers are fine-tuned; None for its own.
        own: what was given in Python instead of settings, if anything.
        reporter: is told what W&B does not take.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        data: Dataset,
        stages: Sequence[Stage],
        parent: RunFolder | None,
        own: str | None,
        reporter: Reporter,
    ) -> None:
        self._config, self._folder, self._data, self._parent, self._own = config, folder, data, parent, own
        self._reporter = reporter
        self._layers = [stage for stage in stages if stage.name != FINETUNE]
        self._last = stages[-1]
        self._is_trial = jobs.is_trial(config)
        # Asked now, before the first process writes anything: all have to find the same.
        self._layers_untold = bool(self._layers) and self._untold(base.PRETRAIN, self._layers[-1])
        self._trial: Job | None = None
        self._open = ExitStack()

    def __enter__(self) -> None:
        if self._is_trial:
            self._trial = self._open.enter_context(
                jobs.job(self._subject(self._last), base.TRIAL, self._reporter),
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            self._open.__exit__(kind, error, where)
        finally:
            jobs.wait(self._reporter)

    def untold(self) -> bool:
        """Whether W&B has not all of this run: of a job of it, or it is a trial, whose W&B run is new."""
        return self._is_trial or self.wants_layers() or self._untold(self._last_job, self._last)

    def wants_layers(self) -> bool:
        """Whether the job of the layers is to be told, though they may be trained already."""
        return self._is_trial or self._layers_untold

    def pretraining(self) -> AbstractContextManager[Job]:
        """Open the job that trains the layers."""
        return self._job(base.PRETRAIN, self._layers[-1])

    def finetuning(self) -> AbstractContextManager[Job]:
        """Open the job that trains the stack."""
        return self._job(self._last_job, self._last)

    def again(self, stage: str, job: Job) -> None:
        """Tell the job the rows of a stage that is done already."""
        for row in self._folder.metrics(stage).rows():
            job.log(stage, row)

    def keep(self, kind: str, stages: Sequence[Stage], job: Job, *others: str) -> None:
        """Tell the job the weights of these stages (``kind``: layers or classifier), and other files of the run."""
        files = [f"{stage.name}/weights.safetensors" for stage in stages]
        sums = [self._folder.stage(stage.name)["sha256"] for stage in stages]
        job.keep(kind, ["config.yaml", *files, *others], sums)

    @property
    def _last_job(self) -> str:
        if self._last.name != FINETUNE:
            return base.PRETRAIN
        return base.BASELINE if self._config.model == "mlp" else base.FINETUNE

    def _untold(self, job_type: str, last: Stage) -> bool:
        return jobs.untold(self._subject(last), job_type)

    @contextmanager
    def _job(self, job_type: str, last: Stage) -> Iterator[Job]:
        if self._trial is not None:
            yield self._trial
            return
        with jobs.job(self._subject(last), job_type, self._reporter) as job:
            yield job

    def _subject(self, last: Stage) -> Subject:
        """Return what is told of the job whose last stage is ``last``."""
        data = {
            "name": self._data.name,
            "fingerprint": self._data.fingerprint,
            "inputs": self._data.inputs,
            "classes": self._data.classes,
            "train": len(self._data.train),
            "valid": len(self._data.valid),
        }
        layers: list[str] = []
        if last.name == FINETUNE and self._config.model != "mlp" and not self._is_trial:
            made = self._parent or self._folder
            layers = [made.stage(stage_name(k)).get("sha256", "") for k in range(1, len(self._config.layers()) + 1)]
        parent = self._parent.path if self._parent else None
        return Subject(self._config, self._folder.path, data, last.fingerprint, parent, layers, self._own)
