"""A table of one's own as a data set: which columns are inputs, which rows are in which split, and the scaling.

The file is gone through three times and never held whole: for the labels and the kinds of columns, for what is fitted
(on the training rows alone), for the inputs themselves. The test rows are read again when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stacked_dae.address import seed_at
from stacked_dae.config import DataConfig
from stacked_dae.data.columns import (
    NUMBER,
    Column,
    Moments,
    Numeric,
    Preprocessing,
    Values,
    fit_categorical,
    fit_numeric,
)
from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.data.tablefile import TableFile, open_table
from stacked_dae.disk import DiskArray, Inputs
from stacked_dae.errors import ConfigError, DataError, suggest

_PARTS = ("train", "valid", "test")
# Numbers beyond it cannot be scaled in float32.
LARGEST = 1e30
# A label is a number that fits a file's 64 bits.
_LARGEST_LABEL = 2**63 - 1
# A column with more names than these is taken for an identifier; no need to count further.
_MOST_NAMES = 1000


def read_table(settings: DataConfig, *, scratch: Path, budget_bytes: int) -> Dataset:
    """Return the data set of a table.

    Args:
        settings: its path, and what of it is what.
        scratch: folder for the inputs that need more than the budget; they leave no file behind there.
        budget_bytes: inputs of more than so many bytes stay on disk.

    Raises:
        ConfigError: a setting names a column that is not there.
        DataError: the file is not usable; the text names it, the column and, where there is one, the row.
    """
    assert settings.path is not None
    path = Path(settings.path)
    file = open_table(path)
    names = _input_names(file, settings)
    scan = _Scan(path, names, settings)
    scan.read(file)
    classes, labels = _labels(path, scan)
    part = _parts(path, settings, labels, scan)
    _check_classes(path, settings, classes, labels, part)
    columns = _fit(path, file, scan, settings, part == 0)
    preprocessing = Preprocessing(columns, settings.target, classes)
    written = path.stat()

    def rows(which: int) -> Split:
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (written.st_size, written.st_mtime_ns):
            raise DataError(f"{path}: the file was changed while it was in use; run again from its beginning")
        inputs = _inputs(path, preprocessing, part == which, scratch, budget_bytes)
        return Split(inputs, labels[part == which])

    return Dataset(settings.title, len(classes), rows(0), rows(1), lambda: rows(2), table=preprocessing)


def table_rows(path: str | Path, preprocessing: Preprocessing) -> Iterator[dict[str, Values]]:
    """Go through the rows of a file as a model takes them: its columns by name, others passed over.

    Raises:
        DataError: a column is not there, or holds text where the model's training rows held numbers.
    """
    path = Path(path)
    file = open_table(path)
    for name in preprocessing.names:
        if name not in file.names:
            raise DataError(
                f"{path}: there is no column {name!r}{suggest(name, file.names)}, which the model was trained on"
            )
    start = 0
    for values in file.batches(preprocessing.names, preprocessing.categorical()):
        for column in preprocessing.columns:
            if isinstance(column, Numeric):
                _check_numbers(path, column.name, values[column.name], start)
        yield values
        start += len(values[preprocessing.names[0]])
    if not start:
        raise DataError(f"{path}: it has no rows")


def _check_numbers(path: Path, name: str, values: Values, start: int) -> None:
    if values.dtype == object:
        at, text = next((i, v) for i, v in enumerate(values) if v is not None and not NUMBER.fullmatch(v))
        raise DataError(f"{path}: column {name!r}, row {start + at + 1} is {text!r}, which is no number")
    with np.errstate(invalid="ignore"):
        far = np.flatnonzero(np.abs(values) > LARGEST)
    if len(far):
        value = values[far[0]]
        what = "infinite" if np.isinf(value) else f"{value:g}, beyond ±{LARGEST:g}"
        raise DataError(
            f"{path}: column {name!r}, row {start + int(far[0]) + 1} is {what}; mend it, or drop the column"
        )


def _input_names(file: TableFile, settings: DataConfig) -> list[str]:
    """Return the columns that are inputs, in the order of the file."""
    lists = {"keep": settings.keep, "drop": settings.drop, "categorical": settings.categorical}
    asked = [(f"data.{option}", name) for option, names in lists.items() for name in names]
    if settings.target is not None:
        asked.append(("data.target", settings.target))
    if isinstance(settings.split, str):
        asked.append(("data.split", settings.split))
    for option, name in asked:
        if name not in file.names:
            raise ConfigError(
                f"{option}: {settings.path} has no column {name!r}{suggest(name, file.names)}; it has"
                f" {', '.join(file.names[:20])}{', …' if len(file.names) > 20 else ''}"
            )
    if settings.target is not None:
        for option, names in (("split", [settings.split]), ("drop", settings.drop)):
            if settings.target in names:
                raise ConfigError(f"data.{option}: column {settings.target!r} of {settings.path} is the target, too")
    others = {settings.target, settings.split if isinstance(settings.split, str) else None, *settings.drop}
    for name in settings.keep:
        if name in others:
            raise ConfigError(
                f"data.keep: column {name!r} of {settings.path} is the target, the split, or dropped;"
                " it can be one only"
            )
    names = [name for name in settings.keep or file.names if name not in others]
    if not names:
        raise ConfigError(f"data.path: no column of {settings.path} is left to learn from")
    for name in settings.categorical:
        if name not in names:
            raise ConfigError(f"data.categorical: column {name!r} of {settings.path} is no input; take it out")
    return [name for name in file.names if name in names]


class _Scan:
    """The first pass: the number of rows, the labels, and whether a column holds numbers or names."""

    def __init__(self, path: Path, names: list[str], settings: DataConfig) -> None:
        self.path, self.names, self.target = path, names, settings.target
        self.split = settings.split if isinstance(settings.split, str) else None
        self.targets: list[Values] = []
        self.parts: list[Values] = []
        self.rows = 0
        # Of each column the row and value of the first number and of the first text.
        self._numbers: dict[str, tuple[int, str]] = {}
        self._texts: dict[str, tuple[int, str]] = {}
        self._forced = set(settings.categorical)

    @property
    def categorical(self) -> list[str]:
        """The columns of names."""
        return [name for name in self.names if name in self._forced or name in self._texts]

    def read(self, file: TableFile) -> None:
        """Go through the file.

        Raises:
            DataError: it has no rows, or a column holds both numbers and text, or an infinite number.
        """
        others = [name for name in (self.target, self.split) if name is not None]
        for values in file.batches([*self.names, *others], {*others, *self._forced}):
            for name in self.names:
                if name not in self._forced:
                    self._look(name, values[name])
            if self.target is not None:
                self.targets.append(values[self.target])
            if self.split is not None:
                self.parts.append(values[self.split])
            self.rows += len(values[self.names[0]])
        if not self.rows:
            raise DataError(f"{self.path}: it has no rows")

    def _look(self, name: str, values: Values) -> None:
        if values.dtype != object:
            _check_numbers(self.path, name, values, self.rows)
            known = np.flatnonzero(~np.isnan(values))
            if len(known):
                self._numbers.setdefault(name, (self.rows + int(known[0]) + 1, f"{values[known[0]]:g}"))
        else:
            for at, value in enumerate(values):
                if value is not None:
                    kind = self._numbers if NUMBER.fullmatch(value) else self._texts
                    kind.setdefault(name, (self.rows + at + 1, value))
        if name in self._numbers and name in self._texts:
            (number_at, number), (text_at, text) = self._numbers[name], self._texts[name]
            raise DataError(
                f"{self.path}: column {name!r} holds numbers and text: row {number_at} is {number}, row {text_at} is"
                f" {text!r}; mend it, or, if all are names: --data.categorical [{name}]"
            )


def _labels(path: Path, scan: _Scan) -> tuple[list[str], NDArray[np.int64]]:
    """Return the classes and the label of each row, −1 where it has none."""
    target = scan.target
    if target is None:
        return [], np.full(scan.rows, -1, np.int64)
    values = [value for block in scan.targets for value in block]
    for row, value in enumerate(values, 1):
        if value is not None and NUMBER.fullmatch(value):
            if not re.fullmatch(r"-?\d+", value, re.ASCII):
                raise DataError(
                    f"{path}: column {target!r}, row {row} is {value}, but the target names classes, by text or whole"
                    " numbers"
                )
            if abs(int(value)) > _LARGEST_LABEL:
                raise DataError(f"{path}: column {target!r}, row {row} is {value}, a number too large for a class")
    found = {value for value in values if value is not None}
    if len(found) < 2:
        what = f"one class only ({next(iter(found))!r})" if found else "no value in any row"
        raise DataError(f"{path}: column {target!r} has {what}; fine-tuning needs two or more classes")
    whole = all(re.fullmatch(r"-?\d+", value, re.ASCII) for value in found)
    classes = sorted(found, key=int) if whole else sorted(found)
    places = {value: label for label, value in enumerate(classes)}
    return classes, np.array([-1 if value is None else places[value] for value in values], np.int64)


def _parts(path: Path, settings: DataConfig, labels: NDArray[np.int64], scan: _Scan) -> NDArray[np.uint8]:
    """Return the split of each row: 0, 1 or 2.

    No label decides where its row goes, and no run's seed: labelled rows are dealt by a shuffle of their numbers that
    is always the same, and rows without a label are training rows.
    """
    part = np.zeros(scan.rows, np.uint8)
    if isinstance(settings.split, str):
        for row, value in enumerate((v for block in scan.parts for v in block), 1):
            if value not in _PARTS:
                raise DataError(
                    f"{path}: column {settings.split!r}, row {row} is {value!r}; it must be one of {', '.join(_PARTS)}"
                )
            part[row - 1] = _PARTS.index(value)
            if part[row - 1] and settings.target is not None and labels[row - 1] < 0:
                raise DataError(f"{path}: row {row} is a {value} row, but column {settings.target!r} is empty there")
    else:
        rows = np.arange(scan.rows) if settings.target is None else np.flatnonzero(labels >= 0)
        rows = np.random.Generator(np.random.PCG64(seed_at(0, "split"))).permutation(rows)
        valid, test = (round(share * len(rows)) for share in settings.split[1:])
        part[rows[:valid]] = 1
        part[rows[valid : valid + test]] = 2
    for which, name in enumerate(_PARTS):
        if not (part == which).any():
            raise DataError(
                f"{path}: its {scan.rows} rows leave no {name} row; give more rows, or other shares (data.split)"
            )
    return part


def _check_classes(
    path: Path, settings: DataConfig, classes: list[str], labels: NDArray[np.int64], part: NDArray[np.uint8]
) -> None:
    for label, name in enumerate(classes):
        rows = int((labels == label).sum())
        if not ((labels == label) & (part == 0)).any():
            how_many = "one row" if rows == 1 else f"{rows} rows"
            raise DataError(
                f"{path}: column {settings.target!r} has {how_many} of class {name!r} and none of them among the"
                " training rows; give more rows of it, or join it to another class"
            )
        if rows == 1:
            raise DataError(
                f"{path}: column {settings.target!r} has one row of class {name!r}, too few to learn and to test; give"
                " more rows of it, or join it to another class"
            )


def _fit(path: Path, file: TableFile, scan: _Scan, settings: DataConfig, train: NDArray[np.bool_]) -> list[Column]:
    """Return the columns, fitted on the training rows."""
    categorical = scan.categorical
    moments = {name: Moments() for name in scan.names if name not in categorical}
    found: dict[str, set[str]] = {name: set() for name in categorical}
    for rows, values in _batches(file, scan.names, categorical):
        kept = train[rows]
        for name, column in moments.items():
            column.add(values[name][kept])
        for name, names in found.items():
            if len(names) <= _MOST_NAMES:
                names.update(value for value in values[name][kept] if value is not None)
    where = str(path)
    return [
        fit_categorical(where, name, sorted(found[name]), _MOST_NAMES)
        if name in found
        else fit_numeric(where, name, moments[name], settings.scale)
        for name in scan.names
    ]


def _batches(
    file: TableFile, names: Sequence[str], as_text: Collection[str]
) -> Iterator[tuple[slice, dict[str, Values]]]:
    start = 0
    for values in file.batches(names, as_text):
        stop = start + len(values[names[0]])
        yield slice(start, stop), values
        start = stop


def _inputs(
    path: Path, preprocessing: Preprocessing, chosen: NDArray[np.bool_], scratch: Path, budget_bytes: int
) -> Inputs:
    """Return the inputs of the chosen rows, in memory or, if they need more than the budget, on disk."""
    shape = (int(chosen.sum()), len(preprocessing.inputs))
    if 4 * shape[0] * shape[1] <= budget_bytes:
        in_memory = np.empty(shape, np.float32)
        _fill(path, preprocessing, chosen, in_memory.__setitem__)
        return in_memory
    scratch.mkdir(parents=True, exist_ok=True)
    on_disk = DiskArray.nameless(scratch, shape)
    _fill(path, preprocessing, chosen, lambda rows, block: on_disk.write(rows.start, block))
    return on_disk


def _fill(
    path: Path,
    preprocessing: Preprocessing,
    chosen: NDArray[np.bool_],
    put: Callable[[slice, NDArray[np.float32]], None],
) -> None:
    at = 0
    for rows, values in _batches(open_table(path), preprocessing.names, preprocessing.categorical()):
        kept = chosen[rows]
        if kept.any():
            try:
                block = preprocessing.transform({name: column[kept] for name, column in values.items()})
            except DataError as error:
                raise DataError(f"{path}: {error}") from None
            put(slice(at, at + len(block)), block)
            at += len(block)
