"""Promises to earlier versions: what they wrote is read, found finished, resumed and predicted to the same bits.

``tests/golden`` was written at commit ce4b681 by its ``record.py``, with the instruction set and the one thread that
``make test`` asks for: they give the same bits on every x86-64 processor with AVX2. Without them, or with
another torch, sums may be rounded otherwise, and the tests compare to 1e-5.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from golden_cases import ADDRESSES, CONFIGS, CUT, DIGITS, FINETUNED, TABLE, onnx_rows, regression
from golden_components import Inverting, absolute_error
from helpers.small_runs import ROOT, MessageRecorder
from safetensors.torch import load_file

from stacked_dae import (
    Components,
    RunFolder,
    StackedDAE,
    StackedDAEClassifier,
    StackedDAERegressor,
    StackedDAETransformer,
    SwapNoise,
    config_from_dict,
    evaluate,
    finetune,
    fit,
    load_data,
)
from stacked_dae.cli.commands import train
from stacked_dae.config.identity import fingerprint
from stacked_dae.inference.exports.onnx_export import export_onnx
from stacked_dae.reproduction import runner
from stacked_dae.runs.fingerprints import result_fingerprint, stage_fingerprints
from stacked_dae.training.tasks.pretrain import ChunkedPretrainTask
from stacked_dae.utils.seeding import derive_seed

GOLDEN = ROOT / "tests" / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
PORTABLE = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"}
SAME_BITS = PORTABLE.items() <= os.environ.items() and torch.__version__ == EXPECTED["torch"]
COMPONENTS = Components(corruption=Inverting(0.2), loss=absolute_error)
RUNS = {"digits": DIGITS, "table": TABLE, "finetuned": FINETUNED, "components": {**DIGITS, "tracking": {}}}


@pytest.fixture
def golden(tmp_path, monkeypatch):
    """Go to a copy of the golden files."""
    shutil.copytree(GOLDEN, tmp_path / "golden")
    monkeypatch.chdir(tmp_path / "golden")
    return Path()


def run(name, progress=True):
    """Give the command that made the run folder ``name``."""
    config = config_from_dict(RUNS[name])
    if name == "finetuned":
        return finetune(config, name, "digits", progress=progress)
    return fit(config, name, progress=progress, components=COMPONENTS if name == "components" else None)


def files(folder):
    return {str(file): file.read_bytes() for file in sorted(Path(folder).rglob("*")) if file.is_file()}


def assert_same(found, wanted):
    """Compare arrays by bits, or, where sums may be rounded otherwise, by their values."""
    if SAME_BITS:
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_fingerprints(name):
    config, wanted = config_from_dict(CONFIGS[name]), EXPECTED["fingerprints"][name]
    assert fingerprint(config) == wanted["config"]
    assert stage_fingerprints(config, "data", None) == wanted["stages"]
    assert stage_fingerprints(config, "data", None, "corruption: Inverting(nu=0.2)") == wanted["stages_of_components"]
    assert stage_fingerprints(config, "data", "parent") == wanted["stages_of_parent"]
    assert list(stage_fingerprints(config, "data", None)) == list(wanted["stages"]), "in order"
    assert result_fingerprint(config, "data") == wanted["result"]
    assert str(train._default_out(config, "fit", None)) == wanted["folder"]


def test_seeds():
    assert [derive_seed(*address) for address in ADDRESSES] == EXPECTED["seeds"]


def test_names_of_components():
    assert Components(corruption=SwapNoise(0.3)).name == EXPECTED["components"]["swap"]
    assert COMPONENTS.name == EXPECTED["components"]["both"]


def test_the_digits_are_the_same_data():
    assert load_data(config_from_dict(DIGITS).data).fingerprint == EXPECTED["digits_data"]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_folder_is_read(name, golden):
    folder = RunFolder.open(Path(name))
    assert folder.config() == config_from_dict(RUNS[name])
    for stage in ("finetune",) if name == "finetuned" else ("layer_1", "layer_2", "finetune"):
        assert (
            hashlib.sha256(folder.weights_path(stage).read_bytes()).hexdigest()
            == EXPECTED["weights"][f"{name}/{stage}"]
        )
        assert folder.metrics(stage).rows()[0]["epoch"] == 1
    assert evaluate(name).error_percent == folder.result().test_error_percent
    assert (folder.preprocessing() is None) == (name != "table")


@pytest.mark.parametrize("name", RUNS)
def test_a_run_folder_is_finished(name, golden):
    before = files(name)
    said = MessageRecorder()
    run(name, said)
    assert said.lines == [f"{name} is finished already: nothing to train"]
    assert files(name) == before


@pytest.mark.parametrize("name", RUNS)
def test_training_anew_makes_the_same_bits(name, golden):
    wanted = RunFolder.open(Path(name))
    kept = {stage: load_file(wanted.weights_path(stage)) for stage in wanted.manifest.stages}
    shutil.rmtree(name)
    made = run(name)
    for stage, tensors in kept.items():
        for tensor, value in load_file(made.weights_path(stage)).items():
            assert_same(value.numpy(), tensors[tensor].numpy())


def test_a_run_that_was_cut_goes_on_to_the_same_bits(golden, monkeypatch):
    begun, updates = [], Counter()
    update = ChunkedPretrainTask.minibatch

    def counted(task, *rows):
        updates[task.stage] += 1
        return update(task, *rows)

    monkeypatch.setattr(ChunkedPretrainTask, "minibatch", counted)
    said = MessageRecorder()
    said.start = lambda name, total, unit, done=0: begun.append((name, done))
    folder = fit(config_from_dict(CUT), "cut", progress=said)
    assert ("layer_2", 1) in begun, "after its first epoch"
    assert not [name for name, _ in begun if name == "layer_1"], "nothing is trained twice"
    assert updates == {"layer_2": 54 - 11}, "the cut came after 11 of the 54 minibatches of its epoch"
    assert said.lines == ["layer_2: continues after 1 of 2 epochs", "finetune: epoch 2 is kept, the best of 4"]
    for stage in ("layer_1", "layer_2", "finetune"):
        wanted = load_file(f"cut_{stage}.safetensors")
        for name, value in load_file(folder.weights_path(stage)).items():
            assert_same(value.numpy(), wanted[name].numpy())
        if SAME_BITS:
            sha256 = hashlib.sha256(folder.weights_path(stage).read_bytes()).hexdigest()
            assert sha256 == EXPECTED["weights"][f"cut/{stage}"]


@pytest.mark.parametrize("source", ["run", "file"])
def test_a_model_predicts_the_same(source, golden, tmp_path):
    model = StackedDAE.from_run("table") if source == "run" else StackedDAE.load("model.safetensors")
    assert_same(model.predict_proba(onnx_rows()), np.load("model_probabilities.npy"))
    assert_same(model.encode(onnx_rows(), 1), np.load("model_codes.npy"))
    model.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == Path("model.safetensors").read_bytes()


def test_its_onnx_export_predicts_the_same(golden):
    import onnxruntime

    model, rows = StackedDAE.load("model.safetensors"), onnx_rows()
    export_onnx(model, Path("model.onnx"))
    feeds = {
        name: np.array([["" if value is None else value] for value in column], object)
        if column.dtype == object
        else column[:, None]
        for name, column in rows.items()
    }
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    assert_same(session.run(["probabilities"], feeds)[0], np.load("onnx_probabilities.npy"))


def test_estimators_predict_the_same(golden):
    x, y = regression()
    kinds = {"pretrain_epochs": 2, "random_state": 1, "units": (6, 4)}
    assert_same(
        StackedDAERegressor.for_images(finetune_epochs=5, **kinds).fit(x, y).predict(x), np.load("regressor.npy")
    )
    labels = np.where(np.arange(len(x)) % 4 == 0, -1, (y > 0).astype(int))
    classifier = StackedDAEClassifier.for_images(finetune_epochs=5, monitor="error", **kinds).fit(x, labels)
    assert_same(classifier.predict_proba(x), np.load("classifier.npy"))
    assert_same(StackedDAETransformer.for_images(**kinds).fit_transform(x), np.load("transformer.npy"))


def test_the_rows_of_table_1_are_finished(monkeypatch):
    """A row of ``results/icml2008`` is one that the same command would not measure again.

    Those whose data or search had changed before the golden files were written are named in them.
    """

    def data_of(problem, root, source):
        found = EXPECTED["problems"][problem if source == "regenerated" else f"{problem} ({source})"]
        return SimpleNamespace(name=problem, fingerprint=found)

    monkeypatch.setattr(runner.registry, "load_dataset", data_of)
    out = ROOT / "results" / "icml2008"
    rows = runner._rows(out)
    assert len(rows) > len(EXPECTED["rows_due"]) + 40
    due = []
    for row in rows:
        how = (row.preset, row.budget, row.seed) if row.preset else ("quick", 1, 0)
        due += [
            [row.problem, row.model, row.source, row.preset, row.budget]
            for _ in runner.pending_rows(
                runner.ReproductionRequest([row.problem], [row.asked], *how, row.source, None), out
            )
        ]
    assert due == EXPECTED["rows_due"]
