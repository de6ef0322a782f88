"""Write docs/settings.md, every setting as a table: python docs/settings_page.py

tests/docs/test_docs.py holds that the page is up to date.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from stacked_dae.config.reference import all_settings

_INTRODUCTION = """# Settings

As in a YAML file (`pretrain: {corruption: {nu: 0.25}}`), or dotted on a command line: `--pretrain.corruption.nu 0.25`.
`stacked-dae fit --help-all` says the same, and `--print_config` shows what would be run. A setting per layer takes one
value, or a list of them.

(Made by `python docs/settings_page.py`.)
"""


def page() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for title, settings in groupby(all_settings(), lambda setting: setting.part):
        rows = [
            f"| `{setting.name}` | `{setting.default}` | {_cell(setting.takes)} | {_cell(setting.text)} |"
            for setting in settings
        ]
        parts.append(
            "\n".join(
                [f"## {title}", "", "| setting | default | takes | what it decides |", "|---|---|---|---|", *rows, ""]
            )
        )
    return "\n".join(parts)


def _cell(text: str) -> str:
    """Return text that neither ends a table's cell nor begins a tag."""
    return re.sub(r"([|<*_\[\]])", r"\\\1", text)


if __name__ == "__main__":
    file = Path(__file__).with_name("settings.md")
    file.write_text(page())
    print(file)
