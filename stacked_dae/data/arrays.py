"""Conversion of the users' arrays to NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.errors import DataError


def array_of(where: str, values: Any, dtype: Any = None) -> NDArray[Any]:
    """Return an array, a list, a frame, or a tensor on any device, with a gradient or without, as an array.

    Args:
        where: what errors begin with.
        values: the array.
        dtype: the type that it is to have; its own if None.

    Raises:
        DataError: it is a sparse matrix, or no array.
    """
    if hasattr(values, "toarray"):
        raise DataError(f"{where}: a sparse matrix is not supported; give its toarray(), if that fits into memory")
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(f"{where}: must be an array, not {type(values).__name__} ({reason})") from None
