"""Photographs that come inside the wheels of scikit-image and scikit-learn, and patches of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stacked_dae.errors import DataError

# Of scikit-image: pictures of things seen; no drawings, texts, microscope slides, or surfaces that fill the picture.
_SKIMAGE = ("astronaut", "camera", "cat", "coffee", "coins", "moon", "retina", "rocket")
_SKLEARN = ("china.jpg", "flower.jpg")
SIDE = 28


def photographs() -> list[NDArray[np.float32]]:
    """Return the photographs, (rows, columns) grey values in [0, 1] each.

    Raises:
        DataError: scikit-image is not installed.
    """
    try:
        import skimage.data
    except ImportError:
        raise DataError(
            "the photographs come with the package scikit-image: pip install 'stacked-dae[problems]'"
        ) from None
    from sklearn.datasets import load_sample_image

    pictures = [getattr(skimage.data, name)() for name in _SKIMAGE] + [load_sample_image(name) for name in _SKLEARN]
    return [_grey(picture) for picture in pictures]


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the luma (ITU-R BT.601) of an RGB picture, or a grey one as it is, in [0, 1]."""
    values = picture.astype(np.float32) / np.float32(255)
    if values.ndim == 2:
        return values
    # Pixel by pixel, in this order: how a matrix product is rounded depends on the processor.
    red, green, blue = np.moveaxis(values, -1, 0) * np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]
    luma: NDArray[np.float32] = red + green + blue
    return luma


def patches(n: int, least: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Return ``n`` random patches, (n, 28, 28) in [0, 1]: a photograph, then a place, both uniform.

    Patches of low variance are rejected, as the authors of the ICML-2007 problems did: those whose standard deviation
    is not above ``least``.
    """
    windows = [np.lib.stride_tricks.sliding_window_view(picture, (SIDE, SIDE)) for picture in photographs()]
    kept = np.empty((n, SIDE, SIDE), np.float32)
    have = 0
    while have < n:
        which = random.integers(len(windows), size=n)
        place = random.random((n, 2))
        for w, (down, right) in zip(which, place, strict=True):
            rows, columns = windows[w].shape[:2]
            patch = windows[w][int(down * rows), int(right * columns)]
            # In double precision no two processors disagree about a patch.
            if patch.std(dtype=np.float64) > least:
                kept[have] = patch
                have += 1
                if have == n:
                    break
    return kept
