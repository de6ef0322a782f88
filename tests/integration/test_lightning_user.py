"""What a Lightning user tries with the tasks, each with a real Trainer.

The numbers are the rows of the table in docs/lightning.md.
"""

from __future__ import annotations

import copy
import csv
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.small_runs import blobs, small
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    Callback,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    StochasticWeightAveraging,
    Timer,
    TQDMProgressBar,
)
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.tuner import Tuner
from pytorch_lightning.utilities import CombinedLoader
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score

import stacked_dae
from stacked_dae import (
    CodesDataModule,
    ConfigError,
    DAEDataModule,
    DataError,
    EncoderStack,
    FinetuneTask,
    FixedMasking,
    PretrainTask,
    RegressionTask,
    fit,
    pretrain_greedy,
)
from stacked_dae.lightning import __main__ as lightning_main
from stacked_dae.nn.updates import ParameterUpdater
from stacked_dae.utils.seeding import derive_seed

D, H, CLASSES, BATCH = 12, 6, 3, 46
DATA = blobs()
# 230 training rows: five minibatches per epoch.
X, Y = torch.from_numpy(DATA.train.inputs), torch.from_numpy(DATA.train.labels)
VX, VY = torch.from_numpy(DATA.valid.inputs), torch.from_numpy(DATA.valid.labels)
UPDATES = 5

pytestmark = pytest.mark.filterwarnings("ignore")


def trainer(epochs=2, **arguments):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    if not any(isinstance(c, ModelCheckpoint) for c in arguments.get("callbacks", [])):
        quiet["enable_checkpointing"] = False
    return pl.Trainer(**{**quiet, "max_epochs": epochs, **arguments})


def module(seed=0, **arguments):
    return DAEDataModule.from_dataset(DATA, batch_size=BATCH, seed=seed, **arguments)


def task(seed=0, **arguments):
    return PretrainTask(D, H, seed=seed, **arguments)


def classifier(**arguments):
    return FinetuneTask([(D, H, "sigmoid")], CLASSES, seed=0, **arguments)


def either(kind, **arguments):
    return task(**arguments) if kind == "pretrain" else classifier(**arguments)


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


KINDS = pytest.mark.parametrize("kind", ["pretrain", "finetune"])


def rows_of(logger):
    """Return the rows that a CSVLogger wrote."""
    return list(csv.DictReader(Path(logger.log_dir, "metrics.csv").read_text().splitlines()))


class Rates(Callback):
    """Keeps the learning rate of each update, and counts them."""

    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def test_1_the_lightning_classes_are_exported():
    for name in ("PretrainTask", "FinetuneTask", "RegressionTask"):
        assert issubclass(getattr(stacked_dae, name), pl.LightningModule)
    for name in ("DAEDataModule", "CodesDataModule"):
        assert issubclass(getattr(stacked_dae, name), pl.LightningDataModule)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


class Dicts(torch.utils.data.Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, k):
        return {"pixel_values": X[k], "label": Y[k]}


class OwnData(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(X, Y), BATCH, shuffle=True)

    def val_dataloader(self):
        return DataLoader(TensorDataset(VX, VY), BATCH)


def loaders(kind):
    rows = TensorDataset(X, Y)
    return {
        "loader": lambda: DataLoader(rows, BATCH),
        "workers": lambda: DataLoader(rows, BATCH, num_workers=1),
        "iterable": lambda: DataLoader(Stream(), BATCH),
        "dicts": lambda: DataLoader(Dicts(), BATCH),
        "combined": lambda: CombinedLoader([DataLoader(rows, BATCH), DataLoader(rows, BATCH)], "max_size"),
    }[kind]()


@KINDS
@pytest.mark.parametrize("data", ["loader", "workers", "iterable", "dicts", "combined"])
def test_2_any_loader(kind, data):
    made = either(kind, lr=0.5)
    before = weights(made)
    run = trainer()
    run.fit(made, loaders(data))
    assert run.global_step == 2 * UPDATES
    assert not any(torch.equal(value, before[name]) for name, value in weights(made).items() if value.numel() > 1)


@KINDS
def test_2_a_data_module_of_the_users(kind):
    run = trainer()
    run.fit(either(kind), datamodule=OwnData())
    assert {"train_loss", "valid_loss"} <= run.callback_metrics.keys()


def test_2_combined_batches_are_joined():
    run = trainer(1)
    some = {"a": DataLoader(TensorDataset(X, Y), BATCH), "b": DataLoader(TensorDataset(X), BATCH)}
    run.fit(task(), CombinedLoader(some, "min_size"))
    assert run.global_step == UPDATES


