"""The original archives of the ICML-2007 problems: a zip with two text files, one row per example, its label last."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stacked_dae.errors import DataError
from stacked_dae.utils.files import checksum

ADDRESS = "http://www.iro.umontreal.ca/~lisa/icml2007data/"
# SHA-1 of each archive.
ARCHIVES = {
    "basic": ("mnist.zip", "14ac2e9135705499b80bf7efac981377940150c8"),
    "rot": ("mnist_rotation_new.zip", "e67f72fa42029f62fd8eb92b0638c1b9761c9a63"),
    "bg-rand": ("mnist_background_random.zip", "75e11ec966459c1162979e78ab4e21f9ab7fb5cd"),
    "bg-img": ("mnist_background_images.zip", "fb6fce9ed6372e0068ff7cb3e7b9e78dbda7ceae"),
    "rot-bg-img": ("mnist_rotation_back_image_new.zip", "902bb7e96136dd76e9f2924d7fdb9eb832f7bc33"),
    "rect": ("rectangles.zip", "b8d456b1f83bea5efebe76a47a9535adc4b72586"),
    "rect-img": ("rectangles_images.zip", "2700ba92129ae195e93070d8b27f830323573a57"),
    "convex": ("convex.zip", "61eab3c60e0e1caeaa0b82abf827f1809cfd2ef9"),
}
PIXELS = 784
_BLOCK = 1000
_BUFFER = 2**20
Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def archive(name: str, folder: Path) -> Path:
    """Return the checked archive of the problem ``name`` in ``folder``, downloaded where it is absent.

    Raises:
        DataError: another checksum than the original's, or no download.
    """
    file, sha1 = ARCHIVES[name]
    path = folder / file
    if not path.exists():
        import pooch
        import requests

        try:
            return Path(pooch.retrieve(ADDRESS + file, f"sha1:{sha1}", fname=file, path=folder))
        except (OSError, ValueError, requests.RequestException) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{path} is not there and cannot be downloaded ({reason}); put {ADDRESS}{file} there, or use"
                " the regenerated problem (source: regenerated)"
            ) from None
    found = checksum(path, "sha1")
    if found != sha1:
        raise DataError(f"{path}: its SHA-1 is {found}, the original's is {sha1}; fetch the archive again")
    return path


def read_archive(path: Path) -> tuple[Rows, Rows]:
    """Return the rows of the archive's training file and of its test file: pixels (n, 784) in file order, labels (n,).

    Nothing is unpacked to disk.

    Raises:
        DataError: not such an archive, a member outside its folder, or a damaged row, whose line is named.
    """
    try:
        with zipfile.ZipFile(path) as members:
            for name in members.namelist():
                place = PurePosixPath(name.replace("\\", "/"))
                if place.is_absolute() or ".." in place.parts:
                    raise DataError(
                        f"{path}: the member {name!r} would lie outside the archive's folder; do not use it"
                    )
            train, test = (_read_member(path, members, part) for part in ("train", "test"))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        # What a changed byte makes zipfile raise depends on where it is.
        raise DataError(f"{path}: not a zip archive, or a damaged one ({error}); fetch it again") from None
    return train, test


def _read_member(path: Path, members: zipfile.ZipFile, part: str) -> Rows:
    names = [name for name in members.namelist() if name.endswith(".amat") and part in PurePosixPath(name).name]
    if len(names) != 1:
        raise DataError(f"{path}: {len(names)} files *{part}*.amat where one was expected; is it the right archive?")
    # A zip member of its own accord finds its line ends slowly.
    with io.BufferedReader(members.open(names[0]), _BUFFER) as lines:  # type: ignore[type-var]
        return read_amat(iter(lines), f"{path}, {names[0]}")


def read_amat(lines: Iterator[bytes], where: str) -> Rows:
    """Return pixels (n, 784) and labels (n,) of the lines of an .amat file; ``where`` names it in errors.

    Raises:
        DataError: no line, or a line that is not 784 pixels in [0, 1] and a label; its number is named.
    """
    blocks = []
    first = 1
    while block := list(islice(lines, _BLOCK)):
        blocks.append(_numbers(block, first, where))
        first += len(block)
    if not blocks:
        raise DataError(f"{where}: the file is empty")
    values = np.concatenate(blocks)
    pixels, labels = values[:, :PIXELS], values[:, PIXELS]
    bad = ~np.isfinite(values).all(1) | (labels != np.rint(labels)) | (pixels.min(1) < 0) | (pixels.max(1) > 1)
    if bad.any():
        raise DataError(f"{where}, line {int(bad.argmax()) + 1}: not 784 pixels in [0, 1] and a whole number as label")
    return np.ascontiguousarray(pixels), labels.astype(np.int64)


class _Values(dict[bytes, float]):
    """Numbers by their text: an image has few different ones, and each is converted once a block."""

    def __missing__(self, text: bytes) -> float:
        self[text] = value = float(text)
        return value


def _numbers(block: list[bytes], first: int, where: str) -> NDArray[np.float32]:
    """Return the numbers of some lines, (lines, 785); ``first`` is the number of the first line."""
    values = _Values()
    numbers = np.empty((len(block), PIXELS + 1), np.float32)
    for i, line in enumerate(block):
        texts = line.split()
        if len(texts) != PIXELS + 1:
            raise DataError(f"{where}, line {first + i}: {len(texts)} numbers where {PIXELS + 1} were expected")
        try:
            numbers[i] = [values[text] for text in texts]
        except ValueError as error:
            raise DataError(f"{where}, line {first + i}: {error}") from None
    return numbers
