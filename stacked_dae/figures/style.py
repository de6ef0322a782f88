"""Share colours, sizes and names among all pictures, and keep them in files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.terminal.text import printable

# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, BLACK, GREY = "#56B4E9", "#CC79A7", "#F0E442", "#000000", "#7F7F7F"
KINDS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK, YELLOW)
"""Colours of kinds, in their order; what is ordered (noise, units, labels) takes the ramp."""
MARKERS = "osD^vPX*"
"""Shapes of kinds, for print without colour."""
RAMP = "viridis"


def ordered_color(k: int, count: int) -> str:
    """Return the colour of the ``k``-th (from 0) of ``count`` ordered settings, dark to light."""
    return to_hex(colormaps[RAMP](0.85 * k / max(count - 1, 1)))


class Picture(Figure):
    """A figure that shows itself as the last line of a notebook's cell, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=100)
        return content.getvalue()


def figure(width: float, height: float) -> Picture:
    """Return an empty picture of this size in inches."""
    return Picture(figsize=(width, height), layout="constrained")


def place(ax: Axes | None, width: float, height: float) -> tuple[Axes, Figure]:
    """Return where to draw, and its figure: a new one of this size where no axes are given."""
    if ax is None:
        picture = figure(width, height)
        return picture.subplots(), picture
    found = ax.get_figure(root=True)
    assert found is not None
    return ax, found


def plain(axes: Axes) -> None:
    """Take off what says nothing: the frame's upper and right side."""
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, file: Path) -> Path:
    """Write ``figure`` to ``file`` (PNG) atomically and return it."""
    write_atomically(file, lambda target: figure.savefig(target, format="png", dpi=130))
    return file


def shortened(name: str, most: int = 16) -> str:
    """Return a name of the user's as it stands beside a picture: cut where it is long, and never read as a formula."""
    name = printable(name)
    short = (name if len(name) <= most else f"{name[: most - 1]}…").replace("$", r"\$")
    # A legend leaves out what begins with an underscore.
    return f" {short}" if short.startswith("_") else short


def shortened_apart(names: Sequence[str], most: int = 16) -> list[str]:
    """Return names shortened, but for those that would then be the same."""
    short = [shortened(name, most) for name in names]
    return [
        cut if short.count(cut) == 1 else shortened(name, len(name)) for cut, name in zip(short, names, strict=True)
    ]
