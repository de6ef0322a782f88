"""Files of NumPy arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.values import Values
from stacked_dae.data.formats.arrow_columns import names_of, numbers_where_all_are
from stacked_dae.data.formats.images import as_pixels, channels_first, check_images, shape_of
from stacked_dae.data.formats.table_file import ROWS, TableFile, indexes_of, reason_of
from stacked_dae.errors import DataError


def open_arrays(path: Path) -> TableFile:
    """Return the table in a .npy or .npz file; raise DataError where it is not readable."""
    try:
        if path.suffix.lower() == ".npy":
            return _Arrays(path, {"": np.load(path, mmap_mode="r", allow_pickle=False)})
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return _Arrays(path, {name: arrays[name] for name in arrays.files})
    except (DataError, MemoryError):
        raise
    except Exception as error:  # what a damaged header makes NumPy raise depends on where it is
        raise DataError(f"{path}: not readable as {path.suffix[1:]} ({reason_of(error)})") from None


class _Arrays:
    """Arrays with equal numbers of rows.

    Each column of a 2-D one is a column, a 1-D one is one column, and one of more dimensions holds images.
    """

    may_lack_header = colours = has_points = False
    decimal = "."
    notices: Sequence[str] = ()
    unusable: Mapping[str, str] = {}

    def __init__(self, path: Path, arrays: dict[str, NDArray[Any]]) -> None:
        self._columns: dict[str, NDArray[Any]] = {}
        self.names = []
        pixels: list[str] = []
        arrays = {name: channels_first(array) for name, array in arrays.items()}
        shapes = [array.shape[1:] for array in arrays.values() if array.ndim > 2]
        self.image_shape = shape_of(shapes[0]) if len(shapes) == 1 else None
        for name, array in arrays.items():
            if not array.ndim or (array.ndim > 2 and 0 in array.shape) or array.dtype.kind not in "biufUS":
                raise DataError(
                    f"{path}: {name or 'the array'} of shape {array.shape} and type {array.dtype} is not a table of"
                    " numbers or text"
                )
            if array.dtype.kind == "S":
                try:
                    array = np.char.decode(array, "utf-8")
                except UnicodeDecodeError:
                    raise DataError(f"{path}: {name or 'the array'} holds bytes that are not UTF-8 text") from None
            images = array.ndim > 2
            if images:
                check_images(f"{path}: {name or 'the array'}", array)
            wide = array.reshape(len(array), -1)
            for k in range(wide.shape[1]):
                own = str(k) if not name else f"{name}_{k}"
                self.names.append(name if array.ndim == 1 and name else own)
                self._columns[self.names[-1]] = wide[:, k]
                pixels += [own] * images
        lengths = {len(column) for column in self._columns.values()}
        if len(lengths) > 1:
            raise DataError(f"{path}: its arrays have {' and '.join(map(str, sorted(lengths)))} rows; they must agree")
        self.pixels: Collection[str] = set(pixels)
        self.unnamed: Collection[str] = {name for name in self.names if name not in arrays and name not in self.pixels}
        self.indexes = indexes_of(self.names)
        self.is_bytes = all(array.dtype == np.uint8 for array in arrays.values())
        self._rows = lengths.pop() if lengths else 0

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        for start in range(0, self._rows, ROWS):
            blocks = {n: self._columns[n][start : start + ROWS] for n in names}
            yield {
                n: as_pixels(block) if n in self.pixels else self._values(block, n in as_text)
                for n, block in blocks.items()
            }

    @staticmethod
    def _values(block: NDArray[Any], as_text: bool) -> Values:
        if as_text or block.dtype.kind == "b":
            return names_of(block)
        if block.dtype.kind not in "US":
            return block.astype(np.float64)
        return numbers_where_all_are(names_of(block))
