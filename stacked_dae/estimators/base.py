"""The base of the scikit-learn estimators: training in memory, scaling, missing values. They write no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from stacked_dae.config.data_schema import DataConfig, Scale
from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Activation, FinetuneConfig, FirstWeights, LayerConfig, PretrainConfig
from stacked_dae.config.trainer_schema import TrainerConfig
from stacked_dae.errors import StackedDAEError
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.corruption import Corruption
from stacked_dae.nn.mixed_classifier import MixedClassifier
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.training.builders import build_layer, scale_untrained_layers
from stacked_dae.training.greedy import MemoryStore, finetune_stack, pretrain_layers
from stacked_dae.utils.seeding import derive_seed
from stacked_dae.utils.terminal.progress import Reporter, TerminalReporter

if TYPE_CHECKING:
    from typing_extensions import Self

Array = NDArray[Any]

# The settings' defaults, which suit images, are those of :meth:`_Base.for_images`, but for these: an epoch of a small
# data set costs little, and few validation rows change their error seldom.
_PRETRAIN, _FINETUNE = PretrainConfig(), FinetuneConfig(epochs=100, patience=20)
_VALIDATION_FRACTION = 0.1


# A dataclass, so that scikit-learn finds each parameter in the signature and each is declared once.
@dataclass(repr=False, eq=False)
class _Base(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators: the parameters, the scaling, the layers."""

    units: int | Sequence[int] = (128, 128)
    _: KW_ONLY
    nu: float | Sequence[float] = 0.3
    corruption: str | Corruption = "masking"
    activation: Activation = "tanh"
    tied: bool = False
    first_weights: FirstWeights = "scaled"
    scale: Scale | None = "standard"
    pretrain_epochs: int | Sequence[int] | None = None
    pretrain_optimizer: str = "adam"
    pretrain_lr: float | Sequence[float] | None = None
    batch_size: int = 64
    validation_fraction: float | None = None
    accelerator: str = TrainerConfig.accelerator
    random_state: Any = None
    verbose: bool = False

    _for_images: ClassVar[dict[str, Any]] = {
        "units": (100,),
        "nu": _PRETRAIN.corruption.nu,
        "corruption": _PRETRAIN.corruption.kind,
        "activation": _PRETRAIN.activation,
        "tied": _PRETRAIN.tied,
        "first_weights": _PRETRAIN.first_weights,
        "scale": DataConfig.scale,
        "pretrain_epochs": _PRETRAIN.epochs,
        "pretrain_optimizer": _PRETRAIN.optimizer.name,
        "pretrain_lr": _PRETRAIN.optimizer.lr,
        "batch_size": _PRETRAIN.batch_size,
    }

    @classmethod
    def for_images(cls, **settings: Any) -> Self:
        """Return an estimator with the defaults of the paper, which suit images, instead of those for tables.

        Sigmoid layers of inputs scaled to [0, 1], tied weights, cross-entropy, fixed masking noise, plain SGD.

        Args:
            **settings: parameters that are to be others.
        """
        return cls(**{**cls._for_images, **settings})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def transform(self, X: Any) -> Array:
        """Return the codes of the uppermost layer.

        Args:
            X: (n, d); NaN is a missing value.

        Returns:
            (n, units of the last layer) float64.
        """
        check_is_fitted(self)
        return self._forward(self._validated(X), "codes")

    @property
    def _n_features_out(self) -> int:
        return self.stack_.widths[-1]

    # What follows raises ValueError for a wrong setting, as scikit-learn's own estimators do.

    def _settings(self, rows: int, inputs: int) -> tuple[list[LayerConfig], TrainerConfig]:
        """Return the settings of the layers for a table of so many rows and inputs."""
        own = not isinstance(self.corruption, str)
        if own and not callable(self.corruption):
            raise ValueError(f"corruption must be a name or an object such as Masking(0.25), not {self.corruption!r}")
        pretrain = {
            "units": _listed(self.units),
            "activation": self.activation,
            "tied": self.tied,
            "first_weights": self.first_weights,
            "corruption": {"kind": "masking" if own else self.corruption, "nu": _plain(self.nu)},
            "batch_size": _plain(self.batch_size),
            "epochs": 1 if self._never else _given(self.pretrain_epochs),
            "optimizer": {"name": self.pretrain_optimizer, "lr": _given(self.pretrain_lr)},
            "loss": self._losses(),
            "decoder": ["sigmoid" if loss == "cross_entropy" else "identity" for loss in self._losses()],
        }
        if self.scale not in ("minmax", "standard", None):
            raise ValueError(f"scale must be 'minmax', 'standard' or None, not {self.scale!r}")
        fraction = self._fraction
        if not isinstance(fraction, (int, float)) or not 0.0 <= fraction < 1.0:
            raise ValueError(f"validation_fraction must be in [0, 1), not {self.validation_fraction!r}")
        with _ValueErrors():
            config = config_from_dict({"pretrain": pretrain, "trainer": {"accelerator": self.accelerator}})
            return config.pretrain.layers(), config.trainer

    @property
    def _never(self) -> bool:
        epochs = _plain(self.pretrain_epochs)
        return isinstance(epochs, int) and epochs == 0

    @property
    def _fraction(self) -> Any:
        return _VALIDATION_FRACTION if self.validation_fraction is None else _plain(self.validation_fraction)

    def _losses(self) -> list[str]:
        """Return the loss of each layer: cross-entropy where its inputs are in [0, 1], else squared error."""
        below = ["sigmoid" if self.scale == "minmax" else "identity"]
        below += [self.activation] * (len(_listed(self.units)) - 1)
        return ["cross_entropy" if kind == "sigmoid" else "squared_error" for kind in below]

    def _reporter(self) -> Reporter:
        return TerminalReporter() if self.verbose else Reporter()

    def _fit_scale(self, X: Array) -> None:
        """Take the scaling from the training rows; a constant column, or one without any value, becomes 0."""
        with np.errstate(all="ignore"):
            known = ~np.isnan(X)
            some = known.any(0)
            if self.scale == "minmax":
                low = np.min(X, axis=0, where=known, initial=np.inf)
                high = np.max(X, axis=0, where=known, initial=-np.inf)
                self.shift_, self.width_ = np.where(some, low, 0.0), np.where(some, high - low, 1.0)
            elif self.scale == "standard":
                self.shift_ = np.where(some, np.mean(X, axis=0, where=known), 0.0)
                self.width_ = np.where(some, np.std(X, axis=0, where=known), 1.0)
            else:
                self.shift_, self.width_ = np.zeros(X.shape[1]), np.ones(X.shape[1])
        if not np.isfinite(self.width_).all():
            column = int(np.flatnonzero(~np.isfinite(self.width_))[0])
            raise ValueError(
                f"column {column} of X spans more than float64 can hold, so it cannot be scaled; divide it first"
            )
        self.width_[self.width_ == 0.0] = 1.0

    def _scaled(self, X: Array) -> Array:
        scaled = (X - self.shift_) / self.width_
        return np.clip(scaled, 0.0, 1.0) if self.scale == "minmax" else scaled

    def _validated(self, X: Any) -> Any:
        return validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)

    def _pretrained(self, X: Array, valid: Array, reporter: Reporter) -> list[DenoisingAutoencoder]:
        """Return the layers, trained on scaled rows."""
        settings, trainer = self._settings(*X.shape)
        layers = []
        widths = [X.shape[1], *(config.units for config in settings[:-1])]
        for k, (config, below) in enumerate(zip(settings, widths, strict=True), 1):
            layer = build_layer(config, below, self._seed, k)
            layer.missing = k == 1
            if not isinstance(self.corruption, str):
                layer.corruption = self.corruption
            layers.append(layer)
        if self._never:
            scale_untrained_layers(layers, settings, X.astype(np.float32), self._seed)
            return layers
        with _ValueErrors():
            pretrain_layers(
                layers,
                settings,
                X.astype(np.float32),
                valid.astype(np.float32),
                seed=self._seed,
                trainer=trainer,
                store=MemoryStore(trainer, reporter),
            )
        return [layer.cpu() for layer in layers]

    def _held_out(self, groups: Array) -> Array:
        """Return the rows of the validation set: ``validation_fraction`` of each group, rounded down."""
        draw = np.random.Generator(np.random.PCG64(derive_seed(self._seed, "validation")))
        found = [np.empty(0, np.intp)]
        for group in np.unique(groups[groups >= 0]):
            rows = draw.permutation(np.flatnonzero(groups == group))
            found.append(rows[: int(self._fraction * len(rows))])
        return np.sort(np.concatenate(found))

    def _draw_seed(self) -> None:
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))

    def _stack(self, layers: Sequence[DenoisingAutoencoder], outputs: int, *, regression: bool = False) -> EncoderStack:
        sizes = [len(layers[0].decoder_bias), *(len(layer.bias) for layer in layers)]
        stack = EncoderStack(
            sizes, [layer.activation for layer in layers], outputs, missing=True, regression=regression
        )
        return stack.copy_encoders_from(layers)

    def _keep(self, stack: EncoderStack | MixedClassifier) -> None:
        # In float64 the answer to a row does not depend on the rows beside it.
        self.stack_ = stack.cpu().double().eval().requires_grad_(False)

    @torch.no_grad()
    def _forward(self, X: Array, what: Literal["codes", "outputs"]) -> Array:
        x = torch.from_numpy(np.ascontiguousarray(self._scaled(X)))
        found: Array = (self.stack_.codes(x)[-1] if what == "codes" else self.stack_(x)).numpy()
        return found


