"""The processes that torchrun started, or a launcher that sets the same variables; this is one of them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rankfold.errors import InputError

if TYPE_CHECKING:
    from rankfold.training.processes import Processes

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TOGETHER = ("compress", "train")  # commands that several processes run together
# One process may decode a data set for hours while others wait; one that ends is noticed at once.
PATIENCE = timedelta(days=7)
_SAID = "rankfold/said"


def started_together() -> bool:
    """Whether this is one of several processes."""
    if any(name not in os.environ for name in VARIABLES):
        return False
    return os.environ["WORLD_SIZE"].isdigit() and int(os.environ["WORLD_SIZE"]) > 1


def check_command(command: str | None) -> None:
    """Refuse a command that several processes would each do whole.

    Raises:
        InputError: it is one.
    """
    if command is not None and command not in TOGETHER and started_together():
        raise InputError(
            f"{command} runs in one process; start it without torchrun, which is for {' and '.join(TOGETHER)}"
        )


def may_speak() -> bool:
    """Whether this process may say what went wrong: of several, the first one that asks."""
    if not started_together():
        return True
    try:
        store, *_ = _met()
        return bool(store.add(_SAID, 1) == 1)
    except Exception:  # whatever torch raises where the process that keeps count has ended
        return os.environ["RANK"] == "0"


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """Inside, the processes that work together, and the device of this one; by itself where it is alone.

    Args:
        device: as the user names it; of GPUs without a number, each process of a machine gets its own.

    Raises:
        InputError: there are fewer GPUs than processes.
    """
    from rankfold.training.processes import ALONE, Processes

    if not started_together():
        yield ALONE, device
        return
    import torch
    import torch.distributed as dist

    own = _own_device(device)
    backend = "gloo"
    if own.startswith("cuda"):
        torch.cuda.set_device(own)
        backend = "cpu:gloo,cuda:nccl"
    store, rank, size = _met()
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    yield Processes.of_group(), own
    # Not after an error: others may wait for this process, which ends at once and thereby ends them.
    dist.destroy_process_group()


@contextmanager
def one_first(processes: Processes) -> Iterator[None]:
    """One process of each machine does what is inside, such as filling a cache, before the others do it."""
    import torch

    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if first or processes.alone:
        yield
    # All of them together, as soon as the first ones are done.
    processes.sum_(torch.zeros(1))
    if not first and not processes.alone:
        yield


def _own_device(device: str) -> str:
    """The device of this process."""
    import torch

    number = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    if device == "auto" and not torch.cuda.is_available():
        return "cpu"
    if device not in ("auto", "cuda"):
        return device
    there = torch.cuda.device_count()
    if number >= there:
        raise InputError(
            f"process {number} of this machine finds {there} GPUs; start as many processes as there are GPUs "
            "(--nproc-per-node), or give --device cpu"
        )
    return f"cuda:{number}"


@functools.cache
def _met() -> tuple[Any, int, int]:
    """Where the processes leave each other word, the number of this one, and how many there are."""
    from torch.distributed.rendezvous import rendezvous

    found: tuple[Any, int, int] = next(rendezvous("env://"))
    return found
