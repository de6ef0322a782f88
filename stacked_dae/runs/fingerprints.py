"""The stages of a run by name, and their fingerprints.

A stage's fingerprint is the hash of its settings, its data and the fingerprint of the stage before it: change layer 2,
and layer 1 is not trained again.
"""

from __future__ import annotations

from stacked_dae.config.identity import HASH_VERSION, fingerprint
from stacked_dae.config.schema import Config
from stacked_dae.runs.stage_names import FINETUNE, stage_name


def result_fingerprint(config: Config, data: str) -> str:
    """Return the fingerprint of what decides the result of a run that trains its own layers on ``data``."""
    return stage_fingerprints(config, data, None)[FINETUNE]


def stage_fingerprints(config: Config, data: str, parent: str | None, components: str | None = None) -> dict[str, str]:
    """Return the fingerprint of every stage, in order, by name.

    Args:
        config: the settings.
        data: fingerprint of the data.
        parent: fingerprint of the parent run's last layer; None where the run trains its own layers.
        components: name of the custom components, or None.
    """
    layers = config.layers()
    found: dict[str, str] = {}
    if parent is not None:
        before = parent
    elif config.model == "mlp":
        before = fingerprint(data, [(layer.units, layer.activation) for layer in layers])
    else:
        before = data if components is None else fingerprint(data, components)
        for k, layer in enumerate(layers, 1):
            before = fingerprint(HASH_VERSION, "layer", layer, config.seed, config.trainer.precision, before)
            found[stage_name(k)] = before
    decides = (config.finetune, config.data.labels_per_class, config.seed, config.trainer.precision, before)
    found[FINETUNE] = fingerprint(HASH_VERSION, FINETUNE, *decides)
    return found