@KINDS
def test_3_the_default_trainer_and_validate_on_a_fresh_task(kind, tmp_path):
    run = pl.Trainer(default_root_dir=tmp_path, max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    run.fit(either(kind), datamodule=module())
    assert list(tmp_path.rglob("*.ckpt"))
    (found,) = trainer().validate(either(kind), datamodule=module(), verbose=False)
    assert found["valid_loss"] > 0


@KINDS
def test_4_training_without_validation_logs_its_loss(kind):
    run = trainer()
    run.fit(either(kind), DataLoader(TensorDataset(X, Y), BATCH))
    assert run.callback_metrics["train_loss"] > 0
    assert "valid_loss" not in run.callback_metrics


@KINDS
@pytest.mark.parametrize("options", [{}, {"optimizer": "adam", "lr": 0.01, "optimizer_options": {"betas": [0.8, 0.9]}}])
def test_5_hyperparameters_and_load_from_checkpoint(kind, options, tmp_path):
    made = either(kind, **options)
    run = trainer()
    run.fit(made, datamodule=module())
    run.save_checkpoint(tmp_path / "task.ckpt")
    assert made.hparams["lr"] == options.get("lr", 0.1)
    loaded = type(made).load_from_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    assert same(weights(loaded), weights(made))
    assert dict(loaded.hparams) == dict(made.hparams)
    assert torch.equal(loaded(VX), made(VX))


def test_5_what_is_no_plain_value_is_given_again(tmp_path):
    pair = {"encoder": nn.Linear(D, H), "decoder": nn.Linear(H, D)}
    made = PretrainTask(**pair, loss="squared_error")
    run = trainer(1)
    run.fit(made, datamodule=module())
    run.save_checkpoint(tmp_path / "task.ckpt")
    again = {"encoder": nn.Linear(D, H), "decoder": nn.Linear(H, D)}
    loaded = PretrainTask.load_from_checkpoint(tmp_path / "task.ckpt", weights_only=True, **again)
    assert same(weights(loaded), weights(made))
    assert PretrainTask(D, H, corruption=FixedMasking(0.4)).hparams["nu"] == 0.4


@KINDS
@pytest.mark.parametrize("scheduler", [None, "CosineAnnealingLR"])
def test_6_a_resumed_training_is_the_same_to_the_bit(kind, scheduler, tmp_path):
    options = {"optimizer": "adam", "lr": 0.01, "lr_scheduler": scheduler, "scheduler_options": {}}
    if scheduler:
        options["scheduler_options"] = {"T_max": 4}
    options |= {} if kind == "pretrain" else {"dropout": 0.2}
    whole = either(kind, **options)
    trainer(4).fit(whole, datamodule=module())
    begun, run = either(kind, **options), trainer(2)
    run.fit(begun, datamodule=module())
    run.save_checkpoint(tmp_path / "two.ckpt")
    resumed = either(kind, **options)
    trainer(4).fit(resumed, datamodule=module(), ckpt_path=tmp_path / "two.ckpt", weights_only=True)
    assert same(weights(resumed), weights(whole))
    assert not same(weights(begun), weights(whole))


@KINDS
def test_7_callbacks_of_lightning(kind, tmp_path):
    stopping = EarlyStopping("valid_loss", patience=1, min_delta=1e9)
    best = ModelCheckpoint(tmp_path, monitor="valid_loss", mode="min")
    watching = [Timer("00:00:10:00"), TQDMProgressBar(), ModelSummary()]
    shown = {"enable_progress_bar": True, "enable_model_summary": True, "profiler": "simple"}
    run = trainer(9, callbacks=[stopping, best, *watching], **shown)
    run.fit(either(kind), datamodule=module())
    assert run.current_epoch == 2
    assert Path(best.best_model_path).exists()


@KINDS
def test_7_max_time_ends_the_training(kind):
    run = trainer(-1, max_time={"seconds": 1})
    run.fit(either(kind), datamodule=module())
    assert run.global_step > 0


def lr_of(scheduler, options, interval, epochs=3):
    """Return the rates that torch's own scheduler gives, one for each update."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    made = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **options)
    rates = []
    for _ in range(epochs):
        for _ in range(UPDATES):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if interval == "step":
                made.step()
        if interval == "epoch":
            made.step()
    return rates


@KINDS
@pytest.mark.parametrize(
    ("scheduler", "options", "interval", "filled"),
    [
        ("StepLR", {"step_size": 1, "gamma": 0.5}, "epoch", {}),
        ("ExponentialLR", {"gamma": 0.9}, "step", {}),
        ("CosineAnnealingLR", {}, "epoch", {"T_max": 3}),
        ("CosineAnnealingLR", {}, "step", {"T_max": 3 * UPDATES}),
        ("OneCycleLR", {}, "step", {"max_lr": 0.1, "total_steps": 3 * UPDATES}),
    ],
)
def test_8_9_schedulers_are_obeyed(kind, scheduler, options, interval, filled):
    rates = Rates()
    made = either(kind, lr=0.1, lr_scheduler=scheduler, scheduler_options=options, lr_interval=interval)
    trainer(3, callbacks=[rates]).fit(made, datamodule=module())
    assert rates.rates == pytest.approx(lr_of(scheduler, {**options, **filled}, interval))


@KINDS
def test_8_9_plateau_a_function_and_the_monitor(kind, tmp_path):
    plateau = either(kind, lr_scheduler="ReduceLROnPlateau", scheduler_options={"patience": 0, "threshold": 1e9})
    rates = Rates()
    trainer(4, callbacks=[rates]).fit(plateau, datamodule=module())
    assert rates.rates[0] == 0.1
    assert rates.rates[-1] == pytest.approx(0.1 * 0.1**2, rel=0.99)
    own = either(
        kind, lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (1 + k))
    )
    logger = CSVLogger(tmp_path)
    trainer(3, callbacks=[LearningRateMonitor()], logger=logger, log_every_n_steps=1).fit(own, datamodule=module())
    rows = rows_of(logger)
    assert sorted({float(row["lr-SGD"]) for row in rows if row.get("lr-SGD")}) == pytest.approx([0.1 / 3, 0.05, 0.1])


@KINDS
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_10_gradient_clipping(kind, optimizer):
    made = either(kind, optimizer=optimizer, lr=0.1)
    before = weights(made)
    norms = []

    class Norm(Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            grads = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
            norms.extend([float(torch.cat(grads).norm())] if grads else [])

    trainer(1, gradient_clip_val=0.01, callbacks=[Norm()]).fit(made, datamodule=module())
    assert norms
    assert max(norms) <= 0.0101
    assert not same(weights(made), before)


@KINDS
def test_10_accumulation_makes_one_update_of_several_minibatches(kind):
    run, rates = trainer(1, accumulate_grad_batches=2), Rates()
    run.fit(either(kind), datamodule=module())
    assert run.global_step == 3
    run = trainer(2, callbacks=[GradientAccumulationScheduler({1: 4}), rates])
    run.fit(either(kind), datamodule=module())
    assert len(rates.rates) == UPDATES + 2


@KINDS
def test_11_12_weight_averaging(kind):
    swa = StochasticWeightAveraging(swa_lrs=0.03, swa_epoch_start=1, annealing_epochs=1)
    made, seen = either(kind), []

    class Starts(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            seen.append(weights(pl_module))

    rates = Rates()
    trainer(4, callbacks=[Starts(), rates, swa]).fit(made, datamodule=module())
    assert min(rates.rates) == pytest.approx(0.03)
    # SWA averages the weights with which its epochs begin.
    mean = {name: torch.stack([epoch[name] for epoch in seen]).mean(0) for name in seen[0]}
    for name, value in weights(made).items():
        torch.testing.assert_close(value, mean[name], rtol=1e-4, atol=1e-5)


@KINDS
def test_12_an_average_of_every_update(kind):
    from pytorch_lightning.callbacks import EMAWeightAveraging

    average, made = EMAWeightAveraging(decay=0.9), either(kind)
    start, seen = weights(made), []

    class Updates(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append({n: v.detach().clone() for n, v in pl_module.named_parameters()})

    trainer(1, callbacks=[Updates(), average]).fit(made, datamodule=module())
    wanted = {name: start[name] for name in seen[0]}
    for k, update in enumerate(seen):
        wanted = update if k == 0 else {n: 0.9 * wanted[n] + 0.1 * update[n] for n in wanted}
    for name, value in made.named_parameters():
        torch.testing.assert_close(value.detach(), wanted[name], rtol=1e-4, atol=1e-5)


def test_13_frozen_parameters_stay_still():
    made = task()
    made.autoencoder.weight.requires_grad_(False)
    before = weights(made)
    trainer().fit(made, datamodule=module())
    moved = {name for name, value in weights(made).items() if not torch.equal(value, before[name])}
    assert moved == {"autoencoder.bias", "autoencoder.decoder_bias"}
    made = classifier(freeze=True)
    before = weights(made)
    trainer().fit(made, datamodule=module())
    assert {n for n, v in weights(made).items() if not torch.equal(v, before[n])} == {"head.weight", "head.bias"}


def test_13_backbone_finetuning():
    class Unfreezing(BaseFinetuning):
        def freeze_before_training(self, pl_module):
            self.freeze(pl_module.encoders)

        def finetune_function(self, pl_module, epoch, optimizer):
            if epoch == 1:
                self.unfreeze_and_add_param_group(pl_module.encoders, optimizer)

    made, seen = classifier(), []
    start = made.encoders[0].weight.detach().clone()

    class Ends(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            seen.append(torch.equal(pl_module.encoders[0].weight, start))

    trainer(3, callbacks=[Unfreezing(), Ends()]).fit(made, datamodule=module())
    assert seen == [True, False, False]
    made.backbone = made.encoders
    trainer(1, callbacks=[BackboneFinetuning(1)]).fit(made, datamodule=module())


@KINDS
def test_14_gradient_hooks_are_called(kind):
    made, calls = either(kind), []
    next(made.parameters()).register_hook(lambda grad: calls.append(1))
    trainer(1).fit(made, datamodule=module())
    assert len(calls) == UPDATES


@KINDS
@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed", "32-true"])
def test_15_precision(kind, precision):
    made = either(kind, lr=0.05)
    run = trainer(2, precision=precision)
    run.fit(made, datamodule=module())
    assert torch.isfinite(run.callback_metrics["valid_loss"])
    wanted = {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    assert next(made.parameters()).dtype == wanted


@KINDS
@pytest.mark.parametrize(
    ("options", "updates"),
    [
        ({"fast_dev_run": True}, 1),
        ({"overfit_batches": 2}, 4),
        ({"limit_train_batches": 3}, 6),
        ({"limit_train_batches": 0.5}, 4),
        ({"max_steps": 7}, 7),
    ],
)
def test_16_limits_count_minibatches(kind, options, updates):
    rates = Rates()
    run = trainer(2, callbacks=[rates], **options)
    run.fit(either(kind), datamodule=module())
    assert len(rates.rates) == updates
    assert run.global_step == updates


@KINDS
def test_16_validation_within_an_epoch(kind):
    made, seen = either(kind), []

    class Validations(Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append(trainer.global_step)

    trainer(1, callbacks=[Validations()], val_check_interval=2).fit(made, datamodule=module())
    assert seen[-2:] == [2, 4]


def test_17_a_limited_validation_is_the_mean_of_its_rows():
    made = task()
    (found,) = trainer(limit_val_batches=1).validate(made, datamodule=module(), verbose=False)
    wanted = made.autoencoder.loss(VX[:BATCH]).mean()
    assert found["valid_loss"] == pytest.approx(float(wanted), rel=1e-5)
    (found,) = trainer().validate(made, datamodule=module(), verbose=False)
    assert found["valid_loss"] == pytest.approx(float(made.autoencoder.loss(VX).mean()), rel=1e-5)


@KINDS
def test_18_the_rate_finder_and_the_batch_size_scaler(kind, tmp_path):
    made, data = either(kind), module()
    run = trainer(9, default_root_dir=tmp_path)
    found = Tuner(run).lr_find(made, datamodule=data, num_training=20)
    assert len(found.results["lr"]) >= 20
    assert made.lr == found.suggestion()
    run = trainer(1, default_root_dir=tmp_path)
    Tuner(run).scale_batch_size(made, datamodule=data, init_val=4, max_trials=3)
    assert data.batch_size == 16


def test_19_forward_test_predict_and_export(tmp_path):
    made, deep = task(), classifier()
    (found,) = trainer().test(made, datamodule=module(), verbose=False)
    test = DATA.load_test()
    assert found["test_loss"] == pytest.approx(
        float(made.autoencoder.loss(torch.from_numpy(test.inputs)).mean()), rel=1e-5
    )
    codes = torch.cat(trainer().predict(made, datamodule=module()))
    assert torch.allclose(codes, made(torch.from_numpy(test.inputs)), atol=1e-6)
    (found,) = trainer().test(deep, datamodule=module(), verbose=False)
    wrong = (deep(torch.from_numpy(test.inputs)).argmax(1).numpy() != test.labels).mean()
    assert found["test_error_percent"] == pytest.approx(100 * wrong, abs=1e-3)
    probabilities = torch.cat(trainer().predict(deep, datamodule=module()))
    assert torch.allclose(probabilities.sum(1), torch.ones(len(test)))
    for model in (made, deep):
        exported = torch.export.export(model.eval(), (VX,))
        assert torch.allclose(exported.module()(VX), model(VX), atol=1e-6)
        scripted = model.to_torchscript(method="trace", example_inputs=VX)
        assert torch.allclose(scripted(VX), model(VX), atol=1e-6)


def test_20_example_inputs_and_the_summary():
    for made, shape in ((task(), [2, H]), (classifier(), [2, CLASSES])):
        summary = pl.utilities.model_summary.ModelSummary(made, max_depth=2)
        assert made(made.example_input_array).shape == tuple(shape)
        assert summary.total_parameters == sum(p.numel() for p in made.parameters())
        assert summary.in_sizes


def test_21_metrics_of_the_users_choice():
    scores = MetricCollection({"f1": MulticlassF1Score(CLASSES), "auroc": MulticlassAUROC(CLASSES)})
    made, run = classifier(metrics=scores, lr=0.5), trainer(3)
    run.fit(made, datamodule=module())
    wanted = scores.clone()
    wanted.update(made(VX), VY)
    for name, value in wanted.compute().items():
        assert run.callback_metrics[f"valid_{name}"] == pytest.approx(float(value), abs=1e-6)
    (found,) = run.test(made, datamodule=module(), verbose=False)
    assert {"test_f1", "test_auroc"} <= found.keys()
    rebuilt, run = task(metrics=MeanSquaredError()), trainer(1)
    run.fit(rebuilt, datamodule=module())
    wanted = (rebuilt.reconstruct(VX) - VX).square().mean()
    assert run.callback_metrics["valid_MeanSquaredError"] == pytest.approx(float(wanted), rel=1e-5)


@KINDS
def test_22_several_validation_loaders(kind):
    made, run = either(kind), trainer(1)
    valid = [DataLoader(TensorDataset(VX, VY), BATCH), DataLoader(TensorDataset(X, Y), BATCH)]
    run.fit(made, DataLoader(TensorDataset(X, Y), BATCH), valid)
    found = run.callback_metrics
    assert {"valid_loss/dataloader_idx_0", "valid_loss/dataloader_idx_1"} <= found.keys()
    assert found["valid_loss/dataloader_idx_0"] != found["valid_loss/dataloader_idx_1"]


@pytest.mark.parametrize(
    "model",
    [
        ["PretrainTask", "--model.inputs", "64", "--model.units", "9", "--model.lr_scheduler", "CosineAnnealingLR"],
        ["FinetuneTask", "--model.encoders", "[[64, 9, sigmoid]]", "--model.num_classes", "10"],
    ],
)
def test_23_lightning_cli(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = "--trainer.max_epochs 1 --trainer.accelerator cpu --trainer.limit_train_batches 3".split()
    monkeypatch.setattr(sys, "argv", ["lightning", "fit", "--model", *model, "--data.batch_size", "50", *options])
    lightning_main.main()
    (config,) = tmp_path.rglob("config.yaml")
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 3
    monkeypatch.setattr(sys, "argv", ["lightning", "fit", "--config", str(config), "--trainer.max_epochs", "2"])
    lightning_main.main()
    newest = max(tmp_path.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    assert torch.load(newest, weights_only=True)["global_step"] == 6


@KINDS
def test_24_loggers_count_minibatches(kind, tmp_path):
    logger = CSVLogger(tmp_path)
    trainer(2, logger=[logger, TensorBoardLogger(tmp_path)], log_every_n_steps=1).fit(either(kind), datamodule=module())
    rows = rows_of(logger)
    assert {int(row["step"]) for row in rows if row["train_loss"]} == {UPDATES - 1, 2 * UPDATES - 1}


def test_25_parameter_groups_and_two_optimisers():
    class Groups(FinetuneTask):
        def configure_optimizers(self):
            groups = [{"params": self.encoders.parameters(), "lr": 0.0}, {"params": self.head.parameters()}]
            return torch.optim.SGD(groups, lr=0.1)

    made = Groups([(D, H, "sigmoid")], CLASSES, seed=0)
    before = weights(made)
    trainer().fit(made, datamodule=module())
    assert {n for n, v in weights(made).items() if not torch.equal(v, before[n])} == {"head.weight", "head.bias"}

    class Two(PretrainTask):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.automatic_optimization = False

        def configure_optimizers(self):
            encoder = [self.autoencoder.weight, self.autoencoder.bias]
            return torch.optim.SGD(encoder, lr=0.1), torch.optim.SGD([self.autoencoder.decoder_bias], lr=0.0)

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()

    two = Two(D, H, seed=0)
    before = weights(two)
    trainer().fit(two, datamodule=module())
    moved = {name for name, value in weights(two).items() if not torch.equal(value, before[name])}
    assert moved == {"autoencoder.weight", "autoencoder.bias"}


class ConvolutionInFront(PretrainTask):
    """A layer with a convolution in front, whose training does not know of it."""

    def __init__(self):
        super().__init__(D, H, seed=0)
        self.convolution = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x):
        return super().forward(self.convolution(x[:, None])[:, 0].sigmoid())


class Convolutional(ConvolutionInFront):
    """The same, trained by what it computes."""

    def training_step(self, batch, batch_idx):
        x = batch[0]
        loss = (self.decode(self(x)) - x).square().sum(1).mean()
        self.log("train_loss", loss)
        return loss


def test_26_a_convolution_by_subclassing_trains():
    made = Convolutional()
    before = weights(made)
    trainer().fit(made, datamodule=module())
    assert not torch.equal(made.convolution.weight, before["convolution.weight"])
    deep = FinetuneTask([made], CLASSES, head=nn.Linear(H, CLASSES))
    assert torch.equal(deep.encoders[0](X), made(X)), "the convolution is stacked too"
    with pytest.raises(ConfigError, match="overrides forward, which training does not call"):
        trainer().fit(ConvolutionInFront(), datamodule=module())


def conv_pair():
    torch.manual_seed(3)
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Sigmoid())
    return encoder, nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, output_padding=(1, 0))


def images(n=230):
    return TensorDataset(X[:n].reshape(-1, 1, 4, 3), Y[:n])


def test_27_any_encoder_and_decoder_and_image_batches():
    encoder, decoder = conv_pair()
    made = PretrainTask(encoder=encoder, decoder=decoder, corruption="masking", lr=0.05, seed=0)
    before, run = weights(made), trainer(10)
    run.fit(made, DataLoader(images(), BATCH), DataLoader(images(60), BATCH))
    assert not any(torch.equal(value, before[name]) for name, value in weights(made).items())
    first = PretrainTask(encoder=conv_pair()[0], decoder=conv_pair()[1]).autoencoder.loss(images()[:][0]).mean()
    assert run.callback_metrics["train_loss"] < first
    assert made(images()[:][0]).shape == (230, 4, 2, 2)
    head = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))
    deep = FinetuneTask([made], CLASSES, head=head, optimizer="adam", lr=0.02)
    assert torch.equal(deep.encoders[0][0].weight, made.autoencoder.encoder[0].weight)
    run = trainer(20)
    run.fit(deep, DataLoader(images(), BATCH, shuffle=True), DataLoader(images(60), BATCH))
    assert run.callback_metrics["valid_error_percent"] < 15
    assert torch.equal(made.autoencoder.encoder[0].weight, weights(made)["autoencoder.encoder.0.weight"])


@pytest.mark.parametrize("freeze", [False, True])
def test_27_statistics_of_an_encoder_follow_fine_tuning_unless_it_is_frozen(freeze):
    encoder = nn.Sequential(nn.Linear(D, H), nn.BatchNorm1d(H), nn.Sigmoid())
    made = PretrainTask(encoder=encoder, decoder=nn.Linear(H, D), lr=0.05)
    pretrain_greedy([made], module(), lambda k: trainer(1))
    tuned = FinetuneTask([made], CLASSES, head=nn.Linear(H, CLASSES), freeze=freeze)
    before = tuned.encoders[0][1].running_mean.clone()
    trainer(1).fit(tuned, datamodule=module())
    assert torch.equal(before, tuned.encoders[0][1].running_mean) == freeze


@pytest.mark.parametrize("by", ["pixel", "channel"])
def test_27_images_are_corrupted_by_groups(by, tmp_path):
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Sigmoid())
    decoder = nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, output_padding=(1, 0))
    made = PretrainTask(encoder=encoder, decoder=decoder, corruption="masking", corrupt_by=by, alpha=2.0, lr=0.05)
    before = weights(made)
    keep = ModelCheckpoint(tmp_path)
    trainer(2, callbacks=[keep]).fit(made, datamodule=DAEDataModule.from_dataset(DATA, images=True, batch_size=BATCH))
    assert not any(torch.equal(value, before[name]) for name, value in weights(made).items())
    loaded = PretrainTask.load_from_checkpoint(keep.best_model_path, encoder=encoder, decoder=decoder)
    assert repr(loaded.autoencoder.corruption) == repr(made.autoencoder.corruption)
    with pytest.raises(DataError, match="needs images of shape"):
        trainer(1).fit(made, datamodule=module())


def test_28_callbacks_loggers_arguments_and_schedules_through_fit(tmp_path):
    config = small()
    optimizer = replace(config.pretrain.optimizer, scheduler="OneCycleLR", scheduler_interval="step")
    config = replace(config, pretrain=replace(config.pretrain, optimizer=optimizer))
    seen = {}

    class Watch(Callback):
        state_key = "Watch"

        def on_train_end(self, trainer, pl_module):
            seen[pl_module.stage] = (pl_module, trainer.global_step, trainer.optimizers[0].param_groups[0]["lr"])

    run = fit(
        config,
        tmp_path / "run",
        dataset=DATA,
        callbacks=lambda stage: [Watch(), EarlyStopping("valid_loss", patience=9)],
        logger=lambda stage: CSVLogger(tmp_path, name=stage),
        trainer={"limit_train_batches": 7},
        metrics=MulticlassF1Score(CLASSES),
    )
    assert list(seen) == ["layer_1", "layer_2", "finetune"]
    assert isinstance(seen["layer_1"][0], PretrainTask)
    assert isinstance(seen["finetune"][0], FinetuneTask)
    assert seen["layer_1"][1] == 21
    assert seen["layer_1"][2] < 0.01
    assert "valid_MulticlassF1Score" in run.metrics("finetune").rows()[0]
    assert (tmp_path / "layer_2" / "version_0" / "metrics.csv").exists()


def test_29_the_task_stops_nothing_and_best_weights_come_back(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="valid_error_percent", mode="min")
    run = trainer(8, callbacks=[best])
    made = classifier(lr=0.5)
    run.fit(made, datamodule=module())
    assert run.current_epoch == 8
    (found,) = run.validate(ckpt_path="best", datamodule=module(), verbose=False, weights_only=True)
    assert found["valid_error_percent"] == pytest.approx(float(best.best_model_score))


def test_31_seed_everything_decides_all():
    def trained():
        pl.seed_everything(5)
        made = PretrainTask(D, H)
        trainer().fit(made, datamodule=DAEDataModule.from_dataset(DATA))
        return weights(made)

    assert same(trained(), trained())

    def seeded(noise):
        pl.seed_everything(noise)
        made = task(seed=1)
        trainer().fit(made, datamodule=module())
        return weights(made)

    assert same(seeded(1), seeded(2)), "a seed of its own does not depend on the global one"


def test_32_layers_in_a_module_of_the_users(tmp_path):
    run = fit(small(), tmp_path / "run", dataset=DATA)
    made = FinetuneTask.from_run(run.path)
    assert all(parameter.requires_grad for parameter in made.parameters())

    class Own(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.body, self.head = made.encoders, nn.Linear(8, CLASSES)

        def training_step(self, batch, batch_idx):
            y = batch[0]
            for encoder in self.body:
                y = encoder(y)
            return nn.functional.cross_entropy(self.head(y), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    own = Own()
    before = weights(own)
    trainer().fit(own, datamodule=module())
    assert not any(torch.equal(value, before[name]) for name, value in weights(own).items())


# Both routes, greedy pre-training, and data.


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_closed_form_gives_the_same_weights(tied, loss, optimizer):
    made = task(tied=tied, loss=loss, optimizer=optimizer, lr=0.01)
    layer = copy.deepcopy(made.autoencoder).double()
    trainer(3, precision="64-true").fit(made, datamodule=module())
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    updater = ParameterUpdater(kind(list(layer.parameters()), lr=0.01))
    for epoch in range(3):
        noise = torch.Generator().manual_seed(derive_seed(0, "corruption", epoch))
        order = torch.randperm(230, generator=torch.Generator().manual_seed(derive_seed(0, "shuffle", epoch)))
        for rows in order.split(BATCH):
            x = X[rows].double()
            layer.step(x, layer.corrupt(x, noise)[0], updater)
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(weights(made)[f"autoencoder.{name}"], value, rtol=1e-12, atol=1e-12)


def test_the_closed_form_of_fine_tuning_gives_the_same_weights():
    made = classifier(lr=0.1)
    stack = EncoderStack((D, H), ["sigmoid"], CLASSES).double()
    state = {name: value.double() for name, value in made.state_dict().items()}
    stack.load_state_dict(state)
    trainer(3, precision="64-true").fit(made, datamodule=module())
    updater = ParameterUpdater(torch.optim.SGD(list(stack.parameters()), lr=0.1))
    for epoch in range(3):
        order = torch.randperm(230, generator=torch.Generator().manual_seed(derive_seed(0, "shuffle", epoch)))
        for rows in order.split(BATCH):
            stack.step(X[rows].double(), Y[rows], updater)
    for name, value in stack.state_dict().items():
        torch.testing.assert_close(weights(made)[name], value, rtol=1e-12, atol=1e-12)


def layers():
    return [PretrainTask(D, 8, seed=1), PretrainTask(8, H, seed=2)]


@pytest.mark.parametrize("cache", ["memory", "disk", "never"])
def test_greedy_pre_training_equals_layer_by_layer_by_hand(cache):
    made = pretrain_greedy(layers(), module(), lambda k: trainer(2), cache=cache)
    first, second = layers()
    trainer(2).fit(first, datamodule=module())
    with torch.no_grad():
        codes = DAEDataModule.from_arrays(first(X), Y, valid=(first(VX), VY), batch_size=BATCH, seed=0)
    trainer(2).fit(second, datamodule=codes)
    assert same(weights(made[0]), weights(first))
    for name, value in weights(made[1]).items():
        # Encoded in minibatches or all at once, a matrix product may be rounded otherwise.
        torch.testing.assert_close(value, weights(second)[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("data", [OwnData, lambda: DataLoader(TensorDataset(X, Y), BATCH, shuffle=True)])
@pytest.mark.parametrize("cache", ["memory", "disk", "never"])
def test_greedy_pre_training_takes_any_data(data, cache):
    made = pretrain_greedy(layers(), data(), lambda k: trainer(2), cache=cache)
    assert [tuple(layer.autoencoder.weight.shape) for layer in made] == [(8, D), (H, 8)]
    assert not same(weights(made[1]), weights(layers()[1]))


def test_codes_are_those_of_a_run_folder(tmp_path):
    run = fit(small(), tmp_path / "run", dataset=DATA)
    model = stacked_dae.StackedDAE.from_run(run.path, "pretrained")
    data = CodesDataModule([*model.stack.layers], module())
    trainer().fit(PretrainTask(8, 4, loss="squared_error"), datamodule=data)
    codes, labels = data.part("train")
    assert np.array_equal(codes, model.encode(DATA.train.inputs))
    assert np.array_equal(labels, DATA.train.labels)


def test_greedy_pre_training_with_best_weights_and_resuming(tmp_path):
    def own(k):
        keep = ModelCheckpoint(tmp_path / str(k), monitor="valid_loss", save_last=True)
        return trainer(3, callbacks=[keep, EarlyStopping("valid_loss")])

    made = pretrain_greedy(layers(), module(), own, weights="best")
    for k, layer in enumerate(made):
        (best,) = [path for path in (tmp_path / str(k)).glob("*.ckpt") if path.name != "last.ckpt"]
        state = torch.load(best, weights_only=True)["state_dict"]
        assert all(torch.equal(layer.state_dict()[name], value) for name, value in state.items())
    again = pretrain_greedy(layers(), module(), lambda k: trainer(3), ckpt_paths=[tmp_path / "0" / "last.ckpt"])
    assert torch.isfinite(again[1].autoencoder.weight).all()


def test_a_regression(tmp_path):
    target = X.sum(1)
    data = DAEDataModule.from_arrays(X, target, valid=(VX, VX.sum(1)), batch_size=BATCH, seed=0)
    made, run = RegressionTask([(D, H, "tanh")], optimizer="adam", lr=0.03, seed=0), trainer(60)
    run.fit(made, datamodule=data)
    wanted = (made(VX)[:, 0] - VX.sum(1)).square().mean()
    assert run.callback_metrics["valid_loss"] == pytest.approx(float(wanted), rel=1e-4)
    assert wanted < 0.3 * VX.sum(1).var()
    run.save_checkpoint(tmp_path / "task.ckpt")
    loaded = RegressionTask.load_from_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    assert torch.equal(loaded(VX), made(VX))


def test_missing_values():
    holes = X.clone()
    holes[::3, 2] = float("nan")
    made = PretrainTask(D, H, missing=True, seed=0)
    data = DAEDataModule.from_arrays(holes, Y, valid=(holes, Y), batch_size=BATCH, seed=0)
    run = trainer(2)
    run.fit(made, datamodule=data)
    assert torch.isfinite(run.callback_metrics["train_loss"])
    assert torch.isfinite(run.callback_metrics["valid_loss"])
    deep = FinetuneTask([made], CLASSES)
    trainer(1).fit(deep, datamodule=data)
    assert torch.isfinite(deep(holes)).all()


def test_labelled_rows_of_each_class():
    labels = Y.clone()
    labels[::2] = -1
    data = DAEDataModule.from_arrays(X, labels, batch_size=BATCH, seed=0)
    x, _ = data.labelled().part("train")
    assert len(x) == int((labels >= 0).sum())
    assert np.bincount(data.labelled(5).part("train")[1]).tolist() == [5, 5, 5]
    with pytest.raises(DataError, match="leave out the rows without a label"):
        trainer(1).fit(classifier(), datamodule=data)


SHAPES = {"encoder": nn.Linear(D, H), "decoder": nn.Linear(5, D)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: trainer(1).fit(task(), DataLoader(TensorDataset(X[:, :7]), BATCH)), "takes 12 inputs per example"),
        (lambda: trainer(1).fit(task(), DataLoader(TensorDataset(X * 3), BATCH)), r"needs inputs in \[0, 1\]"),
        (lambda: trainer(1).fit(task(), DataLoader(TensorDataset(X - 9), BATCH)), r"needs inputs in \[0, 1\]"),
        (lambda: trainer(1).fit(task(), DataLoader(TensorDataset(X / 0), BATCH)), "NaN or infinite"),
        (lambda: trainer(1).fit(task(), DataLoader(TensorDataset(Y[:, None].repeat(1, D)), BATCH)), "not torch.int64"),
        (lambda: trainer(1).fit(task(), DataLoader([{"text": "a"}] * 9, 3)), "must be a tensor under one of"),
        (lambda: trainer(1).fit(classifier(), DataLoader(TensorDataset(X), BATCH)), "fine-tuning needs labels"),
        (lambda: trainer(1).fit(classifier(), DataLoader(TensorDataset(X, Y + 1), BATCH)), "labels must be 0 to 2"),
        (lambda: trainer(1).fit(classifier(), DataLoader(TensorDataset(X, X), BATCH)), "labels must be whole numbers"),
        (lambda: trainer(1).fit(PretrainTask(**SHAPES), DataLoader(TensorDataset(X), BATCH)), "does not take the"),
        (
            lambda: trainer(1).fit(
                PretrainTask(encoder=nn.Linear(D, H), decoder=nn.Linear(H, 7)), DataLoader(TensorDataset(X), BATCH)
            ),
            r"must return the shape of the inputs, \(46, 12\)",
        ),
        (lambda: PretrainTask(D), "either inputs and units, or encoder and decoder"),
        (lambda: PretrainTask(D, H, encoder=nn.Linear(D, H), decoder=nn.Linear(H, D)), "either inputs and units, or"),
        (lambda: PretrainTask(0, H), "at least 1"),
        (lambda: PretrainTask(D, H, corruption="fixed"), "corruption must be one of"),
        (lambda: PretrainTask(D, H, nu=1.5), r"nu must be in \[0, 1\]"),
        (lambda: PretrainTask(D, H, activation="sine"), "activation must be one of"),
        (lambda: PretrainTask(D, H, corrupt_by="pixel"), "give encoder= and decoder="),
        (lambda: PretrainTask(D, H, corrupt_by="pixels"), "must be value, pixel or channel, not 'pixels'"),
        (
            lambda: PretrainTask(
                encoder=nn.Linear(D, H), decoder=nn.Linear(H, D), corruption=len, corrupt_by="channel"
            ),
            "applies only to a corruption by name",
        ),
        (lambda: PretrainTask(D, H, loss="bce"), "loss must be"),
        (lambda: PretrainTask(D, H, lr=0), "lr must be above 0"),
        (lambda: PretrainTask(D, H, optimizer="adm"), "did you mean 'adam'"),
        (lambda: PretrainTask(D, H, optimizer_options={"momentun": 0.9}), "did you mean 'momentum'"),
        (lambda: PretrainTask(D, H, lr_scheduler="CosineAnealingLR"), "did you mean 'CosineAnnealingLR'"),
        (lambda: PretrainTask(D, H, lr_scheduler="StepLR", scheduler_options={"size": 1}), "StepLR has no such option"),
        (lambda: PretrainTask(D, H, lr_interval="batch"), "lr_interval must be"),
        (lambda: FinetuneTask([], 3), "encoders is empty"),
        (lambda: FinetuneTask([(D, H, "sigmoid"), (9, 4, "sigmoid")], 3), "one returns 6 codes, but the next takes 9"),
        (lambda: FinetuneTask([nn.Linear(3, 4)], 3), "head must be given"),
        (lambda: FinetuneTask(["layer"], 3), "each must be a PretrainTask"),
        (lambda: FinetuneTask([(D, H, "sigmoid")], 1), "num_classes must be"),
        (lambda: FinetuneTask([(D, H, "sigmoid")], 3, class_weight=[1.0]), "class_weight must have 3"),
        (lambda: FinetuneTask([(D, H, "sigmoid")], 3, dropout=1.0), "dropout must be"),
        (lambda: RegressionTask([(D, H, "sigmoid")], 0), "num_outputs must be"),
        (lambda: pretrain_greedy([], module(), lambda k: trainer()), "layers is empty"),
        (lambda: pretrain_greedy([task(), task()], module(), lambda k: trainer()), "layer 1 has 6 units, but layer 2"),
        (lambda: pretrain_greedy([task()] * 2, module(), lambda k: trainer()), "a PretrainTask of its own"),
        (lambda: pretrain_greedy([task()], module(), lambda k: None), "must return a Trainer"),
        (lambda: pretrain_greedy([task()], X, lambda k: trainer()), "a LightningDataModule or a DataLoader"),
        (
            lambda: pretrain_greedy([task()], module(), lambda k: trainer(1), weights="best"),
            "has no ModelCheckpoint that monitors",
        ),
        (lambda: DAEDataModule.from_arrays(X, Y[:5]), "there must be one per example"),
        (lambda: DAEDataModule.from_arrays(Y), "must be floating-point numbers or uint8"),
        (lambda: DAEDataModule.from_arrays(X, batch_size=0), "batch_size must be"),
        (lambda: DAEDataModule.from_arrays(X, Y, vald=(VX, VY)), "did you mean 'valid'"),
        (lambda: DAEDataModule.from_torch(TensorDataset(X), num_worker=1), "did you mean 'num_workers'"),
        (lambda: pretrain_greedy([(D, H)], module(), lambda k: trainer()), "each must be a PretrainTask"),
        (lambda: pretrain_greedy([task()], module(), trainer(1)), "a function that returns a new Trainer"),
        (lambda: pretrain_greedy([task()], module(), lambda k: trainer(), ckpt_paths="a.ckpt"), "must be a list"),
        (lambda: PretrainTask(D, H, optimizer_options={"lr": 0.5}), "give lr instead"),
        (
            lambda: PretrainTask(D, H, optimizer=torch.optim.SGD, lr_scheduler=len, scheduler_options={"a": 1}),
            "applies",
        ),
        (lambda: DAEDataModule.from_name("dgits"), "did you mean 'digits'"),
        (lambda: CodesDataModule([task()], module(), cache="ram"), "cache must be"),
    ],
)
def test_bad_input_is_one_line(make, message):
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_one_trainer_or_callback_for_two_layers_is_refused():
    one = trainer(1)
    with pytest.raises(ConfigError, match="layer 1 was given the Trainer of an earlier layer"):
        pretrain_greedy(layers(), module(), lambda k: one)
    stopping = EarlyStopping("valid_loss")
    with pytest.raises(ConfigError, match="layer 1 was given the EarlyStopping of an earlier layer"):
        pretrain_greedy(layers(), module(), lambda k: trainer(1, callbacks=[stopping]))


# What an outsider tried.


def batches_seen(made, data, **options):
    """Return the first inputs of each training batch."""
    seen = []

    class Seen(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(batch[0].cpu().clone())

    trainer(callbacks=[Seen()], **options).fit(made, datamodule=data)
    return seen


class Halved(OwnData):
    """Transforms each batch on its way to the device."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] * 0.5, batch[1]]


@pytest.mark.parametrize("cache", ["memory", "never"])
def test_codes_are_of_batches_as_the_data_module_transfers_them(cache):
    first = task().eval()
    codes = CodesDataModule([first], Halved(), cache=cache)
    seen = torch.cat(batches_seen(PretrainTask(H, 4), codes, epochs=1))
    wanted = first(X * 0.5).detach()
    assert torch.allclose(seen.sort(0).values, wanted.sort(0).values, atol=1e-6)


def test_data_sets_of_a_lightning_data_module():
    sets = [TensorDataset(X, Y), TensorDataset(VX, VY)]
    runs = []
    made = pretrain_greedy(
        layers(),
        pl.LightningDataModule.from_datasets(*sets, batch_size=BATCH),
        lambda k: runs.append(trainer(1)) or runs[-1],
    )
    assert [run.global_step for run in runs] == [UPDATES, UPDATES]
    assert "valid_loss" in runs[1].callback_metrics
    assert not same(weights(made[1]), weights(layers()[1]))
    with pytest.raises(DataError, match="has no training batches"):
        trainer(1).fit(task(), datamodule=CodesDataModule([task()], pl.LightningDataModule()))


def test_codes_follow_the_loaders_batch_size_and_order():
    loader = DataLoader(TensorDataset(X), batch_size=115)
    first = task().eval()
    seen = batches_seen(PretrainTask(H, 4), CodesDataModule([first], loader), epochs=1)
    assert [len(batch) for batch in seen] == [115, 115]
    assert torch.allclose(torch.cat(seen), first(X).detach(), atol=1e-6)
    for options in ({"drop_last": True}, {"sampler": torch.utils.data.RandomSampler(X, num_samples=50)}):
        drawn = DataLoader(TensorDataset(X), batch_size=40, **options)
        with pytest.raises(ConfigError, match="give cache='never'"):
            trainer(1).fit(PretrainTask(H, 4), datamodule=CodesDataModule([first], drawn))
        trainer(1).fit(PretrainTask(H, 4), datamodule=CodesDataModule([first], drawn, cache="never"))


@pytest.mark.parametrize("cache", ["memory", "never"])
def test_encoders_are_evaluated_and_left_as_they_were(cache):
    normalised = nn.Sequential(nn.Linear(D, H), nn.BatchNorm1d(H), nn.Dropout(0.5)).train()
    before = copy.deepcopy(normalised.state_dict())
    seen = batches_seen(PretrainTask(H, 4, loss="squared_error"), CodesDataModule(normalised, OwnData(), cache=cache))
    assert same(dict(normalised.state_dict()), dict(before))
    assert normalised[2].training
    assert not (torch.cat(seen) == 0).any()


class Splits(OwnData):
    def val_dataloader(self):
        return [DataLoader(TensorDataset(VX, VY), BATCH), DataLoader(TensorDataset(X, Y), BATCH)]

    def predict_dataloader(self):
        return DataLoader(TensorDataset(VX), BATCH)


@pytest.mark.parametrize("cache", ["memory", "never"])
def test_codes_keep_every_split(cache):
    data, made = CodesDataModule([task().eval()], Splits(), cache=cache), PretrainTask(H, 4)
    run = trainer(1)
    run.fit(made, datamodule=data)
    assert {"valid_loss/dataloader_idx_0", "valid_loss/dataloader_idx_1"} <= run.callback_metrics.keys()
    assert len(torch.cat(run.predict(made, datamodule=data))) == len(VX)
    few = CodesDataModule([task().eval()], module()).labelled(5)
    run = trainer(1)
    run.fit(FinetuneTask([(H, 4, "sigmoid")], CLASSES), datamodule=few)
    assert "valid_loss" in run.callback_metrics


def test_metrics_of_several_loaders_are_apart():
    scores = MulticlassAccuracy(CLASSES, average="micro")
    made = classifier(metrics=scores, lr=0.5)
    trainer(3).fit(made, datamodule=module())
    predicted = made(VX).argmax(1)
    both = [DataLoader(TensorDataset(VX, (predicted + k) % CLASSES), BATCH) for k in (0, 1)]
    right, wrong = trainer().validate(made, both, verbose=False)
    assert right["valid_MulticlassAccuracy/dataloader_idx_0"] == 1.0
    assert wrong["valid_MulticlassAccuracy/dataloader_idx_1"] == 0.0


F1 = MulticlassF1Score(CLASSES)


@pytest.mark.parametrize("metrics", [F1, [F1], {"f": F1}, MetricCollection([F1])])
def test_a_task_with_metrics_is_loaded(metrics, tmp_path):
    made, run = classifier(metrics=metrics), trainer(1)
    run.fit(made, datamodule=module())
    run.save_checkpoint(tmp_path / "task.ckpt")
    loaded = FinetuneTask.load_from_checkpoint(tmp_path / "task.ckpt", metrics=metrics, weights_only=True)
    assert same(weights(loaded), weights(made))


def huber(a, x, weight):
    return nn.functional.huber_loss(a, x, reduction="none").sum(1)


def test_a_function_that_decides_the_weights_is_given_again(tmp_path):
    made, run = task(loss=huber), trainer(1)
    run.fit(made, datamodule=module())
    run.save_checkpoint(tmp_path / "task.ckpt")
    with pytest.raises(ConfigError, match="give loss= again"):
        PretrainTask.load_from_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    loaded = PretrainTask.load_from_checkpoint(tmp_path / "task.ckpt", loss=huber, weights_only=True)
    assert torch.equal(loaded.reconstruct(VX), made.reconstruct(VX))


def test_one_module_is_one_encoder():
    class Scaled(nn.Sequential):
        def forward(self, x):
            return 100 * super().forward(x)

    body = Scaled(nn.Linear(D, H))
    deep = FinetuneTask(body, CLASSES, head=nn.Linear(H, CLASSES))
    assert len(deep.encoders) == 1
    assert torch.equal(deep.encoders[0](X), body(X))


def test_classes_and_functions_of_optimisers_and_schedulers():
    made = task(optimizer=torch.optim.AdamW, lr=0.05, optimizer_options={"weight_decay": 0.3})
    optimizer = made.configure_optimizers()
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.05, 0.3)
    rates = Rates()
    step = torch.optim.lr_scheduler.StepLR
    trainer(2, callbacks=[rates]).fit(task(lr_scheduler=step, scheduler_options={"step_size": 1}), datamodule=module())
    assert rates.rates == pytest.approx([0.1] * UPDATES + [0.01] * UPDATES)
    rates = Rates()
    own = task(lr_scheduler=lambda optimizer: {"scheduler": step(optimizer, 2, 0.5), "interval": "step"})
    trainer(1, callbacks=[rates]).fit(own, datamodule=module())
    assert rates.rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_a_run_is_continued_with_its_head(tmp_path):
    run = fit(small(), tmp_path / "run", dataset=DATA)
    (found,) = trainer().test(FinetuneTask.from_run(run.path), datamodule=module(), verbose=False)
    assert found["test_error_percent"] == pytest.approx(run.result().test_error_percent, abs=1e-3)
    with pytest.raises(ConfigError, match="num_outputs must be given"):
        RegressionTask.from_run(run.path)


