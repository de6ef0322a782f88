"""The idx format of the MNIST files: a magic number, the dimensions, the values; often gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.errors import DataError

# Bytes of values at the most; MNIST has 47 million.
_MOST = 2**32
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path, dimensions: int) -> NDArray[Any]:
    """Return the array of the idx file ``path`` (gzipped when its name ends in .gz), in native byte order.

    Raises:
        DataError: not an idx file, truncated, too long, or not of ``dimensions`` dimensions.
    """
    start = 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(start)
            dtype, shape = _header(path, head, dimensions)
            need = math.prod(shape) * dtype.itemsize
            if need > _MOST:
                raise DataError(f"{path}: the header promises {need} bytes of values, more than such files have")
            # One more than there should be; a small file that unpacks to a huge one is not unpacked.
            values = file.read(need + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data is damaged or cut off ({error}); fetch the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if need != len(values):
        have = len(values) if len(values) < need else "more"
        raise DataError(
            f"{path}: the header promises {need} bytes of values, the file has {have}; fetch the file again"
        )
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _header(path: Path, head: bytes, dimensions: int) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the type and the shape that the first bytes of a file tell."""
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
        raise DataError(f"{path}: not an idx file (its first bytes are {head[:4].hex(' ') or 'missing'})")
    if head[3] != dimensions:
        raise DataError(f"{path}: {head[3]} dimensions where {dimensions} were expected; is it the right file?")
    if len(head) < 4 + 4 * dimensions:
        raise DataError(f"{path}: cut off inside its header; fetch the file again")
    return np.dtype(_TYPES[head[2]]), struct.unpack(f">{dimensions}I", head[4:])


def read_images_and_labels(images: Path, labels: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (n, rows × columns) images and (n,) labels.

    Raises:
        DataError: a file is damaged, or the two differ in number.
    """
    x, y = read_idx(images, 3), read_idx(labels, 1)
    if len(x) != len(y):
        raise DataError(f"{images} has {len(x)} images but {labels.name} has {len(y)} labels; they are not a pair")
    return x.reshape(len(x), -1), y
