"""The settings of an experiment: frozen dataclasses, one per concern, checked when they are made.

The attribute docstrings are the ``--help`` of the command line. Nothing here imports torch, so that a
wrong setting is reported at once.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from stacked_dae.config.checks import as_list, require, require_choice, require_number, require_positive_int
from stacked_dae.config.corruption_schema import CorruptionConfig, CorruptionKind, EmphasisConfig
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.optimizer_schema import LayerOptimizerConfig, OptimizerConfig, OptimizerName, SchedulerInterval
from stacked_dae.config.tracking_schema import TrackingConfig
from stacked_dae.config.trainer_schema import TrainerConfig
from stacked_dae.utils.type_hints import Auto

Activation = Literal["sigmoid", "tanh", "relu", "identity"]
Decoder = Literal["sigmoid", "identity"]
Loss = Literal["auto", "cross_entropy", "squared_error", "by_column"]
Head = Literal["softmax", "mixed"]
ClassWeight = Literal["balanced"]
Monitor = Literal["error", "error_then_loss", "loss"]
MetricName = Literal[
    "accuracy", "balanced_accuracy", "f1", "precision", "recall", "auroc", "average_precision", "calibration_error",
    "cohen_kappa", "matthews_corrcoef",
]  # fmt: skip
Model = Literal["sda", "saa", "mlp"]
Task = Literal["classification", "regression"]
FirstWeights = Literal["glorot", "scaled", "max_fan"]

# A table's layers learn little more after so many updates, and Adam's steps are too large where many inputs add up.
_AUTO_UPDATES, _AUTO_LR, _AUTO_INPUTS = 300, 2e-3, 100

# Of a trained model, asked for on the command line.
Weights = Literal["finetuned", "pretrained"]
Format = Literal["onnx", "torch", "hub"]


@dataclass(frozen=True)
class LayerConfig:
    """The settings of one layer, picked out of a PretrainConfig."""

    units: int
    activation: Activation
    decoder: Decoder
    loss: Loss
    tied: bool
    kind: CorruptionKind
    nu: float
    alpha: float
    beta: float
    optimizer: OptimizerName
    lr: float | Auto
    options: dict[str, Any]
    batch_size: int
    epochs: int | Auto
    scheduler: str | None = None
    scheduler_options: dict[str, Any] = field(default_factory=dict)
    scheduler_interval: SchedulerInterval = "epoch"
    first_weights: FirstWeights = "glorot"
    decay: float = 0.0

    def epochs_on(self, rows: int) -> int:
        """Return the epochs of a layer that is trained on so many rows."""
        return -(-_AUTO_UPDATES // -(-rows // self.batch_size)) if self.epochs == "auto" else self.epochs

    def lr_on(self, inputs: int) -> float:
        """Return the learning rate of a layer of so many inputs."""
        return _AUTO_LR * min(1.0, math.sqrt(_AUTO_INPUTS / max(inputs, 1))) if self.lr == "auto" else self.lr


@dataclass(frozen=True)
class PretrainConfig:
    """The stack of denoising autoencoders and how each is trained. Some settings take one value, or one per layer."""

    units: int | list[int] = field(default_factory=lambda: [1000, 1000, 1000])
    """Units of each layer. One value, or one per layer; the lists say how many layers there are."""
    activation: Activation | list[Activation] = "sigmoid"
    """s in y = s(x Wᵀ + b). One value, or one per layer."""
    decoder: Decoder | list[Decoder] = "sigmoid"
    """s' in z = s'(y W'ᵀ + b'). One value, or one per layer."""
    loss: Loss | list[Loss] = "auto"
    """Reconstruction loss, summed over the inputs, averaged over the examples. One value, or one per layer.
    by_column: squared error (and an identity decoder) for the standardised columns of a table, cross_entropy for its
    others; of layer 1 only. auto: by_column in layer 1 of a table with data.scale standard, else cross_entropy."""
    tied: bool = True
    """Decode with the transposed encoding weights."""
    first_weights: FirstWeights = "glorot"
    """glorot: uniform, by the numbers of inputs and units. scaled: uniform, by the size of the inputs, so that a unit's
    input has variance 1 at any width (for tables, wide ones above all). max_fan: uniform in ±1/√(the greater of the
    numbers of inputs and units), as in the paper's own programs."""
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    emphasis: EmphasisConfig = field(default_factory=EmphasisConfig)
    batch_size: int = 20
    """Examples in a minibatch: one minibatch, one update."""
    epochs: int | list[int] | Auto = 15
    """Passes over the training inputs. One value, or one per layer. auto: as many as make 300 updates."""
    optimizer: LayerOptimizerConfig = field(default_factory=LayerOptimizerConfig)

    def __post_init__(self) -> None:
        for units in as_list(self.units):
            require_positive_int("pretrain.units", units)
        for epochs in as_list(self.epochs) if self.epochs != "auto" else []:
            require_positive_int("pretrain.epochs", epochs)
        require_positive_int("pretrain.batch_size", self.batch_size)
        require_choice("pretrain.first_weights", self.first_weights, FirstWeights)
        for name, literal in (("activation", Activation), ("decoder", Decoder), ("loss", Loss)):
            for value in as_list(getattr(self, name)):
                require_choice(f"pretrain.{name}", value, literal)
        layers = self.layers()
        uses_emphasis = self.emphasis.alpha != self.emphasis.beta
        require(
            not (uses_emphasis and self.corruption.kind == "gaussian"),
            "pretrain.emphasis needs a corruption that destroys some inputs and not others; gaussian changes all",
        )
        for k, layer in enumerate(layers, 1):
            require(
                not (layer.loss != "squared_error" and layer.decoder == "identity"),
                f"pretrain.decoder: layer {k} has an identity decoder, which cross_entropy cannot use;"
                " set pretrain.loss to squared_error or pretrain.decoder to sigmoid",
            )
            require(
                not (layer.loss == "by_column" and k > 1),
                f"pretrain.loss: layer {k} has by_column, but its inputs are codes; give one loss per layer, such as"
                " [by_column, cross_entropy]",
            )
            below = layers[k - 2].activation if k > 1 else "sigmoid"
            require(
                not (layer.loss in ("auto", "cross_entropy") and below != "sigmoid"),
                f"pretrain.loss: layer {k} has cross_entropy, but the {below} codes of layer {k - 1} are not in [0, 1];"
                " give one loss per layer, such as [cross_entropy, squared_error]",
            )

    def _per_layer(self) -> dict[str, Any]:
        return {
            "pretrain.units": self.units,
            "pretrain.corruption.nu": self.corruption.nu,
            "pretrain.optimizer.lr": self.optimizer.lr,
            "pretrain.epochs": self.epochs,
            "pretrain.activation": self.activation,
            "pretrain.decoder": self.decoder,
            "pretrain.loss": self.loss,
        }

    def layers(self) -> list[LayerConfig]:
        """Return the settings layer by layer.

        The lists among the per-layer settings say how many layers there are; with no list there is one.

        Raises:
            ConfigError: a list is empty, or two lists differ in length.
        """
        lists = {name: value for name, value in self._per_layer().items() if isinstance(value, list)}
        for name, value in lists.items():
            require(len(value) > 0, f"{name} is an empty list: give one value, or one per layer")
        first, depth = next(((name, len(value)) for name, value in lists.items()), ("", 1))
        for name, value in lists.items():
            require(
                len(value) == depth,
                f"{name} has {len(value)} value{'s' * (len(value) != 1)}, but {first} says {depth}"
                f" layer{'s' * (depth != 1)}: give one value, or one per layer",
            )

        def at(value: Any, k: int) -> Any:
            return value[k] if isinstance(value, list) else value

        return [
            LayerConfig(
                units=at(self.units, k),
                activation=at(self.activation, k),
                decoder=at(self.decoder, k),
                loss=at(self.loss, k),
                tied=self.tied,
                kind=self.corruption.kind,
                nu=float(at(self.corruption.nu, k)),
                alpha=float(self.emphasis.alpha),
                beta=float(self.emphasis.beta),
                optimizer=self.optimizer.name,
                lr=float(lr) if (lr := at(self.optimizer.lr, k)) != "auto" else lr,
                options=self.optimizer.options,
                batch_size=self.batch_size,
                epochs=at(self.epochs, k),
                scheduler=self.optimizer.scheduler,
                scheduler_options=self.optimizer.scheduler_options,
                scheduler_interval=self.optimizer.scheduler_interval,
                first_weights=self.first_weights,
                decay=float(self.optimizer.decay),
            )
            for k in range(depth)
        ]


