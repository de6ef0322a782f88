"""What the benchmarks share: the other ways to do the same work, the clock, the report."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from stacked_dae.config.trainer_schema import TrainerConfig
from stacked_dae.runs.metrics import Metrics
from stacked_dae.tracking.base import NullTracker
from stacked_dae.training.loader import ChunkLoader
from stacked_dae.training.stage import fit_stage
from stacked_dae.training.tasks.base import ChunkedTask
from stacked_dae.utils.hardware import processor
from stacked_dae.utils.terminal.progress import Reporter

INPUTS, UNITS, CLASSES = 784, 1000, 10
NU = 0.25


def options(text: str, **numbers: int) -> argparse.Namespace:
    """Return the command line's options: --device, --out, and the ``numbers`` with their defaults."""
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=Path(f"runs/bench/{name}.json"), help="JSON file of the figures")
    for option, default in numbers.items():
        parser.add_argument(f"--{option}", type=int, default=default, help=f"(default {default})")
    chosen = parser.parse_args()
    if getattr(chosen, "rounds", 2) < 2:
        parser.error("--rounds must be at least 2: the report is of medians and quartiles")
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here")
    return chosen


def machine(device: str) -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "pytorch_lightning": pl.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def pixels(rows: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return (rows, 784) random bytes: the time of a step does not depend on what the pixels show."""
    return np.random.default_rng(seed).integers(0, 256, (rows, INPUTS), dtype=np.uint8)


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], Any], device: str) -> float:
    """Return the seconds that ``work`` takes."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return each side's figures, one a round; a first round warms up and is dropped."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(rounds + 1):
        for name, side in sides.items():
            value = side()
            if i:
                figures[name].append(value)
    return figures


def report(figures: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return for each side its median and the median and quartiles of its ratio to the floor, round by round.

    ``idiomatic_over_ours`` is the median of that ratio, likewise.
    """
    result: dict[str, Any] = {}
    for name, values in figures.items():
        ratio = [value / floor for value, floor in zip(values, figures["floor"], strict=True)]
        low, middle, high = statistics.quantiles(ratio, n=4, method="inclusive")
        result[name] = {
            "median_ms": 1e3 * statistics.median(values),
            "ratio": middle,
            "ratio_q1": low,
            "ratio_q3": high,
        }
    pairs = zip(figures["idiomatic Lightning"], figures["ours"], strict=True)
    result["idiomatic_over_ours"] = statistics.median(theirs / ours for theirs, ours in pairs)
    return result


def show_steps(title: str, names: Sequence[str], results: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of reports; ``names`` are the keys that tell one case from another."""
    sides = (
        "ours",
        *(side for side in results[0] if side.startswith("PretrainTask")),
        "plain loop",
        "idiomatic Lightning",
    )
    show(
        title,
        [*names, "floor", *sides, "idiomatic / ours"],
        [
            [
                *(str(r[name]) for name in names),
                f"{r['floor']['median_ms']:.2f} ms",
                *(f"{r[side]['ratio']:.2f} ({r[side]['ratio_q1']:.2f}-{r[side]['ratio_q3']:.2f})" for side in sides),
                f"{r['idiomatic_over_ours']:.2f}",
            ]
            for r in results
        ],
    )


def write(path: Path, name: str, device: str, result: Any) -> None:
    """Write the figures to ``path`` as JSON, with the machine's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"benchmark": name, "machine": machine(device), "result": result}, indent=2) + "\n")
    print(f"figures: {path}")


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


class EpochClock(Reporter):
    """Takes the time whenever an epoch is over, its record and checkpoint written."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ends: list[float] = []

    def advance(self, units: int, metrics: Mapping[str, float] | None = None) -> None:
        """Take the time."""
        synchronise(self.device)
        self.ends.append(time.perf_counter())

    def seconds(self) -> float:
        """Return the median seconds of an epoch; the first one, with the set-up, is left out."""
        return statistics.median(b - a for a, b in itertools.pairwise(self.ends))


def our_epoch(task: ChunkedTask, inputs: Any, labels: Any, batch: int, device: str, epochs: int) -> float:
    """Return the seconds of an epoch of ours in Trainer.fit: checkpoint and CSV row each, one minibatch to validate."""
    clock, where = EpochClock(device), torch.device(device)
    few = None if labels is None else labels[:batch]
    with tempfile.TemporaryDirectory() as folder:
        fit_stage(
            task,
            ChunkLoader(inputs, labels, batch, where),
            ChunkLoader(inputs[:batch], few, batch, where),
            epochs=epochs,
            metrics=Metrics(Path(folder) / task.stage / "metrics.csv"),
            trainer=TrainerConfig(accelerator="gpu" if device == "cuda" else "cpu"),
            reporter=clock,
            tracker=NullTracker(),
        )
    return clock.seconds()


class IdiomaticDAE(pl.LightningModule):
    """A denoising autoencoder as one writes it in Lightning: modules, autograd, automatic optimisation."""

    def __init__(self, inputs: int, units: int, tied: bool, optimizer: str, lr: float) -> None:
        super().__init__()
        self.encoder = nn.Linear(inputs, units)
        self.decoder_bias = nn.Parameter(torch.zeros(inputs))
        self.decoder_weight = None if tied else nn.Parameter(torch.randn(inputs, units) * 0.05)
        self.optimizer, self.lr = optimizer, lr

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes."""
        return torch.sigmoid(self.encoder(x))

    def loss(self, x: Tensor) -> Tensor:
        """Return the mean loss of a minibatch, with noise."""
        weight = self.encoder.weight.t() if self.decoder_weight is None else self.decoder_weight
        destroyed = torch.rand_like(x).topk(round(NU * x.shape[1])).indices
        logits = functional.linear(self.encode(x.scatter(1, destroyed, 0.0)), weight, self.decoder_bias)
        return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss, and log it."""
        loss = self.loss(batch[0])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Log the loss."""
        self.log("valid_loss", self.loss(batch[0]), on_step=False, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[self.optimizer](self.parameters(), lr=self.lr)


class IdiomaticClassifier(pl.LightningModule):
    """The stack under a softmax head as one writes it in Lightning."""

    def __init__(self, sizes: Sequence[int], lr: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for d, h in itertools.pairwise(sizes):
            layers += [nn.Linear(d, h), nn.Sigmoid()]
        self.network = nn.Sequential(*layers, nn.Linear(sizes[-1], CLASSES))
        self.lr = lr
        self.wrong = self.seen = 0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss, and log it."""
        loss = functional.cross_entropy(self.network(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Log the error."""
        error = (self.network(batch[0]).argmax(1) != batch[1]).float().mean()
        self.log("valid_error", error, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class _EpochEnds(pl.Callback):
    def __init__(self, clock: EpochClock) -> None:
        self.clock = clock

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.advance(1)


@contextmanager
def quiet() -> Any:
    """Silence Lightning's advice on workers and devices."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fit_idiomatic(
    module: pl.LightningModule,
    tensors: Sequence[Tensor],
    batch_size: int,
    epochs: int,
    device: str,
    folder: Path,
    valid: Sequence[Tensor] | None = None,
    callbacks: Sequence[pl.Callback] = (),
    data: pl.LightningDataModule | None = None,
) -> tuple[EpochClock, pl.Trainer]:
    """Train as the Lightning tutorials do: DataLoader (or ``data``), ModelCheckpoint each epoch, CSVLogger."""
    clock = EpochClock(device)
    with quiet():
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=1,
            logger=CSVLogger(str(folder), name="csv"),
            callbacks=[_EpochEnds(clock), ModelCheckpoint(dirpath=folder / "checkpoints"), *callbacks],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        loaders = [DataLoader(TensorDataset(*tensors), batch_size=batch_size, shuffle=True)]
        if valid is not None:
            loaders.append(DataLoader(TensorDataset(*valid), batch_size=500))
        if data is None:
            trainer.fit(module, *loaders)
        else:
            trainer.fit(module, datamodule=data)
    return clock, trainer


def plain_epoch(
    module: nn.Module,
    loss_of: Callable[[list[Tensor]], Tensor],
    tensors: Sequence[Tensor],
    batch_size: int,
    device: str,
    optimizer: torch.optim.Optimizer,
) -> float:
    """Return the seconds of one epoch of the loop one writes without a framework."""
    loader = DataLoader(TensorDataset(*tensors), batch_size=batch_size, shuffle=True)

    def epoch() -> None:
        total = 0.0
        for batch in loader:
            batch = [tensor.to(device) for tensor in batch]
            optimizer.zero_grad()
            loss = loss_of(batch)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        float(total)

    return seconds_of(epoch, device)
