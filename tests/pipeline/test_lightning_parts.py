"""Callbacks, loggers, Trainer arguments, metrics and schedules of the user's in a run."""

from __future__ import annotations

import copy
import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from helpers.small_runs import SMALL, MessageRecorder, blobs, small, stop_after
from pytorch_lightning.callbacks import (
    BatchSizeFinder,
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
    Timer,
)
from pytorch_lightning.loggers import CSVLogger
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassConfusionMatrix

from stacked_dae import (
    Components,
    ConfigError,
    DenoisingAutoencoder,
    FinetuneTask,
    PretrainTask,
    StageError,
    config_from_dict,
    fit,
)
from stacked_dae.pipeline.api import finetune, pretrain
from stacked_dae.pipeline.run_store import RunStore
from stacked_dae.training.checkpoints import BackgroundCheckpoints
from stacked_dae.training.evaluation import Measures
from stacked_dae.utils.signals import Interrupted

STAGES = ["layer_1", "layer_2", "finetune"]

pytestmark = pytest.mark.filterwarnings("ignore")


def changed(*overrides):
    """Return the small settings with some, as dotted names and YAML values."""
    values = copy.deepcopy(SMALL)
    for override in overrides:
        name, value = override.split("=", 1)
        *above, last = name.split(".")
        place = values
        for part in above:
            place = place.setdefault(part, {})
        place[last] = yaml.safe_load(value)
    return config_from_dict(values)


def bits(run):
    return {name: record.sha256 for name, record in run.manifest.stages.items()}


def marks(run):
    return {name: record.fingerprint for name, record in run.manifest.stages.items()}


class Sees(Callback):
    """Keeps what the training is when each stage begins, and the rate of each update."""

    def __init__(self):
        self.modules, self.rates, self.updates = [], {}, {}

    def on_train_start(self, trainer, pl_module):
        self.modules.append(pl_module)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.setdefault(pl_module.stage, []).append(optimizer.param_groups[0]["lr"])

    def on_train_end(self, trainer, pl_module):
        self.updates[pl_module.stage] = trainer.global_step


# What only looks on.


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["pretrain.corruption.kind=gaussian", "finetune.dropout=0.3"],
        ["pretrain.corruption.kind=swap", "pretrain.tied=false", "pretrain.optimizer.name=adam"],
        ["pretrain.emphasis.alpha=2.0", "finetune.optimizer.options={momentum: 0.9}"],
        ["model=mlp"],
        ["trainer.precision=bf16-mixed"],
        ["pretrain.optimizer.decay=0.01", "finetune.optimizer.decay=0.02", "pretrain.first_weights=max_fan"],
        ["finetune.average=0.9", "finetune.optimizer.name=adam", "finetune.optimizer.decay=0.02"],
    ],
    ids=str,
)
def test_observers_leave_every_bit(overrides, tmp_path):
    config = changed(*overrides)
    plain = fit(config, tmp_path / "plain", dataset=blobs())
    seen = fit(
        config,
        tmp_path / "seen",
        dataset=blobs(),
        callbacks=lambda stage: [
            LearningRateMonitor("step"),
            ModelCheckpoint(tmp_path / "best" / stage, monitor="valid_loss"),
        ],
        logger=lambda stage: CSVLogger(tmp_path / "logs", name=stage),
        metrics=MulticlassAccuracy(3),
    )
    assert bits(seen) == bits(plain)
    assert marks(seen) == marks(plain)
    for stage in plain.manifest.stages:
        rows = zip(plain.metrics(stage).rows(), seen.metrics(stage).rows(), strict=True)
        for left, right in rows:
            assert left["valid_loss"] == right["valid_loss"]
            assert left["train_loss"] == pytest.approx(right["train_loss"], rel=1e-6)
    # A finished run is finished with and without them.
    recorder = MessageRecorder()
    fit(config, tmp_path / "seen", dataset=blobs(), progress=recorder)
    assert "finished already" in recorder.lines[-1]


class Layer(DenoisingAutoencoder):
    """A custom layer that computes the same."""


def loss_of_the_user(a, x, weight):
    return (a.sigmoid() - x).abs().sum(1)