@dataclass(frozen=True)
class FinetuneConfig:
    """The fine-tuning of the stacked encoders with labels, under a softmax head."""

    head: Head = "softmax"
    """softmax: the paper's, one network, the encoders under a softmax layer. mixed: softmax heads on the inputs and on
    the codes, and fine-tuned networks that see both, mixed by their likelihood on labels that each has not seen (for
    tables). Cross-validation takes the place of the validation rows, whose labels are learnt from too, unless
    data.labels_per_class says how many labels there are. It is not trained by a Lightning Trainer."""
    batch_size: int = 20
    """Examples in a minibatch: one minibatch, one update. head mixed: at least so many, in at most 100 minibatches."""
    epochs: int = 50
    """Maximum number of passes over the labelled training examples."""
    patience: int = 10
    """Stop after this many epochs without a better one; the best epoch's weights are kept either way."""
    monitor: Monitor = "error"
    """The best epoch has the lowest validation figure. error: the first with the lowest error, as in the paper;
    error_then_loss: of equal errors, which are common on few rows, that with the lowest loss; loss: the lowest loss."""
    dropout: float = 0.0
    """Share, in [0, 1), of each layer's codes that training sets to 0 (the others are scaled up to make up for it)."""
    average: float = 0.0
    """Decay β, in [0, 1), of an exponential moving average of the weights over the updates: 0.999 spans about 1000 of
    them. Validation, the kept epoch and the result are those of the average. 0: none."""
    class_weight: ClassWeight | None = None
    """balanced: each class weighs as much as any other, however few its labels; null: each label weighs as much as any
    other. For head mixed, and for the baselines logistic_regression, rbf_svm and gradient_boosting."""
    metrics: list[MetricName] = field(default_factory=list)
    """Further measures, each epoch on the validation rows and at the end on the test rows. accuracy: in [0, 1];
    balanced_accuracy, f1, precision, recall, auroc, average_precision: means over the classes; calibration_error: of 15
    bins; cohen_kappa, matthews_corrcoef. They choose nothing and change no training."""
    baselines: bool | None = None
    """Test the majority class and logistic regression (the mean and ridge regression with task regression) on the same
    rows beside the stack; null: for tables."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "patience"):
            require_positive_int(f"finetune.{name}", getattr(self, name))
        for name in self.metrics:
            require_choice("finetune.metrics", name, MetricName)
        require(len(set(self.metrics)) == len(self.metrics), "finetune.metrics names one measure twice")
        require_choice("finetune.monitor", self.monitor, Monitor)
        require_choice("finetune.head", self.head, Head)
        if self.class_weight is not None:
            require_choice("finetune.class_weight", self.class_weight, ClassWeight)
            require(self.head == "mixed", "finetune.class_weight applies only to finetune.head mixed; leave one out")
        if self.head == "mixed":
            unread: dict[str, tuple[object, object]] = {
                "monitor": (self.monitor, "error"),
                "average": (self.average, 0.0),
            }
            unread |= {"optimizer.scheduler": (self.optimizer.scheduler, None)}
            unread |= {"optimizer.decay": (self.optimizer.decay, 0.0)}
            for name, (value, default) in unread.items():
                text = f"finetune.{name} applies only to finetune.head softmax; leave it out, not {value!r}"
                require(value == default, text)
        require_number("finetune.dropout", self.dropout, 0.0, 1.0)
        require_number("finetune.average", self.average, 0.0, 1.0)
        require(self.average < 1.0, "finetune.average must be below 1: the average would stay what it began with")
        require(self.dropout < 1.0, "finetune.dropout must be below 1: nothing would be left to learn from")


@dataclass(frozen=True)
class Config:
    """A whole experiment: pre-train a stack layer by layer, fine-tune it, test it once."""

    seed: int = 0
    """Seed of everything random: the label draw, the first weights, the shuffling, the corruption."""
    model: Model = "sda"
    """sda: stacked denoising autoencoders. Controls, all else equal: saa: stacked ordinary
    autoencoders (nu = 0); mlp: the same network from random weights, never pre-trained."""
    task: Task = "classification"
    """classification: data.target names classes. regression: it holds numbers, which a linear head on the encoders
    predicts by squared error (tables only)."""
    data: DataConfig = field(default_factory=DataConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        require(
            isinstance(self.seed, int) and self.seed >= 0,
            f"seed must be a whole number of at least 0, not {self.seed!r}",
        )
        require_choice("model", self.model, Model)
        require_choice("task", self.task, Task)
        if self.task == "regression":
            self._check_regression()
        require(
            self.data.weights is None or self.finetune.head == "mixed",
            "data.weights applies only to finetune.head mixed; leave one out",
        )
        require(
            self.pretrain.layers()[0].loss != "by_column" or self.data.path is not None,
            "pretrain.loss: by_column applies only to a table: name its file with data.path",
        )

    def _check_regression(self) -> None:
        """Raise ConfigError for a setting that means nothing where numbers are predicted."""
        require(self.data.path is not None, "task: regression applies only to a table: name its file with data.path")
        tuned = self.finetune
        require(
            tuned.head != "mixed",
            "finetune.head: mixed applies only to task classification; give --finetune.head softmax, or"
            " --config regression in place of --config table",
        )
        classes_only = {
            "data.stratify": self.data.stratify,
            "data.weights": self.data.weights,
            "finetune.metrics": tuned.metrics,
            "data.labels_per_class": self.data.labels_per_class,
        }
        for name, value in classes_only.items():
            require(not value, f"{name} applies only to task classification; leave it out, not {value!r}")
        require(
            tuned.monitor == "error",
            "finetune.monitor applies only to task classification; leave it out: the lowest squared error is kept",
        )

    def layers(self) -> list[LayerConfig]:
        """Return the settings of each layer as they are used: no loss is auto, and every nu of ``model: saa`` is 0."""
        mixed = self.data.path is not None and self.data.scale == "standard"
        return [
            replace(
                layer,
                loss=("by_column" if mixed and k == 0 else "cross_entropy") if layer.loss == "auto" else layer.loss,
                nu=0.0 if self.model == "saa" else layer.nu,
            )
            for k, layer in enumerate(self.pretrain.layers())
        ]

    @property
    def learns_from_validation(self) -> bool:
        """Whether the labels of the validation rows are learnt from: cross-validation takes their place."""
        return self.finetune.head == "mixed" and self.data.labels_per_class is None

    @property
    def tests_baselines(self) -> bool:
        """Whether baselines are tested beside the stack."""
        return self.data.path is not None if self.finetune.baselines is None else self.finetune.baselines

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as nested plain dictionaries, as ``config.yaml`` holds them."""
        return asdict(self)
