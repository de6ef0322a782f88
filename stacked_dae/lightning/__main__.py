"""The tasks under Lightning's own command line: python -m stacked_dae.lightning fit --model PretrainTask …"""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningCLI

from stacked_dae.lightning.data import DAEDataModule
from stacked_dae.lightning.tasks.finetune import FinetuneTask as FinetuneTask
from stacked_dae.lightning.tasks.finetune import RegressionTask as RegressionTask
from stacked_dae.lightning.tasks.pretrain import PretrainTask as PretrainTask


def named_data(
    name: str = "digits",
    labels_per_class: int | None = None,
    batch_size: int = 20,
    shuffle: bool = True,
    seed: int | None = None,
    root: str | None = None,
) -> DAEDataModule:
    """Return the data module of a named data set.

    Args:
        name: the data set; ``stacked-dae data list`` names them all.
        labels_per_class: keep this many training labels per class, and only the rows that have one.
        batch_size: examples per minibatch.
        shuffle: whether each training epoch has a new order.
        seed: of that order.
        root: the data folder.
    """
    data = DAEDataModule.from_name(name, root=root, batch_size=batch_size, shuffle=shuffle, seed=seed)
    return data if labels_per_class is None else data.labelled(labels_per_class)


def main() -> None:
    """Run fit, validate, test or predict as the arguments say.

    Raises:
        SystemExit: the arguments are wrong, or an extra is not installed; a line says so.
    """
    if find_spec("typeshed_client") is None:
        sys.exit("Lightning's command line needs jsonargparse[signatures]; pip install 'jsonargparse[signatures]'")
    LightningCLI(
        pl.LightningModule,
        named_data,
        subclass_mode_model=True,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
    )


if __name__ == "__main__":
    main()