@pytest.mark.parametrize(
    "components", [Components(layer=Layer), Components(loss=loss_of_the_user)], ids=["layer", "loss"]
)
def test_observers_leave_every_bit_of_custom_components(components, tmp_path):
    plain = fit(small(), tmp_path / "plain", dataset=blobs(), components=components)
    seen = fit(
        small(), tmp_path / "seen", dataset=blobs(), components=components,
        callbacks=lambda stage: ModelCheckpoint(tmp_path / "best" / stage),
    )  # fmt: skip
    assert bits(seen) == bits(plain)


def test_callbacks_meet_the_public_tasks_and_loggers_count_updates(tmp_path):
    folder = tmp_path / "run"
    checkpoints = {stage: ModelCheckpoint(tmp_path / stage, save_top_k=-1) for stage in STAGES}
    run = fit(small(), folder, dataset=blobs(), callbacks=lambda stage: checkpoints[stage])
    layer = PretrainTask.load_from_checkpoint(checkpoints["layer_1"].best_model_path)
    assert torch.equal(layer.autoencoder.weight, load_file(run.weights_path("layer_1"))["weight"])
    assert layer.hparams["corruption"] == "fixed_masking"
    assert layer.hparams["nu"] == 0.25
    assert layer.reconstruct(torch.rand(2, 12)).shape == (2, 12)
    best = run.manifest.stages["finetune"].best_epoch
    (path,) = (tmp_path / "finetune").glob(f"epoch={best - 1}-*")
    tuned = FinetuneTask.load_from_checkpoint(path)
    saved = load_file(run.weights_path("finetune"))
    assert all(torch.equal(value, saved[name]) for name, value in tuned.state_dict().items())


