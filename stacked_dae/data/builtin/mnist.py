"""MNIST from its four idx files: 50000 training, 10000 validation and 10000 test rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.builtin.idx import read_images_and_labels
from stacked_dae.data.dataset import Dataset, make_dataset
from stacked_dae.errors import DataError

VALID = 10000
FOLDERS = ("mnist", "MNIST/raw")
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
SHA256 = {
    "train-images-idx3-ubyte": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "train-labels-idx1-ubyte": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "t10k-images-idx3-ubyte": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "t10k-labels-idx1-ubyte": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}
ROWS = {"train": 60000, "t10k": 10000}


def mnist(root: Path) -> Dataset:
    """Return MNIST; the last 10000 training rows are the validation rows.

    The files are looked for in ``root``/mnist and ``root``/MNIST/raw, as idx or idx.gz, and downloaded to the former
    where they are absent.

    Raises:
        DataError: a file is damaged, not MNIST's size, or absent and cannot be downloaded.
    """
    paths = {name: _find(root, name) for name in SHA256}
    x, y = _pair(paths, "train")
    # The test files are checked now, so that a damaged one is known before hours of training; their values are let go
    # and not looked at until the end.
    _pair(paths, "t10k")
    return make_dataset(
        "mnist",
        (x[:-VALID], y[:-VALID]),
        (x[-VALID:], y[-VALID:]),
        lambda: _pair(paths, "t10k"),
        image_shape=(28, 28),
    )


def all_rows(root: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return all 70000 images (n, 784) and labels of MNIST, from which the ICML-2007 problems of digits are drawn.

    Raises:
        DataError: as :func:`mnist`.
    """
    paths = {name: _find(root, name) for name in SHA256}
    parts = [_pair(paths, part) for part in ROWS]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _pair(paths: dict[str, Path], part: str) -> tuple[NDArray[Any], NDArray[Any]]:
    images = paths[f"{part}-images-idx3-ubyte"]
    x, y = read_images_and_labels(images, paths[f"{part}-labels-idx1-ubyte"])
    if x.shape != (ROWS[part], 784):
        raise DataError(
            f"{images}: {len(x)} images of {x.shape[1]} pixels, but MNIST's has {ROWS[part]} of 784; download it again"
        )
    return x, y


def _find(root: Path, name: str) -> Path:
    for folder in FOLDERS:
        for suffix in ("", ".gz"):
            path = root / folder / (name + suffix)
            if path.exists():
                return path
    return _download(root, name)


def _download(root: Path, name: str) -> Path:
    import pooch
    import requests

    reason = ""
    for mirror in MIRRORS:
        try:
            return Path(pooch.retrieve(f"{mirror}{name}.gz", SHA256[name], fname=f"{name}.gz", path=root / FOLDERS[0]))
        except (OSError, ValueError, requests.RequestException) as error:
            reason = str(error).splitlines()[0]
    raise DataError(
        f"{root / FOLDERS[0] / name}.gz is not there and cannot be downloaded ({reason}); put MNIST's four idx files"
        " there, or name their folder with --data.root or $STACKED_DAE_DATA"
    )
