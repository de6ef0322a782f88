"""The greedy workflow and its run folder, on a small data set."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.small_runs import MessageRecorder, blobs, small, stop_after
from pytorch_lightning import Trainer
from safetensors.torch import load_file

from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.optimizer_schema import LayerOptimizerConfig
from stacked_dae.data.dataset import make_dataset
from stacked_dae.data.disk_array import DiskArray
from stacked_dae.errors import ConfigError, DataError, StageError
from stacked_dae.inference import loading
from stacked_dae.pipeline import api, run_store
from stacked_dae.reporting.run_summary import print_summary
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.training import greedy
from stacked_dae.training.builders import build_layers, build_stack
from stacked_dae.training.codes import encode_inputs
from stacked_dae.training.cuda_graphs import CudaGraphRunner
from stacked_dae.training.tasks.finetune import ChunkedFinetuneTask
from stacked_dae.utils import signals
from stacked_dae.utils.terminal.progress import Reporter

DATA = blobs()


def fit(out, config=None, **how):
    return api.fit(config or small(), out, dataset=how.pop("dataset", DATA), **how)


def weights(folder):
    """Return the bytes of every weights file."""
    return {p.parent.name: p.read_bytes() for p in sorted(folder.path.glob("*/weights.safetensors"))}


def figures_of(folder):
    """Return the figures of result.json, without what the clock decides."""
    return {k: v for k, v in folder.result().to_dict().items() if k != "seconds"}


def with_finetune(config, **changes):
    return replace(config, finetune=replace(config.finetune, **changes))


def with_pretrain(config, **changes):
    return replace(config, pretrain=replace(config.pretrain, **changes))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Return the folder of a finished fit, to be read only."""
    return fit(tmp_path_factory.mktemp("done") / "run")


class Recorder(Reporter):
    """Remembers what was said, and raises at one call of advance."""

    def __init__(self, stop_at=None):
        self.said, self.stages, self.stop_at = [], [], stop_at

    def say(self, text):
        self.said.append(text)

    def start(self, name, total, unit, done=0):
        self.stages.append((name, done))

    def advance(self, units, metrics=None):
        if self.stop_at is not None:
            self.stop_at -= 1
            if self.stop_at == 0:
                raise KeyboardInterrupt


@pytest.fixture
def tasks(monkeypatch):
    """Remember each stage's weights as its training begins, without disturbing it."""
    seen = {}
    fit_stage = run_store.fit_stage

    def spy(task, *arguments, **keywords):
        seen[task.stage] = {name: value.clone() for name, value in task.state_dict().items()}
        return fit_stage(task, *arguments, **keywords)

    monkeypatch.setattr(run_store, "fit_stage", spy)
    return seen


def test_the_run_folder_holds_what_is_promised(done):
    path = done.path
    assert {p.name for p in path.iterdir()} == {
        "config.yaml",
        "manifest.json",
        "layer_1",
        "layer_2",
        "finetune",
        "result.json",
    }
    for stage, columns in {
        "layer_1": ["epoch", "train_loss", "valid_loss", "seconds"],
        "layer_2": ["epoch", "train_loss", "valid_loss", "seconds"],
        "finetune": ["epoch", "train_loss", "valid_loss", "valid_error_percent", "seconds"],
    }.items():
        assert {p.name for p in (path / stage).iterdir()} == {"metrics.csv", "weights.safetensors"}
        rows = list(csv.reader((path / stage / "metrics.csv").read_text().splitlines()))
        assert rows[0] == columns
        assert [row[0] for row in rows[1:]] == [str(i) for i in range(1, len(rows))]
    manifest = json.loads((path / "manifest.json").read_text())
    assert list(manifest["stages"]) == ["layer_1", "layer_2", "finetune"]
    assert all(e["status"] == "done" and len(e["fingerprint"]) == 64 for e in manifest["stages"].values())
    result = done.result()
    assert result.dataset == "blobs"
    assert result.n_test == 90
    p = result.test_error_percent / 100
    assert result.test_error_ci95_percent == pytest.approx(196 * (p * (1 - p) / 90) ** 0.5)
    assert np.sum(result.confusion) == 90
    assert np.trace(result.confusion) == 90 - round(90 * p)
    assert result.parameters == 12 * 10 + 10 + 10 * 8 + 8 + 8 * 3 + 3
    assert RunFolder.open(path).config() == small()


