"""The stages of a run by name, and their fingerprints.

A stage's fingerprint is the hash of its settings, its data and the fingerprint of the stage before it: change layer 2,
and layer 1 is not trained again.
"""

from __future__ import annotations

from stacked_dae.config.identity import fingerprint
from stacked_dae.config.schema import Config

# Of a run folder; a change of it makes every fingerprint another.
FORMAT = 4
# The stage that trains the stack; those of the layers are named by their numbers.
FINETUNE = "finetune"


def stage_name(k: int) -> str:
    """Return the name of the stage that trains layer ``k``, from 1."""
    return f"layer_{k}"


def result_mark(config: Config, data: str) -> str:
    """Return the fingerprint of what decides the result of a run that trains its own layers on ``data``."""
    return marks(config, data, None)[FINETUNE]


def marks(config: Config, data: str, parent: str | None, own: str | None = None) -> dict[str, str]:
    """Return the fingerprint of every stage, in order, by name.

    Args:
        config: the experiment.
        data: the fingerprint of its data.
        parent: where the layers of another run are fine-tuned, that of the last of them.
        own: the name of the layers' parts that are no settings', if any.
    """
    layers = config.layers()
    found: dict[str, str] = {}
    if parent is not None:
        before = parent
    elif config.model == "mlp":
        before = fingerprint(data, [(layer.units, layer.activation) for layer in layers])
    else:
        before = data if own is None else fingerprint(data, own)
        for k, layer in enumerate(layers, 1):
            before = fingerprint(FORMAT, "layer", layer, config.seed, config.trainer.precision, before)
            found[stage_name(k)] = before
    parts = (config.finetune, config.data.labels_per_class, config.seed, config.trainer.precision, before)
    found[FINETUNE] = fingerprint(FORMAT, FINETUNE, *parts)
    return found
