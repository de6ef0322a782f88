"""The greedy recipe: pre-train each layer on the codes of the one below, fine-tune the stack, test it once."""

from __future__ import annotations

import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import nn

from stacked_dae.config.schema import Config
from stacked_dae.data import registry
from stacked_dae.data.dataset import Dataset, check_unit_interval
from stacked_dae.data.disk_array import Inputs
from stacked_dae.data.splits import labelled_rows
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.inference.loading import load_layers, load_stack, run_data
from stacked_dae.nn.autoencoder import DenoisingLayer
from stacked_dae.nn.components import Parts
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.reporting.figures import confusion, layer_pictures
from stacked_dae.runs.fingerprints import FINETUNE
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.planning import Stage, check_folder, check_parent, open_folder, plan_stages, unfinished
from stacked_dae.tracking.base import Job
from stacked_dae.tracking.session import Telling
from stacked_dae.training.builders import build_layers, build_stack
from stacked_dae.training.codes import make_codes
from stacked_dae.training.evaluation import Score, score
from stacked_dae.training.loader import ChunkLoader
from stacked_dae.training.optimizers import check_optimizers, make_optimizer
from stacked_dae.training.stage import fit_stage
from stacked_dae.training.tasks.base import ChunkedTask
from stacked_dae.training.tasks.finetune import FinetuneTask
from stacked_dae.training.tasks.pretrain import PretrainTask
from stacked_dae.training.trainer import check_loggers, device_of
from stacked_dae.utils import distributed
from stacked_dae.utils.files import write_atomically
from stacked_dae.utils.progress import Reporter
from stacked_dae.version import __version__

# What of a result W&B has elsewhere, or not as a figure.
_UNTOLD = ("confusion", "weights_sha256", "test_rows", "versions")


def fit(
    config: Config,
    out: str | Path,
    *,
    dataset: Dataset | None = None,
    rerun: bool = False,
    reporter: Reporter | None = None,
    test: bool = True,
    parts: Parts | None = None,
) -> RunFolder:
    """Pre-train, fine-tune and test, and return the run folder; whatever is done already is kept.

    Args:
        config: the experiment.
        out: the run folder: new, empty, or that of the same experiment, which goes on where it was.
        dataset: the data; else ``config.data`` says which.
        rerun: where the folder holds another experiment, train again from the first stage that differs.
        reporter: what shows progress; nothing by default.
        test: whether the test rows are read at the end. Without, there is no ``result.json``; the same call with it
            writes one and trains nothing.
        parts: a corruption, a loss or a layer of one's own, in place of those that the settings name.

    Raises:
        ConfigError, DataError, StageError: the settings, the data or the folder are not usable; nothing was written.
        DivergedError: the training diverged.
    """
    return _Job(config, out, dataset, rerun, reporter, finetune=True, test=test, parts=parts).run()


def pretrain(
    config: Config,
    out: str | Path,
    *,
    dataset: Dataset | None = None,
    rerun: bool = False,
    reporter: Reporter | None = None,
    parts: Parts | None = None,
) -> RunFolder:
    """Pre-train the layers only, and return the run folder; arguments and errors as for :func:`fit`."""
    if config.model == "mlp":
        raise ConfigError("model: mlp is never pre-trained; use fit, or model sda or saa")
    return _Job(config, out, dataset, rerun, reporter, finetune=False, parts=parts).run()


def finetune(
    config: Config,
    out: str | Path,
    pretrained: str | Path,
    *,
    dataset: Dataset | None = None,
    rerun: bool = False,
    reporter: Reporter | None = None,
    test: bool = True,
    parts: Parts | None = None,
) -> RunFolder:
    """Fine-tune and test the layers of the run folder ``pretrained``, and return the new run folder ``out``.

    ``config`` may differ from that run's in ``seed``, ``finetune``, ``trainer`` and ``data.labels_per_class``. Other
    arguments and errors as for :func:`fit`.
    """
    parent = RunFolder.open(Path(pretrained))
    if Path(out).resolve() == parent.path.resolve():
        raise StageError(f"--out and --pretrained are one folder, {out}; name another --out, or use fit")
    return _Job(config, out, dataset, rerun, reporter, finetune=True, parent=parent, test=test, parts=parts).run()