@dataclass(repr=False, eq=False)
class _Tuned(_Base):
    """Base of the estimators that are fine-tuned."""

    _: KW_ONLY
    finetune_epochs: int = 200
    finetune_optimizer: str = "adamw"
    finetune_lr: float = 1e-3
    patience: int = 15
    dropout: float = 0.2

    _for_images: ClassVar[dict[str, Any]] = {
        **_Base._for_images,
        "finetune_epochs": _FINETUNE.epochs,
        "finetune_optimizer": _FINETUNE.optimizer.name,
        "finetune_lr": _FINETUNE.optimizer.lr,
        "patience": _FINETUNE.patience,
        "dropout": _FINETUNE.dropout,
    }

    def _finetune_settings(self, **settings: Any) -> FinetuneConfig:
        with _ValueErrors():
            return config_from_dict(
                {
                    "finetune": {
                        "batch_size": _plain(self.batch_size),
                        "epochs": _plain(self.finetune_epochs),
                        "patience": _plain(self.patience),
                        "dropout": _plain(self.dropout),
                        "optimizer": {"name": self.finetune_optimizer, "lr": _plain(self.finetune_lr)},
                        **settings,
                    }
                }
            ).finetune

    def _fit(
        self,
        X: Array,
        targets: Array,
        labelled: Array,
        held_out: Array,
        outputs: int,
        settings: FinetuneConfig,
        regression: bool,
    ) -> None:
        """Pre-train on all rows that are not held out, fine-tune on those of them that are labelled."""
        trainer = self._settings(*X.shape)[1]
        train = np.setdiff1d(np.arange(len(X)), held_out)
        self._fit_scale(X[train])
        scaled = self._scaled(X).astype(np.float32)
        tuned = train[labelled[train]]
        with self._reporter() as reporter:
            layers = self._pretrained(scaled[train], scaled[held_out if len(held_out) else train], reporter)
            stack = self._stack(layers, outputs, regression=regression)
            with _ValueErrors():
                finetune_stack(
                    stack,
                    settings,
                    (scaled[tuned], targets[tuned], None),
                    (scaled[held_out], targets[held_out], None) if len(held_out) else None,
                    seed=self._seed,
                    trainer=trainer,
                    store=MemoryStore(trainer, reporter),
                )
        self._keep(stack)


class _ValueErrors:
    """Context that turns this package's errors into the ValueError that scikit-learn's users expect."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, where: Any) -> None:
        if isinstance(error, StackedDAEError):
            raise ValueError(str(error)) from None


def _plain(value: Any) -> Any:
    """Return a setting as plain numbers: a list for a sequence, Python's for NumPy's."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _given(value: Any) -> Any:
    """Return a setting as plain numbers; auto for None."""
    return "auto" if value is None else _plain(value)


def _listed(value: Any) -> Any:
    plain = _plain(value)
    return plain if isinstance(plain, list) else [plain]
