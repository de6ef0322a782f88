"""Searches over settings: trials that share layers, drawn and stopped by Optuna, the best tested once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset
from stacked_dae.errors import ConfigError, DivergedError
from stacked_dae.figures.run_figures import draw_run
from stacked_dae.pipeline.api import fit
from stacked_dae.pipeline.results import diverged_stage
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.layer_store import LayerStore
from stacked_dae.tuning.parallel import workers_beside
from stacked_dae.tuning.plan import Pruner, Sampler, SearchPlan, check_optuna, read_plan
from stacked_dae.tuning.result import LAYERS, PLAN, TABLE, SearchResult, read_search
from stacked_dae.tuning.space import read_space
from stacked_dae.tuning.trials import DataCache, PrunedError, data_key, train_trial
from stacked_dae.utils import distributed
from stacked_dae.utils.files import check_apart, write_csv
from stacked_dae.utils.terminal.progress import LogReporter, Reporter, reporting

if TYPE_CHECKING:
    import optuna


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
    progress: bool | Reporter = True,
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
        progress: True for bars in a terminal and in a notebook, False for none. The logger ``stacked_dae`` gets what is
            said either way.

    Raises:
        ConfigError, DataError: the settings, the space or the data are not usable; nothing was written.
        StageError: every trial diverged.
    """
    plan = SearchPlan.of(config, read_space(space), sampler, pruner, finetune_trials)
    with reporting(progress) as reporter:
        return run_search(plan, trials, Path(out), workers, storage, dataset, reporter)


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
    if distributed.world_size() > 1:
        raise ConfigError("a search starts its processes itself: leave torchrun out, and give --workers")
    from stacked_dae.tuning.study.checks import check_plan

    if dataset is not None and workers > 1:
        raise ConfigError("workers above 1 load the data themselves: leave dataset out and name it in config.data")
    check_apart("--out", out, plan.base.get("data", {}).get("path"))
    _check_place(plan, out)
    check_plan(plan, trials, has_data=dataset is not None)
    data = DataCache(dataset)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / PLAN).exists():
        plan.save(out / PLAN)
    with workers_beside(out, trials, workers, storage, reporter):
        work(out, plan, trials, storage, data, reporter)
    if workers > 1:
        # What a worker that was killed has left.
        work(out, plan, trials, storage, data, reporter)
    return _finished(out, plan, storage, data, reporter)


def work(out: Path, plan: SearchPlan, trials: int, storage: str | None, data: DataCache, reporter: Reporter) -> None:
    """Train trials of a search until no more is left to begin or to continue."""
    from stacked_dae.tuning.study.storage import storage_errors

    with storage_errors(out):
        _work(out, plan, trials, storage, data, reporter)


def _work(out: Path, plan: SearchPlan, trials: int, storage: str | None, data: DataCache, reporter: Reporter) -> None:
    from optuna.trial import TrialState

    from stacked_dae.tuning.study.study import DIVERGED, FAILED, LOSS, SearchStudy

    study = SearchStudy(out, plan, storage, reporter)
    layers = LayerStore(out / LAYERS, reporter)

    def waits(values: Mapping[str, Any]) -> bool:
        try:
            return layers.is_busy(data.layer_fingerprints(plan.config(values)))
        except ConfigError:
            return False

    while (claim := study.claim(trials, waits)) is not None:
        reporter.say(f"trial {claim.number} ({claim.number + 1} of {trials}): {_shown(claim.values)}")
        folder = out / claim.run
        try:
            config = plan.config(claim.values)
        except ConfigError as error:
            reporter.warn(f"trial {claim.number} failed: {error}")
            study.end(claim, TrialState.FAIL, None, {FAILED: str(error)})
            claim.release()
            continue
        try:
            on_epoch = partial(study.stops, claim)
            dataset = data.of(config, RunFolder.open_or_create(folder))
            if dataset is not None:
                study.check_data(data_key(config), dataset.fingerprint)
            score = train_trial(config, folder, dataset, layers=layers, reporter=reporter, on_epoch=on_epoch)
            study.end(claim, TrialState.COMPLETE, score.value, {LOSS: score.valid_loss})
        except PrunedError:
            reporter.say(f"trial {claim.number} is stopped early")
            study.end(claim, TrialState.PRUNED, None, {})
        except DivergedError as failure:
            reporter.say(str(failure))
            study.end(claim, TrialState.PRUNED, None, {DIVERGED: diverged_stage(RunFolder.open(folder))})
        finally:
            claim.release()


def objective(
    config: Config,
    space: str | Path | Mapping[str, Any],
    *,
    out: str | Path,
    dataset: Dataset | None = None,
    progress: bool | Reporter = False,
) -> Callable[[optuna.Trial], float]:
    """Return an objective for a study of your own: ``study.optimize(objective(config, space, out="runs"), 50)``.

    Trials share layers in ``out/layers``, and report the validation error of fine-tuning to the study's pruner. The
    value to minimize is the lowest validation error (%), or the RMSE of a regression. Nothing is tested.

    Args:
        config: the settings of every trial.
        space: the settings that vary, as for :func:`search`.
        out: folder of the run folders; their names are user attributes (``run``) of the trials.
        dataset: the data; loaded as ``config.data`` says if None.
        progress: True for bars of each trial in a terminal and in a notebook; a study has a bar of its own.
    """
    check_optuna()
    plan = SearchPlan(config.to_dict(), read_space(space))
    place = Path(out)
    check_apart("out", place, config.data.path)
    data, layers = DataCache(dataset), LayerStore(place / LAYERS, LogReporter())

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
            given = data.of(one, RunFolder.open_or_create(folder))
            with reporting(progress) as reporter:
                return train_trial(one, folder, given, layers=layers, reporter=reporter, on_epoch=on_epoch).value
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
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    if (out / "manifest.json").exists():
        raise ConfigError(f"--out {out} is a run folder; name another folder for the search")
    RunFolder.open_or_create(out / "trial")


def _finished(out: Path, plan: SearchPlan, storage: str | None, data: DataCache, reporter: Reporter) -> SearchResult:
    """Test and draw the best trial, write the table of all, and return what was found."""
    result = read_search(out, storage, reporter)
    best, config = result.best, result.best_config
    if (best.folder / "manifest.json").is_file():
        dataset = data.of(config, result.best_run)
        draw_run(fit(config, best.folder, dataset=dataset, progress=reporter), dataset)
    else:
        reporter.warn(f"the best trial, {best.folder}, is on another machine: the same command there tests it")
    write_csv(out / TABLE, result.rows())
    return result