def evaluate(run: str | Path, *, dataset: Dataset | None = None, root: str | None = None) -> Score:
    """Return the test error of a run, computed anew from its fine-tuned weights.

    Raises:
        StageError: the run is not fine-tuned, its weights changed, or the data did.
    """
    folder = RunFolder.open(Path(run))
    if folder.stage(FINETUNE).get("status") != "done":
        raise StageError(f"{run} is not fine-tuned, so there is nothing to evaluate; run its fit to the end first")
    data = run_data(folder, dataset, root)
    found = score(load_stack(folder, data), data.load_test(), device_of(folder.config().trainer))
    if (folder.path / "result.json").exists() and folder.result()["test_rows"] != found.rows:
        raise StageError(f"{run} was tested on other rows than the test rows of {data.name!r} are now")
    return found


class _Job:
    """One command on one run folder. Making it checks everything and writes nothing."""

    def __init__(
        self,
        config: Config,
        out: str | Path,
        dataset: Dataset | None,
        rerun: bool,
        reporter: Reporter | None,
        *,
        finetune: bool,
        parent: RunFolder | None = None,
        test: bool = True,
        parts: Parts | None = None,
    ) -> None:
        self.config, self.parent, self.test, self.parts = config, parent, test, parts
        self.own = parts.name if parts else None
        if not isinstance(config, Config):
            raise ConfigError(f"config must be a Config, not {type(config).__name__}: from_dict({{...}}) makes one")
        if dataset is not None and not isinstance(dataset, Dataset):
            raise ConfigError(
                f"dataset must be a Dataset, not {type(dataset).__name__}: make_dataset makes one of arrays; of a"
                " frame, write CSV or Parquet and name it in data.path"
            )
        self.reporter = reporter or Reporter()
        self.folder = RunFolder.open_or_new(Path(out))
        check_optimizers(config)
        check_loggers(config.tracking.loggers)
        self.device = device_of(config.trainer)
        self.data = dataset or registry.load_data(config.data)
        if parent is not None:
            check_parent(config, self.data, parent, self.own)
        own_loss = parts is not None and parts.loss is not None
        if config.layers()[0].loss == "cross_entropy" and config.model != "mlp" and not own_loss:
            check_unit_interval(self.data)
        if parts is not None:
            if parts.corruption is not None and config.model != "sda":
                raise ConfigError(f"parts.corruption: model {config.model} corrupts nothing; leave it out")
            parts.check(self.data.inputs)
        if finetune and not self.data.classes:
            raise ConfigError("data.target: name the column of the class; without one, pretrain only")
        self.labelled = labelled_rows(
            self.data.train.labels,
            config.data.labels_per_class,
            config.seed,
            self.data.table.classes if self.data.table else (),
        )
        self.stages = plan_stages(config, self.data, parent, finetune=finetune, own=self.own)
        if self.folder.manifest and not rerun:
            check_folder(self.folder, self.stages, config, self.data, self.own)
        self.todo = unfinished(self.folder, self.stages, rerun=rerun)
        self.tests = self.test and self.stages[-1].name == FINETUNE and not self._has_result()
        self.telling = Telling(config, self.folder, self.data, self.stages, parent, self.own, self.reporter)

    def _has_result(self) -> bool:
        try:
            self.folder.result()
        except StageError as damage:
            if (self.folder.path / "result.json").exists():
                self.reporter.say(str(damage))
            return False
        return not self.todo

    def run(self) -> RunFolder:
        """Do what is left to do."""
        settled = not self._left_over() and self._has_preprocessing()
        if not self.todo and not self.tests and not self.telling.untold() and settled:
            self.reporter.say(f"{self.folder.path} is finished already: nothing to train")
            return self.folder
        # All processes have looked at the folder before one of them changes it.
        distributed.barrier()
        with self.folder.locked():
            self._work()
        return self.folder

    def _has_preprocessing(self) -> bool:
        if not self.folder.manifest:
            return False
        try:
            self.folder.preprocessing()
        except StageError as damage:
            self.reporter.say(str(damage))
            return False
        return True

    def _left_over(self) -> list[Path]:
        """Return what done stages need no more, and a killed process could not take away."""
        done = [stage.name for stage in self.stages if stage not in self.todo]
        patterns = ("*.ckpt", "codes_*.npy") if not self.todo else ("*.ckpt",)
        return [file for name in done for pattern in patterns for file in self.folder.folder(name).glob(pattern)]

    def _work(self) -> None:
        open_folder(self.folder, self.stages, self.config, self.data, self.parent, self.own)
        if distributed.first():
            for file in self._left_over():
                file.unlink(missing_ok=True)
        distributed.barrier()
        with self.telling:
            layers = self._layers()
            if self.stages[-1].name == FINETUNE:
                self._finetune(layers)

    def _layers(self) -> list[DenoisingLayer]:
        """Return the layers to stack: trained here, trained by the parent, or with their first weights."""
        if self.parent is not None:
            return load_layers(self.parent, self.data, self.parts)
        layers = build_layers(self.config, self.data.inputs, self.data.table, self.parts)
        own = [stage for stage in self.stages if stage.name != FINETUNE]
        if any(stage in self.todo for stage in own) or (own and self.telling.wants_layers()):
            with self.telling.pretraining() as job:
                self._pretrain(layers, own, job)
        else:
            for layer, stage in zip(layers, own, strict=False):
                layer.load_state_dict(load_file(self.folder.weights(stage.name)), strict=True)
        return layers

    def _pretrain(self, layers: list[DenoisingLayer], stages: list[Stage], job: Job) -> None:
        """Train the layers that are to be trained; the codes of those below are made once, from clean inputs."""
        inputs: list[Inputs] = [self.data.train.inputs, self.data.valid.inputs]
        for k, (layer, stage, config) in enumerate(zip(layers, stages, self.config.layers(), strict=True)):
            if stage in self.todo:
                task = PretrainTask(
                    layer,
                    stage.name,
                    self.config.seed,
                    partial(make_optimizer, config.optimizer, lr=config.lr, options=config.options),
                )
                train, valid = (self._loader(rows, None, config.batch_size) for rows in inputs)
                self._fit(stage, task, train, valid, config.epochs, job)
                self._finish(stage, layer)
            else:
                layer.load_state_dict(load_file(self.folder.weights(stage.name)), strict=True)
                self.telling.again(stage.name, job)
            if any(later in self.todo for later in stages[k + 1 :]):
                inputs = [
                    self._codes(layer, stage, rows, config.units, part)
                    for rows, part in zip(inputs, ("train", "valid"), strict=True)
                ]
        distributed.barrier()
        for file in [file for stage in stages for file in self.folder.folder(stage.name).glob("codes_*.npy")]:
            file.unlink(missing_ok=True)
        if job.watched:
            job.picture(layer_pictures([layer.cpu() for layer in layers], self.data, self.config.seed))
            self.telling.keep("layers", stages, job)

    def _loader(
        self,
        inputs: Inputs,
        labels: NDArray[np.int64] | None,
        batch_size: int,
        kept: NDArray[np.int64] | None = None,
    ) -> ChunkLoader:
        return ChunkLoader(inputs, labels, batch_size, self.device, kept, self.config.data.budget_bytes)

    def _codes(self, layer: DenoisingLayer, stage: Stage, rows: Inputs, units: int, part: str) -> Inputs:
        self.reporter.start(f"{stage.name} codes ({part})", len(rows), "rows")
        codes = make_codes(
            layer.to(self.device).encode,
            rows,
            units,
            self.device,
            file=self.folder.folder(stage.name) / f"codes_{part}.npy",
            budget_bytes=self.config.data.budget_bytes,
            advance=self.reporter.advance,
        )
        self.reporter.stop()
        return codes

    def _finetune(self, layers: list[DenoisingLayer]) -> None:
        config, stage = self.config.finetune, self.stages[-1]
        stack = build_stack(self.config, self.data.inputs, self.data.classes)
        with self.telling.finetuning() as job:
            if stage in self.todo:
                task = FinetuneTask(
                    stack.take(layers),
                    stage.name,
                    self.config.seed,
                    partial(
                        make_optimizer, config.optimizer.name, lr=config.optimizer.lr, options=config.optimizer.options
                    ),
                    config.patience,
                    config.dropout,
                )
                rows, kept = self.data.train, self.labelled
                train = self._loader(rows.inputs, rows.labels, config.batch_size, kept)
                valid = self._loader(self.data.valid.inputs, self.data.valid.labels, config.batch_size)
                self._fit(stage, task, train, valid, config.epochs, job)
                stack.load_state_dict(task.best_weights, strict=True)
                self._finish(stage, stack, best_epoch=task.best_epoch, best_valid_error_percent=task.best_figure)
            else:
                self.telling.again(stage.name, job)
            if self.tests:
                stack.load_state_dict(load_file(self.folder.weights(stage.name)), strict=True)
                # All selection is over: the test rows are read here, for the first and only time.
                self._write_result(stack, score(stack, self.data.load_test(), self.device))
            distributed.barrier()
            if self.test:
                result = self.folder.result()
                told = {name: value for name, value in result.items() if name not in _UNTOLD}
                job.summarise(told)
                if job.watched:
                    job.picture({"confusion": confusion(result, self.data.table.classes if self.data.table else ())})
            self.telling.keep("classifier", [stage], job, *(["result.json"] if self.test else []))

    def _fit(
        self, stage: Stage, task: ChunkedTask, train: ChunkLoader, valid: ChunkLoader, epochs: int, job: Job
    ) -> None:
        self.folder.record(stage.name, status="running")
        fit_stage(
            task,
            train,
            valid,
            epochs=epochs,
            metrics=self.folder.metrics(stage.name),
            trainer=self.config.trainer,
            reporter=self.reporter,
            job=job,
            stamp=stage.fingerprint,
            loggers=self.config.tracking.loggers,
        )

    def _finish(self, stage: Stage, module: nn.Module, **entry: Any) -> None:
        """Write a stage's weights, mark it done, and let its checkpoint go."""
        folder = self.folder.folder(stage.name)
        weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
        if distributed.first():
            write_atomically(folder / "weights.safetensors", lambda file: file.write(save(weights)))
        distributed.barrier()
        rows = self.folder.metrics(stage.name).rows()
        seconds = round(sum(row["seconds"] for row in rows), 3)
        self.folder.finish(stage.name, epochs=len(rows), seconds=seconds, **entry)
        (folder / "checkpoint.ckpt").unlink(missing_ok=True)

    def _write_result(self, stack: EncoderStack, test: Score) -> None:
        entries = self.folder.manifest["stages"]
        result = {
            "dataset": self.data.name,
            "model": self.config.model,
            "seed": self.config.seed,
            "labels_per_class": self.config.data.labels_per_class,
            "test_error_percent": test.error_percent,
            "test_error_ci95_percent": test.ci95_percent,
            "n_test": test.n,
            "best_valid_error_percent": entries[FINETUNE]["best_valid_error_percent"],
            "best_epoch": entries[FINETUNE]["best_epoch"],
            "parameters": sum(p.numel() for p in stack.parameters()),
            "seconds": round(sum(entry["seconds"] for entry in entries.values()), 3),
            "confusion": test.confusion,
            "weights_sha256": entries[FINETUNE]["sha256"],
            "test_rows": test.rows,
            "versions": {
                "stacked_dae": __version__,
                "torch": torch.__version__,
                "pytorch_lightning": version("pytorch-lightning"),
                "python": platform.python_version(),
            },
        }
        self.folder.write_result(result)
