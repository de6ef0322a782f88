"""The closed-form route of the tasks: the same training as by autograd, and never taken where something could tell."""

from __future__ import annotations

import copy
import logging

import pytest
import pytorch_lightning as pl
import torch
from helpers.small_runs import blobs
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    Callback,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
    TQDMProgressBar,
)
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from stacked_dae import (
    ConfigError,
    DAEDataModule,
    DenoisingAutoencoder,
    EncoderStack,
    FinetuneTask,
    PretrainTask,
    RegressionTask,
)
from stacked_dae.nn.stack import LinearHead

D, H, CLASSES = 12, 6, 3
DATA = blobs()
EPOCHS = 6
# 230 training rows in minibatches of 24: ten per epoch, 60 in all.
BATCH = 24

pytestmark = pytest.mark.filterwarnings("ignore")


def trainer(epochs=EPOCHS, **arguments):
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in arguments.get("callbacks", [])),
        "accelerator": "cpu",
    }
    return pl.Trainer(**{**quiet, "max_epochs": epochs, **arguments})


def module(**arguments):
    return DAEDataModule.from_dataset(DATA, batch_size=BATCH, seed=0, **arguments)


def pretrain(**arguments):
    return PretrainTask(D, H, **{"seed": 3, **arguments})


def classifier(**arguments):
    return FinetuneTask([(D, H, "sigmoid"), (H, 5, "tanh")], CLASSES, **{"seed": 3, **arguments})


class Targets:
    """Rows with numbers to predict."""

    @staticmethod
    def module():
        rows = DATA.train.inputs
        return DAEDataModule.from_arrays(rows, rows[:, :2] * 2.0, batch_size=BATCH, seed=0)


def regressor(**arguments):
    return RegressionTask([(D, H, "relu")], 2, **{"seed": 3, "lr": 0.01, **arguments})


KINDS = {"pretrain": pretrain, "finetune": classifier, "regression": regressor}


class Watch(Callback):
    """Keeps, at each epoch's end, why autograd trains, and the figures."""

    def __init__(self):
        self.reasons, self.rates, self.losses = [], [], []

    def on_train_epoch_end(self, trainer, pl_module):
        self.reasons.append(pl_module.fast_reasons)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.losses.append(float(trainer.callback_metrics["train_loss"]))


def trained(kind, options, fast, **arguments):
    watch = Watch()
    made = KINDS[kind](fast=fast, **options)
    arguments.setdefault("callbacks", [])
    lightning = trainer(**{**arguments, "callbacks": [watch, *arguments["callbacks"]]})
    lightning.fit(made, datamodule=Targets.module() if kind == "regression" else module())
    return made, lightning, watch


