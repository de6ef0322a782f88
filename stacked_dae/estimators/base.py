"""scikit-learn's face of the method: a classifier, a regressor and a transformer. Nothing is written to any file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data

from stacked_dae.config.loading import from_dict
from stacked_dae.config.schema import FinetuneConfig, LayerConfig, TrainerConfig
from stacked_dae.errors import StackedDAEError
from stacked_dae.nn.autoencoder import DenoisingLayer
from stacked_dae.nn.corruption import Corruption
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.training.builders import build_layer
from stacked_dae.training.greedy import finetune_stack, pretrain_layers
from stacked_dae.utils.progress import Reporter, TerminalReporter
from stacked_dae.utils.seeding import seed_at

Array = NDArray[Any]


class _Base(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What the three share: the settings, the scaling, the layers."""

    def __init__(
        self,
        units: int | Sequence[int] = (100,),
        *,
        nu: float | Sequence[float] = 0.25,
        corruption: str | Corruption = "fixed_masking",
        activation: str = "sigmoid",
        tied: bool = True,
        scale: Literal["minmax", "standard"] | None = "minmax",
        pretrain_epochs: int | Sequence[int] = 15,
        pretrain_optimizer: str = "sgd",
        pretrain_lr: float | Sequence[float] = 0.1,
        batch_size: int = 20,
        validation_fraction: float = 0.1,
        accelerator: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.units = units
        self.nu = nu
        self.corruption = corruption
        self.activation = activation
        self.tied = tied
        self.scale = scale
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_optimizer = pretrain_optimizer
        self.pretrain_lr = pretrain_lr
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.accelerator = accelerator
        self.random_state = random_state
        self.verbose = verbose

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

    def _settings(self) -> tuple[list[LayerConfig], TrainerConfig]:
        own = not isinstance(self.corruption, str)
        if own and not callable(self.corruption):
            raise ValueError(f"corruption must be a name or an object such as Masking(0.25), not {self.corruption!r}")
        pretrain = {
            "units": _listed(self.units),
            "activation": self.activation,
            "tied": self.tied,
            "corruption": {"kind": "masking" if own else self.corruption, "nu": _plain(self.nu)},
            "batch_size": _plain(self.batch_size),
            "epochs": 1 if self._never else _plain(self.pretrain_epochs),
            "optimizer": {"name": self.pretrain_optimizer, "lr": _plain(self.pretrain_lr)},
            "loss": self._losses(),
            "decoder": ["sigmoid" if loss == "cross_entropy" else "identity" for loss in self._losses()],
        }
        if self.scale not in ("minmax", "standard", None):
            raise ValueError(f"scale must be 'minmax', 'standard' or None, not {self.scale!r}")
        fraction = _plain(self.validation_fraction)
        if not isinstance(fraction, (int, float)) or not 0.0 <= fraction < 1.0:
            raise ValueError(f"validation_fraction must be in [0, 1), not {self.validation_fraction!r}")
        with _ValueErrors():
            config = from_dict({"pretrain": pretrain, "trainer": {"accelerator": self.accelerator}})
            return config.pretrain.layers(), config.trainer

    @property
    def _never(self) -> bool:
        epochs = _plain(self.pretrain_epochs)
        return isinstance(epochs, int) and epochs == 0

    def _losses(self) -> list[str]:
        """Return cross-entropy where inputs or codes are in [0, 1], else squared error, of each layer."""
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
            raise ValueError(f"column {column} of X spans too far to be scaled")
        self.width_[self.width_ == 0.0] = 1.0

    def _scaled(self, X: Array) -> Array:
        scaled = (X - self.shift_) / self.width_
        return np.clip(scaled, 0.0, 1.0) if self.scale == "minmax" else scaled

    def _validated(self, X: Any) -> Any:
        return validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)

    def _pretrained(self, X: Array, valid: Array, reporter: Reporter) -> list[DenoisingLayer]:
        """Return the layers, trained on scaled rows."""
        settings, trainer = self._settings()
        layers = []
        widths = [X.shape[1], *(config.units for config in settings[:-1])]
        for k, (config, below) in enumerate(zip(settings, widths, strict=True), 1):
            layer = build_layer(config, below, self._seed, k)
            layer.missing = k == 1
            if not isinstance(self.corruption, str):
                layer.corruption = self.corruption
            layers.append(layer)
        if self._never:
            return layers
        with _ValueErrors():
            pretrain_layers(
                layers,
                settings,
                X.astype(np.float32),
                valid.astype(np.float32),
                seed=self._seed,
                trainer=trainer,
                reporter=reporter,
            )
        return [layer.cpu() for layer in layers]

    def _held_out(self, groups: Array) -> Array:
        """Return the rows of the validation set: ``validation_fraction`` of each group, rounded down."""
        draw = np.random.Generator(np.random.PCG64(seed_at(self._seed, "validation")))
        found = [np.empty(0, np.intp)]
        for group in np.unique(groups[groups >= 0]):
            rows = draw.permutation(np.flatnonzero(groups == group))
            found.append(rows[: int(self.validation_fraction * len(rows))])
        return np.sort(np.concatenate(found))

    def _draw_seed(self) -> None:
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))

    def _stack(self, layers: Sequence[DenoisingLayer], outputs: int, *, regression: bool = False) -> EncoderStack:
        sizes = [len(layers[0].decoder_bias), *(len(layer.bias) for layer in layers)]
        stack = EncoderStack(
            sizes, [layer.activation for layer in layers], outputs, missing=True, regression=regression
        )
        return stack.take(layers)

    def _keep(self, stack: EncoderStack) -> None:
        # In float64 the answer to a row does not depend on the rows beside it.
        self.stack_ = stack.cpu().double().eval().requires_grad_(False)

    @torch.no_grad()
    def _forward(self, X: Array, what: Literal["codes", "outputs"]) -> Array:
        x = torch.from_numpy(np.ascontiguousarray(self._scaled(X)))
        found: Array = (self.stack_.codes(x)[-1] if what == "codes" else self.stack_(x)).numpy()
        return found


