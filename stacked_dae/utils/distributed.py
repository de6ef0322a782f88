"""The processes of one job, where torchrun or SLURM's srun started several: each has a share of every minibatch.

With one process everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stacked_dae.errors import ConfigError, PeerError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def launch_topology() -> tuple[int, int]:
    """Return how many processes there are on each machine, and how many machines, as the launcher says; 1, 1 alone.

    Raises:
        ConfigError: the machines have not all as many.
    """
    if "LOCAL_WORLD_SIZE" in os.environ and "WORLD_SIZE" in os.environ:
        here, all_of_them = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        nodes = max(1, all_of_them // here)
    elif _of_srun():
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_NNODES", "1"))
        all_of_them = int(os.environ["SLURM_STEP_NUM_TASKS"])
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
    # A shell of sbatch or salloc has SLURM_NTASKS and even SLURM_PROCID, but is not one of several tasks: only srun
    # says how many it has started.
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in os.environ


def is_alone_in_slurm() -> bool:
    """Return whether SLURM has lent room for several tasks, and srun has not started them."""
    of_torchrun = "LOCAL_WORLD_SIZE" in os.environ
    return not of_torchrun and not _of_srun() and int(os.environ.get("SLURM_NTASKS") or 1) > 1


def rank() -> int:
    """Return the number of this process, from 0."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        return int(os.environ.get("RANK", "0"))
    return int(os.environ["SLURM_PROCID"]) if _of_srun() else 0


def is_rank_zero() -> bool:
    """Return whether this is the process that writes and speaks for all."""
    return rank() == 0


def world_size() -> int:
    """Return how many processes there are."""
    here, nodes = launch_topology()
    return here * nodes


@contextmanager
def _collective() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # torch has no class of its own for a peer that is gone.
        raise PeerError(f"another process of this job ended ({str(error).splitlines()[0]})") from error


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        from torch import distributed

        with _collective():
            distributed.barrier()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Make ``tensor`` the sum of what every process has in its place, and return it."""
    if world_size() > 1:
        from torch import distributed

        with _collective():
            distributed.all_reduce(tensor)
    return tensor


def all_reduce_max(flag: int, device: torch.device) -> int:
    """Return the largest ``flag`` of any process."""
    if world_size() > 1:
        import torch
        from torch import distributed

        value = torch.tensor(flag, device=device)
        with _collective():
            distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return int(value)
    return flag


def shard(rows: int) -> slice:
    """Return which of some rows, at least 0, are this process's; the shares of all are in order and nearly equal."""
    return slice(rows * rank() // world_size(), rows * (rank() + 1) // world_size())


def all_gather_rows(mine: Tensor, rows: int) -> Tensor:
    """Return all of some rows, of which every process has its :func:`shard`: (share, d) → (``rows``, d)."""
    if world_size() == 1:
        return mine
    import torch
    from torch import distributed

    sizes = [rows * (k + 1) // world_size() - rows * k // world_size() for k in range(world_size())]
    padded = mine.new_zeros(max(sizes), mine.shape[1])
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in sizes]
    with _collective():
        distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
