"""Images in a table, each pixel a column: arrays of them, and folders of image files by class."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.columns.values import Values, name_of
from stacked_dae.errors import DataError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Endings of the names of image files."""
# Images that are decoded at a time.
_ROWS = 1024
_GRAY = ("1", "L")
_COLOURS = ("RGB", "RGBA", "P", "LA", "PA", "CMYK", "YCbCr")
_CHANNELS = (1, 3, 4)


def check_images(where: str, images: NDArray[Any]) -> None:
    """Raise DataError for an array of neither bytes, nor booleans, nor floats; the text begins with ``where``."""
    if images.dtype.kind not in "bf" and images.dtype != np.uint8:
        raise DataError(
            f"{where}: images are bytes (uint8), or floats from 0 to 1, not {images.dtype}; convert them first"
        )


def channels_first(images: NDArray[Any]) -> NDArray[Any]:
    """Return images (n, H, W, C) as (n, C, H, W), others as they are; C is 1, 3 or 4."""
    is_last = images.ndim == 4 and images.shape[3] in _CHANNELS and images.shape[1] not in _CHANNELS
    return images.transpose(0, 3, 1, 2) if is_last else images


def as_pixels(images: NDArray[Any]) -> NDArray[np.float64]:
    """Return images as float64; bytes, which go to 255, divided by that."""
    pixels: NDArray[np.float64] = images.astype(np.float64)
    return pixels / 255.0 if images.dtype == np.uint8 else pixels


def shape_of(images: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the (rows, columns) in which pixels can be drawn: channels below one another; None where they can't be.

    Args:
        images: shape of one of them: (H, W) or (C, H, W).
    """
    if len(images) == 3 and images[0] in _CHANNELS:
        return images[0] * images[1], images[2]
    return (images[0], images[1]) if len(images) == 2 else None


class ImageFolder:
    """A folder of images, each class a folder in it; all of one size, in gray, or (where one has colours) RGB.

    Columns are the pixels ``x_0``, … (of RGB all of red first), ``class``, the name of the folder, and ``file``.

    Args:
        path: the folder.
        files: the images in it, at least one.
        colours: whether they are read as RGB though all are gray.

    Raises:
        DataError: Pillow cannot read one, or they differ in size.
    """

    is_bytes = may_lack_header = has_points = False
    decimal = "."
    unnamed: Collection[str] = ()
    notices: Sequence[str] = ()
    unusable: Mapping[str, str] = {}

    def __init__(self, path: Path, files: Sequence[Path], *, colours: bool = False) -> None:
        self._path, self._files = path, files
        sizes = [self._read(file, None) for file in files]
        (self._size, _), first = sizes[0], files[0].relative_to(path)
        for file, (size, _) in zip(files, sizes, strict=True):
            if size != self._size:
                (width, height), (w, h) = size, self._size
                raise DataError(
                    f"{path}: {file.relative_to(path)} has {width}×{height} pixels, but {first} has {w}×{h}; give all"
                    " images one size first"
                )
        self.colours = colours or not all(mode in _GRAY for _, mode in sizes)
        self._mode, channels = ("RGB", 3) if self.colours else ("L", 1)
        self.image_shape = shape_of((channels, self._size[1], self._size[0]))
        pixels = [f"x_{k}" for k in range(channels * self._size[0] * self._size[1])]
        self.pixels: Collection[str] = set(pixels)
        self.names = [*pixels, "class", "file"]
        self.indexes = {"file"}

    def _read(self, file: Path, mode: str | None) -> Any:
        """Return the size and mode of an image; with a mode, its pixels, (C, H, W)."""
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with Image.open(file) as opened:
                if opened.mode not in (*_GRAY, *_COLOURS):
                    raise DataError(
                        f"{file}: its pixels are of mode {opened.mode}, but they must be bytes; save it with 8 bits"
                    )
                # A camera notes how it was held.
                image = ImageOps.exif_transpose(opened)
                if mode is None:
                    return image.size, image.mode
                found = np.asarray(image.convert(mode))
                return found[None] if mode == "L" else found.transpose(2, 0, 1)
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{file}: not readable as an image ({error})") from None

    def batches(self, names: Sequence[str], as_text: Collection[str] = ()) -> Iterator[dict[str, Values]]:
        """Go through these columns, some rows at a time: :meth:`TableFile.batches`."""
        numbers = {name: int(name[2:]) for name in names if name in self.pixels}
        for start in range(0, len(self._files), _ROWS):
            files = self._files[start : start + _ROWS]
            found: dict[str, Values] = {}
            if numbers:
                rows = as_pixels(np.stack([self._read(file, self._mode).ravel() for file in files]))
                found = {name: rows[:, k] for name, k in numbers.items()}
            if "class" in names:
                inside = [file.relative_to(self._path).parts for file in files]
                found["class"] = np.array([name_of(parts[0]) if len(parts) > 1 else None for parts in inside], object)
            if "file" in names:
                shown = (os.fsencode(file.relative_to(self._path)).decode("utf-8", "replace") for file in files)
                found["file"] = np.array(list(shown), object)
            yield {name: found[name] for name in names}
