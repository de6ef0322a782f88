"""Checks of an experiment before anything is written."""

from __future__ import annotations

from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import check_unit_interval
from stacked_dae.data.tabular.roles import name_the_target
from stacked_dae.errors import ConfigError
from stacked_dae.runs.experiment import Experiment


def check_experiment(experiment: Experiment, *, finetune: bool) -> None:
    """Raise an error where the data are not those that the settings or the custom components need.

    Raises:
        ConfigError: there are no classes or validation rows to fine-tune with, or a component does not fit.
        DataError: cross-entropy, and an input outside [0, 1].
    """
    config, data, components = experiment.config, experiment.data, experiment.components
    custom_loss = components is not None and components.loss is not None
    if config.layers()[0].loss == "cross_entropy" and config.model != "mlp" and not custom_loss:
        check_unit_interval(data)
    if components is not None:
        if components.corruption is not None and config.model != "sda":
            raise ConfigError(f"components.corruption: model {config.model} corrupts nothing; leave it out")
        components.check(data.inputs)
    if finetune and not data.outputs:
        raise ConfigError(name_the_target(config.data))
    if finetune and data.is_regression != (config.task == "regression"):
        raise ConfigError(f"task is {config.task}, but the data set {data.name!r} was read for the other task")
    if finetune and not len(data.valid) and config.finetune.head != "mixed":
        other = "" if data.is_regression else ", or --finetune.head mixed, which cross-validates"
        raise ConfigError(
            "data.split: without validation rows nothing chooses the epoch of finetune.head softmax; give them a"
            f" share{other}"
        )


def settings_for_images(experiment: Experiment) -> list[str]:
    """Return a line where a table meets the scaling and layers that are the defaults, which suit images."""
    config, data = experiment.config, experiment.data
    is_table = config.data.path is not None and data.table is not None and not data.table.pixels
    defaults = Config()
    untouched = config.data.scale == defaults.data.scale and all(
        getattr(config.pretrain, name) == getattr(defaults.pretrain, name) for name in ("units", "activation")
    )
    if not is_table or not untouched or experiment.parent is not None or experiment.components is not None:
        return []
    recipe = "regression" if config.task == "regression" else "table"
    return [
        f"{config.data.path} is trained on with the defaults, which suit images; settings that suit tables: --config"
        f" {recipe}, in Python config_from_dict({{...}}, recipe={recipe!r})"
    ]