def test_it_learns(done):
    rows = done.metrics("layer_1").rows()
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert done.result().test_error_percent < 40, "three classes: chance is 67"


def test_best_epoch_is_the_first_lowest_and_its_weights_are_kept(done):
    errors = [row["valid_error_percent"] for row in done.metrics("finetune").rows()]
    result = done.result()
    assert result.best_valid_error_percent == min(errors)
    assert result.best_epoch == errors.index(min(errors)) + 1
    stack = loading.load_stack(done)
    with torch.no_grad():
        wrong = (stack(torch.from_numpy(DATA.valid.inputs)).argmax(1).numpy() != DATA.valid.labels).mean()
    assert 100 * wrong == pytest.approx(min(errors))


KEYS = {
    "error": lambda row: row["valid_error_percent"],
    "error_then_loss": lambda row: (row["valid_error_percent"], row["valid_loss"]),
    "loss": lambda row: row["valid_loss"],
}


def tying(monitor, **changes):
    """Return settings under which the lowest error comes twice, and the loss falls to the end."""
    steep = replace(small().finetune.optimizer, lr=0.4)
    return with_finetune(small(), monitor=monitor, epochs=40, optimizer=steep, **changes)


@pytest.mark.parametrize("monitor", KEYS)
def test_the_monitor_chooses_the_epoch(monitor, tmp_path):
    folder = fit(tmp_path / "run", tying(monitor, patience=40))
    rows = folder.metrics("finetune").rows()
    chosen = {name: rows.index(min(rows, key=key)) + 1 for name, key in KEYS.items()}
    assert len(set(chosen.values())) == 3, "the case tells the monitors apart"
    result = folder.result()
    assert result.best_epoch == chosen[monitor]
    assert result.best_valid_error_percent == rows[chosen[monitor] - 1]["valid_error_percent"]


@pytest.mark.parametrize("monitor", KEYS)
def test_patience_counts_from_the_best_epoch_of_the_monitor(monitor, tmp_path):
    folder = fit(tmp_path / "run", tying(monitor, patience=4))
    rows, best = folder.metrics("finetune").rows(), folder.result().best_epoch
    assert min(rows, key=KEYS[monitor]) == rows[best - 1]
    assert len(rows) == min(best + 4, 40)
    assert best == {"error": 6, "error_then_loss": 9}.get(monitor, best)


@pytest.mark.parametrize("monitor", KEYS)
def test_a_stopped_fine_tuning_keeps_the_epoch_of_its_monitor(monitor, tmp_path):
    config = tying(monitor, patience=40)
    whole = fit(tmp_path / "whole", config)
    for looks in (150, 300, 420):
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, looks)
            with pytest.raises(signals.Interrupted):
                fit(tmp_path / f"cut{looks}", config)
        resumed = fit(tmp_path / f"cut{looks}", config)
        assert (weights(resumed), figures_of(resumed)) == (weights(whole), figures_of(whole))


def test_a_checkpoint_without_the_loss_of_the_best_epoch_serves_the_error_alone():
    stack = build_stack(small(), 12, 3)
    for monitor, accepted in {"error": True, "error_then_loss": False, "loss": False}.items():
        task = ChunkedFinetuneTask(stack, FINETUNE, 0, torch.optim.SGD, 3, monitor=monitor)
        written: dict = {}
        task.on_save_checkpoint(written)
        assert task.accepts(written)
        del written["best_loss"]
        assert task.accepts(written) == accepted


def test_patience_ends_training(tmp_path):
    config = with_finetune(small(), epochs=200, patience=2, optimizer=replace(small().finetune.optimizer, lr=1e-12))
    folder = fit(tmp_path / "run", config)
    assert len(folder.metrics("finetune").rows()) == 3
    assert folder.result().best_epoch == 1


