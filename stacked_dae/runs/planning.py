"""The stages of a job, and what of them a run folder holds already."""

from __future__ import annotations

from dataclasses import dataclass

from stacked_dae.config.identity import fingerprint, first_difference
from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.runs.fingerprints import FINETUNE, FORMAT, marks, stage_name
from stacked_dae.runs.folder import RunFolder

# Settings that only fine-tuning reads: a folder that holds layers alone may go on with others.
_FINETUNE_KEYS = ("finetune.", "data.labels_per_class")
_MEND = "choose another --out, or add --rerun to train again from that stage on"


@dataclass(frozen=True)
class Stage:
    """A stage: ``layer_1`` … ``layer_K`` or ``finetune``."""

    name: str
    fingerprint: str


def plan_stages(
    config: Config, data: Dataset, parent: RunFolder | None, *, finetune: bool, own: str | None = None
) -> list[Stage]:
    """Return the stages in order, without those of layers that ``parent`` has or the model never pre-trains."""
    last = parent.stage(stage_name(len(config.layers())))["fingerprint"] if parent is not None else None
    found = marks(config, data.fingerprint, last, own)
    return [Stage(name, mark) for name, mark in found.items() if finetune or name != FINETUNE]


def check_parent(config: Config, data: Dataset, parent: RunFolder, own: str | None = None) -> None:
    """Raise StageError unless ``parent`` holds the layers that ``config`` describes, trained on ``data``.

    ``own`` is the name of what is given in Python instead of settings, if anything.

    Raises:
        ConfigError: the layers were trained with other parts than that.
    """
    where = f"--pretrained {parent.path}"
    if config.model == "mlp":
        raise StageError(f"{where}: model mlp is never pre-trained; leave --pretrained out, or --model")
    for k in range(1, len(config.layers()) + 1):
        if parent.stage(stage_name(k)).get("status") != "done":
            raise StageError(f"{where} has no trained {stage_name(k)}; run its pretrain to the end first")
        parent.weights(stage_name(k))
    different = first_difference(parent.config(), config, ("seed", "trainer.", *_FINETUNE_KEYS))
    if different:
        raise StageError(f"{where} does not match: {different}; its layers can be fine-tuned only as they were trained")
    check_parts(parent, own)
    inputs = parent.manifest["dataset"]["inputs"]
    if inputs != data.inputs:
        raise StageError(f"{where} has layers for {inputs} inputs, but the data {data.name!r} have {data.inputs}")
    if parent.manifest["dataset"]["fingerprint"] != data.fingerprint:
        raise StageError(f"{where} was trained on other data than {data.name!r} holds now")


def check_folder(folder: RunFolder, stages: list[Stage], config: Config, data: Dataset, own: str | None = None) -> None:
    """Raise StageError where ``folder`` holds another experiment; the text names the first difference."""
    there = folder.manifest["stages"]
    both_finetune = FINETUNE in there and any(stage.name == FINETUNE for stage in stages)
    different = first_difference(folder.config(), config, () if both_finetune else _FINETUNE_KEYS)
    if different:
        raise StageError(f"{folder.path} holds another experiment: {different}; {_MEND}")
    if folder.manifest["dataset"]["fingerprint"] != data.fingerprint:
        raise StageError(f"{folder.path} was trained on other data than {data.name!r} holds now; {_MEND}")
    if folder.manifest.get("own") != own:
        parts = [part or "no parts of one's own" for part in (folder.manifest.get("own"), own)]
        raise StageError(f"{folder.path} holds another experiment: it has {parts[0]}, not {parts[1]}; {_MEND}")
    planned = [stage.name for stage in stages]
    for name in there:
        if name not in planned and name != FINETUNE:
            raise StageError(f"{folder.path} holds a {name} of its own, which would be lost; {_MEND}")
    for stage in stages:
        if folder.stage(stage.name).get("fingerprint", stage.fingerprint) != stage.fingerprint:
            raise StageError(
                f"{folder.path} holds another experiment: its {stage.name} was not trained on these layers; {_MEND}"
            )


def unfinished(folder: RunFolder, stages: list[Stage], *, rerun: bool) -> list[Stage]:
    """Return the stages that are still to be done, from the first such one on.

    Raises:
        StageError: a stage is done but its files are gone or changed, and this is no ``rerun``.
    """
    for i, stage in enumerate(stages):
        if not folder.done(stage.name, stage.fingerprint):
            return stages[i:]
        try:
            folder.weights(stage.name)
            folder.metrics(stage.name).rows()
        except StageError:
            if not rerun:
                raise
            folder.stage(stage.name)["fingerprint"] = "damaged"
            return stages[i:]
    return []


def open_folder(
    folder: RunFolder,
    stages: list[Stage],
    config: Config,
    data: Dataset,
    parent: RunFolder | None,
    own: str | None = None,
) -> None:
    """Write ``config.yaml`` and the plan into the folder; stages of other fingerprints are removed from it."""
    before = folder.manifest.get("stages", {})
    plan = {}
    for stage in stages:
        entry = folder.stage(stage.name)
        if entry.get("fingerprint") != stage.fingerprint:
            if entry:
                folder.clear(stage.name)
                folder.forget_result()
            entry = {"fingerprint": stage.fingerprint, "status": "pending"}
        plan[stage.name] = entry
    # Layers without fine-tuning may be asked of a folder that has both: what is beyond the plan stays, if it still
    # follows from these layers.
    kept_layers = all(before.get(s.name, {}).get("fingerprint") == s.fingerprint for s in stages)
    for name, entry in before.items():
        if name not in plan:
            if kept_layers and name == FINETUNE:
                plan[name] = entry
            else:
                folder.clear(name)
    folder.manifest = {
        "format": FORMAT,
        "dataset": {
            "name": data.name,
            "inputs": data.inputs,
            "fingerprint": data.fingerprint,
            "preprocessing": fingerprint(data.table.to_dict()) if data.table else None,
        },
        "parent": str(parent.path.resolve()) if parent else None,
        "layers": parent.stage(stage_name(len(config.layers())))["fingerprint"] if parent else None,
        "own": own,
        "stages": plan,
    }
    folder.write_preprocessing(data.table)
    folder.write_config(config)
    folder.write_manifest()


def check_parts(folder: RunFolder, own: str | None) -> None:
    """Raise ConfigError unless the layers of a run were trained with the parts that ``own`` names; None for none."""
    theirs = folder.manifest.get("own")
    if theirs != own:
        how = (
            f"parts of its own ({theirs}); give them in Python: parts=Parts(…)"
            if theirs
            else "no parts; leave them out"
        )
        raise ConfigError(f"{folder.path} was trained with {how}")