def test_a_logger_alone_changes_nothing_and_counts_updates(tmp_path):
    logger = CSVLogger(tmp_path, name="logs")
    plain = fit(small(), tmp_path / "plain", dataset=blobs())
    seen = fit(small(), tmp_path / "seen", dataset=blobs(), logger=logger)
    assert bits(seen) == bits(plain)
    with open(f"{logger.log_dir}/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    # 230 rows in minibatches of 20.
    assert {int(row["step"]) for row in rows} >= {12, 24, 36}


# Schedules.


def rates_by_torch(name, options, interval, epochs, updates, lr=0.1):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    rates = []
    for _ in range(epochs):
        for _ in range(updates):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if interval == "step":
                scheduler.step()
        if interval == "epoch":
            scheduler.step()
    return rates


SCHEDULES = [
    ("StepLR", {"step_size": 1, "gamma": 0.5}, "epoch", {}),
    ("ExponentialLR", {"gamma": 0.99}, "step", {}),
    ("CosineAnnealingLR", {}, "epoch", {"T_max": 3}),
    ("OneCycleLR", {}, "step", {"total_steps": 36, "max_lr": 0.1}),
]


@pytest.mark.parametrize(("name", "options", "interval", "filled"), SCHEDULES, ids=[row[0] for row in SCHEDULES])
def test_schedules_of_the_settings_are_torchs(name, options, interval, filled, tmp_path):
    values = {"scheduler": name, "scheduler_options": options, "scheduler_interval": interval}
    config = config_from_dict(
        {**small().to_dict(), "pretrain": {"units": [10, 8], "epochs": 3, "optimizer": {"lr": 0.1, **values}}}
    )
    sees = Sees()
    run = pretrain(config, tmp_path / "run", dataset=blobs(), callbacks=sees)
    for stage in ("layer_1", "layer_2"):
        assert sees.rates[stage] == rates_by_torch(name, {**options, **filled}, interval, 3, 12)
    assert marks(run) != marks(pretrain(small(), tmp_path / "plain", dataset=blobs()))


RESUMED = {
    "cosine": ["pretrain.optimizer.scheduler=CosineAnnealingLR", "finetune.optimizer.scheduler=CosineAnnealingLR"],
    "one cycle": [
        "pretrain.optimizer.name=adam",
        "pretrain.optimizer.lr=0.01",
        "pretrain.optimizer.scheduler=OneCycleLR",
        "pretrain.optimizer.scheduler_interval=step",
    ],
    "plateau": [
        "pretrain.epochs=6",
        "pretrain.optimizer.lr=1.0",
        "pretrain.optimizer.scheduler=ReduceLROnPlateau",
        "pretrain.optimizer.scheduler_options={patience: 0, threshold: 0.2}",
    ],
    "clipped": ["trainer.gradient_clip_val=0.05"],
    "decay": ["pretrain.optimizer.decay=0.01", "finetune.optimizer.decay=0.02"],
    "average": ["finetune.average=0.9", "finetune.optimizer.name=adam", "finetune.optimizer.lr=0.01"],
    "decay and average, clipped": [
        "trainer.gradient_clip_val=0.05",
        "finetune.average=0.9",
        "finetune.optimizer.decay=0.02",
    ],
    "double": ["trainer.precision=64-true"],
    "bfloat16": ["trainer.precision=bf16-true"],
}


# The others take as long each.
_FAST = ("plateau", "clipped", "average", "double")


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in _FAST else pytest.mark.slow) for c in RESUMED])
def test_a_stopped_run_continues_to_the_same_bits(case, tmp_path):
    config = changed(*RESUMED[case])
    whole = fit(config, tmp_path / "whole", dataset=blobs())
    assert bits(whole) != bits(fit(small(), tmp_path / "plain", dataset=blobs()))
    for looks in (5, 20, 33, 60, 95):
        folder = tmp_path / f"cut{looks}"
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, looks)
            with pytest.raises(Interrupted):
                fit(config, folder, dataset=blobs())
        recorder = MessageRecorder()
        resumed = fit(config, folder, dataset=blobs(), progress=recorder)
        assert bits(resumed) == bits(whole), looks
        assert not any("damaged" in line for line in recorder.lines)
        for stage in STAGES:
            strip = [{k: v for k, v in row.items() if k != "seconds"} for row in resumed.metrics(stage).rows()]
            assert strip == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.metrics(stage).rows()]
        assert all(value.dtype == torch.float32 for value in load_file(resumed.weights_path("layer_1")).values())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pretrain.optimizer.scheduler=StepLr"], "pretrain.optimizer.scheduler must be one of .*StepLR"),
        (["finetune.optimizer.scheduler=StepLR"], "finetune.optimizer.scheduler_options: StepLR refuses"),
        (
            ["finetune.optimizer.scheduler=StepLR", "finetune.optimizer.scheduler_options={step_sice: 2}"],
            "finetune.optimizer.scheduler_options.step_sice: StepLR has no such option.*step_size",
        ),
        (["pretrain.optimizer.scheduler_interval=step"], "scheduler_interval applies only with pretrain.optimizer.sch"),
        (
            ["pretrain.optimizer.scheduler=ReduceLROnPlateau", "pretrain.optimizer.scheduler_interval=step"],
            "ReduceLROnPlateau follows the validation loss",
        ),
        *(
            ([f"pretrain.optimizer.scheduler={name}", f"pretrain.optimizer.scheduler_options={{{options}}}"], message)
            for name, options, message in [
                ("StepLR", "step_size: 0", "pretrain.optimizer.scheduler_options: StepLR refuses"),
                ("CosineAnnealingLR", "T_max: 0", "CosineAnnealingLR refuses"),
                ("ExponentialLR", "gamma: abc", "ExponentialLR refuses"),
                ("ReduceLROnPlateau", "patience: x", "ReduceLROnPlateau refuses"),
                ("MultiStepLR", "milestones: [a]", "milestones must be a list of whole numbers"),
                ("OneCycleLR", "total_steps: 2, max_lr: 0.1", "OneCycleLR refuses .*Tried to step"),
            ]
        ),
        (["pretrain.optimizer.decay=-1"], "pretrain.optimizer.decay must be"),
        (["finetune.average=1.0"], "finetune.average must be below 1"),
        (["finetune.head=mixed", "finetune.average=0.9"], "finetune.average applies only to finetune.head softmax"),
        (
            ["finetune.head=mixed", "finetune.optimizer.decay=0.1"],
            "finetune.optimizer.decay applies only to finetune.head softmax",
        ),
        (
            ["pretrain.optimizer.decay=0.1", "pretrain.optimizer.scheduler=CosineAnnealingLR"],
            "both change the rate",
        ),
        (["trainer.gradient_clip_val=0"], "trainer.gradient_clip_val must be above 0"),
        (["trainer.max_time=90"], "trainer.max_time must be"),
        (["trainer.precision=16-mixed"], "trainer.precision: 16-mixed cannot be used on this accelerator"),
        (["finetune.metrics=[f2]"], "finetune.metrics must be .*f1"),
        (["trainer.max_time='00:00:00:00'"], "trainer.max_time must be .* above 0"),
        (["finetune.metrics=[f1, f1]"], "names one measure twice"),
    ],
    ids=str,
)
def test_wrong_settings_are_one_line_and_write_nothing(overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        fit(changed("trainer.accelerator=cpu", *overrides), tmp_path / "run", dataset=blobs())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_max_time_ends_a_stage_after_its_minibatch(tmp_path, monkeypatch):
    monkeypatch.setattr(Timer, "on_fit_start", lambda *_: None)
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: 100.0)
    sees = Sees()
    run = fit(changed("trainer.max_time='00:00:00:09'"), tmp_path / "run", dataset=blobs(), callbacks=sees)
    assert sees.updates == dict.fromkeys(STAGES, 1)
    assert {stage: record.epochs for stage, record in run.manifest.stages.items()} == dict.fromkeys(STAGES, 1)


