"""A whole fit against an idiomatic Lightning script of the same work.

    python benchmarks/pipeline.py [--device cpu|cuda] [--rounds 3] [--batch 20] [--out FILE]

mnist5k, 784-1000-1000-1000-10: five epochs of pre-training a layer (untied weights in the script and in ours, masking
noise 0.25, plain SGD, rate 0.1), the codes, ten epochs of fine-tuning. Both validate each epoch and keep checkpoints;
seconds count everything from the first line to the test of the best epoch. The sides take turns in one process.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from common import CLASSES, INPUTS, NU, UNITS, IdiomaticClassifier, IdiomaticDAE, fit_idiomatic, options, show, write
from torch import nn

from stacked_dae import config_from_dict, fit
from stacked_dae.data.registry import load_dataset

SIZES = (INPUTS, UNITS, UNITS, UNITS)
PRETRAIN_EPOCHS, FINETUNE_EPOCHS, LR = 5, 10, 0.1


def ours(batch: int, seed: int, device: str) -> float:
    """Run a fit; return its best validation error."""
    config = config_from_dict(
        {
            "seed": seed,
            "data": {"name": "mnist5k"},
            "pretrain": {
                "units": list(SIZES[1:]),
                "tied": False,
                "corruption": {"nu": NU},
                "batch_size": batch,
                "epochs": PRETRAIN_EPOCHS,
                "optimizer": {"lr": LR},
            },
            "finetune": {
                "batch_size": batch,
                "epochs": FINETUNE_EPOCHS,
                "patience": FINETUNE_EPOCHS,
                "optimizer": {"lr": LR},
            },
            "trainer": {"accelerator": "gpu" if device == "cuda" else "cpu"},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        return float(fit(config, Path(folder) / "run").result().best_valid_error_percent)


class _BestError(pl.Callback):
    best = 100.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.best = min(self.best, 100 * float(trainer.callback_metrics["valid_error"]))


def glorot(linear: nn.Linear) -> None:
    """Give a layer the first weights that ours has, so that only the way of working differs."""
    nn.init.xavier_uniform_(linear.weight, gain=4.0)
    nn.init.zeros_(linear.bias)


def idiomatic(batch: int, seed: int, device: str) -> float:
    """Run the same work as a Lightning script does it; return its best validation error."""
    pl.seed_everything(seed, verbose=False)
    data = load_dataset("mnist5k")
    x, xv = (torch.from_numpy(split.inputs).float().div_(255) for split in (data.train, data.valid))
    y, yv = (torch.from_numpy(split.labels) for split in (data.train, data.valid))
    test = data.load_test()
    codes = [x, xv]
    layers = []
    with tempfile.TemporaryDirectory() as folder:
        for k, (d, h) in enumerate(itertools.pairwise(SIZES)):
            layer = IdiomaticDAE(d, h, tied=False, optimizer="sgd", lr=LR)
            glorot(layer.encoder)
            assert layer.decoder_weight is not None
            nn.init.xavier_uniform_(layer.decoder_weight, gain=4.0)
            fit_idiomatic(layer, [codes[0]], batch, PRETRAIN_EPOCHS, device, Path(folder) / str(k), [codes[1]])
            with torch.no_grad():
                codes = [layer.to(device).encode(rows.to(device)).cpu() for rows in codes]
            layers.append(layer.cpu())
        network = IdiomaticClassifier(SIZES, LR)
        linears = [module for module in network.network if isinstance(module, nn.Linear)]
        for linear, layer in zip(linears, layers, strict=False):
            linear.load_state_dict(layer.encoder.state_dict())
        nn.init.zeros_(linears[-1].weight)
        best = _BestError()
        fit_idiomatic(network, [x, y], batch, FINETUNE_EPOCHS, device, Path(folder) / "f", [xv, yv], [best])
        with torch.no_grad():
            network.cpu().network(torch.from_numpy(test.inputs).float().div_(255)).argmax(1)
    return best.best


def main() -> None:
    """Take turns, print the table, write the figures."""
    chosen = options(__doc__ or "", rounds=3, batch=20)
    assert CLASSES == 10
    sides = {"ours": ours, "idiomatic Lightning": idiomatic}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    errors: dict[str, list[float]] = {name: [] for name in sides}
    for seed in range(chosen.rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            errors[name].append(side(chosen.batch, seed, chosen.device))
            seconds[name].append(time.perf_counter() - started)
            print(
                f"round {seed}: {name} {seconds[name][-1]:.1f} s, validation error {errors[name][-1]:.2f} %", flush=True
            )
    ratio = statistics.median(b / a for a, b in zip(seconds["ours"], seconds["idiomatic Lightning"], strict=True))
    show(
        f"a whole fit on mnist5k, batch {chosen.batch}, {chosen.rounds} rounds",
        ["", "median seconds", "mean validation error (%)"],
        [[n, f"{statistics.median(seconds[n]):.1f}", f"{statistics.mean(errors[n]):.2f}"] for n in sides],
    )
    print(f"idiomatic / ours: {ratio:.2f}")
    result: dict[str, Any] = {
        "batch": chosen.batch,
        "seconds": seconds,
        "valid_error_percent": errors,
        "idiomatic_over_ours": ratio,
    }
    write(chosen.out, "pipeline", chosen.device, result)


if __name__ == "__main__":
    main()
