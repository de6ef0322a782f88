"""The training step of one layer, 784→1000, as a multiple of its floor: the five matrix products.

    python benchmarks/step.py [--device cpu|cuda] [--rounds 11] [--rows 10000] [--out FILE]

Sides, interleaved in one process: the floor (two products forward, one back through the decoder, two weight gradients,
into kept buffers); ours, the closed-form step of `fit`, with a checkpoint and a CSV row each epoch; PretrainTask over a
DAEDataModule of arrays, in closed form and by autograd (fast=False), and over a DataLoader; a plain eager loop with a
DataLoader; and an idiomatic LightningModule with a DataLoader. Except for the floor and the plain loop all run in
Trainer.fit, and the LightningModules have ModelCheckpoint and CSVLogger. All but the floor corrupt with fixed masking,
ν = 0.25. Figures are milliseconds per minibatch: medians over the rounds, quartiles of the ratio.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import (
    INPUTS,
    NU,
    UNITS,
    IdiomaticDAE,
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

from stacked_dae import DAEDataModule, PretrainTask
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.corruption import FixedMasking
from stacked_dae.training.optimizers import build_optimizer
from stacked_dae.training.tasks.pretrain import ChunkedPretrainTask

# The first epoch, with the set-up, is not counted.
EPOCHS = 2
NAMES = ["optimizer", "weights", "batch"]
CASES = [(batch, tied, name) for name in ("sgd", "adam") for tied in (False, True) for batch in (20, 100, 256)]


def case(batch: int, tied: bool, name: str, rows: int, rounds: int, device: str) -> dict[str, Any]:
    """Return the report of one case."""
    data = pixels(rows)
    floats = torch.from_numpy(data).float().div_(255)
    steps = -(-rows // batch)
    lr = 0.01 if name == "sgd" else 1e-4
    w, v = (torch.randn(*shape, device=device) * 0.05 for shape in ((UNITS, INPUTS), (INPUTS, UNITS)))
    gw, gv = torch.empty_like(w), torch.empty_like(v)
    resident = floats.to(device)

    def floor() -> float:
        y, z, d = (torch.empty(batch, n, device=device) for n in (UNITS, INPUTS, UNITS))

        def epoch() -> None:
            for start in range(0, rows - batch + 1, batch):
                x = resident[start : start + batch]
                torch.mm(x, w.t(), out=y)
                torch.mm(y, v.t(), out=z)
                torch.mm(z, v, out=d)
                torch.mm(z.t(), y, out=gv)
                torch.mm(d.t(), x, out=gw)

        return seconds_of(epoch, device) / (rows // batch)

    def ours() -> float:
        layer = DenoisingAutoencoder(INPUTS, UNITS, corruption=FixedMasking(NU), tied=tied)
        task = ChunkedPretrainTask(layer, "layer_1", 0, partial(build_optimizer, name, lr=lr, options={}))
        return our_epoch(task, data, None, batch, device, EPOCHS) / steps

    plain_module = IdiomaticDAE(INPUTS, UNITS, tied, name, lr).to(device)
    plain_optimizer = plain_module.configure_optimizers()

    def plain() -> float:
        loss_of = lambda batch: plain_module.loss(batch[0])  # noqa: E731
        return plain_epoch(plain_module, loss_of, [floats], batch, device, plain_optimizer) / steps

    def idiomatic() -> float:
        module = IdiomaticDAE(INPUTS, UNITS, tied, name, lr)
        with tempfile.TemporaryDirectory() as folder:
            clock, _ = fit_idiomatic(module, [floats], batch, EPOCHS, device, Path(folder))
        return clock.seconds() / steps

    def lightning_task(resident: bool, fast: Any = "auto") -> float:
        task = PretrainTask(INPUTS, UNITS, nu=NU, tied=tied, optimizer=name, lr=lr, seed=0, fast=fast)
        arrays = DAEDataModule.from_arrays(data, batch_size=batch) if resident else None
        with tempfile.TemporaryDirectory() as folder:
            clock, _ = fit_idiomatic(task, [floats], batch, EPOCHS, device, Path(folder), data=arrays)
        return clock.seconds() / steps

    sides = {
        "floor": floor,
        "ours": ours,
        "PretrainTask, arrays": partial(lightning_task, True),
        "PretrainTask, autograd": partial(lightning_task, True, False),
        "PretrainTask, DataLoader": partial(lightning_task, False),
        "plain loop": plain,
        "idiomatic Lightning": idiomatic,
    }
    return {
        "optimizer": name,
        "weights": "tied" if tied else "untied",
        "batch": batch,
        **report(interleave(sides, rounds)),
    }


def main() -> None:
    """Measure all cases, print the table, write the figures."""
    chosen = options(__doc__ or "", rounds=11, rows=10000)
    results = []
    for batch, tied, name in CASES:
        results.append(case(batch, tied, name, chosen.rows, chosen.rounds, chosen.device))
        print(
            f"{name} {'tied' if tied else 'untied'} batch {batch}: ours {results[-1]['ours']['ratio']:.2f}", flush=True
        )
    show_steps("one minibatch, as a multiple of the five matrix products (quartiles)", NAMES, results)
    write(chosen.out, "step", chosen.device, results)


if __name__ == "__main__":
    main()