# Metrics.


def test_named_metrics_are_those_of_scikit_learn(tmp_path):
    names = ["accuracy", "balanced_accuracy", "f1", "auroc", "calibration_error", "matthews_corrcoef"]
    config = changed(f"finetune.metrics=[{', '.join(names)}]", "finetune.optimizer.lr=0.5")
    run = fit(config, tmp_path / "run", dataset=blobs())
    assert bits(run) == bits(fit(changed("finetune.optimizer.lr=0.5"), tmp_path / "plain", dataset=blobs()))
    result = json.loads((run.path / "result.json").read_text())
    assert result["metrics"].keys() == set(names)
    task = FinetuneTask.from_run(run.path)
    test = blobs().load_test()
    with torch.no_grad():
        p = task(torch.from_numpy(test.inputs)).softmax(1).numpy()
    found = result["metrics"]
    assert found["accuracy"] == pytest.approx(1 - result["test_error_percent"] / 100)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(test.labels, p.argmax(1)))
    assert found["f1"] == pytest.approx(f1_score(test.labels, p.argmax(1), average="macro"))
    assert found["auroc"] == pytest.approx(roc_auc_score(test.labels, p, multi_class="ovr"), rel=1e-5)
    rows = run.metrics("finetune").rows()
    assert all({f"valid_{name}" for name in names} <= row.keys() for row in rows)
    assert rows[-1]["valid_accuracy"] == pytest.approx(1 - rows[-1]["valid_error_percent"] / 100)
    # Asked for later, a measure is of the same weights.
    more = changed("finetune.metrics=[cohen_kappa]", "finetune.optimizer.lr=0.5")
    again = fit(more, tmp_path / "run", dataset=blobs())
    assert json.loads((again.path / "result.json").read_text())["metrics"].keys() == {"cohen_kappa"}
    assert bits(again) == bits(run)


def test_a_measure_that_is_asked_for_in_the_middle_gets_a_column(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 110)
        with pytest.raises(Interrupted):
            fit(small(), tmp_path / "run", dataset=blobs())
    run = fit(changed("finetune.metrics=[f1]"), tmp_path / "run", dataset=blobs())
    rows = run.metrics("finetune").rows()
    assert "valid_f1" not in rows[0]
    assert "valid_f1" in rows[-1]
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert bits(run) == bits(fit(small(), tmp_path / "plain", dataset=blobs()))


@pytest.mark.parametrize("callbacks", [None, LearningRateMonitor("epoch")], ids=["chunks", "tasks"])
def test_metrics_of_the_users(callbacks, tmp_path):
    def metrics(stage):
        return MetricCollection({"top": MulticlassAccuracy(3)}) if stage == "finetune" else {"mse": MeanSquaredError()}

    run = fit(
        small(), tmp_path / "run", dataset=blobs(), metrics=metrics, callbacks=callbacks,
        logger=CSVLogger(tmp_path, name="logs"),
    )  # fmt: skip
    weights = load_file(run.weights_path("layer_1"))
    x = blobs().valid.inputs
    y = 1 / (1 + np.exp(-(x @ weights["weight"].numpy().T + weights["bias"].numpy())))
    z = 1 / (1 + np.exp(-(y @ weights["weight"].numpy() + weights["decoder_bias"].numpy())))
    assert run.metrics("layer_1").rows()[-1]["valid_mse"] == pytest.approx(np.mean((z - x) ** 2), rel=1e-4)
    assert 0 <= run.metrics("finetune").rows()[-1]["valid_top"] <= 1
    assert 0 <= json.loads((run.path / "result.json").read_text())["metrics"]["top"] <= 1