def test_the_same_seed_gives_equal_bits_and_another_does_not(tmp_path, done):
    again = fit(tmp_path / "again")
    assert weights(again) == weights(done)
    assert figures_of(again) == figures_of(done)
    other = fit(tmp_path / "other", replace(small(), seed=4))
    assert not set(weights(other).values()) & set(weights(done).values())


def test_fine_tuning_starts_from_the_pretrained_weights(tmp_path, tasks):
    folder = fit(tmp_path / "run")
    for k in (1, 2):
        layer = load_file(folder.path / f"layer_{k}" / "weights.safetensors")
        assert torch.equal(tasks[FINETUNE][f"stack.encoders.{k - 1}.weight"], layer["weight"])
        assert torch.equal(tasks[FINETUNE][f"stack.encoders.{k - 1}.bias"], layer["bias"])


def test_lower_layers_stay_while_a_higher_one_trains(tmp_path):
    both = api.pretrain(small(), tmp_path / "both", dataset=DATA)
    one_layer = config_from_dict(
        {
            **small().to_dict(),
            "pretrain": {**small().to_dict()["pretrain"], "units": [10], "corruption": {"nu": [0.25]}},
        }
    )
    one = api.pretrain(one_layer, tmp_path / "one", dataset=DATA)
    assert weights(one)["layer_1"] == weights(both)["layer_1"]


def test_each_layer_trains_on_the_clean_codes_of_the_one_below(tmp_path, monkeypatch):
    given = []
    loader = greedy.ChunkLoader
    monkeypatch.setattr(
        greedy, "ChunkLoader", lambda rows, *a, **k: given.append(np.array(rows)) or loader(rows, *a, **k)
    )
    folder = api.pretrain(small(), tmp_path / "run", dataset=DATA)
    layers = loading.load_layers(folder)
    with torch.no_grad():
        for rows, inputs in zip(given[2:], (DATA.train.inputs, DATA.valid.inputs), strict=True):
            direct = torch.sigmoid(torch.from_numpy(inputs) @ layers[0].weight.t() + layers[0].bias)
            assert np.allclose(rows, direct.numpy(), rtol=0, atol=1e-6)


