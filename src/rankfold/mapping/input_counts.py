"""How many inputs of one channel neighbouring outputs read, for all sizes of windows at once."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np

from rankfold.workload.shape import Pair

Array = np.ndarray


def reach(side: int, most: int) -> int:
    """Up to which size inputs are counted where `side` is wanted: few sizes, so that each is counted once."""
    next_power = 1 << (side - 1).bit_length()
    return min(most, max(64, next_power))


@lru_cache(maxsize=2048)
def inputs_of_pattern(
    taps_of_rows: tuple[int, ...],
    stride: Pair,
    dilation: Pair,
    outputs: Pair,
) -> Array:
    """(tallest+1, widest+1) inputs of one channel that windows up to `outputs` read with one pattern.

    An input row is read with the horizontal taps of all kernel rows that fall on it. So the input rows of a
    window of height a are counted by their set of taps, and each set's count over the widths is looked up.
    Layers have few patterns, and supports of one layer, or pairs on one support, ask for the same ones again.

    Args:
        taps_of_rows: for each kernel row its taps, as a number of which bit i says whether tap i is used.
        stride: vertical and horizontal.
        dilation: vertical and horizontal.
        outputs: (tallest, widest).
    """
    tallest, widest = outputs
    extent = (len(taps_of_rows) - 1) * dilation[0] + 1
    height = (tallest - 1) * stride[0] + extent
    rows = np.zeros(height, int)  # the set of taps that read each input row
    table = np.zeros((tallest + 1, widest + 1), int)
    bits = max(taps_of_rows).bit_length()
    for side in range(1, tallest + 1):
        # One more row of pixels reads these input rows, with the taps of its kernel rows.
        start = (side - 1) * stride[0]
        rows[start : start + extent : dilation[0]] |= taps_of_rows
        for taps, count in Counter(rows.tolist()).items():
            if taps == 0:
                continue
            across = _bits_of(taps, bits)
            line = inputs_of_line(
                across,
                stride[1],
                dilation[1],
                widest,
            )
            table[side] += count * line
    table.setflags(write=False)
    return table


def _bits_of(number: int, bits: int) -> tuple[int, ...]:
    """Which of the lowest bits of a number are set."""
    return tuple(bit for bit in range(bits) if number >> bit & 1)


@lru_cache(maxsize=4096)
def inputs_of_line(
    taps: tuple[int, ...],
    stride: int,
    dilation: int,
    outputs: int,
) -> Array:
    """(outputs+1,) inputs along one axis that 0, 1, ... neighbouring outputs read with some kernel taps."""
    if not taps:
        return np.zeros(outputs + 1, int)
    starts = np.arange(outputs)[:, None] * stride
    reads = starts + np.array(taps) * dilation  # (outputs, taps), inputs by output and tap
    # Each input counts for the first output that reads it.
    _, first = np.unique(reads, return_index=True)
    reader = first // len(taps)  # (inputs,)
    new = np.bincount(reader, minlength=outputs)  # (outputs,)
    line = np.concatenate(([0], np.cumsum(new)))
    line.setflags(write=False)
    return line