class _Tuned(_Base):
    """What the two that are fine-tuned share."""

    def __init__(
        self,
        units: int | Sequence[int] = (100,),
        *,
        nu: float | Sequence[float] = 0.25,
        corruption: str | Corruption = "fixed_masking",
        activation: str = "sigmoid",
        tied: bool = True,
        scale: Literal["minmax", "standard"] | None = "minmax",
        pretrain_epochs: int | Sequence[int] = 15,
        pretrain_optimizer: str = "sgd",
        pretrain_lr: float | Sequence[float] = 0.1,
        finetune_epochs: int = 100,
        finetune_optimizer: str = "sgd",
        finetune_lr: float = 0.1,
        patience: int = 20,
        dropout: float = 0.0,
        batch_size: int = 20,
        validation_fraction: float = 0.1,
        accelerator: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            units,
            nu=nu,
            corruption=corruption,
            activation=activation,
            tied=tied,
            scale=scale,
            pretrain_epochs=pretrain_epochs,
            pretrain_optimizer=pretrain_optimizer,
            pretrain_lr=pretrain_lr,
            batch_size=batch_size,
            validation_fraction=validation_fraction,
            accelerator=accelerator,
            random_state=random_state,
            verbose=verbose,
        )
        self.finetune_epochs = finetune_epochs
        self.finetune_optimizer = finetune_optimizer
        self.finetune_lr = finetune_lr
        self.patience = patience
        self.dropout = dropout

    def _finetune_settings(self) -> FinetuneConfig:
        with _ValueErrors():
            return from_dict(
                {
                    "finetune": {
                        "batch_size": _plain(self.batch_size),
                        "epochs": _plain(self.finetune_epochs),
                        "patience": _plain(self.patience),
                        "dropout": _plain(self.dropout),
                        "optimizer": {"name": self.finetune_optimizer, "lr": _plain(self.finetune_lr)},
                    }
                }
            ).finetune

    def _fit(self, X: Array, targets: Array, labelled: Array, held_out: Array, outputs: int, regression: bool) -> None:
        """Pre-train on all rows that are not held out, fine-tune on those of them that are labelled."""
        settings = self._finetune_settings()
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
                    (scaled[tuned], targets[tuned]),
                    (scaled[held_out], targets[held_out]) if len(held_out) else None,
                    seed=self._seed,
                    trainer=self._settings()[1],
                    reporter=reporter,
                )
        self._keep(stack)


