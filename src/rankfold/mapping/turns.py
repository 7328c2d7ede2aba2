"""Rows and columns in use where cuts through lines meet cuts through columns that both read in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.mapping.outline import Cut, EvenCuts

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class CutSorts:
    """Sorts of cuts, those that differ by whole turns being one.

    Attributes:
        first: (K,) first line (or column) of each, in the first turn.
        length: (K,) its lines.
        times: (K,) how many cuts are of the sort.
    """

    first: Array
    length: Array
    times: Array

    @classmethod
    def of(cls, cuts: EvenCuts | Sequence[Cut], turn: int) -> CutSorts:
        """The sorts of cuts through lines that repeat after `turn` of them."""
        if not isinstance(cuts, EvenCuts):
            first, last = np.array(cuts).T
            return cls(first % turn, last - first, np.ones_like(first))
        # All have one length but the last one, which stands for itself.
        last = cuts.start + (len(cuts) - 1) * cuts.step
        begin = np.arange(cuts.start, last, cuts.step) % turn
        times = np.bincount(begin, minlength=1)
        whole = np.flatnonzero(times)
        first, length, number = np.zeros((3, len(whole) + 1), int)
        first[:-1], first[-1] = whole, last % turn
        length[:-1], length[-1] = cuts.step, cuts.stop - last
        number[:-1], number[-1] = times[whole], 1
        return cls(first, length, number)


@dataclass(frozen=True, eq=False)
class Turns:
    """The lines and columns of a diagonal block, which repeat channel by channel.

    Line i of a block reads as line i mod L, of L lines of a channel; column j has pixel j mod N0, of N0
    pixels.

    Attributes:
        lines: L.
        pixels: N0.
        held: how many of the pixels the columns have.
        read: makes (L, N0) booleans, which pixels read each line.
    """

    lines: int
    pixels: int
    held: int
    read: Callable[[], Array]

    @cached_property
    def _reads(self) -> Array:
        return self.read()

    def rows_in_use(self, lines: CutSorts, columns: CutSorts) -> Array:
        """(K, M) lines of each of K cuts that any column of each of M cuts reads."""
        # Every line is there because some pixel reads it.
        if (columns.length >= self.held).all():
            return np.broadcast_to(lines.length[:, None], (len(lines.length), len(columns.length)))
        return _in_use(self._reads, lines, columns)

    def columns_in_use(self, lines: CutSorts, columns: CutSorts) -> Array:
        """(K, M) columns of each of M cuts that read any line of each of K cuts."""
        # Every pixel reads some line of each channel.
        if (lines.length >= self.lines).all():
            return np.broadcast_to(columns.length, (len(lines.length), len(columns.length)))
        return _in_use(self._reads.T, columns, lines).T


# What a cut of another direction meets is found from running sums. With t(i, j) the number of places before j
# that line i is true at, of two turns, a cut of n places from j on meets line i where t(i, j + n) > t(i, j);
# n need not be more than a turn. Of the lines that it meets, s(i) lie before line i of a turn, and so
# (i div L) s(L) + s(i mod L) before any line i.
def _in_use(reads: Array, cuts: CutSorts, across: CutSorts) -> Array:
    """(K, M) lines in each of K cuts that are true anywhere in each of M cuts across.

    Args:
        reads: (L, N) booleans, a turn of both.
        cuts: through the lines.
        across: through the places.
    """
    lines, places = reads.shape
    sums = np.zeros((lines, 2 * places + 1), np.int32)
    np.cumsum(np.concatenate((reads, reads), axis=1), axis=1, out=sums[:, 1:])
    stop = across.first + np.minimum(across.length, places)
    met = sums[:, stop] > sums[:, across.first]  # (L, M)
    before = np.zeros((lines + 1, met.shape[1]), int)
    np.cumsum(met, axis=0, out=before[1:])
    turns, rest = np.divmod(cuts.first + cuts.length, lines)  # (K,)
    in_use: Array = turns[:, None] * before[-1] + before[rest] - before[cuts.first]
    return in_use