def test_another_metric_of_the_same_name_is_measured(tmp_path):
    values = [
        fit(small(), tmp_path / "run", dataset=blobs(), metrics={"m": metric}).result().metrics["m"]
        for metric in (MulticlassAccuracy(3), MulticlassConfusionMatrix(3, normalize="all")[0, 0] * 0)
    ]
    assert values[1] == 0.0 != values[0]


@pytest.mark.parametrize("absent", [0, 3])
def test_means_over_classes_leave_out_those_that_are_not_there(absent):
    random = np.random.default_rng(0)
    labels = random.choice([c for c in range(4) if c != absent], 60)
    logits = random.standard_normal((60, 4)).astype(np.float32)
    logits[:, absent] = -50
    logits[np.arange(60), labels] += 0.7
    measures = Measures(["balanced_accuracy", "auroc", "f1"], 4, None, torch.device("cpu"))
    measures.update(torch.from_numpy(logits), torch.from_numpy(labels))
    found = measures.take()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    there = np.unique(labels)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)))
    assert found["f1"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    each = [roc_auc_score(labels == c, p[:, c]) for c in there]
    assert found["auroc"] == pytest.approx(np.mean(each), rel=1e-5)


# What changes the training.


class Stops(Callback):
    """Stops after an epoch."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_a_callback_that_changes_the_training_is_part_of_the_experiment(tmp_path):
    run = fit(small(), tmp_path / "run", dataset=blobs(), callbacks=Stops(2))
    assert [record.epochs for record in run.manifest.stages.values()] == [2, 2, 2]
    recorder = MessageRecorder()
    fit(small(), tmp_path / "run", dataset=blobs(), callbacks=Stops(2), progress=recorder)
    assert "finished already" in recorder.lines[-1]
    for other in (Stops(3), None):
        with pytest.raises(StageError, match=r"its layer_1 was trained with .*Stops \{'epochs': 2\}, not") as caught:
            fit(small(), tmp_path / "run", dataset=blobs(), callbacks=other)
        assert "\n" not in str(caught.value)
    plain = fit(small(), tmp_path / "plain", dataset=blobs())
    assert all(marks(plain)[stage] != marks(run)[stage] for stage in STAGES)
    only_last = fit(
        small(), tmp_path / "last", dataset=blobs(), callbacks=lambda stage: Stops(2) if stage == "finetune" else None
    )
    assert [marks(plain)[stage] == marks(only_last)[stage] for stage in STAGES] == [True, True, False]
    tuned = finetune(small(), tmp_path / "tuned", tmp_path / "plain", dataset=blobs(), callbacks=Stops(2))
    assert bits(tuned)["finetune"] == bits(only_last)["finetune"]


@pytest.mark.parametrize(
    "make",
    [
        lambda value: EMAWeightAveraging(decay=[0.9, 0.5][value]),
        lambda value: GradientAccumulationScheduler({0: [2, 8][value]}),
        lambda value: EarlyStopping("valid_loss", patience=value),
    ],
)
def test_arguments_of_callbacks_are_part_of_the_experiment(make, tmp_path):
    def run(value):
        return pretrain(small(), tmp_path / "run", dataset=blobs(), callbacks=lambda stage: make(value))

    run(0)
    run(0)
    with pytest.raises(StageError, match="its layer_1 was trained with"):
        run(1)


class Forgets(Callback):
    def __init__(self, epochs):
        self.count_limit = epochs


def test_a_stage_that_a_callback_ended_is_not_trained_on(tmp_path, monkeypatch):
    def callbacks(stage):
        return EarlyStopping("valid_loss", patience=0, min_delta=100.0)

    config = changed("pretrain.epochs=9", "trainer.checkpoint_seconds=0")
    whole = fit(config, tmp_path / "whole", dataset=blobs(), callbacks=callbacks)
    # Killed after the last epoch's checkpoint, before the stage is done.
    monkeypatch.setattr(BackgroundCheckpoints, "discard", lambda self: None)
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "save", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            fit(config, tmp_path / "cut", dataset=blobs(), callbacks=callbacks)
    cut = fit(config, tmp_path / "cut", dataset=blobs(), callbacks=callbacks)
    assert bits(cut) == bits(whole)
    assert cut.manifest.stages["layer_1"].epochs == 2


def test_checkpoints_of_the_users_at_any_moment_stay(tmp_path):
    def callbacks(stage):
        return ModelCheckpoint(tmp_path / "run" / stage, filename="best", every_n_train_steps=5)

    run = fit(small(), tmp_path / "run", dataset=blobs(), callbacks=callbacks)
    fit(small(), tmp_path / "run", dataset=blobs())
    assert {file.parent.name for file in run.path.rglob("best*.ckpt")} == set(STAGES)


def test_an_average_that_moves_the_rate_is_resumed(tmp_path):
    def callbacks(stage):
        return [] if stage == "finetune" else StochasticWeightAveraging(0.05, swa_epoch_start=2, annealing_epochs=2)

    config = changed("pretrain.epochs=6", "trainer.checkpoint_seconds=0")
    whole = fit(config, tmp_path / "whole", dataset=blobs(), callbacks=callbacks)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 60)
        with pytest.raises(Interrupted):
            fit(config, tmp_path / "cut", dataset=blobs(), callbacks=callbacks)
    recorder = MessageRecorder()
    assert bits(fit(config, tmp_path / "cut", dataset=blobs(), callbacks=callbacks, progress=recorder)) == bits(whole)
    assert not any("damaged" in line for line in recorder.lines)


def test_early_stopping_for_each_stage(tmp_path):
    run = fit(
        changed("pretrain.epochs=6"),
        tmp_path / "run",
        dataset=blobs(),
        callbacks=lambda stage: [EarlyStopping("valid_loss", patience=0, min_delta=100.0)],
    )
    assert [record.epochs for record in run.manifest.stages.values()] == [2, 2, 2]


def test_an_average_of_the_weights_is_what_is_kept(tmp_path):
    config = changed("finetune.epochs=4", "finetune.optimizer.lr=0.5")
    run = fit(
        config, tmp_path / "run", dataset=blobs(), callbacks=lambda stage: EMAWeightAveraging(decay=0.9)
    )  # fmt: skip
    assert bits(run) != bits(fit(config, tmp_path / "plain", dataset=blobs()))
    task = FinetuneTask.from_run(run.path)
    valid = blobs().valid
    with torch.no_grad():
        wrong = (task(torch.from_numpy(valid.inputs)).argmax(1).numpy() != valid.labels).mean()
    assert run.manifest.stages["finetune"].best_valid_error_percent == pytest.approx(100 * wrong)


def test_trainer_arguments(tmp_path):
    sees = Sees()
    run = fit(
        small(),
        tmp_path / "run",
        dataset=blobs(),
        trainer=lambda stage: {"accumulate_grad_batches": 4} if stage == "layer_2" else {"limit_train_batches": 5},
        callbacks=sees,
    )
    assert sees.updates["layer_1"] == 15
    assert sees.updates["layer_2"] == 9
    assert run.manifest.stages["layer_2"].parts[-1] == "trainer.accumulate_grad_batches=4"
    assert [type(module).__mro__[2] for module in sees.modules] == [PretrainTask, PretrainTask, FinetuneTask]


def test_clipping_keeps_the_norm(tmp_path):
    norms = []

    class Norm(Callback):
        state_key = "Norm"

        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            found = [p.grad.norm() for p in pl_module.parameters() if p.grad is not None]
            norms.append(float(torch.stack(found).norm()) if found else 0.0)

    fit(changed("trainer.gradient_clip_val=0.05"), tmp_path / "run", dataset=blobs(), callbacks=Norm())
    assert max(norms) <= 0.05 * 1.001
    assert max(norms) > 0.049


@pytest.mark.parametrize("looks", [7, 40, 75])
def test_a_stopped_run_with_callbacks_continues_to_the_same_bits(looks, tmp_path):
    def callbacks(stage):
        return [EMAWeightAveraging(decay=0.9), EarlyStopping("valid_loss", patience=1, min_delta=0.02)]

    config = changed("pretrain.epochs=6")
    whole = fit(config, tmp_path / "whole", dataset=blobs(), callbacks=callbacks)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, looks)
        with pytest.raises(Interrupted):
            fit(config, tmp_path / "cut", dataset=blobs(), callbacks=callbacks)
    assert bits(fit(config, tmp_path / "cut", dataset=blobs(), callbacks=callbacks)) == bits(whole)


def test_a_stage_that_was_cut_without_callbacks_begins_anew_with_them(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 20)
        with pytest.raises(Interrupted):
            fit(small(), tmp_path / "run", dataset=blobs())
    recorder = MessageRecorder()
    run = fit(
        small(), tmp_path / "run", dataset=blobs(), progress=recorder, callbacks=lambda stage: LearningRateMonitor(),
        logger=lambda stage: CSVLogger(tmp_path, name=stage),
    )  # fmt: skip
    assert any("other callbacks or Trainer arguments" in line for line in recorder.lines)
    assert bits(run) == bits(fit(small(), tmp_path / "plain", dataset=blobs()))


# Bad input.


def nothing(stage):
    class Nameless(Callback):
        pass

    return Nameless()


# A callback of the package lightning, which is another class than that of pytorch_lightning.
FOREIGN = type("EarlyStopping", (), {"__module__": "lightning.pytorch.callbacks"})()

WRONG = [
    ({"callbacks": [FOREIGN]}, "import it from pytorch_lightning, not from lightning"),
    ({"callbacks": EarlyStopping("valid_loss")}, "one EarlyStopping is given for layer_1 and for layer_2"),
    ({"callbacks": "EarlyStopping"}, "callbacks must be of Lightning's Callback"),
    ({"callbacks": [1]}, "callbacks must be of Lightning's Callback"),
    ({"callbacks": nothing}, "Nameless does not say what it is"),
    ({"callbacks": lambda stage: StochasticWeightAveraging(0.01)}, "for the stage finetune"),
    ({"logger": "csv"}, "logger must be of Lightning's Logger"),
    ({"logger": True}, "name one in tracking.loggers"),
    ({"trainer": pl.Trainer(logger=False)}, "not a Trainer: one Trainer trains one stage"),
    ({"trainer": {"max_epochs": 3}}, "set pretrain.epochs and finetune.epochs"),
    ({"trainer": {"precision": "bf16-mixed"}}, "set trainer.precision"),
    ({"trainer": {"fast_dev_run": True}}, "with a Trainer of your own"),
    ({"trainer": {"accumulate_grad_batch": 2}}, "has no accumulate_grad_batch.*accumulate_grad_batches"),
    ({"trainer": [1]}, "must be a dictionary"),
    ({"metrics": "f1"}, "metrics must be torchmetrics"),
    ({"metrics": MulticlassConfusionMatrix(3)}, "MulticlassConfusionMatrix must be a single number"),
    ({"metrics": {"loss": MulticlassAccuracy(3)}}, "loss is the stage's own"),
    ({"metrics": {"a,b": MulticlassAccuracy(3)}}, "must be a name without"),
    ({"metrics": MulticlassAccuracy(2)}, "cannot take logits and labels of 3 classes"),
    ({"metrics": lambda stage: {"m": MulticlassAUROC(3)}}, "cannot take reconstructions of 12 values"),
    ({"metrics": MulticlassAccuracy}, "MulticlassAccuracy is a class"),
    ({"callbacks": EarlyStopping}, "EarlyStopping is a class"),
    ({"callbacks": Forgets(3)}, "does not keep its argument epochs"),
    ({"callbacks": LearningRateMonitor()}, "LearningRateMonitor needs a logger"),
    ({"callbacks": lambda stage: EarlyStopping("val_loss")}, "layer_1 has train_loss, valid_loss.*valid_loss"),
    ({"callbacks": lambda stage: BatchSizeFinder()}, "set pretrain.batch_size"),
    ({"trainer": {"limit_train_batches": 0}}, "trainer.limit_train_batches must be a whole number of at least 1"),
    ({"trainer": {"accumulate_grad_batches": 2.5}}, "trainer.accumulate_grad_batches must be"),
    ({"trainer": {"profiler": "foo"}}, "trainer.profiler must be simple"),
    ({"trainer": {"deterministic": "maybe"}}, "trainer.deterministic must be"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_parts_are_one_line_and_write_nothing(arguments, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        fit(small(), tmp_path / "run", dataset=blobs(), **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_losses_are_finite_in_every_precision(tmp_path):
    for precision in ("bf16-mixed", "bf16-true", "64-true"):
        config = replace(changed(f"trainer.precision={precision}"))
        run = fit(config, tmp_path / precision, dataset=blobs(), callbacks=Sees())
        assert all(math.isfinite(value) for row in run.metrics("finetune").rows() for value in row.values())
