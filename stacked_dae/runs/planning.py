"""The plan of a run: checks against the parent and the folder, and the stages that are left to do."""

from __future__ import annotations

from stacked_dae.config.data_schema import TABLE_SETTINGS
from stacked_dae.config.identity import fingerprint, first_difference
from stacked_dae.errors import StageError
from stacked_dae.runs.experiment import Experiment, Stage
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.manifest import DatasetRecord, Manifest, StageRecord
from stacked_dae.runs.stage_names import FINETUNE, stage_name

# Settings that only fine-tuning reads: a folder that holds layers alone may be continued with others.
_FINETUNE_KEYS = ("finetune.", "data.labels_per_class", "task")
# Those that may differ from the ones of the layers' table.
_TABLE_KEYS = ("data.path", *(f"data.{name}" for name in TABLE_SETTINGS if name != "scale"))
_REMEDY = "choose another --out, or add --rerun to train again from that stage on"


def check_parent(experiment: Experiment) -> None:
    """Raise StageError unless the parent run holds the layers that the settings describe.

    They were trained on the same data, or on another table, whose columns this one has.

    Raises:
        ConfigError: the layers were trained with other components.
    """
    parent, config, data = experiment.parent, experiment.config, experiment.data
    if parent is None:
        return
    where = f"--pretrained {parent.path}"
    if config.model == "mlp":
        raise StageError(f"{where}: model mlp is never pre-trained; leave --pretrained out, or --model")
    for k in range(1, len(config.layers()) + 1):
        if not parent.has_done(stage_name(k)):
            raise StageError(f"{where} has no trained {stage_name(k)}; run its pretrain to the end first")
        parent.weights_path(stage_name(k))
    other_table = data.table is not None and data.table.from_layers
    ignored = ("seed", "trainer.", *_FINETUNE_KEYS, *(_TABLE_KEYS if other_table else ()))
    different = first_difference(parent.config(), config, ignored)
    if different:
        raise StageError(f"{where} does not match: {different}; its layers can be fine-tuned only as they were trained")
    parent.check_components(experiment.component_names)
    there = parent.manifest.dataset
    if there.inputs != data.inputs:
        raise StageError(f"{where} has layers for {there.inputs} inputs, but the data {data.name!r} have {data.inputs}")
    if there.fingerprint != data.fingerprint and not other_table:
        raise StageError(f"{where} was trained on other data than {data.name!r} holds now")


def check_same_experiment(folder: RunFolder, stages: list[Stage], experiment: Experiment) -> None:
    """Raise StageError where ``folder`` holds another experiment; the text names the first difference."""
    there = folder.manifest.stages
    both_finetune = FINETUNE in there and any(stage.name == FINETUNE for stage in stages)
    different = first_difference(folder.config(), experiment.config, () if both_finetune else _FINETUNE_KEYS)
    if different:
        raise StageError(f"{folder.path} holds another experiment: {different}; {_REMEDY}")
    if folder.manifest.dataset.fingerprint != experiment.data.fingerprint:
        raise StageError(f"{folder.path} was trained on other data than {experiment.data.name!r} holds now; {_REMEDY}")
    names = [name or "no custom components" for name in (folder.manifest.components, experiment.component_names)]
    if names[0] != names[1]:
        raise StageError(f"{folder.path} holds another experiment: it has {names[0]}, not {names[1]}; {_REMEDY}")
    planned = [stage.name for stage in stages]
    for name in there:
        if name not in planned and name != FINETUNE:
            raise StageError(f"{folder.path} holds a {name} of its own, which would be lost; {_REMEDY}")
    for stage in stages:
        if stage.name in there and there[stage.name].fingerprint != stage.fingerprint:
            old, new = there[stage.name].parts or [], list(stage.parts)
            if old != new:
                raise StageError(
                    f"{folder.path} holds another experiment: its {stage.name} was trained with"
                    f" {', '.join(old) or 'no callbacks or Trainer arguments'}, not {', '.join(new) or 'none'};"
                    f" {_REMEDY}"
                )
            raise StageError(
                f"{folder.path} holds another experiment: its {stage.name} was not trained on these layers; {_REMEDY}"
            )


def pending_stages(folder: RunFolder, stages: list[Stage], *, rerun: bool) -> list[Stage]:
    """Return the stages that are still to be done, from the first such one on.

    Raises:
        StageError: a stage is done but its files are gone or changed, and ``rerun`` is False.
    """
    for i, stage in enumerate(stages):
        if not folder.has_done(stage.name, stage.fingerprint):
            return stages[i:]
        try:
            folder.weights_path(stage.name)
            folder.metrics(stage.name).rows()
        except StageError:
            if not rerun:
                raise
            folder.stage(stage.name).fingerprint = "damaged"
            return stages[i:]
    return []


def initialize_folder(folder: RunFolder, stages: list[Stage], experiment: Experiment) -> None:
    """Write ``config.yaml`` and the plan into the folder; stages with other fingerprints are deleted from it."""
    data, parent = experiment.data, experiment.parent
    before = {} if folder.is_new else folder.manifest.stages
    plan: dict[str, StageRecord] = {}
    for stage in stages:
        record = before.get(stage.name)
        if record is None or record.fingerprint != stage.fingerprint:
            if record is not None:
                folder.delete_stage(stage.name)
                folder.delete_result()
            record = StageRecord(stage.fingerprint, parts=list(stage.parts) or None)
        plan[stage.name] = record
    # Layers without fine-tuning may be asked of a folder that has both: what is beyond the plan stays, if it still
    # follows from these layers.
    kept_layers = all(s.name in before and before[s.name].fingerprint == s.fingerprint for s in stages)
    for name, record in before.items():
        if name not in plan:
            if kept_layers and name == FINETUNE:
                plan[name] = record
            else:
                folder.delete_stage(name)
    preprocessing = fingerprint(data.table.to_dict()) if data.table else None
    folder.manifest = Manifest(
        dataset=DatasetRecord(data.name, data.inputs, data.fingerprint, preprocessing),
        parent=str(parent.path.resolve()) if parent else None,
        layers=experiment.parent_fingerprint,
        components=experiment.component_names,
        stages=plan,
    )
    folder.write_preprocessing(data.table)
    folder.write_config(experiment.config)
    folder.write_manifest()
