"""The models of the paper's Table 1, each a choice of settings of the same workflow, and what is searched for them."""

from __future__ import annotations

from typing import Any

from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import Config

MODELS = {
    "sda-3": "three denoising autoencoders, fine-tuned: the paper's",
    "saa-3": "the same with nu = 0: ordinary autoencoders",
    "mlp-3": "the same network from random weights, never pre-trained",
    "svm-rbf": "support vector machine on the pixels",
    "sda-3-emphasis": "sda-3 with salt-and-pepper noise and emphasis (JMLR 2010)",
    "svm-codes": "support vector machine on the codes of each pre-trained layer of sda-3",
    "modern": "sda-3, pre-trained twice as long, fine-tuned by Adam with dropout",
    "modern-mlp": "its control: the same network from random weights",
    "relu-mlp": "three ReLU layers by Adam with dropout, never pre-trained: what one would train today",
}

SHORT_MODELS = ("mlp-3", "modern-mlp", "relu-mlp", "svm-rbf")
"""Models that take less time than the others: they come last, so that no process works alone for long."""
# Those that the paper knows nothing of; they are set against the lowest error of its table.
MODERN_MODELS = ("modern", "modern-mlp", "relu-mlp")


# Layers of every network.
DEPTH = 3


def epoch_multiplier(problem: str) -> int:
    """Return by how much the epochs of a problem are multiplied: rect has a tenth of most others' training examples."""
    return 10 if problem == "rect" else 1


def finetuning(problem: str) -> dict[str, Any]:
    """Return how long every network of a problem is fine-tuned at the most."""
    return {"epochs": 30 * epoch_multiplier(problem), "patience": 10 * epoch_multiplier(problem)}


def model_config(
    problem: str,
    model: str,
    seed: int,
    source: str,
    *,
    units: int,
    nu: float,
    pretrain_lr: float,
    pretrain_epochs: int,
    finetune_lr: float,
    finetune_decay: float | None = None,
) -> Config:
    """Return the configuration of one try; what a control does not use stays at its default, so that equals are.

    With ``finetune_decay`` it has the first weights of the authors' programs too, and is fine-tuned for 50 epochs.
    """
    pretrain: dict[str, Any] = {"units": [units] * DEPTH}
    finetune = {**finetuning(problem), "optimizer": {"lr": finetune_lr}}
    if finetune_decay is not None:
        pretrain["first_weights"] = "max_fan"
        finetune = {"epochs": 50 * epoch_multiplier(problem), "patience": 50 * epoch_multiplier(problem)}
        finetune["optimizer"] = {"lr": finetune_lr, "decay": finetune_decay}
    network = "sda"
    if model.endswith("mlp") or model == "mlp-3":
        network = "mlp"
    else:
        pretrain |= {
            "epochs": pretrain_epochs * epoch_multiplier(problem),
            "optimizer": {"lr": pretrain_lr},
            "corruption": {"nu": nu},
        }
    if model == "saa-3":
        network = "saa"
        pretrain["corruption"] = {}
    if model == "sda-3-emphasis":
        pretrain["corruption"] = {"kind": "salt_and_pepper", "nu": nu}
        pretrain["emphasis"] = {"alpha": 1.0, "beta": 0.5}
    if model in MODERN_MODELS:
        # Adam's rates are a thousandth of plain SGD's, for the stack and for its controls.
        optimizer = {"name": "adam", "lr": 0.001 * finetune_lr}
        finetune |= {"batch_size": 100, "dropout": 0.2, "optimizer": optimizer}
    if model == "modern":
        # Dropout, rate, noise and twice the epochs were chosen by validation error on bg-img.
        pretrain["epochs"] *= 2
    if model == "relu-mlp":
        pretrain |= {"activation": "relu", "loss": "squared_error", "decoder": "identity"}
    values: dict[str, Any] = {"seed": seed, "model": network, "data": {"name": problem, "source": source}}
    values |= {"pretrain": pretrain, "finetune": finetune}
    return config_from_dict(values)
