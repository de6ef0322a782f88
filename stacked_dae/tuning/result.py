"""What a search has found: its trials, the best one, and what sharing layers saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.tuning.plan import SearchPlan, check_optuna, read_plan
from stacked_dae.utils.terminal.progress import LogReporter, Reporter

if TYPE_CHECKING:
    import optuna
    import pandas as pd  # type: ignore[import-untyped]

    from stacked_dae.tuning.study.study import SearchStudy

PLAN, LAYERS, TABLE = "search.yaml", "layers", "trials.csv"
"""What lies in the folder of a search: its plan, the layers that trials share, the table of trials."""


@dataclass(frozen=True)
class SearchTrial:
    """A trial of a search.

    Args:
        number: from 0.
        state: complete, pruned, diverged, failed (its settings are not valid together) or running.
        value: the lowest validation error (%), or RMSE in the target's units; of a pruned trial up to where it
            was stopped; None where there is none.
        valid_loss: the validation loss of the same epoch, of a complete trial.
        epochs: of fine-tuning, where trials are stopped early.
        settings: those that vary, by dotted name.
        folder: its run folder, which trials of the same settings share.
    """

    number: int
    state: str
    value: float | None
    valid_loss: float | None
    epochs: int | None
    settings: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        out: its folder.
        plan: what it was.
        all_trials: the trials by number.
        sharing: how many layers the trials have, how many were trained, and the seconds that this saved.
        study: Optuna's, for what else it can tell.
    """

    out: Path
    plan: SearchPlan
    all_trials: Sequence[SearchTrial]
    sharing: Mapping[str, float] = field(default_factory=dict)
    study: SearchStudy | None = field(default=None, repr=False, compare=False)

    @property
    def measure(self) -> str:
        """Name of the figure that trials are chosen by."""
        return "valid_rmse" if self.plan.base.get("task") == "regression" else "valid_error_percent"

    @property
    def complete(self) -> list[SearchTrial]:
        """The trials that were trained to their end, by number."""
        return [trial for trial in self.all_trials if trial.state == "complete"]

    @property
    def best(self) -> SearchTrial:
        """The complete trial of the lowest validation error; among equals, of the lowest validation loss.

        Raises:
            StageError: no trial is complete.
        """
        complete = self.complete
        if not complete:
            raise StageError(
                f"{self.out}: no trial is complete: all diverged or have invalid settings; lower the learning rates"
            )
        return min(complete, key=lambda trial: (trial.value, trial.valid_loss, trial.number))

    @property
    def best_config(self) -> Config:
        """The settings of the best trial."""
        return self.plan.config(self.best.settings)

    @property
    def best_run(self) -> RunFolder:
        """The run folder of the best trial, the only one that was tested."""
        return RunFolder.open(self.best.folder)

    @property
    def trials(self) -> pd.DataFrame:
        """A data frame with one row per trial (pandas)."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def importance(self) -> dict[str, float]:
        """Return how much of the variance of the validation error each setting explains, by functional ANOVA.

        Empty where fewer than three trials are complete, or all have one error.
        """
        values = {trial.value for trial in self.complete}
        if self.study is None or len(self.all_trials) < 3 or len(values) < 2:
            return {}
        return self.study.importance()

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per trial: its number, state, figures, settings and run folder."""
        return [
            {
                "trial": trial.number,
                "state": trial.state,
                self.measure: trial.value,
                "valid_loss": trial.valid_loss,
                "epochs": trial.epochs,
                **trial.settings,
                "run": trial.folder.name,
            }
            for trial in self.all_trials
        ]


def read_search(out: str | Path, storage: str | None = None, reporter: Reporter | None = None) -> SearchResult:
    """Return what a search has found so far.

    Args:
        out: its folder.
        storage: URL of its Optuna storage, where it has one of its own.
        reporter: shows what was damaged.

    Raises:
        ConfigError: there is no search, or it is damaged.
    """
    place = Path(out)
    if not (place / PLAN).is_file():
        raise ConfigError(f"{place} is not the folder of a search: it holds no {PLAN}")
    plan = read_plan(place / PLAN)
    check_optuna(plan.sampler)
    from stacked_dae.tuning.study.storage import storage_errors
    from stacked_dae.tuning.study.study import SearchStudy

    with storage_errors(place):
        study = SearchStudy(place, plan, storage, reporter or LogReporter())
    found = [_trial(place, plan, trial, elsewhere=storage is not None) for trial in study.trials()]
    return SearchResult(place, plan, found, _sharing(found), study)


def _trial(out: Path, plan: SearchPlan, trial: optuna.trial.FrozenTrial, *, elsewhere: bool) -> SearchTrial:
    """Return a trial; with a study ``elsewhere`` its run may lie in another folder than ``out``."""
    from stacked_dae.tuning.study.samplers import settings_of
    from stacked_dae.tuning.study.study import DIVERGED, LOSS, OWNER, RUN

    attrs = trial.user_attrs
    state = {"fail": "failed"}.get(trial.state.name.lower(), trial.state.name.lower())
    state = "diverged" if DIVERGED in attrs else state
    drawn = len(trial.params) == len(plan.space.parameters)
    return SearchTrial(
        trial.number,
        state,
        None if state == "diverged" else trial.value,
        attrs.get(LOSS),
        trial.last_step,
        settings_of(plan, trial.params) if drawn else {},
        (Path(attrs.get(OWNER, out)) if elsewhere else out) / attrs.get(RUN, "none"),
    )


def _sharing(trials: Sequence[SearchTrial]) -> dict[str, float]:
    """Return how many layers the trials' runs have, how many of them were trained, and the seconds saved."""
    seconds: dict[str, list[float]] = {}
    for folder in {trial.folder for trial in trials}:
        if not (folder / "manifest.json").is_file():
            continue
        for name, record in RunFolder.open(folder).manifest.stages.items():
            if name != FINETUNE and record.is_done:
                seconds.setdefault(record.fingerprint, []).append(record.seconds or 0.0)
    return {
        "layers": sum(map(len, seconds.values())),
        "trained": len(seconds),
        "seconds_saved": round(sum(sum(each[1:]) for each in seconds.values()), 1),
    }
