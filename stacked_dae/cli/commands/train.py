"""The commands that train: fit, pretrain, finetune. torch is imported once they need it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stacked_dae.cli.option_fields import other_values, read_options
from stacked_dae.cli.options import TRAINING_COMMANDS, FinetuneOptions, PretrainOptions, TrainOptions
from stacked_dae.config.identity import fingerprint, identity_settings
from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError
from stacked_dae.utils import distributed
from stacked_dae.utils.terminal.text import say


def run_training(command: str, values: Mapping[str, Any]) -> None:
    """Run fit, pretrain or finetune with the parsed values of its options and settings, nested."""
    cls = TRAINING_COMMANDS[command].options
    options: TrainOptions = read_options(cls, values)
    config = config_from_dict(other_values(cls, values))
    pretrained = options.pretrained if isinstance(options, FinetuneOptions) else None
    if command == "finetune" and pretrained is None:
        raise ConfigError("finetune needs --pretrained RUN, the folder of an earlier pretrain or fit")
    from stacked_dae.data.registry import check_data

    check_data(config.data)
    if command != "pretrain" and config.data.path is not None and config.data.target is None:
        from stacked_dae.data.tabular.roles import name_the_target

        raise ConfigError(name_the_target(config.data))
    out = Path(options.out) if options.out else _default_out(config, command, pretrained)
    _train(command, config, out, pretrained, options)


def _train(command: str, config: Config, out: Path, pretrained: str | None, options: TrainOptions) -> None:
    rerun, layers = options.rerun, options.layers if isinstance(options, PretrainOptions) else None
    if sys.stderr.isatty():
        # It takes seconds, and nothing else is to be seen yet.
        say("importing torch …", file=sys.stderr)
    from stacked_dae.figures.run_figures import draw_run
    from stacked_dae.pipeline import api
    from stacked_dae.reporting.run_summary import print_summary
    from stacked_dae.utils.terminal.progress import Reporter, command_reporter

    # Of several processes one reports.
    with command_reporter() if distributed.is_rank_zero() else Reporter() as reporter:
        if distributed.is_alone_in_slurm():
            reporter.warn("SLURM lends room for several tasks, but one trains here: srun did not start this command")
        if pretrained is not None:
            folder = api.finetune(config, out, pretrained, rerun=rerun, progress=reporter)
        elif command == "pretrain":
            folder = api.pretrain(config, out, rerun=rerun, progress=reporter, layers=layers)
        else:
            folder = api.fit(config, out, rerun=rerun, progress=reporter, layers=layers)
        if not distributed.is_rank_zero():
            return
        draw_run(folder)
    print_summary(folder)
    say(f"run folder: {folder.path} (figures in {folder.path / 'figures'})")


def _default_out(config: Config, command: str, pretrained: str | None) -> Path:
    """Return a folder that the same command finds again."""
    mark = fingerprint(identity_settings(config), command, pretrained)[:8]
    return Path("runs") / f"{config.data.title}-{config.model}-{mark}"
