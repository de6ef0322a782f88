"""The program that wrote the golden files, at commit 033e563, before the package was taken apart.

It is kept to show how they were made. Run it again only for a new kind of golden file: what it writes over is a promise.

    cd EMPTY_FOLDER && PYTHONPATH=REPOSITORY/tests:REPOSITORY/tests/golden python REPOSITORY/tests/golden/record.py
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from golden_cases import ADDRESSES, CONFIGS, CUT, DIGITS, FINETUNED, TABLE, onnx_rows, regression
from golden_components import Inverting, absolute_error
from safetensors.torch import load_file, save_file
from tables import people

from stacked_dae import (
    Parts,
    StackedDAE,
    StackedDAEClassifier,
    StackedDAERegressor,
    StackedDAETransformer,
    Swap,
    finetune,
    fit,
    from_dict,
    stopping,
)
from stacked_dae.address import seed_at
from stacked_dae.commands import _default_out
from stacked_dae.data import registry
from stacked_dae.export import export_onnx
from stacked_dae.machine import processor
from stacked_dae.settings import fingerprint
from stacked_dae.stages import marks, result_mark

expected: dict = {"processor": processor(), "torch": torch.__version__, "weights": {}}


def sums(folder):
    return {
        f"{folder}/{file.parent.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(Path(folder).glob("*/weights.safetensors"))
    }


def without_wandb(folder):
    shutil.rmtree(Path(folder) / "wandb", ignore_errors=True)


# Run folders.
os.environ["WANDB_SILENT"] = "true"
fit(from_dict(DIGITS), "digits")
without_wandb("digits")
expected["weights"] |= sums("digits")

people(Path("people.csv"), rows=160, labelled=0.7)
fit(from_dict(TABLE), "table")
expected["weights"] |= sums("table")

finetune(from_dict(FINETUNED), "finetuned", "digits")
expected["weights"] |= sums("finetuned")

parts = Parts(corruption=Inverting(0.2), loss=absolute_error)
fit(from_dict(DIGITS | {"tracking": {}}), "components", parts=parts)
expected["weights"] |= sums("components")

fit(from_dict(CUT), "whole")
expected["weights"] |= {name.replace("whole", "cut"): value for name, value in sums("whole").items()}
for stage in ("layer_1", "layer_2", "finetune"):
    save_file(load_file(f"whole/{stage}/weights.safetensors"), f"cut_{stage}.safetensors")
shutil.rmtree("whole")
looks = iter(range(1, 10**6))
with mock.patch.object(stopping, "asked", lambda: signal.SIGTERM if next(looks) == 212 else None):
    try:
        fit(from_dict(CUT), "cut")
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("was not cut")
assert Path("cut/layer_2/minibatch.ckpt").exists() and Path("cut/layer_2/checkpoint.ckpt").exists()

# Fingerprints and seeds.
expected["fingerprints"] = {
    name: {
        "config": fingerprint(from_dict(values)),
        "stages": marks(from_dict(values), "data", None),
        "stages_of_components": marks(from_dict(values), "data", None, "corruption: Inverting(nu=0.2)"),
        "stages_of_parent": marks(from_dict(values), "data", "parent"),
        "result": result_mark(from_dict(values), "data"),
        "folder": str(_default_out(from_dict(values), "fit", None)),
    }
    for name, values in CONFIGS.items()
}
expected["seeds"] = [seed_at(*address) for address in ADDRESSES]
expected["components"] = {"swap": Parts(corruption=Swap(0.3)).name, "both": parts.name}

# A saved model, and its ONNX export.
model = StackedDAE.from_run("table")
model.save("model.safetensors")
rows = onnx_rows()
np.save("model_probabilities.npy", model.predict_proba(rows))
np.save("model_codes.npy", model.encode(rows, 1))
export_onnx(model, Path("model.onnx"))
import onnxruntime  # noqa: E402

feeds = {
    c.name: np.array([["" if v is None else v] for v in rows[c.name]], object)
    if rows[c.name].dtype == object
    else rows[c.name][:, None]
    for c in model.preprocessing.columns
}
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
np.save("onnx_probabilities.npy", session.run(["probabilities"], feeds)[0])
Path("model.onnx").unlink()

# Estimators: a regression, a classifier, a transformer.
x, y = regression()
kinds = {"pretrain_epochs": 2, "random_state": 1, "units": (6, 4)}
np.save("regressor.npy", StackedDAERegressor(finetune_epochs=5, **kinds).fit(x, y).predict(x))
labels = np.where(np.arange(len(x)) % 4 == 0, -1, (y > 0).astype(int))
np.save("classifier.npy", StackedDAEClassifier(finetune_epochs=5, **kinds).fit(x, labels).predict_proba(x))
np.save("transformer.npy", StackedDAETransformer(**kinds).fit_transform(x))

# What the rows of results/icml2008 were made from.
root = os.environ["STACKED_DAE_DATA"]
expected["problems"] = {
    name: registry.load(name, root).fingerprint
    for name in registry.ENTRIES
    if registry.ENTRIES[name].source[:4] == "ICML"
}
expected["problems"]["rect (original)"] = registry.load("rect", root, "original").fingerprint
expected["digits_data"] = registry.load("digits").fingerprint
# "rows_due" was added by hand: the rows that `reproduce` of the same commit would measure again.
Path("expected.json").write_text(json.dumps(expected, indent=1) + "\n")
