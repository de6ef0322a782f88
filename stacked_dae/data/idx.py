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

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path, dimensions: int) -> NDArray[Any]:
    """Return the array of the idx file ``path`` (gzipped when its name ends in .gz), in native byte order.

    Raises:
        DataError: not an idx file, truncated, too long, or not of ``dimensions`` dimensions.
    """
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data is damaged or cut off ({error}); fetch the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _TYPES:
        raise DataError(f"{path}: not an idx file (its first bytes are {raw[:4].hex(' ') or 'missing'})")
    if raw[3] != dimensions:
        raise DataError(f"{path}: {raw[3]} dimensions where {dimensions} were expected; is it the right file?")
    start = 4 + 4 * dimensions
    if len(raw) < start:
        raise DataError(f"{path}: cut off inside its header; fetch the file again")
    shape = struct.unpack(f">{dimensions}I", raw[4:start])
    dtype = np.dtype(_TYPES[raw[2]])
    need, have = math.prod(shape) * dtype.itemsize, len(raw) - start
    if need != have:
        raise DataError(
            f"{path}: the header promises {need} bytes of values, the file has {have}; fetch the file again"
        )
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_images_and_labels(images: Path, labels: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (n, rows × columns) images and (n,) labels.

    Raises:
        DataError: a file is damaged, or the two differ in number.
    """
    x, y = read_idx(images, 3), read_idx(labels, 1)
    if len(x) != len(y):
        raise DataError(f"{images} has {len(x)} images but {labels.name} has {len(y)} labels; they are not a pair")
    return x.reshape(len(x), -1), y