def test_codes_are_made_once_a_layer(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(greedy, "encode_inputs", lambda *a, **k: made.append(len(a[1])) or encode_inputs(*a, **k))
    fit(tmp_path / "run")
    assert made == [230, 60], "of the first layer, for train and validation; the last one needs none"


def test_codes_beyond_the_memory_budget_are_mapped_and_change_nothing(tmp_path, done, monkeypatch):
    made = []
    monkeypatch.setattr(greedy, "encode_inputs", lambda *a, **k: made.append(encode_inputs(*a, **k)) or made[-1])
    folder = fit(tmp_path / "run", replace(small(), data=replace(small().data, memory_budget=0.0)))
    assert all(isinstance(codes, DiskArray) for codes in made)
    assert weights(folder) == weights(done)
    assert not list(folder.path.glob("**/codes*"))


def test_the_test_rows_are_read_once_after_all_selection(tmp_path):
    out, reads = tmp_path / "run", []

    def load_test():
        manifest = json.loads((out / "manifest.json").read_text())
        reads.append([entry["status"] for entry in manifest["stages"].values()])
        split = DATA.load_test()
        return split.inputs, split.labels

    data = blobs(load_test=load_test)
    fit(out, dataset=data)
    assert reads == [["done", "done", "done"]]


def test_another_test_set_changes_no_weight(tmp_path, done):
    other = blobs(load_test=lambda: (DATA.valid.inputs, DATA.valid.labels))
    assert weights(fit(tmp_path / "run", dataset=other)) == weights(done)


def test_saa_has_no_noise_and_the_same_first_weights(tmp_path, tasks, done):
    folder = fit(tmp_path / "run", replace(small(), model="saa"))
    first = build_layers(small(), DATA.inputs)[0]
    assert torch.equal(tasks["layer_1"]["layer.weight"], first.weight)
    nu_0 = fit(tmp_path / "nu_0", with_pretrain(small(), corruption=replace(small().pretrain.corruption, nu=0.0)))
    assert weights(folder) == weights(nu_0)
    assert weights(folder) != weights(done)


def test_mlp_is_the_same_network_never_pretrained(tmp_path, tasks):
    folder = fit(tmp_path / "run", replace(small(), model="mlp"))
    assert list(tasks) == [FINETUNE]
    for k, layer in enumerate(build_layers(small(), DATA.inputs)):
        assert torch.equal(tasks[FINETUNE][f"stack.encoders.{k}.weight"], layer.weight)
    assert folder.result().model == "mlp"
    with pytest.raises(ConfigError, match="never pre-trained"):
        api.pretrain(replace(small(), model="mlp"), tmp_path / "x", dataset=DATA)


def test_few_labels_reach_fine_tuning_alone(tmp_path, monkeypatch, done):
    given = {}
    fit_stage = run_store.fit_stage

    def spy(task, train, *arguments, **keywords):
        given[task.stage] = sum(len(chunk.read()[0]) for chunk in train)
        return fit_stage(task, train, *arguments, **keywords)

    monkeypatch.setattr(run_store, "fit_stage", spy)
    folder = fit(tmp_path / "run", replace(small(), data=replace(small().data, labels_per_class=5)))
    assert given == {"layer_1": 230, "layer_2": 230, "finetune": 15}
    assert weights(folder)["layer_2"] == weights(done)["layer_2"]
    with pytest.raises(DataError, match="has only"):
        fit(tmp_path / "x", replace(small(), data=replace(small().data, labels_per_class=500)))
    assert not (tmp_path / "x").exists()


def test_a_finished_folder_trains_nothing_and_says_so(done):
    before = {p: p.stat().st_mtime_ns for p in done.path.rglob("*")}
    recorder = Recorder()
    fit(done.path, progress=recorder)
    assert recorder.stages == []
    assert "finished already: nothing to train" in recorder.said[0]
    assert {p: p.stat().st_mtime_ns for p in done.path.rglob("*")} == before


# 3 epochs and 2 blocks of codes, 3 epochs, then up to 6 epochs of fine-tuning.
@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5, 6, 8, 9, 11])
def test_a_job_that_was_cut_goes_on_to_the_same_bits(tmp_path, done, stop_at):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", progress=Recorder(stop_at))
    recorder = Recorder()
    folder = fit(tmp_path / "run", progress=recorder)
    assert weights(folder) == weights(done)
    assert figures_of(folder) == figures_of(done)
    for stage in ("layer_1", "layer_2", "finetune"):
        ours, theirs = folder.metrics(stage).rows(), done.metrics(stage).rows()
        assert [{**row, "seconds": 0} for row in ours] == [{**row, "seconds": 0} for row in theirs]
    if stop_at == 2:
        assert recorder.stages[0] == ("layer_1", 2), "two epochs were done and are not done again"


def test_an_epoch_cut_before_its_checkpoint_leaves_no_row_behind(tmp_path, done, monkeypatch):
    save, calls = Trainer.save_checkpoint, []

    def cut(self, *arguments, **keywords):
        calls.append(self.current_epoch)
        if len(calls) == 5:
            raise KeyboardInterrupt
        save(self, *arguments, **keywords)

    monkeypatch.setattr(Trainer, "save_checkpoint", cut)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run")
    folder = fit(tmp_path / "run")
    assert weights(folder) == weights(done)
    assert [row["epoch"] for row in folder.metrics("layer_2").rows()] == [1, 2, 3]


def test_a_job_cut_after_its_last_epoch_trains_no_further(tmp_path):
    config = with_finetune(small(), epochs=50, patience=2)
    whole = fit(tmp_path / "whole", config)
    epochs = len(whole.metrics(FINETUNE).rows())
    assert epochs < 50
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", config, progress=Recorder(3 + 2 + 3 + epochs))
    folder = fit(tmp_path / "cut", config)
    assert len(folder.metrics(FINETUNE).rows()) == epochs
    assert weights(folder) == weights(whole)


def test_adam_and_momentum_resume_to_the_same_bits(tmp_path):
    pretrain = replace(small().pretrain.optimizer, name="sgd", options={"momentum": 0.9})
    config = with_pretrain(small(), optimizer=pretrain, tied=False)
    config = with_finetune(config, optimizer=replace(config.finetune.optimizer, name="adam", lr=0.01))
    whole = fit(tmp_path / "whole", config)
    for stop_at in (2, 9):
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / str(stop_at), config, progress=Recorder(stop_at))
        assert weights(fit(tmp_path / str(stop_at), config)) == weights(whole)


