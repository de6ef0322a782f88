"""What each command of the command line does with its options; torch is imported once it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacked_dae.config.identity import NOT_IDENTITY, fingerprint
from stacked_dae.config.loading import flatten, from_dict
from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError
from stacked_dae.utils import distributed


def run_job(command: str, values: dict[str, Any]) -> None:
    """Run fit, pretrain or finetune with the values of its options, nested."""
    out, rerun, pretrained = values.pop("out"), values.pop("rerun"), values.pop("pretrained", None)
    values.pop("config", None)
    config = from_dict(values)
    if command == "finetune" and pretrained is None:
        raise ConfigError("finetune needs --pretrained RUN, the folder of an earlier pretrain or fit")
    from stacked_dae.data.registry import check_data

    check_data(config.data)
    if command != "pretrain" and config.data.path is not None and config.data.target is None:
        raise ConfigError("data.target: name the column of the class; without one, pretrain only")
    _train(command, config, Path(out) if out else _default_out(config, command, pretrained), pretrained, rerun)


def _train(command: str, config: Config, out: Path, pretrained: str | None, rerun: bool) -> None:
    from stacked_dae.pipeline import runner
    from stacked_dae.reporting.run_figures import draw_run
    from stacked_dae.reporting.run_summary import print_summary
    from stacked_dae.utils.progress import Reporter, TerminalReporter

    # Of several processes one speaks.
    with TerminalReporter() if distributed.first() else Reporter() as reporter:
        how: dict[str, Any] = {"rerun": rerun, "reporter": reporter}
        if command == "finetune":
            assert pretrained is not None
            folder = runner.finetune(config, out, pretrained, **how)
        else:
            folder = getattr(runner, command)(config, out, **how)
        if not distributed.first():
            return
        draw_run(folder)
    print_summary(folder)
    print(f"run folder: {folder.path} (figures in {folder.path / 'figures'})")


def _default_out(config: Config, command: str, pretrained: str | None) -> Path:
    """Return a folder that the same command finds again."""
    identity = {key: v for key, v in flatten(config.to_dict()).items() if not key.startswith(NOT_IDENTITY)}
    mark = fingerprint(identity, command, pretrained)[:8]
    return Path("runs") / f"{config.data.title}-{config.model}-{mark}"
