"""Freed memory is given back to the system."""

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

from rankfold.planning.memory import give_back_memory

PIECE, PIECES = 1 << 16, 1500  # bytes: so small that glibc takes no pages of its own for one


def resident():
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="without glibc"
)
def test_what_was_freed_is_given_back():
    pieces = [np.ones(PIECE, np.uint8) for _ in range(PIECES)]
    full = resident()
    # Every tenth stays, so that nothing at the end of the heap is free.
    kept = pieces[::10]
    del pieces
    give_back_memory()
    assert resident() < full - PIECE * PIECES / 2
    assert all(piece.all() for piece in kept)