# 12 minibatches an epoch and one chunk to validate, so 13 looks: in the first epoch, at its end, in its validation, in
# the second, in layer 2, in fine-tuning, and when that validates.
@pytest.mark.parametrize("looks", [1, 5, 12, 13, 14, 20, 45, 85, 91])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_signal_stops_after_the_minibatch_and_training_goes_on_there(tmp_path, monkeypatch, looks, optimizer):
    config = small()
    if optimizer == "adam":
        config = with_pretrain(config, optimizer=replace(config.pretrain.optimizer, name="adam", lr=0.01), tied=False)
        config = with_finetune(config, optimizer=replace(config.finetune.optimizer, name="adam"), dropout=0.2)
    whole = fit(tmp_path / "whole", config)
    counted = []
    with monkeypatch.context() as patch:
        stop_after(patch, looks)
        with pytest.raises(signals.Interrupted):
            fit(tmp_path / "cut", config)
        assert list((tmp_path / "cut").glob("*/minibatch.ckpt"))
    with monkeypatch.context() as patch:
        step = CudaGraphRunner.run
        patch.setattr(CudaGraphRunner, "run", lambda self, *rows: counted.append(1) or step(self, *rows))
        folder = fit(tmp_path / "cut", config)
    assert weights(folder) == weights(whole)
    assert figures_of(folder) == figures_of(whole)
    for stage in ("layer_1", "layer_2", "finetune"):
        ours, theirs = folder.metrics(stage).rows(), whole.metrics(stage).rows()
        assert [{**row, "seconds": 0} for row in ours] == [{**row, "seconds": 0} for row in theirs]
    total = 12 * sum(len(whole.metrics(stage).rows()) for stage in ("layer_1", "layer_2", "finetune"))
    before = 12 * ((looks - 1) // 13) + min((looks - 1) % 13 + 1, 12)
    assert len(counted) == total - before, "no minibatch is made twice"
    assert not list(folder.path.glob("**/*.ckpt"))


def test_a_cut_epoch_of_another_training_is_not_gone_on_with(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(signals.Interrupted):
            fit(tmp_path / "run")
    other = with_pretrain(small(), optimizer=replace(small().pretrain.optimizer, lr=0.05))
    # What lies in the folder is not removed for once: it is of another fingerprint.
    monkeypatch.setattr(RunFolder, "delete_stage", lambda self, name: None)
    folder = fit(tmp_path / "run", other, rerun=True)
    assert weights(folder) == weights(fit(tmp_path / "fresh", other))


CHANGES = {
    "seed is 3 there and 5 here": lambda c: replace(c, seed=5),
    "model is 'sda' there and 'mlp' here": lambda c: replace(c, model="mlp"),
    "pretrain.epochs is 3 there and [3, 4] here": lambda c: with_pretrain(c, epochs=[3, 4]),
    "finetune.patience is 3 there and 2 here": lambda c: with_finetune(c, patience=2),
    "data.labels_per_class is None there and 9 here": lambda c: replace(c, data=replace(c.data, labels_per_class=9)),
}


@pytest.mark.parametrize("text", CHANGES)
def test_a_folder_of_another_experiment_is_refused(done, text):
    with pytest.raises(StageError) as error:
        fit(done.path, CHANGES[text](small()))
    assert text in str(error.value)
    assert "--rerun" in str(error.value)


def test_a_folder_of_other_data_is_refused(done):
    with pytest.raises(StageError, match="was trained on other data"):
        fit(done.path, dataset=blobs(1))


def test_rerun_keeps_what_is_still_valid(tmp_path, done):
    folder = fit(tmp_path / "run")
    changed = with_pretrain(small(), epochs=[3, 4])
    recorder = Recorder()
    fit(folder.path, changed, rerun=True, progress=recorder)
    trained = [stage for stage, _ in recorder.stages if "codes" not in stage]
    assert trained == ["layer_2", "finetune"]
    assert weights(folder) == weights(fit(tmp_path / "fresh", changed))
    assert weights(folder)["layer_1"] == weights(done)["layer_1"]
    recorder = Recorder()
    fit(folder.path, changed, rerun=True, progress=recorder)
    assert recorder.stages == [], "nothing differs, so nothing is trained again"
    fit(folder.path, replace(changed, model="mlp"), rerun=True)
    assert sorted(weights(folder)) == ["finetune"]


def test_rerun_trains_everything_above_a_changed_layer(tmp_path):
    folder = fit(tmp_path / "run")
    recorder = Recorder()
    fit(folder.path, with_pretrain(small(), epochs=[2, 3]), rerun=True, progress=recorder)
    assert [stage for stage, _ in recorder.stages if "codes" not in stage] == ["layer_1", "layer_2", "finetune"]


def test_a_rerun_that_was_cut_still_trains_everything_above_a_changed_layer(tmp_path):
    folder = fit(tmp_path / "run")
    changed = with_pretrain(small(), epochs=[2, 3])
    with pytest.raises(KeyboardInterrupt):
        fit(folder.path, changed, rerun=True, progress=Recorder(stop_at=3))
    fit(folder.path, changed)
    assert weights(folder) == weights(fit(tmp_path / "fresh", changed))


def test_layers_of_one_shape_start_from_different_weights():
    square = with_pretrain(small(), units=[12, 12, 12], corruption=replace(small().pretrain.corruption, nu=0.1))
    first = [layer.weight for layer in build_layers(square, 12)]
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])