class StackedDAETransformer(_Base):
    """Layer-wise pre-training as a transformer: ``transform`` gives the codes of the uppermost layer.

    Args:
        units: of each layer, lowest first.
        nu: noise level; one value, or one a layer.
        corruption: fixed_masking, masking, gaussian, salt_and_pepper, swap, or an object such as those of
            :mod:`stacked_dae.nn.corruption` (``nu`` does not count then).
        activation: sigmoid, tanh, relu or identity.
        tied: decode with the transposed weights.
        scale: minmax (to [0, 1], by the training rows), standard (mean 0, deviation 1) or None. Cross-entropy is the
            loss of inputs scaled to [0, 1] and of sigmoid codes; squared error, with an identity decoder, of others.
        pretrain_epochs: passes over the rows; one value, or one a layer. 0: never pre-trained, the control.
        pretrain_optimizer: a torch optimiser: sgd, adam, adamw, …
        pretrain_lr: learning rate; one value, or one a layer.
        batch_size: examples in a minibatch.
        validation_fraction: of the rows, for the validation loss that ``verbose`` shows; training goes without them.
        accelerator: Lightning's: auto, cpu, gpu, …
        random_state: an int makes the result repeatable.
        verbose: show progress.

    Fitted: ``stack_`` (:class:`~stacked_dae.nn.stack.EncoderStack`, float64), ``n_features_in_``, ``feature_names_in_``.
    NaN is a missing value: it enters as 0, as a destroyed input does, and is left out of the loss.
    """

    def fit(self, X: Any, y: Any = None) -> StackedDAETransformer:
        """Train the layers on ``X``, (n, d); ``y`` is not read.

        Raises:
            ValueError: a setting is out of range, or ``X`` is no such array.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        self._settings()
        self._draw_seed()
        held_out = self._held_out(np.zeros(len(X), np.int64))
        train = np.setdiff1d(np.arange(len(X)), held_out)
        self._fit_scale(X[train])
        scaled = self._scaled(X)
        with self._reporter() as reporter:
            layers = self._pretrained(scaled[train], scaled[held_out if len(held_out) else train], reporter)
        self._keep(self._stack(layers, 0))
        return self


class StackedDAEClassifier(ClassifierMixin, _Tuned):  # type: ignore[misc]
    """Layer-wise pre-training on all rows, then fine-tuning on the labelled ones, as a classifier.

    A label of −1 marks a row without one, as in :mod:`sklearn.semi_supervised`; so −1 can be no class of numbers. Score
    on labelled rows alone: ``score`` and the searches take −1 for a class that was missed.

    Args:
        units, nu, corruption, activation, tied, scale, pretrain_epochs, pretrain_optimizer, pretrain_lr, batch_size,
            accelerator, random_state, verbose: as for :class:`StackedDAETransformer`.
        finetune_epochs: passes over the labelled rows at the most.
        finetune_optimizer, finetune_lr: as those of pre-training.
        patience: stop after so many epochs without a lower validation error; the best epoch's weights are kept.
        dropout: share, in [0, 1), of each layer's codes that a training minibatch does without.
        validation_fraction: of the labelled rows of each class, rounded down, to choose the epoch by. Where that is no
            row, all epochs are made and the last one's weights kept.

    Fitted: ``classes_``, ``stack_``, ``n_features_in_``, ``feature_names_in_``.
    """

    def fit(self, X: Any, y: Any) -> StackedDAEClassifier:
        """Train on ``X``, (n, d), and ``y``, (n,): classes, −1 for rows without one.

        Raises:
            ValueError: a setting is out of range, ``X`` or ``y`` is no such array, or ``y`` has one class only.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "O" and any(isinstance(label, (int, np.integer)) and label == -1 for label in y):
            raise ValueError(
                "y holds text and −1: number the classes first (sklearn.preprocessing.LabelEncoder, on the labelled"
                " rows)"
            )
        check_classification_targets(y)
        labelled = np.ones(len(y), np.bool_) if y.dtype.kind in "OUS" else y != -1
        self.classes_, found = np.unique(y[labelled], return_inverse=True)
        if len(self.classes_) < 2:
            unlabelled = "" if labelled.all() else " besides −1, which marks a row without a label"
            raise ValueError(
                f"y has {len(self.classes_)} class{'es' * (len(self.classes_) != 1)}{unlabelled}; the classifier needs"
                " 2 or more classes"
            )
        labels = np.full(len(y), -1, np.int64)
        labels[labelled] = found
        self._settings()
        self._draw_seed()
        self._fit(X, labels, labelled, self._held_out(labels), len(self.classes_), regression=False)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n, classes), in the order of ``classes_``; ``X`` is (n, d)."""
        check_is_fitted(self)
        logits = torch.from_numpy(self._forward(self._validated(X), "outputs"))
        probabilities: Array = logits.softmax(1).numpy()
        return probabilities

    def predict(self, X: Any) -> Array:
        """Return the most likely class of each row, (n,); ``X`` is (n, d)."""
        check_is_fitted(self)
        answers: Array = self.classes_[self._forward(self._validated(X), "outputs").argmax(1)]
        return answers


class StackedDAERegressor(RegressorMixin, _Tuned):  # type: ignore[misc]
    """Layer-wise pre-training, then fine-tuning under a linear output by squared error, as a regressor.

    Targets are standardised for the training. A NaN in a one-dimensional ``y`` is refused, as by scikit-learn's own.

    Args:
        units, nu, corruption, activation, tied, scale, pretrain_epochs, pretrain_optimizer, pretrain_lr, batch_size,
            accelerator, random_state, verbose: as for :class:`StackedDAETransformer`.
        finetune_epochs, finetune_optimizer, finetune_lr, patience, dropout: as for :class:`StackedDAEClassifier`.
        validation_fraction: of the rows, rounded down, to choose the epoch by its squared error. Where that is no row,
            all epochs are made and the last one's weights kept.

    Fitted: ``stack_``, ``n_features_in_``, ``feature_names_in_``.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = True
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> StackedDAERegressor:
        """Train on ``X``, (n, d), and ``y``, (n,) or (n, outputs).

        Raises:
            ValueError: a setting is out of range, or ``X`` or ``y`` is no such array.
        """
        X, y = validate_data(
            self, X, y, dtype=np.float64, ensure_all_finite="allow-nan", multi_output=True, y_numeric=True
        )
        y = check_array(y, dtype=np.float64, ensure_2d=False)
        self._is_flat = y.ndim == 1
        y = y.reshape(len(y), -1)
        self._settings()
        self._draw_seed()
        held_out = self._held_out(np.zeros(len(y), np.int64))
        train = np.setdiff1d(np.arange(len(y)), held_out)
        with np.errstate(over="ignore", invalid="ignore"):
            self.target_shift_, self.target_width_ = y[train].mean(0), y[train].std(0)
        if not np.isfinite(self.target_width_).all():
            raise ValueError("y spans too far to be scaled")
        self.target_width_[self.target_width_ == 0.0] = 1.0
        targets = ((y - self.target_shift_) / self.target_width_).astype(np.float32)
        self._fit(X, targets, np.ones(len(y), np.bool_), held_out, y.shape[1], regression=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the targets, (n,) or (n, outputs) as ``y`` was; ``X`` is (n, d)."""
        check_is_fitted(self)
        found: Array = self._forward(self._validated(X), "outputs") * self.target_width_ + self.target_shift_
        return found[:, 0] if self._is_flat else found


class _ValueErrors:
    """Turns this package's errors into the ValueError that scikit-learn's users expect."""

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


def _listed(value: Any) -> Any:
    plain = _plain(value)
    return plain if isinstance(plain, list) else [plain]
