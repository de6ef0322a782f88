"""The user's table as a data set: which columns are inputs, which rows are in which split, and the scaling.

Each pass reads the file a few rows at a time: for the labels and the kinds of columns, for what is fitted (on the
training rows only), for the training inputs, and for the validation inputs. The test rows are read on request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.schema import Task
from stacked_dae.data.columns.columns import CategoricalColumn, Column, NumericColumn
from stacked_dae.data.columns.errors import ColumnError, list_option
from stacked_dae.data.columns.fitting import fit_target
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.columns.values import Values, name_of
from stacked_dae.data.dataset import Dataset, Split
from stacked_dae.data.formats.opening import files_of, open_table
from stacked_dae.data.formats.table_file import TableFile
from stacked_dae.data.tabular.inputs import read_inputs
from stacked_dae.data.tabular.roles import SINGLE_ROLES, check_roles, find_inputs, leave_out_identifiers
from stacked_dae.data.tabular.rows import TableRows, read_rows
from stacked_dae.data.tabular.scan import check_numbers, copies_of_the_target, fit_columns, scan_columns
from stacked_dae.data.tabular.written_file import CanonicalFile, WrittenFile, described, open_data, reading_of
from stacked_dae.errors import ConfigError, DataError, suggest

# Place of the test rows among the splits; all of them count alike.
_TEST = 2


def read_table(
    settings: DataConfig,
    *,
    scratch: Path,
    budget_bytes: int,
    known: Preprocessing | None = None,
    task: Task = "classification",
) -> Dataset:
    """Return the data set of a table.

    Columns that name the rows are no inputs: an index that pandas wrote, and identifiers, whole numbers or text that no
    two rows share. ``notices`` of the data set names them. ``data.keep`` and ``data.categorical`` take them.

    Args:
        settings: its path, and the roles of its columns and rows.
        known: of a model that is to be trained further: its inputs stay, whatever they hold, and its names. With
            ``from_layers`` its columns stay as they are fitted, too.
        scratch: folder for the inputs that need more than the budget; they leave no file behind there.
        budget_bytes: inputs of more than this many bytes stay on disk.
        task: whether the target names classes or holds numbers.

    Raises:
        ConfigError: a setting names a column that is not there.
        DataError: the file is not usable; the text names it, the column and, where there is one, the row.
    """
    assert settings.path is not None
    path = Path(settings.path)
    from_layers = known is not None and known.from_layers
    # What a run began with as names stays names.
    stays = known if known is not None and not from_layers else None
    written = open_data(path, settings, stays, known.signs if known is not None and from_layers else None)
    file: TableFile = written
    if known is not None and not known.as_written and not from_layers:
        file = CanonicalFile(file)
    columns: list[Column]
    errors: list[ColumnError] = []
    if known is not None and from_layers:
        check_roles(file, settings, {role: [getattr(settings, role)] for role in SINGLE_ROLES})
        rows = read_rows(path, file, settings, task)
        columns, notices = known.columns, _check_columns(path, file, settings, known)
    else:
        names, notices = find_inputs(file, settings, known)
        rows = read_rows(path, file, settings, task)
        scans = scan_columns(path, file, names, settings, rows.splits, rows.labels, len(rows.classes))
        others, left_out = leave_out_identifiers(path, names, scans, settings, known)
        notices += [*left_out, *copies_of_the_target(path, scans, others, settings), *described(path, written, others)]
        names = [name for name in names if name in {*others, *file.pixels}]
        columns, errors, constant = fit_columns(path, file, scans, names, settings)
        columns = [written.with_sign(column) for column in columns]
        notices += constant
    notices += [f"{path}: {notice}" for notice in rows.notices]
    message = describe_errors(rows, errors, settings)
    if message is not None:
        raise DataError(f"{path}: {message}")
    classes, labels, part = rows.classes, rows.labels, rows.splits
    names_kept = [*classes, *(value for c in columns if isinstance(c, CategoricalColumn) for value in c.values)]
    as_written = any(name_of(name, as_written=False) != name for name in names_kept)
    as_written |= known is not None and from_layers and known.as_written
    commas = settings.decimal is None and file.decimal == ","
    found = replace(reading_of(settings), colours=file.colours, commas=commas)
    reading = stays.reading if stays is not None else found
    target_column = None
    if rows.targets is not None:
        assert settings.target is not None
        target_column = fit_target(settings.target, rows.targets[part == 0], written.signs.get(settings.target, ""))
    preprocessing = Preprocessing(
        columns, settings.target, classes, as_written, from_layers, reading, file.image_shape, target_column
    )
    if not as_written and not isinstance(file, CanonicalFile):
        # As the model's later rows will be.
        file = CanonicalFile(file)
    state = _state_of(path)

    def split(which: int) -> Split:
        if _state_of(path) != state:
            raise DataError(f"{path}: the file was changed while it was in use; run again from its beginning")
        inputs = read_inputs(file, path, preprocessing, part == which, scratch, budget_bytes)
        if rows.targets is None or target_column is None:
            weights = None if rows.weights is None or which == _TEST else rows.weights[part == which]
            return Split(inputs, labels[part == which], weights)
        return Split(inputs, target_column.transform(rows.targets[part == which]))

    has_test = bool((part == 2).any())
    if not (part == 1).any():
        notices.append(f"{path}: no validation rows (data.split), so valid_loss is that of the training rows")
    if not has_test:
        notices.append(f"{path}: no test rows (data.split), so nothing is tested; evaluate RUN --data FILE tests later")
    shape = file.image_shape if len(columns) == len(file.pixels) else None
    return Dataset(
        settings.title,
        len(classes),
        split(0),
        split(1),
        lambda: split(2),
        shape,
        table=preprocessing,
        notices=notices,
        has_test=has_test,
    )


def _state_of(path: Path) -> list[tuple[Path, int, int]]:
    """Return what changes where a table's files are written."""
    return [(part, part.stat().st_size, part.stat().st_mtime_ns) for part in files_of(path)]