def test_pretrain_then_fit_goes_on_in_the_same_folder(tmp_path, done):
    first = with_finetune(small(), epochs=99)
    api.pretrain(first, tmp_path / "run", dataset=DATA)
    recorder = Recorder()
    folder = fit(tmp_path / "run", progress=recorder)
    assert [stage for stage, _ in recorder.stages] == ["finetune"]
    assert weights(folder) == weights(done)
    recorder = Recorder()
    api.pretrain(small(), tmp_path / "run", dataset=DATA, progress=recorder)
    assert not recorder.stages
    assert (tmp_path / "run" / "result.json").exists()


def test_finetune_takes_the_layers_of_another_run(tmp_path, done, tasks):
    api.pretrain(small(), tmp_path / "layers", dataset=DATA)
    folder = api.finetune(small(), tmp_path / "run", tmp_path / "layers", dataset=DATA)
    assert weights(folder)["finetune"] == weights(done)["finetune"]
    assert folder.manifest.parent == str(tmp_path / "layers")
    other = api.finetune(replace(small(), seed=9), tmp_path / "run_9", tmp_path / "layers", dataset=DATA)
    assert weights(other) != weights(folder)
    layer = load_file(tmp_path / "layers" / "layer_1" / "weights.safetensors")
    assert torch.equal(tasks[FINETUNE]["stack.encoders.0.weight"], layer["weight"])


def test_finetune_refuses_layers_that_do_not_match(tmp_path, done):
    def refuse(text, config=None, dataset=DATA, pretrained=done.path):
        with pytest.raises(StageError, match=text):
            api.finetune(config or small(), tmp_path / "x", pretrained, dataset=dataset)
        assert not (tmp_path / "x").exists()

    refuse("pretrain.units is", with_pretrain(small(), units=[10, 9]))
    refuse("data.name is 'blobs' there and 'digits' here", replace(small(), data=replace(small().data, name="digits")))
    refuse("trained on other data", dataset=blobs(1))
    refuse("not a run folder", pretrained=tmp_path)
    refuse("mlp is never pre-trained", replace(small(), model="mlp"))
    narrow = make_dataset("blobs", *[(s.inputs[:, :6], s.labels) for s in (DATA.train, DATA.valid)], lambda: None)
    refuse("layers for 12 inputs, but the data 'blobs' have 6", dataset=narrow)
    fit(tmp_path / "mlp", replace(small(), model="mlp"))
    refuse("model is 'mlp' there|no trained layer_1", pretrained=tmp_path / "mlp")


