"""Raw rows, as a person has them, made inputs of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.arrays import array_of
from stacked_dae.data.columns.columns import check_pixels
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.columns.values import Values
from stacked_dae.data.formats.images import as_pixels, channels_first, check_images, shape_of
from stacked_dae.data.tabular.frames import column_names, columns_of
from stacked_dae.errors import DataError


def inputs_and_values(rows: Any, preprocessing: Preprocessing) -> tuple[NDArray[np.float32], Mapping[str, Values]]:
    """Return a table's rows as the network takes them, (n, d), NaN where a value is missing, and their columns by name.

    Raises:
        DataError: the rows differ in kind from those the model was trained on.
    """
    if preprocessing.are_pixels and column_names(rows) is None:
        inputs = _pixels_of(array_of("the rows", rows), preprocessing)
        return inputs, dict(zip(preprocessing.names, inputs.T, strict=True))
    values = columns_of(rows, preprocessing)
    return preprocessing.transform(values), values


def _pixels_of(images: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return images, (n, …), uint8 or from 0 to 1, as the network takes them."""
    if images.ndim < 2 or not len(images):
        raise DataError(f"the rows must be images, (n, …), one or more, not of shape {images.shape}")
    check_images("the rows", images)
    images = channels_first(images)
    shape, own, width = shape_of(images.shape[1:]), preprocessing.image_shape, len(preprocessing.names)
    if images.ndim > 2 and shape and own and shape != own:
        raise DataError(f"the rows are images of {shape[0]}×{shape[1]}, but the model takes {own[0]}×{own[1]}")
    pixels = as_pixels(images).reshape(len(images), -1)
    if pixels.shape[1] != width:
        raise DataError(f"the rows have {pixels.shape[1]} pixels each, but the model takes {width}")
    check_pixels(pixels)
    return pixels.astype(np.float32)


def plain_inputs(rows: Any, width: int) -> NDArray[Any]:
    """Return rows that are of no table as the network takes them: (n, ``width``) float32, or uint8.

    Raises:
        DataError: they are no numbers, or not so many a row.
    """
    inputs = array_of("the rows", rows)
    if inputs.ndim > 2 and len(inputs) and inputs[0].size == width:
        inputs = channels_first(inputs).reshape(len(inputs), width)
    if inputs.ndim != 2 or inputs.shape[1] != width or not len(inputs) or inputs.dtype.kind not in "biuf":
        raise DataError(f"the rows must be (n, {width}) numbers, not {inputs.dtype} of shape {inputs.shape}")
    if inputs.dtype != np.uint8:
        # A frame lies column by column, and sums in another order have other last bits.
        inputs = np.ascontiguousarray(inputs, np.float32)
        if not np.isfinite(inputs).all():
            row, column = np.argwhere(~np.isfinite(inputs))[0]
            raise DataError(f"row {row}, input {column} is {inputs[row, column]}; remove or fill such values first")
    return inputs


def checked_labels(labels: Any, count: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return labels as an array, and which of them are missing: None, NaN or NA.

    Raises:
        DataError: there is not one a row.
    """
    try:
        values = np.asarray(labels if hasattr(labels, "__array__") else list(labels))
    except (TypeError, ValueError):
        raise DataError(f"labels must be one a row, {count} of them, not {type(labels).__name__}") from None
    if values.shape != (count,):
        raise DataError(f"labels must be one a row, of shape ({count},), not {values.shape}")
    if values.dtype.kind in "fc":
        return values, np.isnan(values)
    # pandas' NA equals nothing and is no truth value.
    missing = [value is None or str(value) in ("nan", "<NA>", "NaT") for value in values]
    return values, np.array(missing, dtype=np.bool_)
