"""The study of a search in its folder: trials are begun, continued and ended once, by any number of processes."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from stacked_dae.errors import StageError
from stacked_dae.runs.integrity import read_small
from stacked_dae.tuning.plan import SearchPlan
from stacked_dae.tuning.study.samplers import distributions, quiet_optuna, settings_of
from stacked_dae.tuning.study.storage import open_study
from stacked_dae.utils.files import dump_checksummed, load_checksummed, lock_folder, write_text
from stacked_dae.utils.terminal.progress import Reporter

_FOLDER, DATABASE, _RECORD = "study", "study.db", "trial.json"
# Seconds between two looks for a trial that need not wait.
_PAUSE = 0.5
# Trials that a process draws at the most to find one that it need not wait for.
_MOST_PASSED_OVER = 32
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
        is_new: whether it was drawn just now.
    """

    trial: Trial
    number: int
    values: dict[str, Any]
    run: str
    lock: int
    reported: int = 0
    is_new: bool = False

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
        reporter: says what was lost and made again.
    """

    def __init__(self, out: Path, plan: SearchPlan, storage: str | None, reporter: Reporter) -> None:
        self._folder, self._plan, self._reporter, self._url = out / _FOLDER, plan, reporter, storage
        self._owner = str(out.resolve())
        with self._locked(), quiet_optuna():
            self.optuna = open_study(self._folder / DATABASE, plan, storage, reporter)
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

    def claim(self, most: int, waits: Callable[[Mapping[str, Any]], bool]) -> Claim | None:
        """Return a trial to train: one that was cut, or else a new one; None where ``most`` have begun.

        A trial that draws the settings of an earlier one is that one, and ends as it does. One that would wait for
        another process is passed over, unless the sampler learns from trials that have ended; where all would wait,
        this call does.
        """
        learns = self._plan.sampler not in ("random", "grid")
        told = False
        while True:
            count = 0
            with self._locked(), quiet_optuna(), ExitStack() as passed_over:
                for count, claim in enumerate(self._candidates(most), 1):
                    if (learns and claim.is_new) or not waits(claim.values):
                        return claim
                    passed_over.callback(claim.release)
                    if count == _MOST_PASSED_OVER:
                        break
            if count == 0:
                return None
            if not told:
                self._reporter.say("waiting for layers that another process trains")
                told = True
            time.sleep(_PAUSE)

    def _candidates(self, most: int) -> Iterator[Claim]:
        """Go through the trials that were cut, then through new ones."""
        for trial in self.trials():
            # A database in the folder has no other trials; the folder may have been moved.
            is_ours = self._url is None or trial.user_attrs.get(OWNER, self._owner) == self._owner
            if is_ours and trial.state == TrialState.RUNNING:
                claim = self._take(trial.number)
                if claim is not None:
                    yield claim
        while len(self.trials()) < self._plan.count(most):
            claim = self._take(*self._begin())
            if claim is not None:
                yield claim

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
            claim = self._read_claim(number, begun, lock)
            if not (place / _RECORD).exists():
                self._write(claim, "running", {})
            if not self._ends_as_another(claim) and not self._ends_as_recorded(claim):
                return claim
        except BaseException:
            os.close(lock)
            raise
        claim.release()
        return None

    def _read_claim(self, number: int, begun: Trial | None, lock: int) -> Claim:
        """Return a trial with its settings, which are drawn where the process was cut while it drew them."""
        trial = begun or Trial(self.optuna, self.trials()[number]._trial_id)
        drawn = {parameter.name: parameter.suggest(trial) for parameter in self._plan.space.parameters}
        values = settings_of(self._plan, drawn)
        run = self._plan.run_name(values)
        if OWNER not in trial.user_attrs:
            trial.set_user_attr(RUN, run)
            trial.set_user_attr(OWNER, self._owner)
        return Claim(trial, number, values, run, lock, self.trials()[number].last_step or 0, begun is not None)

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

    def check_data(self, settings: str, fingerprint: str) -> None:
        """Raise StageError where trials of the same data settings were trained on other data."""
        key = f"data {settings}"
        known = self.optuna.user_attrs.get(key)
        if known is None:
            self.optuna.set_user_attr(key, fingerprint)
        elif known != fingerprint:
            raise StageError(
                f"{self._folder.parent}: the data have changed since the first trial, so that errors do not compare;"
                " give the earlier data, or another --out"
            )

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
        """Add the trials of the records that the study does not have: of all, or, after a kill, of the last."""
        numbers = [int(place.name) for place in self._folder.iterdir() if place.is_dir() and place.name.isdigit()]
        missing = range(len(self.trials()), max(numbers, default=-1) + 1)
        kinds = distributions(self._plan)
        for number in missing:
            record = self._read(number)
            if record is None:
                # Its place is kept: later trials have their numbers from it.
                self._reporter.warn(f"the record of trial {number} is gone or damaged: it is left out")
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
        if missing:
            self._reporter.warn(f"{self._folder}: the study was made again from the records of {len(missing)} trials")


def _without(trial: FrozenTrial, names: list[str]) -> FrozenTrial:
    """Return a trial without some of its system attributes."""
    changed = copy.deepcopy(trial)
    changed.system_attrs = {name: value for name, value in changed.system_attrs.items() if name not in names}
    return changed
