"""A comparison as one web page that needs nothing else: no network, no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stacked_dae.config.identity import NON_IDENTITY_KEYS
from stacked_dae.reporting.columns import VALID, Compared, shown
from stacked_dae.reporting.comparison import Comparison
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.utils.files import write_text

_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; color: #1c1c1c; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { background: #f4f4f4; }
tr.best { background: #eaf5ea; font-weight: 600; }
i { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; margin-right: .5rem; }
.panels { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); }
.panels svg, .panels img { width: 100%; height: auto; }
figure { margin: 0; } figcaption { font-size: .85rem; overflow-wrap: anywhere; }
code { font-size: .9em; }
"""


def write_page(comparison: Comparison, file: Path) -> None:
    """Write the page of a comparison to ``file``."""
    write_text(file, page(comparison))


def page(comparison: Comparison) -> str:
    """Return the page of a comparison: its table, learning curves, filters, and the settings that all runs share."""
    runs = comparison.runs
    best = comparison.best
    colors = [
        to_hex(colormaps["tab10" if len(runs) <= 10 else "turbo"](_place(k, len(runs)))) for k in range(len(runs))
    ]
    chosen = f"Lowest validation error: <b>{escape(comparison.label(best))}</b>." if best else comparison.why_no_best
    count = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    interval = "" if comparison.is_regression else " have their 95&nbsp;% interval; they"
    where = f" in <code>{escape(comparison.folder)}</code>" if comparison.folder else ""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # An address that asks for nothing: a browser looks for an icon otherwise.
        '<link rel="icon" href="data:,">',
        f"<title>{count} compared</title><style>{_STYLE}</style></head><body>",
        f"<h1>{count} compared</h1>",
        f"<p>{count}{where}. {chosen} Test errors{interval} choose nothing.</p>",
        _settings_line(comparison),
        _table(comparison, colors),
        _curves(comparison, colors),
        _filters(comparison),
        _shared(comparison),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _place(k: int, n: int) -> Any:
    return k if n <= 10 else k / (n - 1)


def _settings_line(comparison: Comparison) -> str:
    if not comparison.keys:
        return "<p>All settings are the same.</p>"
    return f"<p>They differ in {', '.join(f'<code>{escape(key)}</code>' for key in comparison.keys)}.</p>"


def _table(comparison: Comparison, colors: Sequence[str]) -> str:
    head = ["run", *map(comparison.short, comparison.keys)]
    head += [f"{layer.replace('_', ' ')} loss" for layer in comparison.layers]
    head += [column.title for column in comparison.shown_columns]
    lines = []
    for run, color in zip(comparison.runs, colors, strict=True):
        cells = [f'<i style="background:{color}"></i>{escape(comparison.label(run))}']
        cells += [escape(shown(run.settings.get(key), 6)) for key in comparison.keys]
        cells += [shown(run.losses.get(layer)) for layer in comparison.layers]
        cells += [escape(column.text(run)) for column in comparison.shown_columns]
        mark = ' class="best"' if run is comparison.best else ""
        lines.append(f"<tr{mark}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    header = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="wide"><table><thead><tr>{header}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _curves(comparison: Comparison, colors: Sequence[str]) -> str:
    panels = []
    for stage in (*comparison.layers, FINETUNE):
        what = VALID if stage == FINETUNE and not comparison.is_regression else "valid_loss"
        # Somebody else's runs on W&B may have other figures.
        drawn = [
            (run, color, rows)
            for run, color in zip(comparison.runs, colors, strict=True)
            if (rows := [row for row in run.histories.get(stage, []) if what in row])
        ]
        if drawn:
            axis = "loss per example"
            if stage == FINETUNE:
                axis = "error (%)" if what == VALID else "squared error / variance"
            panels.append(_panel(stage, what, axis, drawn, comparison.best))
    if not panels:
        return ""
    return f'<h2>Learning curves, on validation examples</h2><div class="panels">{"".join(panels)}</div>'


def _panel(stage: str, what: str, axis: str, drawn: Sequence[tuple[Compared, str, Any]], best: Compared | None) -> str:
    figure = Figure(figsize=(4.6, 3.2))
    # Finding the margins would draw the panel twice.
    axes = figure.subplots(gridspec_kw={"left": 0.17, "right": 0.97, "bottom": 0.16, "top": 0.9})
    for run, color, rows in drawn:
        mark = "." if len(rows) < 3 else ""
        axes.plot(
            [row["epoch"] for row in rows],
            [row[what] for row in rows],
            color=color,
            marker=mark,
            linewidth=2.4 if run is best else 1.3,
        )
    axes.set_title(stage.replace("_", " "), fontsize=11)
    axes.set_xlabel("epoch")
    axes.set_ylabel(axis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": stage}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}</figure>"


def _filters(comparison: Comparison) -> str:
    figures = []
    for run in comparison.runs:
        if run.filters:
            picture = f"data:image/png;base64,{base64.b64encode(run.filters).decode()}"
            image = f'<img alt="Filters of {escape(run.name)}" src="{picture}">'
            figures.append(f"<figure>{image}<figcaption>{escape(_caption(run, comparison))}</figcaption></figure>")
    if not figures:
        return ""
    return f'<h2>Filters of the first layer</h2><div class="panels">{"".join(figures)}</div>'


def _caption(run: Compared, comparison: Comparison) -> str:
    differing = ", ".join(f"{comparison.short(key)} {shown(run.settings.get(key), 6)}" for key in comparison.keys)
    return f"{comparison.label(run)}: {differing}" if differing else comparison.label(run)


def _shared(comparison: Comparison) -> str:
    settings = comparison.runs[0].settings
    lines = [
        f"<tr><td><code>{escape(key)}</code></td><td>{escape(str(value))}</td></tr>"
        for key, value in settings.items()
        if key not in comparison.keys and not key.startswith(NON_IDENTITY_KEYS)
    ]
    return (
        "<h2>Settings that all share</h2><details><summary>Show them</summary>"
        f'<div class="wide"><table><tbody>{"".join(lines)}</tbody></table></div></details>'
    )
