"""The report of a model that predicts numbers on labelled rows: of a file, or of the rows of its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.data.dataset import Split
from stacked_dae.data.disk_array import iter_blocks
from stacked_dae.errors import DataError
from stacked_dae.inference.file_rows import labelled_file_rows
from stacked_dae.inference.model import StackedDAE
from stacked_dae.training.evaluation import RegressionScore


def predicted_and_true(model: StackedDAE, split: Split) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the predicted numbers of the rows of a split, (n,), and their targets, (n,), in the target's units."""
    assert model.target_column is not None
    predicted = np.concatenate([model.numbers_of(block) for block in iter_blocks(split.inputs)])
    return predicted, model.target_column.restore(split.labels)


def score_number_file(model: StackedDAE, path: str | Path) -> RegressionScore:
    """Return the errors of a fine-tuned model on a file with the columns and the target that it was trained on.

    Raises:
        StageError: the model was never fine-tuned.
        DataError: the file differs in kind from the one it was trained on, or no row has a target.
    """
    predicted: list[NDArray[Any]] = []
    targets: list[NDArray[Any]] = []
    for rows, known in labelled_file_rows(model, path):
        is_known = ~np.isnan(known)
        if is_known.any():
            predicted.append(model.numbers_of(rows[is_known]))
            targets.append(known[is_known])
    if not targets:
        raise DataError(f"{path}: no row has a target, so there is nothing to compare the predictions with")
    return RegressionScore.of(np.concatenate(predicted), np.concatenate(targets), "")
