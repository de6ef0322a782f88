"""One job, logged as one W&B run."""

from __future__ import annotations

import io
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked_dae.errors import StageError
from stacked_dae.runs.stage_names import FINETUNE as FINETUNE_STAGE
from stacked_dae.tracking.base import PRETRAIN, TRIAL, TrackedJob
from stacked_dae.tracking.mode import OfflineNotices, answers, line_of, server
from stacked_dae.tracking.state import TrackingState
from stacked_dae.tracking.worker import BackgroundWorker
from stacked_dae.utils.terminal.progress import Reporter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Seconds between two batches of rows: logged one by one, those of short epochs would slow training.
_PACE = 1.0
# Seconds for a W&B run to begin, and for what is left to arrive when it ends.
_BEGIN, _END = 30.0, 30.0


class WandbProcess:
    """State that the W&B runs of one command share: the thread that talks to W&B, the notices, the staging folder.

    Args:
        reporter: says what W&B does not take.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.notices = OfflineNotices(reporter)
        self.worker = BackgroundWorker()
        self._staged: set[str] = set()

    def stage_under(self, folder: Path) -> None:
        """Let the client stage artifacts under ``folder``, where a later sync finds them, unless the user chose."""
        if "WANDB_DATA_DIR" not in os.environ:
            os.environ["WANDB_DATA_DIR"] = str(folder.resolve())
            self._staged.add(str(folder.resolve()))

    def unstage(self) -> None:
        """Remove $WANDB_DATA_DIR, where :meth:`stage_under` set it."""
        if os.environ.get("WANDB_DATA_DIR") in self._staged:
            del os.environ["WANDB_DATA_DIR"]

    def wait(self) -> None:
        """Wait until W&B has taken everything, or has exceeded its time."""
        if not self.worker.drain():
            self.unstage()
            self.reporter.warn("W&B: the server stopped answering; give the same command again later to send the rest")


class WandbTracker:
    """A job's W&B run: begun, filled and ended by the thread that talks to W&B, so that no call here waits.

    Args:
        mode: online or offline; online becomes offline where no server answers.
        job: what the run is about.
        job_type: pretrain, finetune, baseline or trial.
        process: what it shares with the other runs of the command.
    """

    enabled = True

    def __init__(self, mode: str, job: TrackedJob, job_type: str, process: WandbProcess) -> None:
        self._mode, self._job, self._job_type, self._process = mode, job, job_type, process
        self._state = TrackingState(job.out)
        self._known: set[str] = set()
        self._rows = 0
        self._waiting: list[tuple[str, dict[str, float]]] = []
        self._submitted_at = 0.0
        self._run: Any = None
        self._lineage: dict[str, Any] = {}
        self._figures: dict[str, io.BytesIO] = {}
        self._lowest = math.inf
        if self._state.entry(job_type).get("mark") != job.fingerprint:
            # From now on the job is one that has not ended, whether or not W&B ever hears of it.
            self._state.write(job_type, id=None, mark=job.fingerprint)
        self._state.write(job_type, ended=False)
        process.worker.submit(self._begin)

    # Called by the thread that trains: each returns at once.

    def log(self, stage: str, row: Mapping[str, float]) -> None:
        self._waiting.append((stage, dict(row)))
        if time.monotonic() - self._submitted_at >= _PACE:
            self._submit_rows()

    def _submit_rows(self) -> None:
        rows, self._waiting, self._submitted_at = self._waiting, [], time.monotonic()
        first, self._rows = self._rows, self._rows + len(rows)

        def log() -> None:
            for number, (stage, row) in enumerate(rows, first):
                self._log(stage, row, number)

        self._submit(log)

    def log_figures(self, figures: Mapping[str, Figure]) -> None:
        drawn = {name: io.BytesIO() for name in figures}
        for name, figure in figures.items():
            figure.savefig(drawn[name], format="png", dpi=110)
        self._submit(lambda: self._figures.update(drawn))

    def log_summary(self, values: Mapping[str, Any]) -> None:
        self._submit(lambda: self._run.summary.update(dict(values)))

    def log_artifact(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None:
        self._submit(lambda: self._log_artifact(kind, files, weights))

    def end(self, exit_code: int) -> None:
        """End the W&B run; whatever is logged later is lost."""
        self._submit_rows()
        self._submit(lambda: self._end(exit_code))
        self._process.worker.submit(self._process.unstage)

    def _submit(self, call: Callable[[], None]) -> None:
        def guarded() -> None:
            if self._run is not None:
                try:
                    call()
                except Exception as error:  # whatever the client raises, training continues
                    self._give_up(error)

        self._process.worker.submit(guarded)

    # Called by the thread that talks to W&B.

    def _begin(self) -> None:
        self._process.stage_under(self._wandb)
        try:
            if self._mode == "online" and not answers(server()):
                self._go_offline("no server answers")
            try:
                self._run = self._init()
            except Exception as error:
                if self._mode == "offline":
                    raise
                # The client holds on to the id of a run that it could not begin.
                self._state.write(self._job_type, id=None)
                self._go_offline(line_of(error))
                self._run = self._init()
        except Exception as error:
            self._give_up(error)

    def _go_offline(self, why: str) -> None:
        self._mode = "offline"
        self._process.notices.say(why, self._job.out)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        self._process.reporter.warn(f"W&B: {line_of(error)}; training continues, and {self._job.out} has everything")

    @property
    def _wandb(self) -> Path:
        return self._job.out / "wandb"

    def _init(self) -> Any:
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        tracking = self._job.config.tracking
        group = group_of(self._job)
        # Always one of our own: $WANDB_RUN_ID would make one run of all jobs.
        run_id = os.environ["WANDB_RUN_ID"] if self._job_type == TRIAL else self._id() or secrets.token_hex(4)
        self._lineage = {
            "data": self._job.data["fingerprint"],
            "parent_run": self._parent().get("id"),
            "parent_weights": list(self._job.layers) or None,
            "weights": None,
        }
        run = wandb.init(
            entity=tracking.entity,
            project=tracking.project or os.environ.get("WANDB_PROJECT") or "stacked-dae",
            group=group,
            job_type=self._job_type,
            tags=tracking.tags,
            # The group may be one that many runs share.
            name=f"{self._job.out.resolve().name}-{self._job_type}",
            id=run_id,
            resume="allow",
            config={
                **_with_equal_keys(self._job.config.to_dict()),
                "parts": self._job.components,
                "lineage": self._lineage,
            },
            dir=str(self._job.out),
            mode=self._mode,  # type: ignore[arg-type]
            # A run of its own: the one before may still be sending.
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=_BEGIN,
                finish_timeout=_END,
                finish_timeout_raises=True,
            ),
        )
        self._state.write(self._job_type, id=run.id, mode=self._mode, mark=self._job.fingerprint, ended=False)
        return run

    def _id(self) -> str | None:
        """Return the id of the W&B run that this job resumes, None where it begins one."""
        entry = self._state.entry(self._job_type)
        if entry.get("mark") != self._job.fingerprint or not entry.get("id"):
            return None
        folders = list(self._wandb.glob(f"*run-*-{entry['id']}"))
        sent = [f for f in folders if f.name.startswith("run-") or list(f.glob("*.synced"))]
        if self._mode == "offline" and sent:
            # Without a server nobody knows which rows it has; logged again, it would have them twice.
            return None
        for folder in folders:
            if folder not in sent:
                # All rows are logged again: an upload of this folder would double them.
                shutil.rmtree(folder, ignore_errors=True)
        return str(entry["id"])

    def _parent(self) -> dict[str, Any]:
        """Return the record of the W&B run that made the very layers of this job; empty where none was logged."""
        entry = TrackingState(self._job.parent or self._job.out).entry(PRETRAIN)
        made = self._job.layers and entry.get("weights") == list(self._job.layers)
        return entry if made else {}

    def _use(self) -> None:
        """Log what this run was made from, last of all: the client waits for an answer."""
        import wandb

        data = self._job.data
        artifact = wandb.Artifact(f"data-{_in_a_name(data['name'])}", type="dataset", metadata=dict(data))
        with artifact.new_file("data.json") as file:
            file.write(json.dumps(dict(data), indent=2) + "\n")
        self._run.use_artifact(artifact)
        layers = self._parent().get("artifact")
        if layers:
            self._run.use_artifact(layers)

    def _log(self, stage: str, row: dict[str, float], number: int) -> None:
        # Each key is bound by its exact name to its own stage's epoch: W&B's own step never restarts, an epoch does.
        named = {f"{stage}/{name}": value for name, value in row.items()}
        if self._job_type == TRIAL and stage == FINETUNE_STAGE:
            named |= self._best_so_far(row)
        for name in named.keys() - self._known:
            self._run.define_metric(name, step_metric=f"{stage}/epoch")
        self._known |= named.keys()
        # A resumed run has the first rows already.
        if number >= self._run.starting_step:
            self._run.log(named, step=number, commit=True)

    def _best_so_far(self, row: Mapping[str, float]) -> dict[str, float]:
        """Return what a sweep's server stops trials by: the metric of the sweep, after this epoch."""
        width = self._job.target_width
        value = row["valid_error_percent"] if width is None else width * math.sqrt(row["valid_loss"])
        self._lowest = min(self._lowest, value)
        return {"best_valid_error_percent" if width is None else "best_valid_rmse": self._lowest}

    def _show(self) -> None:
        """Log the figures, last: among the epochs' rows theirs would take a row's number."""
        import wandb
        from PIL import Image

        if self._figures:
            # Opened as pixels: floats in [0, 1] would be shown black.
            self._run.log({name: wandb.Image(Image.open(file)) for name, file in self._figures.items()})

    def _log_artifact(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None:
        import wandb

        self._run.config.update({"lineage": {**self._lineage, "weights": list(weights)}}, allow_val_change=True)
        artifact = wandb.Artifact(f"{kind}-{self._run.id}", type="model", metadata={"weights": list(weights)})
        for file in files:
            artifact.add_file(str(self._job.out / file), name=file)
        self._run.log_artifact(artifact)
        name = (
            f"{self._run.entity}/{self._run.project}/{kind}-{self._run.id}:latest" if self._mode == "online" else None
        )
        self._state.write(self._job_type, weights=list(weights), artifact=name)

    def _end(self, exit_code: int) -> None:
        run = self._run
        self._show()
        if self._mode == "online":
            try:
                self._use()
            except Exception as error:  # the run stands without its edges
                self._process.reporter.warn(f"W&B: {line_of(error)}; the run is logged without its inputs")
        self._run = None
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            raise StageError(
                f"not all has arrived after {_END:g} s; give the same command again later, and the rest is sent"
            ) from None
        self._state.write(self._job_type, ended=exit_code == 0)


def _with_equal_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with ``options`` as JSON: W&B drops an empty mapping, and the keys would differ."""
    return {
        name: json.dumps(value, sort_keys=True)
        if name.endswith("options")
        else _with_equal_keys(value)
        if isinstance(value, dict)
        else value
        for name, value in config.items()
    }


def group_of(job: TrackedJob) -> str:
    """Return the W&B group of a job: the experiment, or the sweep of a trial."""
    of_sweep = os.environ.get("WANDB_SWEEP_ID")
    return job.config.tracking.group or os.environ.get("WANDB_RUN_GROUP") or of_sweep or job.out.resolve().name


def _in_a_name(text: str) -> str:
    """Return ``text`` with only what the name of an artifact may hold."""
    return re.sub(r"[^\w.-]", "-", text)
