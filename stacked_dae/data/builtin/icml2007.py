"""The eight problems of Larochelle et al. (ICML 2007), on which the paper's Table 1 was measured.

Each has two sources: the authors' original archive, and a regeneration by their description, seeded. What was read or
made once is kept in the user's cache folder.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.builtin import icml2007_archives, icml2007_digits, icml2007_shapes
from stacked_dae.data.builtin.photographs import SIDE
from stacked_dae.data.dataset import Dataset, make_dataset
from stacked_dae.errors import DataError
from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.seeding import derive_seed

SHAPES = {
    "rect": icml2007_shapes.rectangles,
    "rect-img": icml2007_shapes.image_rectangles,
    "convex": icml2007_shapes.convex,
}
SEED = 2007
# Another number makes every kept file anew: count it up when a generator changes.
VERSION = 6


def problem(name: str, rows: tuple[int, int, int], source: str, root: Path) -> Dataset:
    """Return the problem ``name``, of 28×28 images, preparing it first where necessary.

    Args:
        name: one of the eight.
        rows: training, validation and test rows. The originals have the first two in one file, in this order.
        source: original or regenerated.
        root: the data folder: MNIST for the regeneration of digits, and ``icml2007/`` with the archives.

    Raises:
        DataError: what it is made from is absent or damaged.
    """
    file = _cache() / f"{name}-{source}-{VERSION}.npz"
    arrays = _kept(file, (rows[0] + rows[1], SIDE * SIDE))
    if arrays is None:
        import pooch

        # In the voice of its downloads.
        pooch.get_logger().info("preparing %s once, which takes a minute or two; it is kept as %s", name, file)
        arrays = _original(name, rows, root) if source == "original" else _regenerated(name, rows, root)
        file.parent.mkdir(parents=True, exist_ok=True)
        made = dict(zip(("train_x", "train_y", "test_x", "test_y"), arrays, strict=True))
        write_atomically(file, lambda target: np.savez(target, **made))  # type: ignore[arg-type]
    x, y = arrays[0], arrays[1]
    return make_dataset(
        name,
        (x[: rows[0]], y[: rows[0]]),
        (x[rows[0] :], y[rows[0] :]),
        lambda: _test_rows(file),
        image_shape=(SIDE, SIDE),
    )


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("stacked-dae")) / "icml2007"


# What numpy and zipfile raise for a damaged file.
_DAMAGE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


def _read(file: Path, part: str) -> tuple[NDArray[Any], NDArray[Any]]:
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        return arrays[f"{part}_x"], arrays[f"{part}_y"]


def _kept(file: Path, shape: tuple[int, int]) -> tuple[NDArray[Any], ...] | None:
    """Return the training arrays of a kept file; None where there is none, or a damaged one: it is made again.

    Raises:
        DataError: it cannot be read now, which does not mean that it is damaged.
    """
    try:
        # The test rows too, by their checksums alone: known now, and not after hours of training.
        with zipfile.ZipFile(file) as members:
            damaged = members.testzip()
        x, y = _read(file, "train")
        if damaged or x.shape != shape or y.shape != shape[:1]:
            raise ValueError
        return x, y
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); try again, or delete it") from None
    except _DAMAGE:
        file.unlink()
        return None


def _test_rows(file: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        return _read(file, "test")
    except (*_DAMAGE, OSError) as error:
        raise DataError(f"{file} cannot be read ({error}); delete it, and the same command makes it again") from None


def _original(name: str, rows: tuple[int, int, int], root: Path) -> tuple[NDArray[Any], ...]:
    path = icml2007_archives.archive(name, root / "icml2007")
    (x, y), (xt, yt) = icml2007_archives.read_archive(path)
    if (len(x), len(xt)) != (rows[0] + rows[1], rows[2]):
        raise DataError(f"{path}: {len(x)} training and {len(xt)} test rows, but {name} has {rows}")
    return x, y, xt, yt


def _regenerated(name: str, rows: tuple[int, int, int], root: Path) -> tuple[NDArray[Any], ...]:
    """Return what :data:`SEED` makes: all rows in one go, then cut into training and validation, and test rows."""
    random = np.random.Generator(np.random.PCG64(derive_seed(SEED, name)))
    total = sum(rows)
    if name in SHAPES:
        x, y = SHAPES[name](total, random)
    else:
        from stacked_dae.data.builtin.mnist import all_rows

        x, y = icml2007_digits.digits_of(all_rows(root), name, total, random)
    cut = rows[0] + rows[1]
    return x[:cut], y[:cut], x[cut:], y[cut:]
