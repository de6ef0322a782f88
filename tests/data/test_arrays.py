"""What users have for an array, at each entry: tensors, frames, lists, images; sparse matrices are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.small_runs import blobs, small
from helpers.tables import people, settings
from scipy import sparse

from stacked_dae import DAEDataModule, StackedDAE, StackedDAEClassifier, StackedDAETransformer, make_dataset
from stacked_dae.config.loading import config_from_dict
from stacked_dae.errors import DataError
from stacked_dae.pipeline import api

X, Y = np.random.default_rng(0).random((60, 12)), np.arange(60) % 3


def dataset_of(x):
    return make_dataset("mine", (x, Y), (x, Y), lambda: (x, Y))


def batch_of(x):
    module = DAEDataModule(x, batch_size=60, shuffle=False)
    module.setup("fit")
    return next(iter(module.train_dataloader()))[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return api.fit(small(), tmp_path_factory.mktemp("run") / "run", dataset=blobs()).path


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    place = tmp_path_factory.mktemp("table")
    return api.fit(config_from_dict(settings(people(place / "people.csv"))), place / "run").path


KINDS = {
    "tensor": torch.from_numpy,
    "tensor with a gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "list": lambda x: x.tolist(),
    "frame": pd.DataFrame,
    "images": lambda x: x.reshape(60, 4, 3),
    "images with channels": lambda x: x.reshape(60, 3, 2, 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_of_any_kind_gives_the_same(kind, run):
    rows = KINDS[kind](X)
    assert np.array_equal(dataset_of(rows).train.inputs, X.astype(np.float32))
    model = StackedDAE.from_run(run)
    assert np.array_equal(model.predict_proba(rows), model.predict_proba(X))
    inputs = batch_of(rows if kind == "frame" else (rows, None))
    assert torch.equal(inputs.reshape(60, 12), torch.from_numpy(X).float())


def test_images_keep_their_shape():
    assert dataset_of(X.reshape(60, 4, 3)).image_shape == (4, 3)
    assert dataset_of(X.reshape(60, 3, 2, 2)).image_shape == (6, 2)
    assert dataset_of(X).image_shape is None


def test_images_in_a_mapped_file_stay_there(tmp_path):
    np.save(tmp_path / "x.npy", X.reshape(60, 4, 3))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = make_dataset("mine", (mapped, Y), (X, Y), lambda: (X, Y))
    assert type(data.train.inputs).__name__ == "DiskArray"
    assert data.image_shape == (4, 3)


SPARSE = {
    "make_dataset": dataset_of,
    "DAEDataModule": lambda x: DAEDataModule(x),
    "DAEDataModule, with targets": lambda x: DAEDataModule((x, Y)),
}


@pytest.mark.parametrize("entry", SPARSE)
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, sparse.coo_matrix])
def test_a_sparse_matrix_is_refused_in_one_line(entry, kind):
    with pytest.raises(DataError, match=r"a sparse matrix is not supported; give its toarray\(\)"):
        SPARSE[entry](kind(X))


def test_models_and_estimators_refuse_it_too(run, table_run):
    for path in (run, table_run):
        for method in ("predict", "encode", "reconstruct", "anomaly_scores"):
            with pytest.raises(DataError, match="a sparse matrix is not supported"):
                getattr(StackedDAE.from_run(path), method)(sparse.csr_matrix(X))
    for estimator in (StackedDAEClassifier(), StackedDAETransformer()):
        with pytest.raises(TypeError, match="dense"):
            estimator.fit(sparse.csr_matrix(X), Y)


def test_rows_of_mixed_lists_keep_their_missing_values(table_run):
    model = StackedDAE.from_run(table_run)
    rows = [[50.0, float("nan"), "Oslo", None, 0.1, 0.2, 0.3, 0.4]]
    frame = pd.DataFrame(rows, columns=model.columns)
    assert np.array_equal(model.predict_proba(rows), model.predict_proba(frame))


def test_too_many_parts_are_named():
    with pytest.raises(DataError, match=r"train: give \(inputs, targets\), two arrays, not 60"):
        DAEDataModule(X.tolist())
