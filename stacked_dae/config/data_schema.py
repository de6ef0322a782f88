"""The settings of the data: which data set or table, and how many of its labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from stacked_dae.config.checks import default_of, require, require_choice, require_number, require_positive_int

Scale = Literal["minmax", "standard"]
Decimal = Literal[".", ","]
Source = Literal["regenerated", "original"]
TABLE_SETTINGS = (
    *("target", "keep", "drop", "categorical", "scale", "split", "stratify", "groups", "order", "weights"),
    *("delimiter", "decimal", "header", "na_values"),
)
"""Settings that apply only to a table."""


@dataclass(frozen=True)
class DataConfig:
    """The data set, the place of its files, and how many of its labels are used."""

    name: str = "digits"
    """Data set; `stacked-dae data list` names them all."""
    path: str | None = None
    """The user's table, in place of a data set: a file that ends in .csv or .tsv (also compressed: .csv.gz, .tsv.gz),
    .parquet, .feather, .arrow, .jsonl, .npy or .npz, or a folder of such files, its parts, or of images by class."""
    target: str | None = None
    """Column of the class, text or whole numbers, or of the number to predict (task regression); rows where it is empty
    serve pre-training only (tables only)."""
    keep: list[str] = field(default_factory=list)
    """Columns that are inputs; all but the target when empty (tables only)."""
    drop: list[str] = field(default_factory=list)
    """Columns that are left out (tables only)."""
    categorical: list[str] = field(default_factory=list)
    """Columns of names that look like numbers; columns of text hold names anyway (tables only)."""
    scale: Scale = "minmax"
    """Scaling of columns of numbers, fitted on the training rows. minmax: to [0, 1]; standard: to mean 0 and
    standard deviation 1. Columns of names are one-hot (tables only)."""
    split: list[float] | str = field(default_factory=lambda: [0.7, 0.1, 0.2])
    """Shares of training, validation and test rows, or the name of a column that says train, valid or test (tables
    only). Without validation rows (finetune.head mixed only) valid_loss is that of the training rows; without test rows
    nothing is tested."""
    stratify: bool = False
    """Give every class its shares of training, validation and test rows, as nearly as its rows allow, not only all
    classes together (tables only)."""
    groups: str | None = None
    """Column whose equal values stay together in one split, such as a patient's; no input unless data.keep names it
    (tables only)."""
    order: str | None = None
    """Column of numbers or dates: the first rows are for training, the last for the test; no input unless data.keep
    names it (tables only)."""
    weights: str | None = None
    """Column of numbers, at least 0: how many labels the label of a row counts for in fine-tuning with finetune.head
    mixed, and in its baselines; no input unless data.keep names it. In the test every row counts once (tables only)."""
    delimiter: str | None = None
    """Character between the fields of a CSV file; found in the file when null (tables only)."""
    decimal: Decimal | None = None
    """Decimal mark of a CSV file, . or ,; found in the file when null (tables only)."""
    header: bool = True
    """Whether the first line of a CSV file names its columns; f0, f1, … name them where it does not (tables only)."""
    na_values: list[str] = field(default_factory=list)
    """Texts and numbers that stand for a missing value, beside an empty field, NA, NaN, null and N/A (tables only)."""
    root: str | None = None
    """Folder of the data files; else $STACKED_DAE_DATA, else the user's cache folder."""
    source: Source = "regenerated"
    """regenerated: made here from the authors' description; original: the authors' archive, downloaded when absent
    (ICML 2007 problems only)."""
    labels_per_class: int | None = None
    """Keep this many training labels of each class (seeded, stratified) for fine-tuning; all when null.
    Pre-training sees all inputs either way."""
    memory_budget: float = 4.0
    """Gigabytes. Codes and memory-mapped inputs that need more stay on disk, read in windows of half this size."""

    def __post_init__(self) -> None:
        require_choice("data.source", self.source, Source)
        require_choice("data.scale", self.scale, Scale)
        if self.decimal is not None:
            require_choice("data.decimal", self.decimal, Decimal)
        require(
            self.delimiter is None or (len(self.delimiter) == 1 and self.delimiter not in '"\r\n'),
            f"data.delimiter must be one character, such as ';', not {self.delimiter!r}",
        )
        require(
            self.decimal is None or self.decimal != self.delimiter,
            f"data.delimiter and data.decimal must differ; both are {self.decimal!r}",
        )
        if self.path is None:
            for name in TABLE_SETTINGS:
                given = getattr(self, name) != default_of(DataConfig, name)
                require(not given, f"data.{name} applies only to a table: name its file with data.path")
        else:
            require(
                self.source == "regenerated",
                "data.source applies only to the ICML 2007 data sets; remove it when data.path is set",
            )
            require(self.name == "digits", f"data.name and data.path: give one, not {self.name!r} and {self.path!r}")
        if isinstance(self.split, list):
            shares = self.split
            ok = len(shares) == 3 and min(shares) >= 0.0 < shares[0] and abs(sum(shares) - 1.0) < 1e-6
            require(
                ok,
                "data.split must be three shares that sum to 1, of which the first is above 0, such as [0.7, 0.1, 0.2],"
                f" or the name of a column, not {shares!r}",
            )
        given = [name for name in ("groups", "order") if getattr(self, name) is not None]
        given += ["split"] * isinstance(self.split, str)
        require(
            len(given) < 2 or given == ["split"],
            f"data.{' and data.'.join(given)}: give one; each says by itself which rows go where",
        )
        require(
            not (self.stratify and given),
            f"data.stratify applies only to shares of rows, not with data.{(given or [''])[0]}; leave one of them out",
        )
        for name, is_given in (("stratify", self.stratify), ("weights", self.weights is not None)):
            needs = f"data.{name} needs data.target, the column of the class"
            require(not is_given or self.target is not None, needs)
        for role in ("target", "split", "groups", "order"):
            twice = self.weights is not None and getattr(self, role) == self.weights
            require(not twice, f"data.weights and data.{role} both name column {self.weights!r}; give it one role")
        if self.labels_per_class is not None:
            require_positive_int("data.labels_per_class", self.labels_per_class)
        require_number("data.memory_budget", self.memory_budget, 0.0)

    @property
    def budget_bytes(self) -> int:
        """The memory budget in bytes."""
        return int(self.memory_budget * 1e9)

    @property
    def title(self) -> str:
        """The data set's name, or the table's."""
        return self.name if self.path is None else PurePath(self.path).stem
