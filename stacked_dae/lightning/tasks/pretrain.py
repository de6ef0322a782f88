"""Pre-training of one denoising autoencoder as a LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from stacked_dae.errors import ConfigError, DataError
from stacked_dae.lightning.batches import inputs_of
from stacked_dae.lightning.tasks.base import Interval, MetricsLike, OptimizerLike, SchedulerLike, Task
from stacked_dae.lightning.tasks.closed_form import Fast
from stacked_dae.nn.activations import ACTIVATIONS
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.corruption import CORRUPTIONS, Corruption, GroupedCorruption, Groups
from stacked_dae.nn.losses import Loss
from stacked_dae.nn.module_autoencoder import ModuleAutoencoder
from stacked_dae.utils.seeding import derive_seed


class PretrainTask(Task):
    """One denoising autoencoder: it rebuilds the clean inputs from corrupted ones (ICML 2008, sections 2.1 to 2.3).

    Calling it encodes: x → y. Logs ``train_loss`` (from corrupted inputs), ``valid_loss`` and ``test_loss`` (from clean
    ones), each the mean over the examples of the loss summed over the inputs. ``predict`` returns codes.

    Args:
        inputs: d, the inputs per example; inputs of more dimensions are flattened.
        units: h, the units of the code.
        encoder, decoder: a pair of modules of any kind instead of ``inputs`` and ``units``. The decoder returns
            pre-activations of the shape of the inputs; they have no closed form, so autograd trains them.
        corruption: fixed_masking, masking, gaussian, salt_and_pepper or swap, or a custom corruption
            (:class:`~stacked_dae.nn.corruption.Corruption`), which is called with (B, d).
        nu: noise level of a named corruption; 0 trains an ordinary autoencoder.
        corrupt_by: value: each value of the inputs by itself; of images (B, C, …) to an ``encoder`` also pixel: the
            channels of a pixel together, or channel: the pixels of a channel together.
        activation: sigmoid, tanh, relu or identity, of the code.
        loss: cross_entropy (inputs in [0, 1], the decoder's outputs through a sigmoid), squared_error (the decoder's
            outputs as they are), or a custom loss (:data:`~stacked_dae.nn.losses.Loss`).
        tied: decode with the transposed weights.
        missing: whether an input that is NaN is a missing value: it enters as 0 and is left out of the loss.
        alpha, beta: emphasis: weights of the loss on destroyed inputs and on the others (JMLR 2010, section 5.3).
        optimizer, lr, optimizer_options, lr_scheduler, scheduler_options, lr_interval, seed, fast: as for
            :class:`~stacked_dae.lightning.tasks.base.Task`.
        metrics: torchmetrics of the reconstructions against the clean inputs, (B, d) each; where inputs are missing, of
            the known ones, (k,) each.

    Raises:
        ConfigError: arguments are missing, unknown or out of range.
    """

    def __init__(
        self,
        inputs: int | None = None,
        units: int | None = None,
        *,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        corruption: str | Corruption = "fixed_masking",
        nu: float = 0.25,
        corrupt_by: str = "value",
        activation: str = "sigmoid",
        loss: str | Loss = "cross_entropy",
        tied: bool = True,
        missing: bool = False,
        alpha: float = 1.0,
        beta: float = 1.0,
        optimizer: OptimizerLike = "sgd",
        lr: float = 0.1,
        optimizer_options: Mapping[str, Any] | None = None,
        lr_scheduler: SchedulerLike | None = None,
        scheduler_options: Mapping[str, Any] | None = None,
        lr_interval: Interval = "epoch",
        metrics: MetricsLike | None = None,
        seed: int | None = None,
        fast: Fast = "auto",
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            lr=lr,
            optimizer_options=optimizer_options,
            lr_scheduler=lr_scheduler,
            scheduler_options=scheduler_options,
            lr_interval=lr_interval,
            metrics=metrics,
            seed=seed,
            fast=fast,
        )
        modules = {"encoder": encoder, "decoder": decoder}
        sizes = {"inputs": inputs, "units": units}
        dense = encoder is None and decoder is None
        if None in (sizes if dense else modules).values() or (not dense and {*sizes.values()} != {None}):
            raise ConfigError("PretrainTask needs either inputs and units, or encoder and decoder")
        if missing and not dense:
            raise ConfigError("missing applies only to a layer of inputs and units; fill missing values in the encoder")
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
        if not callable(loss) and loss not in ("cross_entropy", "squared_error"):
            raise ConfigError(f"loss must be cross_entropy, squared_error or a function, not {loss!r}")
        noise, corruption, nu = _corruption(corruption, nu)
        if corrupt_by != "value":
            noise = _grouped(noise, corruption, corrupt_by, dense=dense)
        decoding = "sigmoid" if loss == "cross_entropy" else "identity"
        kinds: dict[str, Any] = {"corruption": noise, "loss": loss, "alpha": alpha, "beta": beta}
        self.autoencoder: DenoisingAutoencoder | ModuleAutoencoder
        if inputs is not None and units is not None:
            for name, size in sizes.items():
                if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                    raise ConfigError(f"{name} must be a whole number of at least 1, not {size!r}")
            generator = None if seed is None else torch.Generator().manual_seed(derive_seed(seed, "weights"))
            self.autoencoder = DenoisingAutoencoder(
                inputs,
                units,
                activation=activation,
                decoder=decoding,
                tied=tied,
                missing=missing,
                generator=generator,
                **kinds,
            )
            self.example_input_array = torch.zeros(2, inputs)
        else:
            assert encoder is not None
            assert decoder is not None
            self.autoencoder = ModuleAutoencoder(encoder, decoder, decoder_activation=decoding, **kinds)
        self.keep_arguments(
            {
                **sizes, "corruption": corruption, "nu": nu, "corrupt_by": corrupt_by, "activation": activation,
                "loss": loss, "tied": tied, "missing": missing, "alpha": alpha, "beta": beta, "optimizer": optimizer,
                "lr": lr, "optimizer_options": None if optimizer_options is None else dict(optimizer_options),
                "lr_scheduler": lr_scheduler,
                "scheduler_options": None if scheduler_options is None else dict(scheduler_options),
                "lr_interval": lr_interval, "seed": seed, "fast": fast,
            }
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the codes of ``x``: (B, d) → (B, h), or what the encoder returns."""
        codes: Tensor = self.autoencoder.encode(self._shaped(self.as_floats(x)))
        return codes

    def decode(self, y: Tensor) -> Tensor:
        """Return the reconstruction of codes: (B, h) → (B, d), or what the decoder returns."""
        return self.autoencoder.decode(y)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the reconstruction of ``x`` from its clean codes, in the encoder's shape of inputs."""
        return self.decode(self(x))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if type(self).forward is not PretrainTask.forward and type(self).training_step is PretrainTask.training_step:
            raise ConfigError(
                f"{type(self).__name__} overrides forward, which training does not call; override training_step too, or"
                " give encoder= and decoder="
            )
        fast = self.takes_fast_route()
        x = self._clean(batch)
        corrupted, weight = self.corrupted(batch, x)
        if fast and self._route is not None and isinstance(self.autoencoder, DenoisingAutoencoder):
            total = self.autoencoder.step(self._filled(x), corrupted, self._route.updater, weight)
            loss = self._route.finish(total / len(x))
        else:
            loss = self.autoencoder.loss(self._filled(x), corrupted, weight).mean()
        self.log_mean("train_loss", loss.detach(), len(x))
        return loss

    def corrupted(self, batch: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return x̃ of a training batch's clean inputs, and the weights of the loss, None where each input counts 1."""
        return self.autoencoder.corrupt(x, self.noise())

    def closed_form(self) -> nn.Module | str:
        if type(self.autoencoder) is not DenoisingAutoencoder:
            return "its encoder and decoder are not the dense pair of this package"
        corruption = self.autoencoder.corruption
        if callable(self.autoencoder.criterion) or not (corruption is None or type(corruption) in CORRUPTIONS.values()):
            # It may have parameters of its own, or ask more of the weights than the decoder's pre-activation.
            return "its loss or its corruption is a function of your own"
        return self.autoencoder

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("valid", batch, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("test", batch, dataloader_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        x = inputs_of(batch)
        if x.is_floating_point() and x.numel():
            self.check_finite("inputs", self._filled(x), "NaN needs missing=True")
        codes: Tensor = self(x)
        return codes

    def _evaluate(self, part: str, batch: Any, loader: int) -> None:
        x = self._clean(batch)
        self.log_mean(f"{part}_loss", self.autoencoder.loss(x).mean(), len(x))
        if self.has_metrics():
            rebuilt, wanted = self.autoencoder.decode(self.autoencoder.encode(x)).flatten(1), x.flatten(1)
            known = wanted.isnan().logical_not()
            # A missing value has nothing to be compared with; without any the shape is kept.
            whole = bool(known.all())
            self.log_metrics(part, loader, *((rebuilt, wanted) if whole else (rebuilt[known], wanted[known])))

    def _clean(self, batch: Any) -> Tensor:
        """Return the clean inputs of a batch, checked."""
        x = self._shaped(self.as_floats(inputs_of(batch)))
        if self.must_check() and x.numel():
            low, high = self.check_finite("inputs", self._filled(x), "NaN needs missing=True")
            if self.autoencoder.criterion == "cross_entropy" and not (low >= 0.0 and high <= 1.0):
                raise DataError(
                    f"PretrainTask: cross_entropy needs inputs in [0, 1], but this batch has {low:g} to {high:g};"
                    " scale them, or give loss='squared_error'"
                )
        return x

    def _filled(self, x: Tensor) -> Tensor:
        """Return inputs with 0 for a missing value; the weights of the loss leave it out."""
        return self.autoencoder.fill(x) if isinstance(self.autoencoder, DenoisingAutoencoder) else x

    def _shaped(self, x: Tensor) -> Tensor:
        if isinstance(self.autoencoder, ModuleAutoencoder):
            if isinstance(self.autoencoder.corruption, GroupedCorruption) and x.ndim < 3:
                raise DataError(
                    f"PretrainTask: corrupt_by={self.autoencoder.corruption.by!r} needs images of shape (B, C, H, W),"
                    f" but the batch has the shape {tuple(x.shape)}"
                )
            return x
        width = self.autoencoder.decoder_bias.numel()
        flat = x.flatten(1) if x.ndim > 1 else x
        if flat.ndim != 2 or flat.shape[1] != width:
            raise DataError(
                f"PretrainTask: the batch has the shape {tuple(x.shape)}, but this layer takes {width} inputs per"
                f" example; give inputs={flat.shape[1] if flat.ndim == 2 else '…'}, or batches of shape (B, {width})"
            )
        return flat


def _corruption(corruption: str | Corruption, nu: float) -> tuple[Corruption | None, str | Corruption, float]:
    """Return the corruption, None without noise, and its name, where it has one, and level."""
    for name, kind in CORRUPTIONS.items():
        if isinstance(kind, type) and type(corruption) is kind:
            return corruption, name, asdict(corruption)["nu"]  # type: ignore[call-overload,return-value]
    if not isinstance(corruption, str):
        return corruption, corruption, nu
    if corruption not in CORRUPTIONS:
        raise ConfigError(f"corruption must be one of {', '.join(CORRUPTIONS)}, or an object, not {corruption!r}")
    try:
        noise = CORRUPTIONS[corruption](nu)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    return (noise if nu > 0.0 else None), corruption, nu


def _grouped(noise: Corruption | None, corruption: str | Corruption, by: str, *, dense: bool) -> Corruption | None:
    """Return the corruption of whole pixels or channels."""
    groups = get_args(Groups)
    if by not in groups:
        raise ConfigError(f"corrupt_by must be value, {' or '.join(groups)}, not {by!r}")
    if dense:
        raise ConfigError(f"corrupt_by={by!r} needs images: give encoder= and decoder=; a dense layer has no pixels")
    if not isinstance(corruption, str):
        raise ConfigError(f"corrupt_by={by!r} applies only to a corruption by name, not to {type(corruption).__name__}")
    return None if noise is None else GroupedCorruption(noise, cast(Groups, by))
