"""Fingerprints that can grow: a setting of a later version, at its default, changes none."""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass, replace

import pytest

from stacked_dae.config import data_schema, identity, schema
from stacked_dae.config.identity import fingerprint, hashed_fields
from stacked_dae.config.schema import Config, FinetuneConfig, LayerConfig
from stacked_dae.runs.fingerprints import stage_fingerprints

CONFIG = Config()


def grown(cls, value):
    """Return ``cls`` with a field that a later version adds, ``later``, whose default is 0.5, and an object of it."""
    later = make_dataclass(cls.__name__, [("later", float, 0.5)], bases=(cls,), frozen=True)
    own = {field.name: getattr(value, field.name) for field in fields(value)}
    return lambda **more: later(**own, **more)


@dataclass(frozen=True)
class LaterConfig(Config):
    """A Config whose layers and fine-tuning are those of a later version."""

    layer_later: float = 0.5

    def layers(self):
        return [grown(LayerConfig, layer)(later=self.layer_later) for layer in super().layers()]


def later_config(*, layer=0.5, finetune=0.5):
    own = {field.name: getattr(CONFIG, field.name) for field in fields(CONFIG)}
    own["finetune"] = grown(FinetuneConfig, CONFIG.finetune)(later=finetune)
    return LaterConfig(**own, layer_later=layer)


def test_a_later_field_at_its_default_changes_no_fingerprint():
    assert stage_fingerprints(later_config(), "data", None) == stage_fingerprints(CONFIG, "data", None)
    for cls, value in ((LayerConfig, CONFIG.layers()[0]), (FinetuneConfig, CONFIG.finetune)):
        assert fingerprint(grown(cls, value)()) == fingerprint(value)
        assert fingerprint(grown(cls, value)(later=0.25)) != fingerprint(value)


def test_a_later_field_of_a_layer_changes_what_follows_from_it():
    before, after = (stage_fingerprints(c, "data", None) for c in (CONFIG, later_config(layer=0.25)))
    assert all(before[name] != after[name] for name in before)


def test_a_later_field_of_fine_tuning_changes_no_layer():
    before, after = (stage_fingerprints(c, "data", None) for c in (CONFIG, later_config(finetune=0.25)))
    assert [name for name in before if before[name] != after[name]] == ["finetune"]


def test_a_later_field_of_the_whole_config_is_hashed_where_it_is_set():
    whole = grown(Config, CONFIG)
    assert fingerprint(replace(CONFIG)) == fingerprint(CONFIG)
    assert hashed_fields(whole()) == hashed_fields(CONFIG)
    assert hashed_fields(whole(later=1.0))["later"] == 1.0


@pytest.mark.parametrize("name", identity._ALWAYS_HASHED)
def test_every_field_that_is_always_hashed_is_there(name):
    """A field that was renamed or removed would leave every fingerprint for good."""
    cls = next(found for module in (schema, data_schema) if (found := getattr(module, name, None)))
    assert set(identity._ALWAYS_HASHED[name].split()) <= {field.name for field in fields(cls)}
