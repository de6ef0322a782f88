"""The ICML-2007 problems of shapes, regenerated: rect, rect-img, convex (Larochelle et al., ICML 2007)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.builtin.photographs import SIDE, patches

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Sets = NDArray[np.bool_]
WHITE = 255
# As for digits on photographs, by the same yardstick.
LEAST_DEVIATION = 0.1


def _extents(low: int, high: int, least: int) -> NDArray[np.int64]:
    """Return every (height, width) in [low, high]² whose sides differ by ``least`` or more, (n, 2)."""
    h, w = np.mgrid[low : high + 1, low : high + 1].reshape(2, -1)
    pairs: NDArray[np.int64] = np.stack([h, w], 1)[np.abs(h - w) >= least]
    return pairs


def _boxes(extents: NDArray[np.int64], n: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return ``n`` boxes (top, left, height, width): uniform extents, then a uniform place among those that fit."""
    size = extents[random.integers(len(extents), size=n)]
    corner = random.integers(0, SIDE - size + 1)
    return np.concatenate([corner, size], 1)


def _inside(boxes: NDArray[np.int64]) -> Sets:
    """Return (n, 28, 28), true in the boxes."""
    top, left, height, width = (side[:, None, None] for side in boxes.T)
    row, column = np.mgrid[:SIDE, :SIDE]
    inside: Sets = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
    return inside


def rectangles(n: int, random: np.random.Generator) -> tuple[Images, Labels]:
    """Return ``n`` outlines of one rectangle, (n, 784), one pixel wide, and whether each is taller than wide.

    Heights and widths are uniform over the pairs in [4, 28]² that differ by 3 or more, as read off the original file.
    """
    boxes = _boxes(_extents(4, SIDE, 3), n, random)
    outline = _inside(boxes) & ~_inside(boxes + np.array([1, 1, -2, -2]))
    return (outline * np.uint8(WHITE)).reshape(n, -1), (boxes[:, 2] > boxes[:, 3]).astype(np.int64)


def image_rectangles(n: int, random: np.random.Generator) -> tuple[Images, Labels]:
    """Return ``n`` rectangles of one photograph in front of another, (n, 784), and whether each is taller than wide.

    Heights and widths are uniform over the pairs in [10, 27]² that differ by 5 or more.
    """
    boxes = _boxes(_extents(10, SIDE - 1, 5), n, random)
    pixels = np.where(_inside(boxes), patches(n, LEAST_DEVIATION, random), patches(n, LEAST_DEVIATION, random))
    return np.rint(pixels * WHITE).astype(np.uint8).reshape(n, -1), (boxes[:, 2] > boxes[:, 3]).astype(np.int64)


# Pixel centres, from the middle of the image.
_ROW, _COLUMN = (np.mgrid[:SIDE, :SIDE].reshape(2, -1) - (SIDE - 1) / 2).astype(np.float32)


def _half_planes(n: int, random: np.random.Generator) -> Sets:
    """Return ``n`` half-planes, (n, 784): the edge goes through a uniform point of the image, at a uniform angle."""
    angle = random.random((n, 1), dtype=np.float32) * np.float32(2 * np.pi)
    sine, cosine = np.sin(angle), np.cos(angle)
    row, column = random.uniform(-SIDE / 2, SIDE / 2, (2, n, 1)).astype(np.float32)
    inside: Sets = (_ROW - row) * sine + (_COLUMN - column) * cosine >= 0
    return inside


def _intersections(n: int, chance: float, random: np.random.Generator) -> Sets:
    """Return ``n`` intersections, (n, 784), of a geometrically distributed number of half-planes; many are empty."""
    many = random.geometric(chance, n)
    sets = np.ones((n, SIDE * SIDE), bool)
    for k in range(int(many.max(initial=0))):
        rows = np.flatnonzero((many > k) & sets.any(1))
        if not len(rows):
            break
        sets[rows] &= _half_planes(len(rows), random)
    return sets


def _kept(n: int, candidates: Callable[[int], Sets]) -> Sets:
    """Return ``n`` sets; ``candidates`` is called with a number of sets to try and returns those that are accepted."""
    made: list[Sets] = []
    while (missing := n - sum(map(len, made))) > 0:
        made.append(candidates(2 * missing)[:missing])
    return np.concatenate(made) if made else np.empty((0, SIDE * SIDE), bool)


def _convex_sets(n: int, random: np.random.Generator) -> Sets:
    """Return ``n`` convex sets of at least 19 pixels, (n, 784)."""

    def candidates(count: int) -> Sets:
        sets = _intersections(count, 0.195, random)
        large: Sets = sets[sets.sum(1) >= 19]
        return large

    return _kept(n, candidates)


def _non_convex_sets(n: int, random: np.random.Generator) -> Sets:
    """Return ``n`` sets of at least 10 pixels that are not convex, (n, 784): unions of two to four convex ones."""

    def candidates(count: int) -> Sets:
        parts = random.integers(2, 5, count)
        union = np.zeros((count, SIDE * SIDE), bool)
        for k in range(4):
            rows = np.flatnonzero(parts > k)
            union[rows] |= _intersections(len(rows), 0.07, random)
        union = union[union.sum(1) >= 10]
        dented: Sets = union[~_is_convex(union)]
        return dented

    return _kept(n, candidates)


def convex(n: int, random: np.random.Generator) -> tuple[Images, Labels]:
    """Return ``n`` sets of pixels, (n, 784), and whether each is convex, as a fair coin decides.

    Convex: an intersection of half-planes, their number geometric (0.195), drawn again below 19 pixels.
    Non-convex: a union of two to four such, geometric (0.07), many of them empty, drawn again when it has fewer than 10
    pixels or is convex. docs/decisions.md says how this reading of the authors' description was found.
    """
    labels = random.integers(0, 2, n)
    sets = np.empty((n, SIDE * SIDE), bool)
    count = int(labels.sum())
    sets[labels == 1] = _convex_sets(count, random)
    sets[labels == 0] = _non_convex_sets(n - count, random)
    return sets * np.uint8(WHITE), labels


def _directions() -> list[tuple[int, int]]:
    """Return the primitive steps (rows, columns) along which three pixels of the image can lie, each once."""
    most = (SIDE - 1) // 2
    steps = [(r, c) for r in range(most + 1) for c in range(-most, most + 1) if (r, c) > (0, 0)]
    return sorted((s for s in steps if np.gcd(*s) == 1), key=lambda s: (s[0] ** 2 + s[1] ** 2, s))


def _ahead(image: Sets, down: int, right: int) -> Sets:
    """Return what is ``down`` rows and ``right`` columns further on than each pixel; black outside the image."""
    ahead = np.zeros_like(image)
    to, at = slice(max(0, -right), SIDE - max(0, right)), slice(max(0, right), SIDE - max(0, -right))
    ahead[:, : SIDE - down, to] = image[:, down:, at]
    return ahead


def _is_convex(sets: Sets) -> Sets:
    """Return for each set, (n, 784), whether every pixel on the line between two of its pixels is in it."""
    convex = np.ones(len(sets), bool)
    for down, right in _directions():
        left = np.flatnonzero(convex)
        image = sets[left].reshape(-1, SIDE, SIDE)
        further = np.zeros_like(image)
        for steps in range(2, (SIDE - 1) // max(down, abs(right)) + 1):
            further |= _ahead(image, steps * down, steps * right)
        gap = image & ~_ahead(image, down, right) & further
        convex[left[gap.any((1, 2))]] = False
    return convex
