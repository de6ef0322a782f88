"""The processes of one job, where torchrun or SLURM's srun started several: each has a share of every minibatch.

With one process everything here does nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stacked_dae.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def processes() -> tuple[int, int]:
    """Return how many processes there are on each machine, and how many machines, as the launcher says; 1, 1 alone.

    Raises:
        ConfigError: the machines have not all as many.
    """
    if "LOCAL_WORLD_SIZE" in os.environ and "WORLD_SIZE" in os.environ:
        here, all_of_them = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        nodes = max(1, all_of_them // here)
    elif _of_srun():
        nodes, all_of_them = int(os.environ.get("SLURM_NNODES", "1")), int(os.environ["SLURM_NTASKS"])
        here = max(1, all_of_them // nodes)
    else:
        return 1, 1
    if here * nodes != all_of_them:
        raise ConfigError(
            f"{all_of_them} processes on {nodes} machines: start as many on each (torchrun --nproc_per_node, srun"
            " --ntasks-per-node)"
        )
    return here, nodes


def _of_srun() -> bool:
    # A shell on a machine that SLURM lent has the first, but is no task of several.
    return int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ


def rank() -> int:
    """Return the number of this process, from 0."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        return int(os.environ.get("RANK", "0"))
    return int(os.environ["SLURM_PROCID"]) if _of_srun() else 0


def first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return rank() == 0


def count() -> int:
    """Return how many processes there are."""
    here, nodes = processes()
    return here * nodes


def barrier() -> None:
    """Wait until every process is here."""
    if count() > 1:
        from torch import distributed

        distributed.barrier()


def add_up(tensor: Tensor) -> Tensor:
    """Make ``tensor`` the sum of what every process has in its place, and return it."""
    if count() > 1:
        from torch import distributed

        distributed.all_reduce(tensor)
    return tensor


def any_of(flag: int, device: torch.device) -> int:
    """Return the largest ``flag`` of any process."""
    if count() > 1:
        import torch
        from torch import distributed

        value = torch.tensor(flag, device=device)
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return int(value)
    return flag


def share(rows: int) -> slice:
    """Return which of some rows, at least 0, are this process's; the shares of all are in order and nearly equal."""
    return slice(rows * rank() // count(), rows * (rank() + 1) // count())


def gather(mine: Tensor, rows: int) -> Tensor:
    """Return all of some rows, of which every process has its :func:`share`: (share, d) → (``rows``, d)."""
    if count() == 1:
        return mine
    import torch
    from torch import distributed

    sizes = [rows * (k + 1) // count() - rows * k // count() for k in range(count())]
    padded = mine.new_zeros(max(sizes), mine.shape[1])
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