def table_rows(
    path: str | Path, preprocessing: Preprocessing, *, target: bool = False, file: TableFile | None = None
) -> Iterator[dict[str, Values]]:
    """Go through the rows of a file as a model takes them: its columns by name, others passed over.

    Args:
        path: the file.
        preprocessing: that of the model.
        target: whether the target is wanted too: classes as text, numbers to predict as numbers.
        file: its table, where it is open.

    Raises:
        DataError: a column is not there, or holds text where the model's training rows held numbers.
    """
    path = Path(path)
    reading = preprocessing.reading
    file = file or WrittenFile(path, open_table(path, reading), reading, signs=preprocessing.signs)
    if not preprocessing.as_written:
        file = CanonicalFile(file)
    names, texts = list(preprocessing.names), set(preprocessing.categorical())
    if target:
        assert preprocessing.target is not None
        names.append(preprocessing.target)
        if preprocessing.target_column is None:
            texts.add(preprocessing.target)
    for name in names:
        if name not in file.names and not (file.pixels and preprocessing.pixels):
            raise DataError(
                f"{path}: there is no column {name!r}{suggest(name, file.names)}, which the model was trained on"
            )
    _check_images(path, file, preprocessing)
    start = 0
    for values in file.batches(names, texts):
        for column in preprocessing.columns:
            if isinstance(column, NumericColumn):
                check_numbers(path, column.name, values[column.name], start)
        yield values
        start += len(values[preprocessing.names[0]])
    if not start:
        raise DataError(f"{path}: it has no rows")


def _check_images(path: Path, file: TableFile, preprocessing: Preprocessing) -> None:
    """Raise DataError where the file's images are not of the size that the model was trained on."""
    if not (preprocessing.pixels and file.pixels):
        return
    same_shape = file.image_shape == preprocessing.image_shape or None in (file.image_shape, preprocessing.image_shape)
    if set(file.pixels) != set(preprocessing.pixels) or not same_shape:
        sizes = (
            f"{len(pixels)} pixels" + (f" ({shape[0]}×{shape[1]})" if shape else "")
            for pixels, shape in ((file.pixels, file.image_shape), (preprocessing.pixels, preprocessing.image_shape))
        )
        raise DataError(
            f"{path}: its images have {next(sizes)}, but the model was trained on {next(sizes)}; resize them"
        )


def _check_columns(path: Path, file: TableFile, settings: DataConfig, known: Preprocessing) -> list[str]:
    """Return a line for the columns that pre-trained layers do not know, and for the names that they do not."""
    trained = set(known.names)
    wrong = {
        "target": {name for name in trained if name == settings.target},
        "drop": trained & set(settings.drop),
        "keep": trained ^ set(settings.keep or trained),
        "categorical": set(settings.categorical) - set(known.categorical()),
    }
    for role, names in wrong.items():
        if names:
            raise ConfigError(
                f"data.{role}: the layers were pre-trained on {', '.join(known.names[:20])}, and data.{role} says"
                f" otherwise of column {min(names)!r}; correct it, or pre-train again"
            )
    unseen: dict[str, set[str]] = {}
    for values in table_rows(path, known, file=file):
        for name, _, value in known.unseen(values):
            unseen.setdefault(name, set()).add(value)
    roles = [getattr(settings, role) for role in SINGLE_ROLES]
    others = [name for name in file.names if name not in [*known.names, *roles]]
    notices = [f"{path}: columns left out, since the layers do not know them: {', '.join(others)}"] if others else []
    return [
        *file.notices,
        *notices,
        *(
            f"{path}: column {name!r} has values that the layers do not know and that share one input:"
            f" {', '.join(sorted(values)[:5])}{', …' if len(values) > 5 else ''}"
            for name, values in unseen.items()
        ),
    ]


def describe_errors(rows: TableRows, errors: Sequence[ColumnError], settings: DataConfig) -> str | None:
    """Return all that is wrong with a table, on one line, or each would cost another try; None where nothing is."""
    found = list(rows.errors)
    if len(errors) == 1:
        found.append(errors[0].line)
    elif errors:
        named = "; ".join(f"column {error.name!r} {error.what}" for error in errors)
        drop = list_option("data.drop", [*settings.drop, *(error.name for error in errors)])
        found.append(f"{len(errors)} columns cannot be inputs: {named}; correct them, or leave them out: {drop}")
    return ". Also, ".join(found) or None
