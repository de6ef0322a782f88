"""A report on the site of Weights & Biases: the runs of an experiment, compared (extra: report)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from stacked_dae.errors import ConfigError, StageError
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.tracking.mode import line_of


def check_extra() -> None:
    """Raise ConfigError unless the extra is installed."""
    if find_spec("wandb_workspaces") is None:
        raise ConfigError("--report needs wandb-workspaces: pip install 'stacked-dae[report]'")


def save_report(path: str, layers: Sequence[str], *, numbers: bool = False) -> str:
    """Write a report of ``ENTITY/PROJECT`` or ``ENTITY/PROJECT/GROUP`` and return its address.

    It has the settings that differ, a learning curve for each layer and for fine-tuning, the errors, and the pictures.

    Args:
        path: of the project or the group.
        layers: ``layer_1`` …
        numbers: whether the runs predict numbers.

    Raises:
        StageError: W&B does not take it.
    """
    # It declares no types.
    reports: Any = import_module("wandb_workspaces.reports.v2")
    entity, project, *group = path.split("/", 2)
    filters = f"Group = '{group[0]}'" if group else ""
    curves = [
        reports.LinePlot(
            title=f"{layer.replace('_', ' ')}: validation loss", x=f"{layer}/epoch", y=[f"{layer}/valid_loss"]
        )
        for layer in layers
    ]
    curves.append(
        reports.LinePlot(
            title="fine-tuning: validation squared error" if numbers else "fine-tuning: validation error (%)",
            x=f"{FINETUNE}/epoch",
            y=[f"{FINETUNE}/valid_loss" if numbers else f"{FINETUNE}/valid_error_percent"],
        )
    )
    errors = ("best_valid_error_percent", "test_error_percent", "test_error_ci95_percent")
    if numbers:
        errors = ("best_valid_rmse", "test_rmse", "test_r2")
    report = reports.Report(
        entity=entity,
        project=project,
        title=f"stacked-dae: {group[0] if group else project}",
        description="Layer-wise pre-training with denoising autoencoders. Choose by validation error alone.",
        blocks=[
            reports.PanelGrid(
                runsets=[reports.Runset(entity=entity, project=project, filters=filters)],
                panels=[
                    *curves,
                    *(reports.BarPlot(title=name, metrics=[reports.SummaryMetric(name)]) for name in errors),
                    reports.RunComparer(diff_only=True),
                    reports.MediaBrowser(media_keys=["filters", "reconstructions", "confusion"]),
                ],
            )
        ],
        width="fluid",
    )
    try:
        report.save()
    except Exception as error:  # the client has no common class of what it raises
        raise StageError(f"--report: {line_of(error)}") from None
    return str(report.url)
