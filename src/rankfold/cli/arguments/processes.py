"""The processes that torchrun started, or a launcher that sets the same variables; this is one of them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rankfold.errors import InputError, first_line

if TYPE_CHECKING:
    from rankfold.training.processes import Processes

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TOGETHER = ("compress", "train")  # commands that several processes run together
MEETING = timedelta(minutes=10)  # until all are there
PATIENCE = timedelta(minutes=30)  # for another one in the midst of work that all do together
# One process may decode a data set for days while others wait; one that ends is noticed at once.
PATIENCE_WITH_FIRST = timedelta(days=7)
_SAID = "rankfold/said"
_HERE = "rankfold/here"


def started_together() -> bool:
    """Whether this is one of several processes."""
    if any(name not in os.environ for name in VARIABLES):
        return False
    return _is_number(os.environ["WORLD_SIZE"]) and int(os.environ["WORLD_SIZE"]) > 1


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
    met = _met()
    if isinstance(met, str):
        return True
    store, *_ = met
    try:
        return bool(store.add(_SAID, 1) == 1)
    except Exception:  # whatever torch raises where the process that keeps count has ended
        return True  # said by each is better than by none, where that one was killed


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """Inside, the processes that work together, and the device of this one; by itself where it is alone.

    Args:
        device: as the user names it; of GPUs without a number, each process of a machine gets its own.

    Raises:
        InputError: this process has no number, there are fewer GPUs than processes, or the processes do not
            find each other.
    """
    from rankfold.training.processes import ALONE, Processes, none_lost

    if not started_together():
        yield ALONE, device
        return
    import torch
    import torch.distributed as dist

    _number_here()  # refuses what is none, before others wait for this process
    own = _own_device(device)
    backend = "gloo"
    if own.startswith("cuda"):
        torch.cuda.set_device(own)
        backend = "cpu:gloo,cuda:nccl"
    store, rank, size = _all_here()
    with none_lost():
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    yield Processes.of_group(), own
    # Not after an error: others may wait for this process, which ends at once and thereby ends them.
    dist.destroy_process_group()


@contextmanager
def one_first(processes: Processes) -> Iterator[None]:
    """One process of each machine does what is inside, such as filling a cache, before the others do it.

    Where the launcher does not say which one (`LOCAL_RANK`), all do it at once.
    """
    if processes.alone:
        yield
        return
    import torch
    import torch.distributed as dist

    from rankfold.training.processes import Processes, none_lost

    # A group of its own, as only here one waits for what another does alone.
    with none_lost():
        waiting = Processes(dist.new_group(backend="gloo", timeout=PATIENCE_WITH_FIRST))
    first = _goes_first()
    if first:
        yield
    # All of them together, as soon as the first ones are done.
    waiting.sum_(torch.zeros(1))
    if not first:
        yield


def _goes_first() -> bool:
    """Whether this process need not wait for another one of its machine."""
    # The number among all processes does not tell: no process of a second machine has number 0.
    return "LOCAL_RANK" not in os.environ or _number_here() == 0


def _number_here() -> int:
    """The number of this process among those of its machine; of all where the launcher does not say.

    Raises:
        InputError: it is no number.
    """
    name = "LOCAL_RANK" if "LOCAL_RANK" in os.environ else "RANK"
    if not _is_number(os.environ[name]):
        raise InputError(
            f"{name} is {os.environ[name]!r}; processes are numbered 0, 1, ..., as torchrun does"
        )
    return int(os.environ[name])


def _is_number(text: str) -> bool:
    """Whether it is a whole number from 0 that `int` reads, which a raised 2 is not."""
    return text.isascii() and text.isdigit()


def _own_device(device: str) -> str:
    """The device of this process.

    Raises:
        InputError: there are fewer GPUs than processes, or one GPU is named for all of them.
    """
    import torch

    if device == "auto" and not torch.cuda.is_available():
        return "cpu"
    if device.startswith("cuda:"):
        raise InputError(
            f"--device {device} names one GPU for all processes; give --device cuda, of which each process "
            "takes its own, and choose GPUs by CUDA_VISIBLE_DEVICES"
        )
    if device not in ("auto", "cuda"):
        return device
    number = _number_here()
    there = torch.cuda.device_count()
    if number >= there:
        raise InputError(
            f"process {number} of this machine finds {there} GPUs; start as many processes as there are GPUs "
            "(--nproc-per-node), or give --device cpu"
        )
    return f"cuda:{number}"


def _all_here() -> tuple[Any, int, int]:
    """As `_met`, as soon as all processes are there.

    Raises:
        InputError: they do not find each other, or some do not come.
    """
    met = _met()
    if isinstance(met, str):
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(
            f"process {os.environ['RANK']} does not meet the others at {place} ({met}); start all "
            f"{os.environ['WORLD_SIZE']} of them, with MASTER_ADDR the machine of process 0, MASTER_PORT a "
            "port that is free there, and a RANK of its own for each"
        )
    store, rank, size = met
    try:
        store.set(f"{_HERE}/{rank}", "")
        store.wait([f"{_HERE}/{number}" for number in range(size)], MEETING)
    except RuntimeError as error:  # of which torch's own are kinds
        raise InputError(
            f"process {rank} waited for the other {size - 1} in vain ({first_line(error)}); see what they "
            "say, and start all of them again"
        ) from error
    return met


@functools.cache
def _met() -> tuple[Any, int, int] | str:
    """Where the processes leave each other word, the number of this one, and how many there are.

    Why there is no such place where they do not find each other: kept, as to look again would take as long.
    """
    from torch.distributed.rendezvous import rendezvous

    try:
        found: tuple[Any, int, int] = next(rendezvous("env://", timeout=MEETING))
    except (OSError, RuntimeError, ValueError) as error:  # of which torch's own are kinds
        return first_line(error)
    _, rank, size = found
    if not 0 <= rank < size:
        return f"there is no process {rank} of {size}, they count from 0"
    return found
