"""The process that a command runs in, and the command line that started it."""

from __future__ import annotations

import argparse
import ctypes
import gc
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rankfold.errors import InputError

OBJECTS_A_COLLECTION = 50_000  # new ones since the last time that Python looked for garbage


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add `--device` and `--threads`."""
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, ... (default auto)"
    )
    add_threads(parser)


def add_threads(parser: argparse._ActionsContainer) -> None:
    """Add `--threads`."""
    parser.add_argument("--threads", type=int, metavar="N", help="processor threads (default: all)")


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add `--seed`."""
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="fixes everything drawn at random (default 0)"
    )


def prepare_process(threads: int | None = None) -> None:
    """Settings of this process that make training faster; the library itself never changes them.

    What is frozen is so until `unfrozen_afterwards`, if the caller is inside it.

    Raises:
        InputError: `threads` is not a positive number.
    """
    import torch

    if threads is not None:
        if threads < 1:
            raise InputError(f"threads (={threads}) must be 1 or more")
        torch.set_num_threads(threads)
    # What was imported up to here stays to the end, and need not be looked through for what is not used any
    # more whenever a step of training has made objects enough. What torch imports later is not frozen.
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        # glibc gives every large tensor back to the system when it is freed, and each new one then costs a
        # page fault per 4 KiB. Keep freed memory instead.
        m_trim_threshold, m_mmap_threshold = -1, -3
        # Not every C library of a Linux has it: musl does not.
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(m_mmap_threshold, 2**31 - 1)
            mallopt(m_trim_threshold, 2**31 - 1)


@contextmanager
def few_collections() -> Iterator[None]:
    """Let Python look for garbage rarely inside.

    What a command imports and counts is hardly ever garbage, and to look through it again after every 700 new
    objects takes a sixth of the time of a short command.
    """
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_A_COLLECTION, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def unfrozen_afterwards() -> Iterator[None]:
    """Let Python search what `prepare_process` froze inside for garbage again: the process may go on."""
    before = gc.get_freeze_count()
    try:
        yield
    finally:
        if gc.get_freeze_count() != before:
            gc.unfreeze()


def defaults_of(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """What each option of a command is where the user does not give it."""
    defaults = {}
    for action in parser._actions:
        if action.dest != "help":
            defaults[action.dest] = parser.get_default(action.dest)
    return defaults


def command_line(options: argparse.Namespace) -> str:
    """The command that runs now, as the user would type it, for the record of a run.

    What a file of options says is added, so that the record holds without the file.
    """
    # The record of a run does not depend on how often it was stopped.
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if getattr(options, "applied", None) is not None:
        words += options.applied.in_use(options)
    return shlex.join(["rankfold", *words])
