"""Which columns the predictions of a fine-tuned model rest on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.errors import ConfigError, DataError
from stacked_dae.inference.model import StackedDAE
from stacked_dae.inference.raw_rows import checked_labels
from stacked_dae.utils.seeding import derive_seed
from stacked_dae.utils.type_hints import matches_type


@dataclass(frozen=True)
class Importance:
    """How much the error of a model rises when a column is shuffled among the rows.

    Args:
        rises: by column, one of each shuffling, (repeats,); below 0 where the shuffled rows are, by chance, predicted
            better.
        n: rows that were predicted.
        unit: of the error.
    """

    rises: dict[str, NDArray[np.float64]]
    n: int
    unit: str


def permutation_importance(
    model: StackedDAE, inputs: NDArray[Any], targets: NDArray[Any], repeats: int = 5, seed: int = 0
) -> Importance:
    """Return how much the predictions rest on each column (permutation importance; Breiman 2001, section 10).

    Args:
        model: fine-tuned.
        inputs: as the network takes them, (n, d); better of rows that the model was not trained on.
        targets: the place of each row's class, (n,); of a regression the number, in its units.
        repeats: how often each column is shuffled.
        seed: of the shuffling.
    """
    table = model.preprocessing
    columns = np.arange(inputs.shape[1]) if table is None else table.column_of_input
    random = np.random.default_rng(derive_seed(seed, "importance"))
    before, rises = _error(model, inputs, targets), np.empty((len(model.columns), repeats))
    for column, repeat in np.ndindex(*rises.shape):
        shuffled, own = inputs.copy(), columns == column
        shuffled[:, own] = inputs[random.permutation(len(inputs))][:, own]
        rises[column, repeat] = _error(model, shuffled, targets) - before
    unit = "percentage points" if model.target_column is None else "RMSE"
    return Importance(dict(zip(model.columns, rises, strict=True)), len(inputs), unit)


def _error(model: StackedDAE, inputs: NDArray[Any], targets: NDArray[Any]) -> float:
    if model.target_column is not None:
        return float(np.sqrt(np.square(model.numbers_of(inputs) - targets).mean()))
    return float(100.0 * (model.probabilities_of(inputs).argmax(1) != targets).mean())


def importance_of(model: StackedDAE, rows: Any, labels: Any, repeats: int, seed: int) -> Importance:
    """Return the :func:`permutation_importance` of raw rows; those whose label is missing are left out.

    Raises:
        ConfigError: ``repeats`` is below 1.
        StageError: the model was never fine-tuned.
        DataError: the rows differ in kind from those it was trained on, the labels are not one a row, none is there, or
            one is of a class that the model does not know.
    """
    if not matches_type(int, repeats) or repeats < 1:
        raise ConfigError(f"repeats must be a whole number above 0, not {repeats!r}")
    model.check_finetuned()
    inputs = model.inputs_of(rows)
    values, missing = checked_labels(labels, len(inputs))
    inputs, values = inputs[~missing], values[~missing]
    if not len(values):
        raise DataError("no row has a label, so there is nothing to compare the predictions with")
    if model.target_column is not None:
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError):
            raise DataError(f"the model predicts numbers, but a label is {str(values[0])!r}") from None
        return permutation_importance(model, inputs, numbers, repeats, seed)
    places = {str(name): place for place, name in enumerate(model.classes)}
    names = [str(value) for value in values.tolist()]
    unknown = next((name for name in names if name not in places), None)
    if unknown is not None:
        known = ", ".join(list(places)[:8])
        raise DataError(f"label {unknown!r} is no class that the model was trained on; it knows {known}")
    return permutation_importance(model, inputs, np.array([places[name] for name in names]), repeats, seed)