def test_evaluate_gives_the_error_again_without_training(done):
    score = api.evaluate(done.path, dataset=DATA)
    result = done.result()
    assert (score.error_percent, score.ci95_percent) == (
        result.test_error_percent,
        result.test_error_ci95_percent,
    )
    assert score.confusion == result.confusion


def test_evaluate_needs_a_finished_run(tmp_path):
    api.pretrain(small(), tmp_path / "run", dataset=DATA)
    with pytest.raises(StageError, match="is not fine-tuned"):
        api.evaluate(tmp_path / "run", dataset=DATA)


def test_damaged_weights_are_named_and_rerun_makes_them_again(tmp_path, done):
    folder = fit(tmp_path / "run")
    for stage, damage in (
        ("layer_1", lambda p: p.unlink()),
        ("finetune", lambda p: p.write_bytes(p.read_bytes()[:-1])),
    ):
        damage(folder.path / stage / "weights.safetensors")
        with pytest.raises(StageError, match=f"{stage}/weights.safetensors .*--rerun"):
            fit(folder.path)
        fit(folder.path, rerun=True)
        assert weights(folder) == weights(done)


def test_a_run_that_was_killed_before_its_manifest_begins_again(tmp_path, done):
    RunFolder(tmp_path).write_config(small())
    (tmp_path / ".manifest.json.7.tmp").write_text("{")
    assert weights(fit(tmp_path)) == weights(done)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(StageError, match="not a run folder"):
        fit(tmp_path / "other")


def test_without_a_test_the_test_rows_are_not_read(tmp_path):
    reads = []
    test = DATA.load_test()
    data = blobs(load_test=lambda: reads.append(1) or (test.inputs, test.labels))
    folder = fit(tmp_path / "run", dataset=data, test=False)
    assert (reads, (folder.path / "result.json").exists()) == ([], False)
    trained = weights(folder)
    folder = fit(tmp_path / "run", dataset=data)
    assert reads == [1]
    assert weights(folder) == trained
    assert figures_of(folder) == figures_of(fit(tmp_path / "at once"))


def test_dropout_hides_codes_from_training_and_from_nothing_else():
    task = ChunkedFinetuneTask(build_stack(small(), 12, 3), "finetune", 0, lambda _: None, 3, dropout=0.25)
    x = torch.ones(4000, 12)
    _, _, *masks = task.prepare(x, torch.zeros(4000, dtype=torch.int64), torch.Generator().manual_seed(1))
    assert [tuple(mask.shape) for mask in masks] == [(4000, 10), (4000, 8)]
    for mask in masks:
        assert mask.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
        assert mask.mean() == pytest.approx(1.0, abs=0.02)
        assert mask.mean(0).std() < 0.03, "all units alike"
    plain = ChunkedFinetuneTask(build_stack(small(), 12, 3), "finetune", 0, lambda _: None, 3)
    assert len(plain.prepare(x, torch.zeros(4000, dtype=torch.int64), torch.Generator())) == 2


def test_dropout_changes_what_is_learnt_and_not_how_it_is_tested(tmp_path):
    config = with_finetune(small(), dropout=0.5)
    folder = fit(tmp_path / "run", config)
    assert weights(folder)["finetune"] != weights(fit(tmp_path / "plain"))["finetune"]
    assert weights(folder) == weights(fit(tmp_path / "again", config))
    assert api.evaluate(folder.path, dataset=DATA).error_percent == folder.result().test_error_percent
    with pytest.raises(ConfigError, match="finetune.dropout must be below 1"):
        with_finetune(small(), dropout=1.0)


def test_divergence_is_told_in_one_line(tmp_path):
    config = with_pretrain(
        small(), loss="squared_error", decoder="identity", activation="identity",
        optimizer=replace(small().pretrain.optimizer, lr=1e6),
    )  # fmt: skip
    with pytest.raises(StageError, match="layer_1 diverged.*lower pretrain.optimizer.lr"):
        fit(tmp_path / "run", config)


