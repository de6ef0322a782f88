"""The database of a study: opened, or made again where it is damaged; its errors in one line."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from stacked_dae.errors import ConfigError, StageError
from stacked_dae.tuning.plan import SearchPlan
from stacked_dae.tuning.study.samplers import NumberedSampler, make_pruner
from stacked_dae.utils.terminal.progress import Reporter

# Seconds that a process waits for another one's write to the database.
_PATIENCE = 120


def open_study(file: Path, plan: SearchPlan, url: str | None, reporter: Reporter) -> optuna.Study:
    """Return Optuna's study of a search, a new one where there is none.

    Args:
        file: the database, where no URL is given; one that is damaged is moved aside, and an empty one takes its place.
        plan: the search.
        url: of another Optuna storage.
        reporter: says what was damaged.

    Raises:
        ConfigError: the storage at the URL cannot be used.
    """

    def study() -> optuna.Study:
        found = optuna.create_study(
            storage=_storage(file, url),
            study_name=f"stacked-dae-{plan.mark[:12]}",
            sampler=NumberedSampler(plan),
            pruner=make_pruner(plan),
            load_if_exists=True,
        )
        found.get_trials(deepcopy=False)
        return found

    try:
        return study()
    except (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError, ValueError) as error:
        if url is not None:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"--storage {_without_password(url)} cannot be used: {reason}") from None
        if not _is_damage(error):
            raise
        damaged = file.with_suffix(".damaged")
        file.replace(damaged)
        reporter.warn(f"{file} was damaged, and is made again from the records beside it; the old one: {damaged}")
        return study()


def _storage(file: Path, url: str | None) -> BaseStorage:
    place = url or URL.create("sqlite", database=str(file.resolve())).render_as_string()
    patience = {"connect_args": {"timeout": _PATIENCE}} if place.startswith("sqlite") else {}
    return RDBStorage(place, engine_kwargs=patience)


@contextmanager
def storage_errors(out: Path) -> Iterator[None]:
    """Raise StageError with one line for an error of the study's database in the block."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = (str(_cause(error)).splitlines() or ["no reason given"])[0]
        raise StageError(f"{out}: the study's database: {reason}; give the same command again later") from None


def _is_damage(error: BaseException) -> bool:
    """Return whether an error says that a SQLite file is damaged, and not that it is locked, or the disk full."""
    cause = _cause(error)
    return isinstance(cause, sqlite3.DatabaseError) and not isinstance(cause, sqlite3.OperationalError)


def _cause(error: BaseException) -> BaseException:
    """Return the error that others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return url.split("@")[-1]
