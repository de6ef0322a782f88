from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import yaml
from helpers.small_runs import ROOT

from stacked_dae.config.identity import fingerprint, first_difference
from stacked_dae.config.loading import config_from_dict, setting_names
from stacked_dae.config.schema import Config, PretrainConfig
from stacked_dae.errors import ConfigError
from stacked_dae.utils.nested import flatten

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_shipped_config_is_a_config(path):
    values = yaml.safe_load(path.read_text())
    if "scale" in values["data"]:
        values["data"]["path"] = "table.csv"
    config = config_from_dict(values, str(path))
    assert config.layers()
    assert config_from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config


def test_one_value_or_one_a_layer():
    config = config_from_dict(
        {
            "pretrain": {
                "units": 30,
                "epochs": [1, 2, 3],
                "corruption": {"nu": [0.1, 0.2, 0.3]},
                "optimizer": {"lr": [0.3, 0.2, 0.1]},
            }
        }
    )
    layers = config.layers()
    assert [layer.units for layer in layers] == [30, 30, 30]
    assert [layer.epochs for layer in layers] == [1, 2, 3]
    assert [layer.nu for layer in layers] == [0.1, 0.2, 0.3]
    assert [layer.lr for layer in layers] == [0.3, 0.2, 0.1]
    assert len(PretrainConfig(units=30).layers()) == 1


def test_saa_is_the_same_with_nu_0():
    sda = config_from_dict({"pretrain": {"corruption": {"nu": 0.3}}})
    saa = replace(sda, model="saa")
    assert [replace(layer, nu=0.0) for layer in sda.layers()] == saa.layers()


BAD = [
    ({"pretrain": {"corruption": {"nu": -0.1}}}, "pretrain.corruption.nu must be in [0, 1], not -0.1"),
    ({"pretrain": {"corruption": {"nu": [0.1, 1.1]}}}, "not 1.1"),
    ({"pretrain": {"corruption": {"nu": float("nan")}}}, "pretrain.corruption.nu"),
    ({"pretrain": {"corruption": {"kind": "mask"}}}, "pretrain.corruption.kind must be one of"),
    ({"pretrain": {"units": 0}}, "pretrain.units must be a whole number above 0, not 0"),
    ({"pretrain": {"units": [10, -3]}}, "not -3"),
    ({"pretrain": {"units": []}}, "pretrain.units is an empty list"),
    ({"pretrain": {"units": [10, 20], "epochs": [1, 2, 3]}}, "pretrain.epochs has 3 values, but pretrain.units says 2"),
    ({"pretrain": {"corruption": {"nu": []}}}, "pretrain.corruption.nu is an empty list"),
    ({"pretrain": {"optimizer": {"lr": 0.0}}}, "pretrain.optimizer.lr must be above 0"),
    ({"pretrain": {"optimizer": {"lr": float("inf")}}}, "pretrain.optimizer.lr"),
    ({"pretrain": {"optimizer": {"options": {"lr": 1}}}}, "set pretrain.optimizer.lr instead"),
    ({"pretrain": {"decoder": "identity"}}, "pretrain.decoder: layer 1"),
    ({"pretrain": {"units": [4, 4], "activation": "tanh"}}, "pretrain.loss: layer 2"),
    ({"pretrain": {"emphasis": {"alpha": -1}}}, "pretrain.emphasis.alpha"),
    ({"pretrain": {"emphasis": {"alpha": 0, "beta": 0}}}, "nothing to learn"),
    ({"pretrain": {"emphasis": {"alpha": 2}, "corruption": {"kind": "gaussian"}}}, "pretrain.emphasis needs"),
    ({"finetune": {"patience": 0}}, "finetune.patience"),
    ({"finetune": {"optimizer": {"name": "adamm"}}}, "did you mean 'adam'"),
    ({"finetune": {"epohcs": 3}}, "unknown setting finetune.epohcs (did you mean 'finetune.epochs'?)"),
    ({"pretrian": {}}, "unknown setting pretrian (did you mean 'pretrain'?)"),
    ({"data": 3}, "data must be a mapping"),
    ({"data": {"labels_per_class": 0}}, "data.labels_per_class"),
    ({"data": {"memory_budget": -1.0}}, "data.memory_budget"),
    ({"seed": -1}, "seed"),
    ({"model": "dbn"}, "model must be one of sda, saa, mlp"),
    ({"trainer": {"accelerator": "abacus"}}, "trainer.accelerator"),
    ({"tracking": {"mode": "on"}}, "tracking.mode"),
]


@pytest.mark.parametrize(("values", "text"), BAD, ids=lambda v: str(v)[:40])
def test_a_wrong_setting_is_named_in_one_line(values, text):
    with pytest.raises(ConfigError) as error:
        config_from_dict(values, "my.yaml")
    assert text in str(error.value)
    assert str(error.value).startswith("my.yaml: ")
    assert "\n" not in str(error.value)


def test_a_gaussian_may_be_wider_than_1():
    assert config_from_dict({"pretrain": {"corruption": {"kind": "gaussian", "nu": 1.5}}}).layers()[0].nu == 1.5


def test_every_change_of_a_layer_changes_its_fingerprint():
    base = PretrainConfig().layers()[0]
    changes = {
        "units": 5, "activation": "tanh", "decoder": "identity", "loss": "squared_error", "tied": False,
        "kind": "masking", "nu": 0.5, "alpha": 2.0, "beta": 2.0, "optimizer": "adam", "lr": 0.5,
        "options": {"momentum": 0.9}, "batch_size": 7, "epochs": 2, "scheduler": "StepLR",
        "scheduler_options": {"step_size": 2}, "scheduler_interval": "step",
        "first_weights": "scaled", "decay": 0.1,
    }  # fmt: skip
    assert changes.keys() == vars(base).keys()
    marks = [fingerprint(base), *(fingerprint(replace(base, **{name: value})) for name, value in changes.items())]
    assert len(set(marks)) == len(marks)
    assert fingerprint(base) == fingerprint(PretrainConfig().layers()[0])


def test_the_first_difference_is_named_and_places_do_not_count():
    one = Config()
    assert first_difference(one, one) is None
    elsewhere = config_from_dict(
        {"data": {"root": "/x", "memory_budget": 1.0}, "tracking": {"mode": "auto"}, "trainer": {"accelerator": "cpu"}}
    )
    assert first_difference(one, elsewhere) is None
    other = config_from_dict({"pretrain": {"corruption": {"nu": 0.5}, "batch_size": 3}})
    assert first_difference(one, other) == "pretrain.corruption.nu is 0.25 there and 0.5 here"
    assert "batch_size" in first_difference(one, other, ignore=("pretrain.corruption.",))


def test_keys_name_what_others_build_on():
    named = """seed data.name data.root data.labels_per_class pretrain.units pretrain.corruption.nu
    pretrain.batch_size pretrain.epochs pretrain.optimizer.lr finetune.epochs tracking.mode""".split()
    assert set(named) <= set(setting_names())
    assert set(flatten(Config().to_dict())) == set(setting_names())


def test_every_setting_is_documented():
    """The attribute docstrings are the --help, so each plain setting has one."""
    import ast

    files = [ROOT / "stacked_dae" / "config" / f"{name}.py" for name in ("schema", "data_schema")]
    nodes = [node for file in files for node in ast.parse(file.read_text()).body]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    for name, node in classes.items():
        if name == "LayerConfig":
            continue
        for field, after in itertools.pairwise([*node.body, ast.Pass()]):
            if isinstance(field, ast.AnnAssign) and not ast.unparse(field.annotation).endswith("Config"):
                documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert documented, f"{name}.{ast.unparse(field.target)}"
