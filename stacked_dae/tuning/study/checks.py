"""What can be known to fail before a search trains its first trial."""

from __future__ import annotations

from stacked_dae.data.registry import check_data
from stacked_dae.errors import ConfigError
from stacked_dae.training.optimizers import check_optimizers
from stacked_dae.tuning.plan import SearchPlan
from stacked_dae.tuning.study.samplers import first_draws

# Draws that are checked before the first trial.
_CHECKED = 200


def check_plan(plan: SearchPlan, trials: int, *, has_data: bool = False) -> None:
    """Raise ConfigError for what can be known to fail before a trial is trained.

    As many trials are checked as there are, up to 200: those of a grid or of random draws, else random draws.

    Args:
        plan: the search.
        trials: how many it has.
        has_data: whether its data are there already, and so are not those of the settings.
    """
    space = plan.space
    if plan.sampler == "grid" and space.grid_size is None:
        name = next(parameter.name for parameter in space.parameters if not parameter.is_listed)
        raise ConfigError(f"{space.file}: {name} has no values: a grid needs them")
    if plan.sampler == "cmaes" and all(parameter.is_listed for parameter in space.parameters):
        raise ConfigError(f"{space.file}: CMA-ES draws numbers, and no setting has min and max; use another sampler")
    if plan.sampler == "grid" and plan.finetune_trials > 1:
        raise ConfigError(
            "finetune_trials is not for a grid, which has every combination; leave it out, or draw trials"
        )
    drawn = first_draws(plan, min(trials, _CHECKED))
    # Bounds too; of what is listed a value may fit others of its row alone, as one value per layer does.
    ranges = [parameter for parameter in space.parameters if not parameter.is_listed]
    bounds = [{**drawn[0], parameter.name: value} for parameter in ranges for value in parameter.extremes()]
    for config in map(plan.config, drawn + bounds):
        check_optimizers(config)
        if not has_data:
            check_data(config.data)
