"""The fine-tuning step of 784-1000-1000-1000-10, as a multiple of its floor: its eleven matrix products.

    python benchmarks/finetune.py [--device cpu|cuda] [--rounds 11] [--rows 5000] [--out FILE]

Sides, interleaved in one process: the floor (four products forward, three back, four weight gradients, into kept
buffers), ours inside Trainer.fit with a checkpoint, the best weights and a CSV row each epoch, a plain eager loop with
a DataLoader, and an idiomatic LightningModule with DataLoader, ModelCheckpoint and CSVLogger. Plain SGD.
"""

from __future__ import annotations

import itertools
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    CLASSES,
    INPUTS,
    UNITS,
    IdiomaticClassifier,
    fit_idiomatic,
    interleave,
    options,
    our_epoch,
    pixels,
    plain_epoch,
    report,
    seconds_of,
    show_steps,
    write,
)  # fmt: skip
from torch.nn import functional

from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.training.optimizers import build_optimizer
from stacked_dae.training.tasks.finetune import ChunkedFinetuneTask

# The first epoch, with the set-up, is not counted.
EPOCHS = 2
SIZES = (INPUTS, UNITS, UNITS, UNITS)
LR = 0.01


def case(batch: int, rows: int, rounds: int, device: str) -> dict[str, Any]:
    """Return the report of one case."""
    data = pixels(rows)
    labels = np.random.default_rng(1).integers(0, CLASSES, rows)
    floats = torch.from_numpy(data).float().div_(255)
    steps = -(-rows // batch)
    shapes = [(h, d) for d, h in itertools.pairwise((*SIZES, CLASSES))]
    weights = [torch.randn(*shape, device=device) * 0.05 for shape in shapes]
    gradients = [torch.empty_like(w) for w in weights]
    resident = floats.to(device)

    def floor() -> float:
        ys = [torch.empty(batch, h, device=device) for h, _ in shapes]
        deltas = [torch.empty(batch, d, device=device) for _, d in shapes]

        def epoch() -> None:
            for start in range(0, rows - batch + 1, batch):
                inputs = [resident[start : start + batch], *ys]
                for k, w in enumerate(weights):
                    torch.mm(inputs[k], w.t(), out=ys[k])
                delta = ys[-1]
                for k in reversed(range(len(weights))):
                    torch.mm(delta.t(), inputs[k], out=gradients[k])
                    if k:
                        delta = torch.mm(delta, weights[k], out=deltas[k])

        return seconds_of(epoch, device) / (rows // batch)

    def ours() -> float:
        layers = [DenoisingAutoencoder(d, h) for d, h in itertools.pairwise(SIZES)]
        stack = EncoderStack(SIZES, ["sigmoid"] * 3, CLASSES).copy_encoders_from(layers)
        task = ChunkedFinetuneTask(
            stack, "finetune", 0, partial(build_optimizer, "sgd", lr=LR, options={}), patience=99
        )
        return our_epoch(task, data, labels, batch, device, EPOCHS) / steps

    tensors = [floats, torch.from_numpy(labels)]
    plain_module = IdiomaticClassifier(SIZES, LR).to(device)
    plain_optimizer = plain_module.configure_optimizers()

    def plain() -> float:
        loss_of = lambda b: functional.cross_entropy(plain_module.network(b[0]), b[1])  # noqa: E731
        return plain_epoch(plain_module, loss_of, tensors, batch, device, plain_optimizer) / steps

    def idiomatic() -> float:
        with tempfile.TemporaryDirectory() as folder:
            clock, _ = fit_idiomatic(IdiomaticClassifier(SIZES, LR), tensors, batch, EPOCHS, device, Path(folder))
        return clock.seconds() / steps

    sides = {"floor": floor, "ours": ours, "plain loop": plain, "idiomatic Lightning": idiomatic}
    return {"batch": batch, **report(interleave(sides, rounds))}


def main() -> None:
    """Measure all cases, print the table, write the figures."""
    chosen = options(__doc__ or "", rounds=11, rows=5000)
    results = [case(batch, chosen.rows, chosen.rounds, chosen.device) for batch in (20, 100, 256)]
    show_steps("one fine-tuning minibatch, as a multiple of the eleven matrix products (quartiles)", ["batch"], results)
    write(chosen.out, "finetune", chosen.device, results)


if __name__ == "__main__":
    main()
