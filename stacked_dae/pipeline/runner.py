"""One command on one run folder: what is left to do, in order, and the result."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stacked_dae.config.schema import Config
from stacked_dae.data import registry
from stacked_dae.data.dataset import Dataset
from stacked_dae.data.splits import labelled_rows
from stacked_dae.errors import ConfigError, StageError
from stacked_dae.figures.answers import confusion
from stacked_dae.figures.images import layer_pictures
from stacked_dae.inference.loading import load_layers, load_stack
from stacked_dae.inference.run_data import known_preprocessing, layers_preprocessing
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.components import Components
from stacked_dae.pipeline.baselines import baseline_errors, baseline_names, baseline_settings
from stacked_dae.pipeline.checks import check_experiment, settings_for_images
from stacked_dae.pipeline.parts import LightningParts
from stacked_dae.pipeline.results import build_result, summary_of
from stacked_dae.pipeline.run_store import RunStore, load_weights
from stacked_dae.pipeline.stage_tasks import check_route, stage_route
from stacked_dae.runs.experiment import Experiment
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.layer_store import LayerStore
from stacked_dae.runs.manifest import Result
from stacked_dae.runs.planning import check_parent, check_same_experiment, initialize_folder, pending_stages
from stacked_dae.runs.stage_names import FINETUNE
from stacked_dae.tracking.base import Tracker
from stacked_dae.tracking.session import TrackingSession
from stacked_dae.training.builders import build_layers, build_stack, scale_untrained_layers
from stacked_dae.training.evaluation import Measures, score_split
from stacked_dae.training.greedy import finetune_stack, pretrain_layers
from stacked_dae.training.mixing.stage import train_mixture
from stacked_dae.training.optimizers import check_optimizers, check_schedules
from stacked_dae.training.trainer import check_loggers, resolve_device
from stacked_dae.utils import distributed
from stacked_dae.utils.files import check_apart
from stacked_dae.utils.terminal.progress import Reporter


class RunJob:
    """One command on one run folder. The constructor checks everything and writes nothing; arguments as for ``fit``.

    Args:
        finetune: whether the stack is fine-tuned after its layers.
        parent: the run folder whose layers are fine-tuned; None to train layers here.
        parts: what the user brings of Lightning's.
        layers: folder of trained layers that runs share.
    """

    def __init__(
        self,
        config: Config,
        out: str | Path,
        dataset: Dataset | None,
        rerun: bool,
        reporter: Reporter,
        *,
        finetune: bool,
        parent: RunFolder | None = None,
        test: bool = True,
        components: Components | None = None,
        parts: LightningParts | None = None,
        layers: LayerStore | str | Path | None = None,
    ) -> None:
        self.parts = parts or LightningParts()
        if not isinstance(config, Config):
            raise ConfigError(
                f"config must be a Config, not {type(config).__name__}: config_from_dict({{...}}) makes one"
            )
        if dataset is not None and not isinstance(dataset, Dataset):
            raise ConfigError(
                f"dataset must be a Dataset, not {type(dataset).__name__}: make_dataset makes one from arrays;"
                " write a frame to CSV or Parquet and name it in data.path"
            )
        check_apart("--out", Path(out), config.data.path)
        self.reporter = reporter
        self.folder = RunFolder.open_or_create(Path(out))
        if isinstance(layers, (str, Path)):
            layers = LayerStore(Path(layers), reporter)
        self.shared_layers = layers
        if self.shared_layers is not None:
            self.shared_layers.check(Path(out))
            if distributed.world_size() > 1:
                raise ConfigError("--layers applies to one process only; leave it out, or run one process")
        check_optimizers(config)
        check_loggers(config.tracking.loggers)
        self.device = resolve_device(config.trainer)
        known = layers_preprocessing(parent, config) if parent else known_preprocessing(self.folder)
        data = dataset or registry.load_data(config.data, known=known, task=config.task)
        self.config, self.data, self.test = config, data, test and data.has_test
        self.experiment = Experiment(config, data, parent, components, self.parts.names)
        check_parent(self.experiment)
        check_experiment(self.experiment, finetune=finetune)
        classes = data.table.classes if data.table else ()
        self.labelled = labelled_rows(data.train.counted_labels, config.data.labels_per_class, config.seed, classes)
        self.stages = self.experiment.stages(finetune=finetune)
        names = [stage.name for stage in self.stages]
        figures = {name: self._figures(name) for name in names}
        self.parts.check(figures, logged=bool(config.tracking.loggers))
        check_route(config, names, components, self.parts)
        labelled = data.train.inputs if self.labelled is None else self.labelled
        rows = {name: len(labelled if name == FINETUNE else data.train.inputs) for name in names}
        # Trainer arguments may make a stage shorter.
        check_schedules(config, {name: count for name, count in rows.items() if not self.parts.of(name).arguments})
        self.layer_stages = [stage for stage in self.stages if stage.name != FINETUNE]
        self.finetunes = finetune
        if not self.folder.is_new and not rerun:
            check_same_experiment(self.folder, self.stages, self.experiment)
        self.pending = pending_stages(self.folder, self.stages, rerun=rerun)
        self.tests = self.test and finetune and not self._has_result()
        self.session = TrackingSession(self.experiment, self.folder, self.stages, self.reporter)
        for notice in [*data.notices, *settings_for_images(self.experiment)]:
            self.reporter.warn(notice)

    def _has_result(self) -> bool:
        if self.folder.is_new:
            return False
        try:
            result = self.folder.result()
        except StageError as damage:
            if self.folder.has_result:
                self.reporter.warn(str(damage))
            return False
        measured = result.metrics or {}
        # Measures that are asked for later are made on the same weights; of the user's a name does not say what it is.
        named = set(self.config.finetune.metrics)
        # By default they are not added to the result of an earlier version.
        lacks_baselines = self.config.finetune.baselines is True and not result.baselines
        asked = not lacks_baselines and measured.keys() >= named
        return not self.pending and asked and self.parts.of(FINETUNE).metrics is None

    def _figures(self, stage: str) -> list[str]:
        """Return the names of a stage's figures, whose measures are tried out."""
        measures = self._measures(stage)
        if measures is not None:
            outputs = self.data.outputs if stage == FINETUNE else self.data.inputs
            answers: Literal["classes", "targets"] = "targets" if self.data.is_regression else "classes"
            measures.try_out(outputs, wanted=answers if stage == FINETUNE else "inputs")
        classifies = stage == FINETUNE and not self.data.is_regression
        names = ["train_loss", "valid_loss", *(["valid_error_percent"] if classifies else [])]
        return names + [f"valid_{name}" for name in (measures.names if measures is not None else [])]

    def _measures(self, stage: str) -> Measures | None:
        """Return a stage's further measures, None without any."""
        own = self.parts.of(stage).metrics
        named = self.config.finetune.metrics if stage == FINETUNE else []
        if not named and own is None:
            return None
        target = self.data.target_column if stage == FINETUNE else None
        return Measures(named, self.data.classes, own, self.device, target)

    def run(self) -> RunFolder:
        """Do what is left to do."""
        settled = not self._leftovers() and self._has_preprocessing()
        if not self.pending and not self.tests and not self.session.has_unlogged() and settled:
            self.reporter.say(f"{self.folder.path} is finished already: nothing to train")
            return self.folder
        # All processes have looked at the folder before one of them changes it.
        distributed.barrier()
        with self.folder.locked():
            self._work()
        return self.folder

    def _has_preprocessing(self) -> bool:
        if self.folder.is_new:
            return False
        try:
            self.folder.preprocessing()
        except StageError as damage:
            self.reporter.warn(str(damage))
            return False
        return True

    def _leftovers(self) -> list[Path]:
        """Return files that done stages no longer need, and a killed process could not delete."""
        done = [stage.name for stage in self.stages if stage not in self.pending]
        checkpoints = ("checkpoint.ckpt", "minibatch.ckpt")
        needs_codes = any(stage in self.pending for stage in self.layer_stages)
        patterns = checkpoints if needs_codes else (*checkpoints, "codes_*.npy")
        return [file for name in done for pattern in patterns for file in self.folder.stage_dir(name).glob(pattern)]

    def _work(self) -> None:
        initialize_folder(self.folder, self.stages, self.experiment)
        if distributed.is_rank_zero():
            for file in self._leftovers():
                file.unlink(missing_ok=True)
        distributed.barrier()
        self.reporter.expect([stage.name for stage in self.stages])
        with self.session:
            layers = self._layers()
            if self.finetunes:
                self._finetune(layers)

    def _store(self, tracker: Tracker) -> RunStore:
        route = stage_route(self.config, self.parts, self.device)
        return RunStore(
            self.folder,
            self.config,
            self.stages,
            self.pending,
            tracker,
            self.reporter,
            self.parts,
            self._measures,
            self.shared_layers,
            route,
        )

    def _layers(self) -> list[DenoisingAutoencoder]:
        """Return the layers to stack: trained here, trained by the parent, or with their first weights."""
        data, components = self.data, self.experiment.components
        if self.experiment.parent is not None:
            return load_layers(self.experiment.parent, components)
        layers = build_layers(self.config, data.inputs, data.table, components)
        if self.config.model == "mlp":
            scale_untrained_layers(layers, self.config.layers(), data.train.inputs, self.config.seed)
        stages = self.layer_stages
        is_pending = any(stage in self.pending for stage in stages)
        if is_pending or (stages and self.session.logs_pretraining()):
            with self.session.pretraining() as tracker:
                store = self._store(tracker)
                store.take_layers()
                pretrain_layers(
                    layers,
                    self.config.layers(),
                    data.train.inputs,
                    (data.valid if len(data.valid) else data.train).inputs,
                    seed=self.config.seed,
                    trainer=self.config.trainer,
                    store=store,
                )
                if tracker.enabled:
                    tracker.log_figures(layer_pictures([layer.cpu() for layer in layers], data, self.config.seed))
                    self.session.log_weights("layers", stages, tracker)
        else:
            for layer, stage in zip(layers, stages, strict=False):
                load_weights(self.folder, stage.name, layer)
        return layers

    def _finetune(self, layers: list[DenoisingAutoencoder]) -> None:
        stage, data = self.stages[-1], self.data
        with self.session.finetuning() as tracker:
            store = self._store(tracker)
            if store.is_done(FINETUNE):
                store.relog_metrics(FINETUNE)
            else:
                self._train_finetune(layers, store)
            if self.tests:
                tested_stack = load_stack(self.folder)
                # All selection is over: the test rows are read here, for the first and only time.
                test = data.load_test()
                tested = score_split(tested_stack, data, test, self.device, self._measures(FINETUNE))
                # Each process has the same rows, and the first writes.
                names = baseline_names(self.config)
                baselines = (
                    dict(baseline_errors(data, self.labelled, test, **baseline_settings(self.config), names=names))
                    if self.config.tests_baselines and distributed.is_rank_zero()
                    else None
                )
                self.folder.write_result(build_result(self.folder, tested_stack, tested, baselines))
            distributed.barrier()
            if self.test:
                result = self.folder.result()
                tracker.log_summary(summary_of(result))
                if tracker.enabled and isinstance(result, Result):
                    tracker.log_figures({"confusion": confusion(result, data.table.classes if data.table else ())})
            self.session.log_weights("classifier", [stage], tracker, *(["result.json"] if self.test else []))

    def _train_finetune(self, layers: list[DenoisingAutoencoder], store: RunStore) -> None:
        """Train the last stage, on the layers."""
        config, data = self.config, self.data
        stack = build_stack(config, data.inputs, data.outputs).copy_encoders_from(layers)
        if config.finetune.head == "mixed":
            with store.epochs(FINETUNE) as log:
                classifier, mixture = train_mixture(
                    stack,
                    config.finetune,
                    data,
                    self.labelled,
                    with_validation=config.learns_from_validation,
                    seed=config.seed,
                    log=log,
                )
            best = {"best_epoch": mixture.epoch, "best_valid_error_percent": mixture.error_percent}
            self.reporter.say(f"{FINETUNE}: epoch {mixture.epoch} is kept")
            store.save(FINETUNE, classifier, **best)
            return
        finetune_stack(
            stack,
            config.finetune,
            (data.train.inputs, data.train.labels, self.labelled),
            (data.valid.inputs, data.valid.labels, None),
            seed=config.seed,
            trainer=config.trainer,
            store=store,
        )
