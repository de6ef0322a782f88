"""Draw figures as they are, and as people with each kind of colour blindness see them: one sheet.

    python docs/figure_sheet.py OUT FIGURE...

docs/images/figures.png was made of the figures of a run on digits, one on the table docs/data/people.csv, one on
docs/data/people.csv with task regression, and a search.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
KINDS = {
    "as it is": np.eye(3),
    "without red (protanopia)": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "without green (deuteranopia)": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "without blue (tritanopia)": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
    "in grey": np.tile([0.2126, 0.7152, 0.0722], (3, 1)),
}
WIDTH, HEIGHT, MARGIN = 300, 210, 22


def seen(pixels: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return an sRGB picture, (rows, columns, 3), under a linear map of its light."""
    share = pixels / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    mapped = np.clip(linear @ matrix.T, 0.0, 1.0)
    coded = np.where(mapped <= 0.0031308, 12.92 * mapped, 1.055 * mapped ** (1 / 2.4) - 0.055)
    return np.round(255 * coded).astype(np.uint8)


def sheet(files: list[str]) -> Image.Image:
    """Return a sheet with a row a figure, and a column a kind of sight."""
    page = Image.new("RGB", (WIDTH * len(KINDS), MARGIN + HEIGHT * len(files)), "white")
    pen = ImageDraw.Draw(page)
    for column, (name, matrix) in enumerate(KINDS.items()):
        pen.text((WIDTH * column + 6, 5), name, fill="black")
        for row, file in enumerate(files):
            figure = Image.open(file).convert("RGB")
            figure.thumbnail((WIDTH - 8, HEIGHT - 8), Image.Resampling.LANCZOS)
            page.paste(Image.fromarray(seen(np.asarray(figure), matrix)), (WIDTH * column + 4, MARGIN + HEIGHT * row))
    return page


if __name__ == "__main__":
    sheet(sys.argv[2:]).save(sys.argv[1], optimize=True)
    print(sys.argv[1])