def test_bad_values_are_found_after_training_too():
    made = task()
    trainer(1).fit(made, datamodule=module())
    with pytest.raises(DataError, match=r"needs inputs in \[0, 1\]"):
        trainer().test(made, DataLoader(TensorDataset(VX * 255), BATCH), verbose=False)
    deep = classifier()
    trainer(1).fit(deep, datamodule=module())
    with pytest.raises(DataError, match="labels must be 0 to 2"):
        trainer().test(deep, DataLoader(TensorDataset(VX, VY - 1), BATCH), verbose=False)
    holes = VX.clone()
    holes[3, 2] = float("nan")
    with pytest.raises(DataError, match="inputs that are NaN"):
        trainer().test(deep, DataLoader(TensorDataset(holes, VY), BATCH), verbose=False)
    for either_task in (deep, made):
        with pytest.raises(DataError, match="inputs that are NaN"):
            trainer().predict(either_task, DataLoader(TensorDataset(holes), batch_size=BATCH))
    with pytest.raises(DataError, match="targets that are NaN"):
        trainer(1).fit(RegressionTask([(D, H, "tanh")], D), DataLoader(TensorDataset(VX, holes), BATCH))


def test_metrics_of_missing_inputs_are_of_the_known_ones():
    holes = VX.clone()
    holes[::3, 2] = float("nan")
    made = PretrainTask(D, H, missing=True, metrics=MeanSquaredError(), seed=0)
    (found,) = trainer().validate(made, DataLoader(TensorDataset(holes), 60), verbose=False)
    known = ~holes.isnan()
    wanted = (made.reconstruct(holes) - holes)[known].square().mean()
    assert found["valid_MeanSquaredError"] == pytest.approx(float(wanted), rel=1e-5)