CASES = [
    ("pretrain", {}),
    ("pretrain", {"tied": False, "optimizer": "adam", "lr": 0.01}),
    ("pretrain", {"loss": "squared_error", "corruption": "gaussian", "activation": "relu", "lr": 0.01}),
    ("pretrain", {"corruption": "swap", "nu": 0.4}),
    ("pretrain", {"corruption": "salt_and_pepper", "alpha": 2.0, "beta": 0.5}),
    ("pretrain", {"missing": True, "optimizer": "rmsprop", "lr": 0.001}),
    ("pretrain", {"nu": 0.0, "optimizer_options": {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}}),
    ("pretrain", {"lr_scheduler": "OneCycleLR", "lr_interval": "step"}),
    ("pretrain", {"optimizer": "adamw", "lr": 0.01, "lr_scheduler": "CosineAnnealingLR"}),
    ("finetune", {}),
    ("finetune", {"dropout": 0.3}),
    ("finetune", {"optimizer": "adam", "lr_scheduler": "ExponentialLR", "scheduler_options": {"gamma": 0.5}}),
    ("regression", {}),
    ("regression", {"dropout": 0.2, "optimizer_options": {"momentum": 0.5}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), CASES, ids=lambda value: str(value))
@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_both_routes_are_one_training(kind, options, precision):
    fast, slow = (trained(kind, options, route, precision=precision) for route in ("auto", False))
    assert fast[2].reasons == [[]] * EPOCHS
    assert slow[2].reasons == [["fast is False"]] * EPOCHS
    assert fast[1].global_step == slow[1].global_step == 60
    assert fast[2].rates == slow[2].rates
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if precision == "64-true" else {"rtol": 1e-3, "atol": 1e-5}
    start = KINDS[kind](**options).state_dict()
    for (name, left), right in zip(fast[0].state_dict().items(), slow[0].state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, **tolerance)
        assert not torch.equal(left, start[name].to(left.dtype)), f"{name} did not move"
    torch.testing.assert_close(torch.tensor(fast[2].losses), torch.tensor(slow[2].losses), rtol=1e-5, atol=1e-6)
    metrics = [run[1].callback_metrics for run in (fast, slow)]
    assert metrics[0].keys() == metrics[1].keys()


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_steps": 7},
        {"limit_train_batches": 3},
        {"overfit_batches": 1},
        {"fast_dev_run": 2},
        {"val_check_interval": 4},
        {"limit_val_batches": 1},
        {"max_time": {"hours": 1}},
        {"enable_progress_bar": True},
        {"profiler": "simple"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_limits_count_minibatches_on_both_routes(kind, arguments):
    fast, slow = (trained(kind, {}, route, precision="64-true", **arguments) for route in ("auto", False))
    assert all(found == [] for found in fast[2].reasons)
    assert fast[1].global_step == slow[1].global_step
    assert fast[1].fit_loop.state_dict() == slow[1].fit_loop.state_dict()
    for left, right in zip(fast[0].parameters(), slow[0].parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_observers_of_lightning_leave_the_fast_route(kind, tmp_path):
    observers = [
        LearningRateMonitor("step"),
        ModelCheckpoint(tmp_path / "best", monitor="valid_loss"),
        EarlyStopping("valid_loss"),
        TQDMProgressBar(),
    ]
    options = {"lr_scheduler": "StepLR", "scheduler_options": {"step_size": 2, "gamma": 0.5}}
    plain = trained(kind, options, "auto")
    watched = trained(kind, options, "auto", callbacks=observers, logger=CSVLogger(tmp_path), enable_progress_bar=True)
    assert watched[2].reasons == [[]] * EPOCHS
    for left, right in zip(plain[0].parameters(), watched[0].parameters(), strict=True):
        assert torch.equal(left, right)
    loaded = type(watched[0]).load_from_checkpoint(observers[1].best_model_path)
    assert loaded.fast == "auto"


class Looks(Callback):
    """Looks at each minibatch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        assert all(p.grad is not None for p in pl_module.parameters())


class Clips(Callback):
    """Changes the gradients."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        nn.utils.clip_grad_value_(pl_module.parameters(), 1e-3)


class OwnBackward(PretrainTask):
    def on_after_backward(self):
        pass


class OwnLoss(FinetuneTask):
    def loss(self, outputs, y):
        return super().loss(outputs, y) + sum(p.square().sum() for p in self.parameters())


class OwnStep(PretrainTask):
    def training_step(self, batch, batch_idx):
        return 2 * super().training_step(batch, batch_idx)


class Sgd(torch.optim.SGD):
    pass


class Wrapped(torch.optim.Optimizer):
    """Wraps an optimiser, as Lookahead does, without the attributes of torch's constructor."""

    def __init__(self, inner):
        self.inner, self.param_groups, self.state, self.defaults = inner, inner.param_groups, inner.state, {}

    def step(self, closure=None):
        return self.inner.step(closure)

    def zero_grad(self, set_to_none=True):
        self.inner.zero_grad()


def hooked(made):
    made.autoencoder.weight.register_hook(lambda gradient: gradient * 0.0)
    return made


def listened(made):
    made.autoencoder.register_forward_hook(lambda *_: None)
    return made


def still(made):
    made.autoencoder.bias.requires_grad_(False)
    return made


def patched(made):
    loss = made.autoencoder.loss
    made.autoencoder.loss = lambda *rows: 2 * loss(*rows)
    return made


REASONS = [
    (pretrain, {"gradient_clip_val": 0.1}, "gradients are clipped"),
    (pretrain, {"accumulate_grad_batches": 2}, "gradients are accumulated"),
    (pretrain, {"precision": "bf16-mixed"}, "the precision is bf16-mixed"),
    (pretrain, {"precision": "bf16-true"}, "the precision is bf16-true"),
    (pretrain, {"detect_anomaly": True}, "anomalies are detected"),
    (pretrain, {"callbacks": [Looks]}, "Looks has on_train_batch_end"),
    (pretrain, {"callbacks": [Clips]}, "Clips has on_before_optimizer_step"),
    (pretrain, {"callbacks": [lambda: StochasticWeightAveraging(0.01)]}, "StochasticWeightAveraging changes"),
    (pretrain, {"callbacks": [lambda: GradientAccumulationScheduler({0: 2})]}, "GradientAccumulationScheduler changes"),
    (lambda: OwnBackward(D, H), {}, "OwnBackward overrides on_after_backward"),
    (lambda: OwnStep(D, H), {}, "OwnStep overrides training_step"),
    (lambda: OwnLoss([(D, H, "sigmoid")], CLASSES), {}, "OwnLoss overrides loss"),
    (lambda: hooked(pretrain()), {}, "weight has a gradient hook"),
    (lambda: listened(pretrain()), {}, "its layer has a hook"),
    (lambda: still(pretrain()), {}, "bias does not train"),
    (lambda: patched(pretrain()), {}, "a method of its layer was replaced"),
    (lambda: pretrain(optimizer=Sgd), {}, "Sgd is none of torch's optimisers"),
    (lambda: pretrain(optimizer=lambda p: Wrapped(torch.optim.SGD(p, lr=0.1))), {}, "Wrapped is none of torch's"),
    (lambda: classifier(class_weight=[1, 2, 3]), {}, "the loss is weighted by class"),
    (lambda: classifier(freeze=True), {}, "does not train"),
    (lambda: classifier(head=nn.Linear(5, CLASSES)), {}, "not all dense ones"),
    (lambda: PretrainTask(encoder=nn.Linear(D, H), decoder=nn.Linear(H, D)), {}, "not the dense pair"),
    (lambda: pretrain(optimizer=lambda p: torch.optim.SGD(p[:2], lr=0.1)), {}, "has other parameters"),
]


@pytest.mark.parametrize(("make", "arguments", "reason"), REASONS, ids=[reason for *_, reason in REASONS])
def test_what_could_tell_takes_autograd(make, arguments, reason, caplog, monkeypatch):
    steps = []
    for kind in (DenoisingAutoencoder, EncoderStack):
        monkeypatch.setattr(kind, "step", lambda *_: steps.append(1))
    arguments = {**arguments, "callbacks": [make_one() for make_one in arguments.get("callbacks", [])]}
    made = make()
    with caplog.at_level(logging.INFO, logger="stacked_dae"):
        trainer(1, max_steps=3, **arguments).fit(made, datamodule=module())
    assert not steps
    assert any(reason in found for found in made.fast_reasons), made.fast_reasons
    lines = [record.getMessage() for record in caplog.records if "by autograd" in record.getMessage()]
    assert len(lines) == 1
    assert reason in lines[0]


def test_reasons_of_the_task_are_known_without_a_trainer():
    assert pretrain().fast_reasons == []
    assert pretrain(fast=False).fast_reasons == ["fast is False"]
    with pytest.raises(ConfigError, match="fast must be auto or False, not 'yes'"):
        pretrain(fast="yes")


class Freezes(Callback):
    """Freezes the encoder's bias after the first epoch, and thaws it after the second."""

    def on_train_epoch_start(self, trainer, pl_module):
        pl_module.autoencoder.bias.requires_grad_(trainer.current_epoch != 1)
        self.before = pl_module.autoencoder.bias.detach().clone()

    def on_train_epoch_end(self, trainer, pl_module):
        assert torch.equal(self.before, pl_module.autoencoder.bias) == (trainer.current_epoch == 1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_layer_that_a_callback_freezes_stays_still(optimizer):
    made, _, watch = trained("pretrain", {"optimizer": optimizer, "lr": 0.01}, "auto", callbacks=[Freezes()])
    other, _, _ = trained("pretrain", {"optimizer": optimizer, "lr": 0.01}, False, callbacks=[Freezes()])
    assert watch.reasons[1] == ["bias does not train"]
    assert watch.reasons[2] == []
    for left, right in zip(made.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)


class Slows(Callback):
    """Sets the rate by hand."""

    def on_train_epoch_start(self, trainer, pl_module):
        trainer.optimizers[0].param_groups[0]["lr"] = 0.05 / (1 + trainer.current_epoch)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_rate_that_a_callback_sets_is_used(optimizer):
    fast, slow = (
        trained("pretrain", {"optimizer": optimizer}, route, precision="64-true", callbacks=[Slows()])
        for route in ("auto", False)
    )
    assert fast[2].reasons[0] == []
    for left, right in zip(fast[0].parameters(), slow[0].parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def test_backbone_finetuning_by_a_callback_takes_autograd():
    class Backbone(FinetuneTask):
        @property
        def backbone(self):
            return self.encoders

    made = Backbone([(D, H, "sigmoid")], CLASSES)
    watch = Watch()
    callbacks = [BackboneFinetuning(unfreeze_backbone_at_epoch=2), watch]
    before = made.encoders[0].weight.detach().clone()
    trainer(2, callbacks=callbacks).fit(made, datamodule=module())
    assert "BackboneFinetuning changes the training" in watch.reasons[0]
    assert torch.equal(before, made.encoders[0].weight)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_training_continues_on_the_other_route(optimizer, tmp_path):
    options = {
        "optimizer": optimizer,
        "lr": 0.01,
        "lr_scheduler": "CosineAnnealingLR",
        "scheduler_options": {"T_max": 9},
    }
    whole, _, _ = trained("pretrain", options, "auto")
    half = ModelCheckpoint(tmp_path, filename="half", every_n_epochs=3, save_top_k=-1)
    trained("pretrain", options, "auto", epochs=3, callbacks=[half])
    for route, arguments in (("auto", {}), (False, {}), ("auto", {"gradient_clip_val": 1e9})):
        made = pretrain(fast=route, **options)
        lightning = trainer(**arguments)
        lightning.fit(made, datamodule=module(), ckpt_path=half.best_model_path)
        assert lightning.global_step == 60
        for left, right in zip(whole.parameters(), made.parameters(), strict=True):
            if made.fast_reasons:
                torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)
            else:
                assert torch.equal(left, right)


def test_a_task_is_copied_and_trained_again():
    made, _, _ = trained("pretrain", {}, "auto")
    assert made.automatic_optimization
    other = copy.deepcopy(made)
    trainer(1).fit(other, datamodule=module())
    trainer(1, gradient_clip_val=1e9).fit(made, datamodule=module())
    for left, right in zip(made.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)


# What changes in the middle of a training.


class Does(Callback):
    """Does something at the start of the second epoch."""

    def __init__(self, act):
        self.act = act

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            self.act(trainer, pl_module)


def group(**values):
    return lambda trainer, task: trainer.optimizers[0].param_groups[0].update(values)


def rolled_back(trainer, task):
    optimizer = trainer.optimizers[0]
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[0]["lr"] = 0.001


def new_head(trainer, task):
    task.head = LinearHead(5, CLASSES).double()
    trainer.optimizers[0].add_param_group({"params": list(task.head.parameters())})


CHANGES = [
    (pretrain, group(momentum=0.9)),
    (pretrain, group(weight_decay=0.1)),
    (pretrain, group(maximize=True)),
    (pretrain, rolled_back),
    (lambda **o: pretrain(optimizer="adam", **o), rolled_back),
    (lambda **o: pretrain(optimizer="adam", **o), lambda trainer, task: task.zero_grad()),
    (pretrain, lambda trainer, task: setattr(trainer, "gradient_clip_val", 0.01)),
    (pretrain, lambda trainer, task: setattr(trainer, "accumulate_grad_batches", 4)),
    (classifier, lambda trainer, task: setattr(task, "class_weight", torch.tensor([1.0, 9.0, 0.1]).double())),
    (classifier, lambda trainer, task: setattr(task, "loss", lambda a, y: nn.functional.cross_entropy(a, y) * 3)),
    (classifier, new_head),
    (
        pretrain,
        lambda trainer, task: setattr(task, "autoencoder", copy.deepcopy(task.autoencoder)),
    ),
    (
        pretrain,
        lambda trainer, task: trainer.optimizers[0].register_step_post_hook(
            lambda *_: task.autoencoder.bias.data.mul_(0.9)
        ),
    ),
    (pretrain, lambda trainer, task: trainer.callbacks.append(Clips())),
]


@pytest.mark.parametrize(("make", "act"), CHANGES, ids=range(len(CHANGES)))
@pytest.mark.parametrize("limit", [0, None], ids=["no validation", "validation"])
def test_what_a_callback_changes_is_obeyed(make, act, limit):
    def run(fast):
        made, watch = make(fast=fast), Watch()
        lightning = trainer(3, precision="64-true", callbacks=[watch, Does(act)], limit_val_batches=limit)
        lightning.fit(made, datamodule=module())
        return made, lightning, watch

    fast, slow = run("auto"), run(False)
    assert fast[2].reasons[0] == []
    assert fast[1].global_step == slow[1].global_step
    for left, right in zip(fast[0].parameters(), slow[0].parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_the_closed_form_comes_back_and_says_so(caplog):
    with caplog.at_level(logging.INFO, logger="stacked_dae"):
        trained("pretrain", {}, "auto", callbacks=[Freezes()])
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("stacked_dae")]
    assert lines == [
        "PretrainTask trains by autograd, not in closed form: bias does not train",
        "PretrainTask trains in closed form again",
    ]


class Warm(pl.LightningModule):
    """A mixin that changes the update."""

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        optimizer.param_groups[0]["lr"] = 0.001
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)


class Mixed(PretrainTask, Warm):
    pass


class Skips(PretrainTask):
    def on_train_batch_start(self, batch, batch_idx):
        super().on_train_batch_start(batch, batch_idx)
        return -1 if batch_idx >= 5 else None


class OwnBar(TQDMProgressBar):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        trainer.optimizers[0].param_groups[0]["weight_decay"] = 0.1


class Penalty(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, a, x, weight=None):
        return ((a.sigmoid() - x) ** 2).sum(1) * self.scale.exp()


def shared(**options):
    made = FinetuneTask([(D, 6, "sigmoid"), (6, 6, "tanh"), (6, 6, "tanh")], CLASSES, seed=3, **options)
    made.encoders[2].weight = made.encoders[1].weight
    return made


def penalised(**options):
    made = pretrain(**options)
    made.autoencoder.criterion = lambda a, x, w: (a.sigmoid() - x).square().sum(1) + made.autoencoder.weight.abs().sum()
    return made


OTHERS = [
    (lambda **o: Mixed(D, H, seed=3, **o), [], "Warm overrides optimizer_step"),
    (lambda **o: Skips(D, H, seed=3, lr_scheduler="ExponentialLR", scheduler_options={"gamma": 0.5}, **o), [],
     "Skips overrides on_train_batch_start"),
    (pretrain, [OwnBar], "OwnBar has on_train_batch_start"),
    (lambda **o: pretrain(loss=Penalty(), **o), [], "a function of your own"),
    (lambda **o: pretrain(corruption=lambda x, g: (x * 0.5, x > 0), **o), [], "a function of your own"),
    (penalised, [], "a function of your own"),
    (shared, [], "layers share weights"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "callbacks", "reason"), OTHERS, ids=[f"{i} {r}" for i, (*_, r) in enumerate(OTHERS)])
def test_what_the_closed_form_would_leave_out_is_trained(make, callbacks, reason):
    runs = []
    for fast in ("auto", False):
        made = make(fast=fast)
        bars = {"enable_progress_bar": True} if callbacks else {}
        lightning = trainer(3, precision="64-true", callbacks=[kind() for kind in callbacks], **bars)
        lightning.fit(made, datamodule=module())
        runs.append(made)
    assert any(reason in found for found in runs[0].fast_reasons)
    for left, right in zip(*(run.parameters() for run in runs), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("limit", [0, None], ids=["no validation", "validation"])
def test_gradients_are_there_for_whoever_looks_after_an_epoch(optimizer, limit):
    class Norms(Callback):
        def __init__(self):
            self.norms = []

        def on_train_epoch_end(self, trainer, pl_module):
            self.norms.append([None if p.grad is None else float(p.grad.norm()) for p in pl_module.parameters()])

    found = []
    for fast in ("auto", False):
        norms = Norms()
        made = pretrain(fast=fast, optimizer=optimizer, lr=0.01)
        trainer(3, precision="64-true", callbacks=[norms], limit_val_batches=limit).fit(made, datamodule=module())
        assert made.fast_reasons == ([] if fast else ["fast is False"])
        found.append(norms.norms)
    assert found[0] == [
        [None if value is None else pytest.approx(value, rel=1e-10) for value in row] for row in found[1]
    ]


class Decays(torch.optim.lr_scheduler.LRScheduler):
    """Sets a weight decay in the middle of an epoch."""

    def get_lr(self):
        if self.last_epoch == 5:
            self.optimizer.param_groups[0]["weight_decay"] = 0.1
        return [group["lr"] for group in self.optimizer.param_groups]


def test_what_a_schedule_changes_within_an_epoch_is_obeyed():
    runs = [
        trained("pretrain", {"lr_scheduler": Decays, "lr_interval": "step"}, fast, precision="64-true", epochs=1)
        for fast in ("auto", False)
    ]
    assert runs[0][2].reasons == [[]]
    for left, right in zip(*(run[0].parameters() for run in runs), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
