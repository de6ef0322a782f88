"""Searches over settings: trials that share layers, drawn and stopped by Optuna, the best tested once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset
from stacked_dae.errors import ConfigError, DivergedError, StageError
from stacked_dae.pipeline.api import fit
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.layer_store import LayerStore
from stacked_dae.tuning.parallel import run_workers
from stacked_dae.tuning.plan import Pruner, Pruning, Sampler, SearchPlan, check_optuna, check_plan, read_plan
from stacked_dae.tuning.space import read_space
from stacked_dae.tuning.trials import DataCache, PrunedError, diverged_stage, train_trial
from stacked_dae.utils.files import check_apart, write_csv
from stacked_dae.utils.progress import Reporter

if TYPE_CHECKING:
    import optuna
    import pandas as pd  # type: ignore[import-untyped]

    from stacked_dae.tuning.study import SearchStudy

PLAN, LAYERS, TABLE = "search.yaml", "layers", "trials.csv"


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
    def best(self) -> SearchTrial:
        """The complete trial of the lowest validation error; among equals, of the lowest validation loss.

        Raises:
            StageError: no trial is complete.
        """
        complete = [trial for trial in self.all_trials if trial.state == "complete"]
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
        values = {trial.value for trial in self.all_trials if trial.state == "complete"}
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


def search(
    config: Config,
    space: str | Path | Mapping[str, Any],
    *,
    trials: int,
    out: str | Path,
    sampler: Sampler = "tpe",
    pruner: Pruner = "none",
    workers: int = 1,
    finetune_trials: int = 1,
    storage: str | None = None,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
) -> SearchResult:
    """Search for the settings of the lowest validation error, test the best trial once, and return what was found.

    Trials share the layers that they have in common, which lie in ``out/layers``. The same call goes on where a search
    was cut, and one with more ``trials`` goes on where a smaller one ended. Needs Optuna (extra: search).

    Args:
        config: the settings of every trial; ``config.seed`` also seeds the draws.
        space: the settings that vary: a YAML file, or a mapping such as
            ``{"finetune.optimizer.lr": {"min": 0.01, "max": 1.0, "distribution": "log_uniform_values"}}``.
        trials: how many trials the search has.
        out: folder of the search.
        sampler: how settings are drawn: tpe, random, grid, gp (Gaussian process) or cmaes.
        pruner: how trials are stopped early: none, median, asha or hyperband. It compares the validation error of
            fine-tuning alone: losses of layers with different noise do not compare.
        workers: processes that train trials at the same time.
        finetune_trials: how many trials in a row have the same layers, and differ in fine-tuning alone.
        storage: URL of an Optuna storage, for a study that several machines share; a database in ``out`` if None.
        dataset: the data of every trial; loaded as ``config.data`` says if None.
        reporter: shows progress; none by default.

    Raises:
        ConfigError, DataError: the settings, the space or the data are not usable; nothing was written.
        StageError: every trial diverged.
    """
    pruning = Pruning.of(pruner, config)
    plan = SearchPlan(config.to_dict(), read_space(space), sampler, pruning, config.seed, finetune_trials)
    return run_search(plan, trials, Path(out), workers, storage, dataset, reporter or Reporter())


def run_search(
    plan: SearchPlan,
    trials: int,
    out: Path,
    workers: int,
    storage: str | None,
    dataset: Dataset | None,
    reporter: Reporter,
) -> SearchResult:
    """Do what :func:`search` does, for a plan."""
    _check_counts({"trials": trials, "workers": workers, "finetune_trials": plan.finetune_trials})
    check_optuna(plan.sampler)
    if dataset is not None and workers > 1:
        raise ConfigError("workers above 1 load the data themselves: leave dataset out and name it in config.data")
    check_apart("--out", out, plan.base.get("data", {}).get("path"))
    _check_place(plan, out)
    check_plan(plan, trials, has_data=dataset is not None)
    data = DataCache(dataset)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / PLAN).exists():
        plan.save(out / PLAN)
    if workers > 1:
        # Those that were killed leave trials behind.
        while run_workers(out, trials, workers, storage, reporter):
            pass
    else:
        work(out, plan, trials, storage, data, reporter)
    return _finished(out, plan, storage, data, reporter)


def work(out: Path, plan: SearchPlan, trials: int, storage: str | None, data: DataCache, reporter: Reporter) -> None:
    """Train trials of a search until no more is left to begin or to continue."""
    from optuna.trial import TrialState

    from stacked_dae.tuning.study import DIVERGED, FAILED, LOSS, SearchStudy

    study = SearchStudy(out, plan, storage, reporter.say)
    layers = LayerStore(out / LAYERS, reporter.say)
    while (claim := study.claim(trials)) is not None:
        reporter.say(f"trial {claim.number} ({claim.number + 1} of {trials}): {_shown(claim.values)}")
        folder = out / claim.run
        try:
            config = plan.config(claim.values)
        except ConfigError as error:
            reporter.say(f"trial {claim.number} failed: {error}")
            study.end(claim, TrialState.FAIL, None, {FAILED: str(error)})
            continue
        try:
            on_epoch = partial(study.stops, claim)
            score = train_trial(config, folder, data=data, layers=layers, reporter=reporter, on_epoch=on_epoch)
            study.end(claim, TrialState.COMPLETE, score.value, {LOSS: score.valid_loss})
        except PrunedError:
            reporter.say(f"trial {claim.number} is stopped early")
            study.end(claim, TrialState.PRUNED, None, {})
        except DivergedError as failure:
            reporter.say(str(failure))
            study.end(claim, TrialState.PRUNED, None, {DIVERGED: diverged_stage(folder)})
        finally:
            claim.release()


def objective(
    config: Config,
    space: str | Path | Mapping[str, Any],
    *,
    out: str | Path,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
) -> Callable[[optuna.Trial], float]:
    """Return an objective for a study of your own: ``study.optimize(objective(config, space, out="runs"), 50)``.

    Trials share layers in ``out/layers``, and report the validation error of fine-tuning to the study's pruner. The
    value to minimize is the lowest validation error (%), or the RMSE of a regression. Nothing is tested.

    Args:
        config: the settings of every trial.
        space: the settings that vary, as for :func:`search`.
        out: folder of the run folders; their names are user attributes (``run``) of the trials.
        dataset: the data; loaded as ``config.data`` says if None.
        reporter: shows progress; none by default.
    """
    check_optuna()
    plan = SearchPlan(config.to_dict(), read_space(space))
    place, told = Path(out), reporter or Reporter()
    check_apart("out", place, config.data.path)
    data, layers = DataCache(dataset), LayerStore(place / LAYERS, told.say)

    def train(trial: optuna.Trial) -> float:
        from optuna import TrialPruned

        values = {p.name: p.setting(p.suggest(trial)) for p in plan.space.parameters}
        one = plan.config(values)
        folder = place / plan.run_name(values)
        trial.set_user_attr("run", str(folder))

        def on_epoch(epoch: int, lowest: float) -> bool:
            trial.report(lowest, epoch)
            return trial.should_prune()

        try:
            return train_trial(one, folder, data=data, layers=layers, reporter=told, on_epoch=on_epoch).value
        except (PrunedError, DivergedError) as stop:
            raise TrialPruned(str(stop)) from None

    return train


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())


def _check_counts(counts: Mapping[str, Any]) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigError(f"{name} must be a whole number above 0, not {count!r}")


def _check_place(plan: SearchPlan, out: Path) -> None:
    """Raise ConfigError unless ``out`` is new or holds this search."""
    if (out / PLAN).exists():
        difference = plan.difference(read_plan(out / PLAN))
        if difference:
            raise ConfigError(f"--out {out} holds another search: {difference}; name another folder")
        return
    if (out / "manifest.json").exists():
        raise ConfigError(f"--out {out} is a run folder; name another folder for the search")
    RunFolder.open_or_create(out / "trial")


def _finished(out: Path, plan: SearchPlan, storage: str | None, data: DataCache, reporter: Reporter) -> SearchResult:
    """Test the best trial, write the table of all, and return what was found."""
    result = read_search(out, storage, reporter)
    best = result.best
    config = result.best_config
    fit(config, best.folder, dataset=data.of(config, RunFolder.open(best.folder)), reporter=reporter)
    write_csv(out / TABLE, result.rows())
    return result


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
    from stacked_dae.tuning.study import SearchStudy

    study = SearchStudy(place, plan, storage, (reporter or Reporter()).say)
    found = [_trial(place, plan, trial) for trial in study.trials()]
    return SearchResult(place, plan, found, _sharing(found), study)


def _trial(out: Path, plan: SearchPlan, trial: optuna.trial.FrozenTrial) -> SearchTrial:
    from stacked_dae.tuning.samplers import settings_of
    from stacked_dae.tuning.study import DIVERGED, LOSS, OWNER, RUN

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
        Path(attrs.get(OWNER, out)) / attrs.get(RUN, ""),
    )


def _sharing(trials: Sequence[SearchTrial]) -> dict[str, float]:
    """Return how many layers the trials' runs have, how many of them were trained, and the seconds saved."""
    seconds: dict[str, list[float]] = {}
    for folder in {trial.folder for trial in trials}:
        if not (folder / "manifest.json").is_file():
            continue
        for name, record in RunFolder.open(folder).manifest.stages.items():
            if name.startswith("layer_") and record.is_done:
                seconds.setdefault(record.fingerprint, []).append(record.seconds or 0.0)
    return {
        "layers": sum(map(len, seconds.values())),
        "trained": len(seconds),
        "seconds_saved": round(sum(sum(each[1:]) for each in seconds.values()), 1),
    }