def test_class_weights():
    made = classifier(class_weight=np.array([1, 5, 20]), lr=0.5)
    trainer(2).fit(made, datamodule=module())
    order = torch.argsort(VY)
    losses = [
        trainer().validate(made, DataLoader(TensorDataset(VX[order], VY[order]), size), verbose=False)[0]["valid_loss"]
        for size in (7, 60)
    ]
    wanted = nn.functional.cross_entropy(made(VX), VY, weight=torch.tensor([1.0, 5.0, 20.0]))
    assert losses == pytest.approx([float(wanted)] * 2, rel=1e-4)


def test_the_seed_of_torch_data_sets_and_their_loader_arguments():
    def order(seed):
        torch.manual_seed(seed)
        return DAEDataModule.from_torch(TensorDataset(X), seed=0).train_dataloader().sampler.__iter__()

    assert list(order(1)) == list(order(2))
    data = DAEDataModule.from_torch(
        TensorDataset(X, Y), TensorDataset(VX, VY), TensorDataset(VX, VY), batch_size=40, drop_last=True, seed=0
    )
    assert [len(batch) for batch in batches_seen(task(), data, epochs=1)] == [40] * 5
    assert len(torch.cat(trainer().predict(task(), datamodule=data))) == len(VX)


def test_overfitting_a_batch_sees_one():
    seen = batches_seen(task(), module(), epochs=3, overfit_batches=1)
    assert len(seen) == 3
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


