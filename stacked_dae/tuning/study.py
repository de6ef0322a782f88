"""The study of a search in its folder: trials are begun, continued and ended once, by any number of processes."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from stacked_dae.errors import ConfigError
from stacked_dae.runs.integrity import read_small
from stacked_dae.tuning.plan import SearchPlan
from stacked_dae.tuning.samplers import NumberedSampler, distributions, make_pruner, quiet_optuna, settings_of
from stacked_dae.utils.files import dump_checksummed, load_checksummed, lock_folder, write_text

_FOLDER, _DATABASE, _RECORD = "study", "study.db", "trial.json"
# Seconds that a process waits for another one's write to the database.
_PATIENCE = 120
# User attributes of a trial in the study.
OWNER, RUN, DIVERGED, FAILED, LOSS, ASKED = "search folder", "run", "diverged", "failed", "valid_loss", "asked"
_RUNG = "completed_rung_"


@dataclass
class Claim:
    """A trial that this process alone trains, until :meth:`release`.

    Args:
        trial: Optuna's.
        number: the trial's, from 0.
        values: the settings that vary, by dotted name.
        run: name of the trial's run folder.
        lock: descriptor that keeps others off.
        reported: the last epoch of fine-tuning that the study knows of.
    """

    trial: Trial
    number: int
    values: dict[str, Any]
    run: str
    lock: int
    reported: int = 0

    def release(self) -> None:
        """Let other processes have the trial, if it has not ended."""
        os.close(self.lock)


class SearchStudy:
    """Optuna's study of a search, which several processes and machines may share, and a record of each trial.

    The records lie in ``study/NUMBER/trial.json``: where the database is lost or damaged, it is made again from them.
    A trial belongs to the folder in which it began: where its process has died, the next one there continues it.

    Args:
        out: folder of the search.
        plan: the search.
        storage: URL of an Optuna storage; a database in ``out`` if None.
        say: reports what was lost and made again.
    """

    def __init__(self, out: Path, plan: SearchPlan, storage: str | None, say: Callable[[str], None]) -> None:
        self._folder, self._plan, self._say, self._url = out / _FOLDER, plan, say, storage
        self._owner = str(out.resolve())
        with self._locked(), quiet_optuna():
            self.optuna = self._open()
            if not self.trials():
                self._rebuild()

    def trials(self) -> list[FrozenTrial]:
        """Return the trials by number."""
        return self.optuna.get_trials(deepcopy=False)

    def importance(self) -> dict[str, float]:
        """Return how much of the variance of the complete trials' values each setting explains."""
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        with quiet_optuna():
            return get_param_importances(self.optuna, evaluator=FanovaImportanceEvaluator(seed=0))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from beginning a trial in the block."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(self._folder, wait=True)
        try:
            yield
        finally:
            os.close(lock)

    def _open(self) -> optuna.Study:
        name = f"stacked-dae-{self._plan.mark[:12]}"
        file = self._folder / _DATABASE

        def study() -> optuna.Study:
            return optuna.create_study(
                storage=self._storage(file),
                study_name=name,
                sampler=NumberedSampler(self._plan),
                pruner=make_pruner(self._plan),
                load_if_exists=True,
            )

        try:
            found = study()
            found.get_trials(deepcopy=False)
        except (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError, ValueError) as error:
            if self._url is not None:
                reason = str(error).splitlines()[0]
                raise ConfigError(f"--storage {_without_password(self._url)} cannot be used: {reason}") from None
            damaged = file.with_suffix(".damaged")
            file.replace(damaged)
            self._say(f"{file} was damaged, and is made again from the records beside it; the old one: {damaged}")
            found = study()
        return found

    def _storage(self, file: Path) -> BaseStorage:
        url = self._url or URL.create("sqlite", database=str(file.resolve())).render_as_string()
        patience = {"connect_args": {"timeout": _PATIENCE}} if url.startswith("sqlite") else {}
        return RDBStorage(url, engine_kwargs=patience)

    def claim(self, most: int) -> Claim | None:
        """Return a trial to train: one that was cut, or else a new one; None where ``most`` have begun.

        A trial that draws the settings of an earlier one is that one, and ends as it does.
        """
        with self._locked(), quiet_optuna():
            trials = self.trials()
            for trial in trials:
                if trial.state == TrialState.RUNNING and trial.user_attrs.get(OWNER, self._owner) == self._owner:
                    claim = self._take(trial.number)
                    if claim is not None:
                        return claim
            size = self._plan.space.grid_size if self._plan.sampler == "grid" else None
            while len(self.trials()) < min(most, size or most):
                claim = self._take(*self._begin())
                if claim is not None:
                    return claim
        return None

    def _begin(self) -> tuple[int, Trial]:
        """Return the number of a new trial, and the trial."""
        trial = self.optuna.ask()
        return trial.number, trial

    def _take(self, number: int, begun: Trial | None = None) -> Claim | None:
        """Return a running trial for this process; None where another process has it, or it ends as another does."""
        place = self._folder / f"{number:04d}"
        place.mkdir(exist_ok=True)
        try:
            lock = lock_folder(place)
        except BlockingIOError:
            return None
        try:
            claim = self._read_claim(number, begun or Trial(self.optuna, self.trials()[number]._trial_id), lock)
            if not (place / _RECORD).exists():
                self._write(claim, "running", {})
            if not self._ends_as_another(claim) and not self._ends_as_recorded(claim):
                return claim
        except BaseException:
            os.close(lock)
            raise
        claim.release()
        return None

    def _read_claim(self, number: int, trial: Trial, lock: int) -> Claim:
        """Return a trial with its settings, which are drawn where the process was cut while it drew them."""
        drawn = {parameter.name: parameter.suggest(trial) for parameter in self._plan.space.parameters}
        values = settings_of(self._plan, drawn)
        run = self._plan.run_name(values)
        if OWNER not in trial.user_attrs:
            trial.set_user_attr(RUN, run)
            trial.set_user_attr(OWNER, self._owner)
        return Claim(trial, number, values, run, lock, self.trials()[number].last_step or 0)

    def _ends_as_another(self, claim: Claim) -> bool:
        """Return whether an earlier trial has the same settings; if it has ended, let this one end likewise."""
        same = [t for t in self.trials()[: claim.number] if t.user_attrs.get(RUN) == claim.run]
        if not same:
            return False
        first = same[0]
        if first.state.is_finished():
            for step, value in first.intermediate_values.items():
                claim.trial.report(value, step)
            attrs = {name: value for name, value in first.user_attrs.items() if name not in (RUN, OWNER)}
            self.end(claim, first.state, first.value if first.state == TrialState.COMPLETE else None, attrs)
        return True

    def _ends_as_recorded(self, claim: Claim) -> bool:
        """Return whether the trial had ended when its process was killed before the study knew; then end it."""
        record = self._read(claim.number)
        if record is None or record["state"] == "running":
            return False
        self.optuna.tell(claim.number, record["value"], TrialState[record["state"].upper()])
        return True

    def end(self, claim: Claim, state: TrialState, value: float | None, attrs: Mapping[str, Any]) -> None:
        """End a trial: complete with a value, pruned, or failed; ``attrs`` say more of it."""
        for name, said in attrs.items():
            claim.trial.set_user_attr(name, said)
        # The record first: a process that is killed in between leaves a trial that the next one ends.
        self._write(claim, state.name.lower(), {"value": value})
        with quiet_optuna():
            self.optuna.tell(claim.number, value, state)

    def stops(self, claim: Claim, epoch: int, lowest: float) -> bool:
        """Report the lowest validation figure of a trial's first epochs, and return whether it is to be stopped there.

        Of an epoch that was reported before, the answer is that of the first time: a process may have been killed after
        it had asked.
        """
        if self._plan.pruning is None or epoch < claim.reported:
            return False
        if epoch > claim.reported:
            claim.trial.report(lowest, epoch)
            claim.reported = epoch
        if not self._plan.pruning.compares_after(epoch):
            return False
        trial = self.trials()[claim.number]
        rungs, asked = [name for name in trial.system_attrs if name.startswith(_RUNG)], trial.user_attrs.get(ASKED)
        if asked is not None and asked[0] == epoch:
            trial = _without(trial, rungs[asked[1] :])
        else:
            claim.trial.set_user_attr(ASKED, [epoch, len(rungs)])
        with quiet_optuna():
            return self.optuna.pruner.prune(self.optuna, trial)

    def _write(self, claim: Claim, state: str, more: Mapping[str, Any]) -> None:
        trial = self.trials()[claim.number]
        values = {
            "state": state,
            "value": None,
            "drawn": trial.params,
            "epochs": {str(step): value for step, value in trial.intermediate_values.items()},
            "user": trial.user_attrs,
            "system": trial.system_attrs,
            **more,
        }
        write_text(self._folder / f"{claim.number:04d}" / _RECORD, dump_checksummed(values))

    def _read(self, number: int) -> dict[str, Any] | None:
        """Return the record of a trial; None where it is gone or damaged."""
        try:
            record = load_checksummed(read_small(self._folder / f"{number:04d}" / _RECORD))
        except (OSError, ValueError):
            return None
        return record if record.get("state") in ("running", "complete", "pruned", "fail") else None

    def _rebuild(self) -> None:
        """Add the trials of the records to a study without any."""
        numbers = [int(place.name) for place in self._folder.iterdir() if place.is_dir() and place.name.isdigit()]
        records = {number: self._read(number) for number in range(max(numbers, default=-1) + 1)}
        if not numbers:
            return
        kinds = distributions(self._plan)
        for number, record in records.items():
            if record is None:
                # Its place is kept: later trials have their numbers from it.
                self._say(f"the record of trial {number} is gone or damaged: it is left out")
                self.optuna.add_trial(create_trial(state=TrialState.FAIL))
                continue
            self.optuna.add_trial(
                create_trial(
                    state=TrialState[record["state"].upper()],
                    value=record["value"],
                    params=record["drawn"],
                    distributions=kinds,
                    user_attrs=record["user"],
                    system_attrs=record["system"],
                    intermediate_values={int(step): value for step, value in record["epochs"].items()},
                )
            )
        self._say(f"{self._folder}: the study was made again from the records of {len(records)} trials")


def _without(trial: FrozenTrial, names: list[str]) -> FrozenTrial:
    """Return a trial without some of its system attributes."""
    changed = copy.deepcopy(trial)
    changed.system_attrs = {name: value for name, value in changed.system_attrs.items() if name not in names}
    return changed


def _without_password(url: str) -> str:
    from sqlalchemy import make_url

    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return url.split("@")[-1]