def test_inputs_outside_0_to_1_need_squared_error(tmp_path):
    wide = make_dataset("wide", *[(3 * s.inputs, s.labels) for s in (DATA.train, DATA.valid)], lambda: None)
    with pytest.raises(DataError, match="cross_entropy needs inputs in"):
        fit(tmp_path / "run", dataset=wide)
    assert not (tmp_path / "run").exists()
    config = with_pretrain(small(), loss=["squared_error", "cross_entropy"], decoder=["identity", "sigmoid"])
    api.pretrain(config, tmp_path / "run", dataset=wide)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StageError, match="is not a run folder"):
        fit(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    (tmp_path / "config.yaml").write_text("seed: 1")
    with pytest.raises(StageError, match="is damaged"):
        fit(tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "notes.txt": "mine",
        "manifest.json": "{",
        "config.yaml": "seed: 1",
    }


def test_lightning_counts_every_update(tmp_path, monkeypatch):
    steps = []
    save = Trainer.save_checkpoint
    monkeypatch.setattr(
        Trainer,
        "save_checkpoint",
        lambda self, *a, **k: steps.append((self.current_epoch, self.global_step)) or save(self, *a, **k),
    )
    api.pretrain(small(), tmp_path / "run", dataset=DATA)
    assert steps[:3] == [(0, 12), (1, 24), (2, 36)], "230 rows in minibatches of 20 are 12 updates an epoch"


def test_lower_precision_is_of_the_products_only(tmp_path, done):
    config = replace(small(), trainer=replace(small().trainer, precision="bf16-mixed"))
    folder = fit(tmp_path / "run", config)
    for stage in ("layer_1", "finetune"):
        for name, full in load_file(done.weights_path(stage)).items():
            half = load_file(folder.weights_path(stage))[name]
            assert half.dtype == torch.float32
            assert torch.allclose(half, full, atol=0.05), name
            assert not torch.equal(half, full), name
    with pytest.raises(StageError, match=r"trainer\.precision is '32-true' there and 'bf16-mixed' here"):
        fit(done.path, config)
    # Every stage follows from it.
    again = fit(fit(tmp_path / "again").path, config, rerun=True)
    assert weights(again) == weights(folder)


def test_each_update_sees_the_weights_of_the_one_before_in_lower_precision(tmp_path, monkeypatch):
    """One chunk of twelve minibatches equals twelve chunks of one: no cast of old weights is kept in between."""
    config = replace(small(), model="mlp", trainer=replace(small().trainer, precision="bf16-mixed"))
    whole = fit(tmp_path / "whole", config)
    monkeypatch.setattr("stacked_dae.training.loader._CHUNK_FLOATS", 1)
    cut = fit(tmp_path / "cut", config)
    assert weights(cut) == weights(whole)


def test_units_that_say_nothing_are_counted_and_said(tmp_path, capsys):
    reporter = MessageRecorder()
    run = api.pretrain(small(), tmp_path / "good", dataset=DATA, progress=reporter)
    record = run.stage("layer_1")
    assert 0 <= record.dead_units <= 10
    assert 0.0 <= record.saturated_percent < 90.0
    assert not any("are dead" in line for line in reporter.lines)
    wild = replace(small().pretrain, optimizer=LayerOptimizerConfig(name="sgd", lr=500.0))
    bad = api.pretrain(small(pretrain=wild), tmp_path / "bad", dataset=DATA, progress=reporter)
    record = bad.stage("layer_1")
    said = next(line for line in reporter.lines if "layer_1: " in line and "are dead" in line)
    assert f"{record.dead_units} of 10 units are dead, {record.saturated_percent:.0f} % of the codes" in said
    # What a run says of itself outlives the command.
    print_summary(RunFolder.open(bad.path))
    assert f"{record.saturated_percent:.0f} %" in capsys.readouterr().out


def test_the_history_is_a_tidy_frame(done):
    folder = RunFolder.open(str(done.path))
    frame = folder.history()
    assert list(frame.columns) == ["stage", "epoch", "name", "value"]
    losses = frame[(frame["stage"] == "layer_1") & (frame["name"] == "valid_loss")]
    assert list(losses["value"]) == [row["valid_loss"] for row in folder.metrics("layer_1").rows()]
    assert list(losses["epoch"]) == [1, 2, 3]
    assert set(frame["stage"]) == {"layer_1", "layer_2", "finetune"}
