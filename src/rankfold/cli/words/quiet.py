"""Keeps native libraries off standard output, which belongs to what a command was asked for."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def natives_silenced() -> Iterator[None]:
    """What C and C++ code prints inside is lost: HiGHS writes a line now and then, whatever its options say.

    For commands alone: what other threads print meanwhile would be lost too.
    """
    # What Python holds back would be lost with the rest.
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        _flush()
        # The descriptor and not `sys.stdout`, which native code does not know.
        os.dup2(nowhere, 1)
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _flush() -> None:
    """Write out what the C library holds back."""
    # None is this process itself, with the C library that it has; Windows has no such handle.
    name = None
    if os.name == "nt":
        name = "ucrtbase"
    ctypes.CDLL(name).fflush(None)
