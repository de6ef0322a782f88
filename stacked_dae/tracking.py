"""Weights & Biases: the window onto a run folder. The only file that imports wandb, and only when it is used.

All that W&B is told goes through one thread, in order: a server that is slow or does not answer neither stops nor slows
training.
"""

from __future__ import annotations

import functools
import http.client
import io
import json
import netrc
import os
import queue
import re
import secrets
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from stacked_dae.config import Config
from stacked_dae.errors import StageError
from stacked_dae.files import write_text
from stacked_dae.progress import Reporter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRETRAIN, FINETUNE, BASELINE = "pretrain", "finetune", "baseline"
# The one W&B run of a trial that `wandb agent` started: it expects a single one.
TRIAL = "trial"
# Seconds: for a server to answer at all, for a W&B run to begin, and for what is left to arrive when it ends.
_ANSWER, _BEGIN, _END = 5.0, 30.0, 30.0
# Seconds for any one thing it is told.
_STUCK = 45.0


class Job(Protocol):
    """What a job tells about itself while it runs."""

    watched: bool
    """Whether anybody looks: for nobody, no pictures need be drawn."""

    def log(self, stage: str, row: Mapping[str, float]) -> None:
        """Take a row of the stage's ``metrics.csv``: all of them in order, those of an earlier call too."""

    def picture(self, figures: Mapping[str, Figure]) -> None:
        """Take pictures by name."""

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Take the job's results."""

    def keep(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None:
        """Take what the job made (``kind``: layers or classifier): files of the run folder, the weights' SHA-256."""


class Silent:
    """Is told everything and tells nobody."""

    watched = False

    def log(self, stage: str, row: Mapping[str, float]) -> None: ...

    def picture(self, figures: Mapping[str, Figure]) -> None: ...

    def summarise(self, values: Mapping[str, Any]) -> None: ...

    def keep(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None: ...


class _Teller:
    """The thread that talks to W&B: one thing after another."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self._told = threading.Condition()
        self._left = 0
        threading.Thread(target=self._work, name="wandb", daemon=True).start()

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            call()
            with self._told:
                self._left -= 1
                self._told.notify()

    def tell(self, call: Callable[[], None]) -> None:
        with self._told:
            self._left += 1
        self._calls.put(call)

    def wait(self, seconds: float) -> bool:
        """Wait while there is something left and any of it gets done within ``seconds``; return whether all is."""
        with self._told:
            while self._left and self._told.wait(seconds):
                pass
            return not self._left


_tellers: list[_Teller] = []


def _tell(call: Callable[[], None]) -> None:
    if not _tellers:
        _tellers.append(_Teller())
    _tellers[-1].tell(call)


def wait(reporter: Reporter) -> None:
    """Wait until W&B has taken all it was told, or has not answered for its time."""
    if _tellers and not _tellers[-1].wait(_STUCK):
        # What is stuck is left to itself.
        _tellers.pop()
        reporter.say("W&B: the server stopped answering; give the same command again later to send the rest")


_writing = threading.Lock()


class Records:
    """``tracking.json`` of a run folder: each job's W&B run (``id``, ``mode``, ``mark``), and whether it ``ended``."""

    def __init__(self, out: Path) -> None:
        self._file = out / "tracking.json"

    def entry(self, job_type: str) -> dict[str, Any]:
        """Return the entry of a job; empty where there is none."""
        return self.all().get(job_type, {})

    def write(self, job_type: str, **entry: Any) -> None:
        """Update the entry of a job."""
        with _writing:
            entries = self.all()
            entries[job_type] = {**entries.get(job_type, {}), **entry}
            write_text(self._file, json.dumps(entries, indent=2) + "\n")

    def all(self) -> dict[str, dict[str, Any]]:
        """Return the entries by job."""
        try:
            return {name: dict(entry) for name, entry in json.loads(self._file.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            # Absent, or damaged: nothing but W&B's own view is lost with it.
            return {}


@dataclass(frozen=True)
class Subject:
    """What a job is about.

    Args:
        config: the experiment.
        out: the run folder.
        data: name, fingerprint and sizes of the data.
        mark: fingerprint of the job's last stage: a job with another one is another W&B run.
        parent: the run folder of the layers that are fine-tuned; None for the same.
    """

    config: Config
    out: Path
    data: Mapping[str, Any]
    mark: str
    parent: Path | None = None


class _WandbJob:
    watched = True

    def __init__(self, how: str, subject: Subject, job_type: str, reporter: Reporter) -> None:
        self._how, self._subject, self._job_type, self._reporter = how, subject, job_type, reporter
        self._records = Records(subject.out)
        self._known: set[str] = set()
        self._rows = 0
        self._run: Any = None
        self._lineage: dict[str, Any] = {}
        self._staged = ""
        self._pictures: dict[str, io.BytesIO] = {}
        if self._records.entry(job_type).get("mark") != subject.mark:
            # From now on the job is one that has not ended, whether or not W&B ever hears of it.
            self._records.write(job_type, id=None, mark=subject.mark)
        self._records.write(job_type, ended=False)
        _tell(self._begin)

    # Called by the thread that trains: each returns at once.

    def log(self, stage: str, row: Mapping[str, float]) -> None:
        number, self._rows = self._rows, self._rows + 1
        self._tell(lambda: self._log(stage, dict(row), number))

    def picture(self, figures: Mapping[str, Figure]) -> None:
        drawn = {name: io.BytesIO() for name in figures}
        for name, figure in figures.items():
            figure.savefig(drawn[name], format="png", dpi=110)
        self._tell(lambda: self._pictures.update(drawn))

    def summarise(self, values: Mapping[str, Any]) -> None:
        self._tell(lambda: self._run.summary.update(dict(values)))

    def keep(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None:
        self._tell(lambda: self._keep(kind, files, weights))

    def end(self, exit_code: int) -> None:
        """End the W&B run; what is told later is lost."""
        self._tell(lambda: self._end(exit_code))
        _tell(self._unstage)

    def _tell(self, call: Callable[[], None]) -> None:
        def guarded() -> None:
            if self._run is not None:
                try:
                    call()
                except Exception as error:  # whatever the client raises, training goes on
                    self._give_up(error)

        _tell(guarded)

    # Called by the thread that talks to W&B.

    def _begin(self) -> None:
        if "WANDB_DATA_DIR" not in os.environ:
            # Artifacts are staged there: under the run folder, a later sync finds them.
            os.environ["WANDB_DATA_DIR"] = self._staged = str(self._wandb.resolve())
        try:
            if self._how == "online" and not _answers(_server()):
                self._go_offline("no server answers")
            try:
                self._run = self._init()
            except Exception as error:
                if self._how == "offline":
                    raise
                # The client holds on to the id of a run that it could not begin.
                self._records.write(self._job_type, id=None)
                self._go_offline(_line(error))
                self._run = self._init()
        except Exception as error:
            self._give_up(error)

    def _go_offline(self, why: str) -> None:
        self._how = "offline"
        _say_offline(why, self._subject.out, self._reporter)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        self._reporter.say(f"W&B: {_line(error)}; training goes on, and {self._subject.out} has everything")

    @property
    def _wandb(self) -> Path:
        return self._subject.out / "wandb"

    def _init(self) -> Any:
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        tracking = self._subject.config.tracking
        group = group_of(self._subject)
        # Always one of our own: $WANDB_RUN_ID would make one run of all jobs.
        run_id = os.environ["WANDB_RUN_ID"] if self._job_type == TRIAL else self._id() or secrets.token_hex(4)
        parent = self._parent()
        self._lineage = {
            "data": self._subject.data["fingerprint"],
            "parent_run": parent.get("id"),
            "parent_weights": parent.get("weights"),
            "weights": None,
        }
        run = wandb.init(
            entity=tracking.entity,
            project=tracking.project or os.environ.get("WANDB_PROJECT") or "stacked-dae",
            group=group,
            job_type=self._job_type,
            tags=tracking.tags,
            name=f"{group}-{self._job_type}",
            id=run_id,
            resume="allow",
            config={**_with_equal_keys(self._subject.config.to_dict()), "lineage": self._lineage},
            dir=str(self._subject.out),
            mode=self._how,  # type: ignore[arg-type]
            # Its run is no other's: the one before may still be sending.
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=_BEGIN,
                finish_timeout=_END,
                finish_timeout_raises=True,
            ),
        )
        self._records.write(self._job_type, id=run.id, mode=self._how, mark=self._subject.mark, ended=False)
        return run

    def _id(self) -> str | None:
        """Return the id of the W&B run that this job goes on in, None where it begins one."""
        entry = self._records.entry(self._job_type)
        if entry.get("mark") != self._subject.mark or not entry.get("id"):
            return None
        folders = list(self._wandb.glob(f"*run-*-{entry['id']}"))
        sent = [f for f in folders if f.name.startswith("run-") or list(f.glob("*.synced"))]
        if self._how == "offline" and sent:
            # Without a server nobody knows which rows it has; told again, it would have them twice.
            return None
        for folder in folders:
            if folder not in sent:
                # All rows are told again: uploaded too, it would double them.
                shutil.rmtree(folder, ignore_errors=True)
        return str(entry["id"])

    def _parent(self) -> dict[str, Any]:
        """Return the record of the W&B run that trained the layers of this job; empty for those that have none."""
        return (
            Records(self._subject.parent or self._subject.out).entry("pretrain") if self._job_type == FINETUNE else {}
        )

    def _use(self) -> None:
        """Tell the server what this run was made from: last of all, for the client waits for an answer."""
        import wandb

        data = self._subject.data
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
        for name in named.keys() - self._known:
            self._run.define_metric(name, step_metric=f"{stage}/epoch")
        self._known |= named.keys()
        # A run that goes on has the first rows already.
        if number >= self._run.starting_step:
            self._run.log(named, step=number, commit=True)

    def _show(self) -> None:
        """Tell the pictures, last: a row of their own among those of the epochs would take a row's number."""
        import wandb
        from PIL import Image

        if self._pictures:
            # Opened as pixels: floats in [0, 1] would be shown black.
            self._run.log({name: wandb.Image(Image.open(file)) for name, file in self._pictures.items()})

    def _keep(self, kind: str, files: Sequence[str], weights: Sequence[str]) -> None:
        import wandb

        self._run.config.update({"lineage": {**self._lineage, "weights": list(weights)}}, allow_val_change=True)
        artifact = wandb.Artifact(f"{kind}-{self._run.id}", type="model", metadata={"weights": list(weights)})
        for file in files:
            artifact.add_file(str(self._subject.out / file), name=file)
        self._run.log_artifact(artifact)
        name = f"{self._run.entity}/{self._run.project}/{kind}-{self._run.id}:latest" if self._how == "online" else None
        self._records.write(self._job_type, weights=list(weights), artifact=name)

    def _end(self, exit_code: int) -> None:
        run = self._run
        self._show()
        if self._how == "online":
            try:
                self._use()
            except Exception as error:  # the run stands without its edges
                self._reporter.say(f"W&B: {_line(error)}; the run is told without what it was made from")
        self._run = None
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            raise StageError(
                f"not all has arrived after {_END:g} s; give the same command again later, and the rest is sent"
            ) from None
        self._records.write(self._job_type, ended=exit_code == 0)

    def _unstage(self) -> None:
        if self._staged and os.environ.get("WANDB_DATA_DIR") == self._staged:
            del os.environ["WANDB_DATA_DIR"]


def _with_equal_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with ``options`` as JSON: W&B drops an empty mapping, and the keys would differ."""
    return {
        name: json.dumps(value, sort_keys=True)
        if name == "options"
        else _with_equal_keys(value)
        if isinstance(value, dict)
        else value
        for name, value in config.items()
    }


def group_of(subject: Subject) -> str:
    """Return the W&B group of a job: the experiment, or the sweep that a trial is of."""
    of_sweep = os.environ.get("WANDB_SWEEP_ID")
    return subject.config.tracking.group or os.environ.get("WANDB_RUN_GROUP") or of_sweep or subject.out.resolve().name


def _in_a_name(text: str) -> str:
    """Return ``text`` with only what the name of an artifact may hold."""
    return re.sub(r"[^\w.-]", "-", text)


def _line(error: Exception) -> str:
    """Return an error of the client in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


_said: set[tuple[str, Path]] = set()


def _say_offline(why: str, out: Path, reporter: Reporter) -> None:
    """Say once for a run folder why W&B has nothing yet, and how it gets it."""
    if (why, out) not in _said:
        _said.add((why, out))
        reporter.say(f"W&B: {why}; recorded offline, `wandb sync {out}/wandb/offline-run-*` uploads it")


def _server() -> str:
    """Return the address of the W&B server."""
    import wandb

    return str(wandb.setup(wandb.Settings(silent=True)).settings.base_url)


@functools.cache
def _answers(server: str) -> bool:
    """Whether anything at all comes back from the server in reasonable time; asked once."""
    try:
        with urllib.request.urlopen(server, timeout=_ANSWER):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError, http.client.HTTPException):
        return False


def _wanted(config: Config) -> str:
    """Return auto, online, offline or off: $WANDB_MODE where the user set it, else what ``tracking.mode`` says."""
    wanted = os.environ.get("WANDB_MODE") or config.tracking.mode
    return {"disabled": "off", "dryrun": "offline", "run": "online"}.get(wanted, wanted)


def _has_key() -> bool:
    """Whether there is an API key for the server, in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        file = netrc.netrc(os.environ.get("NETRC") or Path("~/.netrc").expanduser())
    except (OSError, netrc.NetrcParseError):
        return False
    # W&B's own server has had more than one name; a key stays under that of its time.
    return any(file.authenticators(name) for name in (urlsplit(_server()).netloc, "api.wandb.ai"))


def where(subject: Subject, reporter: Reporter) -> str:
    """Return online, offline or off; online only where there is a key, and offline for want of one is said."""
    wanted = _wanted(subject.config)
    if wanted in ("off", "offline"):
        return wanted
    if _has_key():
        return "online"
    if wanted == "online" and sys.stdin.isatty() and sys.stderr.isatty():
        import wandb

        # Asks for the key, as W&B's users are used to; one may answer that one wants no account.
        if wandb.login():
            return "online"
    _say_offline("no API key (`wandb login`, or WANDB_API_KEY)", subject.out, reporter)
    return "offline"


def is_trial(config: Config) -> bool:
    """Whether this process is a trial of a sweep, started by `wandb agent`."""
    return _wanted(config) != "off" and bool(os.environ.get("WANDB_SWEEP_ID"))


def was_cut(subject: Subject, job_type: str) -> bool:
    """Whether the W&B run of this job was begun and did not end."""
    entry = Records(subject.out).entry(job_type)
    return _wanted(subject.config) != "off" and entry.get("mark") == subject.mark and not entry.get("ended")


@contextmanager
def job(subject: Subject, job_type: str, reporter: Reporter) -> Iterator[Job]:
    """Open one W&B run for one job, and end it when the block ends; a job that was cut goes on in its own.

    The jobs of one experiment share a group and carry the whole resolved configuration.
    """
    how = where(subject, reporter)
    if how == "off":
        yield Silent()
        return
    told = _WandbJob(how, subject, job_type, reporter)
    try:
        yield told
    except BaseException:
        told.end(exit_code=1)
        raise
    told.end(exit_code=0)


@dataclass(frozen=True)
class Told:
    """A W&B run, as the server has it."""

    id: str
    name: str
    group: str
    job_type: str
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]


def told_runs(project: str, group: str | None) -> list[Told]:
    """Return the runs of ``ENTITY/PROJECT``, all or those of one group, oldest first.

    Raises:
        StageError: W&B does not answer, or not for this key.
    """
    import wandb

    try:
        runs = wandb.Api(timeout=30).runs(project, filters={"group": group} if group else None, order="+created_at")
        return [
            Told(
                run.id,
                run.name,
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
        raise StageError(f"--wandb {project}: {_line(error)}") from None