def test_hooks_may_be_overridden_without_super():
    class Own(FinetuneTask):
        def on_train_epoch_start(self):
            pass

    normalised = nn.Sequential(nn.Linear(D, H), nn.BatchNorm1d(H))
    made = Own([normalised], CLASSES, head=nn.Linear(H, CLASSES), freeze=True)
    before = weights(made)
    trainer().fit(made, datamodule=module())
    assert torch.equal(made.encoders[0][1].running_mean, before["encoders.0.1.running_mean"])


def test_best_weights_are_of_the_checkpoint_that_monitors(tmp_path):
    kept = []

    def own(k):
        kept.append(ModelCheckpoint(tmp_path / f"best{k}", monitor="valid_loss"))
        return trainer(6, callbacks=[ModelCheckpoint(tmp_path / f"all{k}", every_n_epochs=1), kept[-1]])

    (made,) = pretrain_greedy([task(lr=5.0)], module(), own, weights="best")
    (found,) = trainer().validate(made, datamodule=module(), verbose=False)
    assert found["valid_loss"] == pytest.approx(float(kept[0].best_model_score), rel=1e-5)


DDP = """
import sys, torch, pytorch_lightning as pl
from helpers.small_runs import blobs
from stacked_dae import DAEDataModule, PretrainTask
processes = int(sys.argv[1])
data = DAEDataModule.from_dataset(blobs(), batch_size=20 // processes, seed=0)
task = PretrainTask(12, 6, nu=0.0, seed=0)
trainer = pl.Trainer(max_epochs=3, accelerator="cpu", devices=processes, logger=False, enable_progress_bar=False,
    enable_checkpointing=False, strategy="ddp" if processes > 1 else "auto", limit_train_batches=11)
trainer.fit(task, datamodule=data)
if trainer.is_global_zero:
    torch.save([task.state_dict(), float(trainer.callback_metrics["train_loss"])], sys.argv[2])
"""


@pytest.mark.slow
def test_30_two_processes_equal_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(DDP)
    tests = str(Path(__file__).parents[1])
    for n in (1, 2):
        command = [sys.executable, str(script), str(n), str(tmp_path / f"{n}.pt")]
        subprocess.run(command, check=True, timeout=300, env={**os.environ, "PYTHONPATH": tests})
    (one, loss), (two, both) = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (1, 2))
    assert both == pytest.approx(loss, rel=1e-4)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def test_nothing_is_said_that_the_user_cannot_act_on():
    """Of Lightning's warnings, the tasks and data modules cause none about loaders or schedulers."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(2).fit(task(lr_scheduler="CosineAnnealingLR"), datamodule=module())
    mine = [str(w.message) for w in caught if "lr_scheduler" in str(w.message) or "dataloader" in str(w.message)]
    assert mine == []
