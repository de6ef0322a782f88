"""A comparison as one web page that needs nothing else: its table stands without a script, and no network is asked."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stacked_dae.config.identity import NON_IDENTITY_KEYS
from stacked_dae.reporting.columns import TEST, VALID, Compared, shown
from stacked_dae.reporting.comparison import Comparison
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.utils.files import write_text
from stacked_dae.utils.intervals import error_bounds

# Pixels of a picture of filters at the most: of 200 runs the page has to stay small.
_SIDE = 200
# Points of a curve at the most; more would not be seen.
_MOST_POINTS = 200


def write_page(comparison: Comparison, file: Path) -> None:
    """Write the page of a comparison to ``file``."""
    write_text(file, page(comparison))


def page(comparison: Comparison) -> str:
    """Return the page of a comparison.

    A table of the runs that can be sorted and filtered, error against any setting, learning curves, what is known of
    each run, and the settings that all share.
    """
    runs, best = comparison.runs, comparison.best
    columns, stages = _columns(comparison), _stages(comparison)
    texts = [
        {"run": comparison.label(run), **{column.key: column.text(run) for column in comparison.table_columns}}
        for run in runs
    ]
    environment = Environment(
        loader=PackageLoader("stacked_dae.reporting", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("compare.html.jinja").render(
        style=_part("compare.css"),
        script=_part("compare.js"),
        count=f"{len(runs)} run{'s' * (len(runs) != 1)}",
        folder=comparison.folder,
        best=comparison.label(best) if best else "",
        why_no_best=comparison.why_no_best,
        has_intervals=not comparison.is_regression,
        keys=comparison.keys,
        columns=columns,
        rows=[
            {"best": run is best, "cells": [cells[column["key"]] for column in columns]}
            for run, cells in zip(runs, texts, strict=True)
        ],
        has_errors=bool(comparison.keys) and any(run.valid_score is not None for run in runs),
        stages=stages,
        shared=[
            (key, str(value))
            for key, value in runs[0].settings.items()
            if key not in comparison.keys and not key.startswith(NON_IDENTITY_KEYS)
        ],
        data={
            "columns": columns,
            "stages": stages,
            "runs": [
                {
                    **_run(comparison, run, cells),
                    "values": values,
                    "curves": {stage["name"]: _curve(run, stage["name"], stage["what"]) for stage in stages},
                }
                for run, cells, values in zip(runs, texts, _values(comparison), strict=True)
            ],
        },
    )


def _part(name: str) -> Markup:
    return Markup((files("stacked_dae.reporting") / "page" / name).read_text(encoding="utf-8"))


def _columns(comparison: Comparison) -> list[dict[str, Any]]:
    """Return what the page needs to know of each column, the run's name first."""
    return [
        {"key": "run", "title": "run", "figure": False, "setting": False},
        *(
            {
                "key": column.key,
                "title": f"{column.title.replace('_', ' ')} loss" if column.kind == "loss" else column.title,
                "figure": column.kind == "error",
                "setting": column.kind == "setting",
            }
            for column in comparison.table_columns
        ),
    ]


def _stages(comparison: Comparison) -> list[dict[str, str]]:
    """Return the stages that have curves, and what these are of."""
    found = []
    for stage in (*comparison.layers, FINETUNE):
        what, axis = "valid_loss", "loss per example"
        if stage == FINETUNE:
            what = "valid_loss" if comparison.is_regression else VALID
            axis = "squared error / variance" if comparison.is_regression else "error (%)"
        # Somebody else's runs on W&B may have other figures.
        if any(what in row for run in comparison.runs for row in run.histories.get(stage, [])):
            found.append({"name": stage, "what": what, "title": stage.replace("_", " "), "axis": axis})
    return found


def _run(comparison: Comparison, run: Compared, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what the script needs to know of a run, beside its values and its curves."""
    interval = {}
    if run.test_error_percent is not None and run.n_test:
        interval = {TEST: error_bounds(run.test_error_percent, run.n_test)}
    facts: Mapping[str, Any] = {
        "run": run.name,
        "state": run.state,
        **{key: texts[key] for key in comparison.keys},
        **run.facts,
    }
    return {
        "label": texts["run"],
        "best": run is comparison.best,
        "texts": texts,
        "intervals": interval,
        "facts": [[name, str(text)] for name, text in facts.items()],
        "filters": _small(run.filters),
    }


def _values(comparison: Comparison) -> list[dict[str, Any]]:
    """Return for each run what the page sorts and draws by, by column."""
    lengths = {
        key: {len(v) if isinstance(v := run.settings.get(key), list) else None for run in comparison.runs}
        for key in comparison.keys
    }
    # Lists that are as long in every run, so that a value that repeats stands for its list.
    numeric = {key for key, found in lengths.items() if len(found) == 1}
    return [
        {
            **{key: _plain(value, key in numeric) for key, value in record.items()},
            "run": comparison.label(run),
            # That a setting is null says something; that a version does not have it says nothing.
            **{key: "null" for key in comparison.keys if run.settings.get(key, ...) is None},
        }
        for run, record in zip(comparison.runs, comparison.records(), strict=True)
    ]


def _plain(value: Any, numeric: bool) -> Any:
    """Return a value as JSON has it: numbers and text; where ``numeric``, the value that a list has throughout."""
    if numeric and isinstance(value, list) and value and all(item == value[0] for item in value):
        value = value[0]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (int, float, str)) else shown(value, 6)


def _curve(run: Compared, stage: str, what: str) -> list[tuple[int, float]] | None:
    """Return the epochs of a stage with their figure; None without any."""
    points = [
        (int(row["epoch"]), float(f"{row[what]:.5g}"))
        for row in run.histories.get(stage, [])
        if what in row and math.isfinite(row[what])
    ]
    if len(points) > _MOST_POINTS:
        points = [points[k] for k in np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int)]
    return points or None


def _small(picture: bytes | None) -> str | None:
    """Return a picture in greys and small (JPEG), in base 64; None where there is none, or it is damaged."""
    if picture is None:
        return None
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(picture)).convert("L")
    except (OSError, SyntaxError, ValueError):
        return None
    image.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=50)
    return base64.b64encode(content.getvalue()).decode()
