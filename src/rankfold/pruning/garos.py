"""Patterns of several sizes for one layer, chosen exactly under the rows that its window may drive.

GAROS (Rhe et al., Journal of Systems Architecture 165, 2025) gives each input channel a pattern of 1, 2, 4, 6
or 8 positions, or leaves it whole, so that a layer skips as many rows as PAIRS would with one size for all. A
genetic algorithm chooses how many channels get each size; the channels of least sum |w| get the smallest.
Here the choice itself is a multiple-choice knapsack,

    maximise  sum over c of  energy_c(p_c)    subject to  sum over c of  rows(p_c) <= B,

over one pattern p_c for each channel c, where rows(p) are the inputs of a window that p reads under any of
its shifts. Dynamic programming over the rows solves it exactly:

    best_c(b) = max over p of  best_(c-1)(b - rows(p)) + energy_c(p),    best_0 = 0.

Every choice of GAROS, and of PAIRS with a pattern for each channel, is one of those compared: none of them
keeps more energy within as many rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankfold.pruning.library import SIDE, published_library

Array = np.ndarray
Pair = tuple[int, int]

SIZES = (1, 2, 4, 6, 8)  # positions of the libraries that GAROS chooses among, beside whole kernels


@dataclass(frozen=True)
class PatternWindow:
    """The window under which rows are counted.

    Attributes:
        side: a, outputs along each side of the square window.
        stride: of the convolution, down and across.
        dilation: of the convolution, down and across.
    """

    side: int
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)

    def rows(self, pattern: Array) -> int:
        """Inputs of one channel that the pattern (9,) reads under any shift of the window."""
        kernel = pattern.reshape(SIDE, SIDE)
        # Inputs that the kernel spans, with those between its positions.
        height, width = ((SIDE - 1) * gap + 1 for gap in self.dilation)
        spread = np.zeros((height, width), bool)
        spread[:: self.dilation[0], :: self.dilation[1]] = kernel
        down, across = self.stride
        read = np.zeros(((self.side - 1) * down + height, (self.side - 1) * across + width), bool)
        for row in range(0, self.side * down, down):
            for column in range(0, self.side * across, across):
                read[row : row + height, column : column + width] |= spread
        return int(read.sum())


def budget_of_rows(entries: int, channels: int, window: PatternWindow) -> int:
    """The rows that PAIRS drives with e positions in all channels: B.

    Args:
        entries: e, of a published library.
        channels: C_in/G.
        window: under which rows are counted.

    Raises:
        InputError: there are no patterns of so many positions.
    """
    return channels * max(window.rows(pattern) for pattern in published_library(entries))


def mixed_patterns(weight: Array, entries: int, window: PatternWindow, groups: int = 1) -> Array:
    """The patterns of all sizes that keep the most energy within as many rows as PAIRS drives.

    Args:
        weight: (m, C_in/G, 3, 3).
        entries: e of PAIRS.
        window: under which rows are counted.
        groups: G, groups of the convolution, each of which has the rows of its own channels.

    Returns:
        A mask of the weight's shape, the same for all outputs of a group.

    Raises:
        InputError: there are no patterns of so many positions.
    """
    outputs, channels = weight.shape[:2]
    squares = np.square(weight, dtype=np.float64)
    # (G, C_in/G, 9), summed over the outputs of a group.
    energy = squares.reshape(groups, outputs // groups, channels, -1).sum(axis=1)
    library = np.concatenate([*(published_library(size) for size in SIZES), np.ones((1, SIDE * SIDE), bool)])
    rows = np.array([window.rows(pattern) for pattern in library])
    most = budget_of_rows(entries, channels, window)
    masks = []
    for of_group in energy:
        chosen = _knapsack(of_group @ library.T, rows, most)  # (C_in/G,)
        masks.append(library[chosen])
    # (G, C_in/G, 9): all outputs of a group keep the same.
    return np.repeat(np.stack(masks), outputs // groups, axis=0).reshape(weight.shape)


def _knapsack(values: Array, rows: Array, most: int) -> Array:
    """(C,) the option of each channel of the greatest sum of values whose rows add up to at most `most`.

    Args:
        values: (C, P) of each option of each channel.
        rows: (P,) of each option; the least of them, C times, are within `most`.
        most: B.
    """
    best = np.zeros(most + 1)  # of the channels so far, by the rows they may have
    taken = np.zeros((len(values), most + 1), np.int8)  # there are few options
    for channel, of_options in enumerate(values):
        reached = np.full((len(rows), most + 1), -np.inf)
        for option, needed in enumerate(rows.tolist()):
            if needed <= most:
                reached[option, needed:] = best[: most + 1 - needed] + of_options[option]
        taken[channel] = reached.argmax(axis=0)
        best = reached.max(axis=0)
    left = most
    chosen = np.zeros(len(values), np.int64)
    for channel in range(len(values) - 1, -1, -1):
        chosen[channel] = taken[channel, left]
        left -= int(rows[chosen[channel]])
    return chosen
