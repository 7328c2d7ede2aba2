"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Give back what glibc keeps of freed memory; elsewhere nothing happens.

    It keeps it for the thread that freed it. What a way back through a network has left, more than a
    gigabyte, would be of no use to the threads that look at layers.
    """
    if sys.platform != "linux":
        return
    # Not every C library of a Linux has it: musl does not.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
