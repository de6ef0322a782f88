"""The stages of a run by name, and their fingerprints.

A stage's fingerprint is the hash of its settings, its data and the fingerprint of the stage before it: change layer 2,
and layer 1 is not trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stacked_dae.config.identity import HASH_VERSION, fingerprint, hashed_fields
from stacked_dae.config.schema import Config
from stacked_dae.runs.stage_names import FINETUNE, stage_name


def result_fingerprint(config: Config, data: str) -> str:
    """Return the fingerprint of what decides the result of a run that trains its own layers on ``data``."""
    return stage_fingerprints(config, data, None)[FINETUNE]


def stage_fingerprints(
    config: Config,
    data: str,
    parent: str | None,
    components: str | None = None,
    parts: Callable[[str], Sequence[str]] = lambda stage: (),
) -> dict[str, str]:
    """Return the fingerprint of every stage, in order, by name.

    Args:
        config: the settings.
        data: fingerprint of the data.
        parent: fingerprint of the parent run's last layer; None where the run trains its own layers.
        components: name of the custom components, or None.
        parts: stage → what the user's callbacks and Trainer arguments that can change its training are called.
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
            name = stage_name(k)
            decides: tuple[object, ...] = (layer, config.seed, config.trainer.precision, before)
            before = fingerprint(HASH_VERSION, "layer", *decides, *_how(config, parts(name)))
            found[name] = before
    decides = (config.finetune, config.data.labels_per_class, config.seed, config.trainer.precision, before)
    found[FINETUNE] = fingerprint(HASH_VERSION, FINETUNE, *decides, *_how(config, parts(FINETUNE)))
    return found


def _how(config: Config, parts: Sequence[str]) -> list[object]:
    """Return what else decides how a stage is trained; nothing where all of it is at its default."""
    later = hashed_fields(config.trainer)
    trainer = {name: value for name, value in later.items() if name not in ("accelerator", "precision")}
    return [part for part in (trainer, list(parts)) if part]
