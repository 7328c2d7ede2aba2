"""How many arrays hold a set of tiles, where tiles may share an array diagonally."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.workload.shape import Pair

Contents = tuple[tuple[Pair, int], ...]  # ((rows, columns), how many of them)
Bins = tuple[tuple[Contents, int], ...]  # (contents, how many arrays hold the same)
Fill = Callable[[Mapping[Pair, int], ArraySpec], Contents]

MIXTURES = 4  # w = 0, 1/4, ... 1
EFFORT, EXPONENT = 300, 1.1  # of `_by_value`
# at most, in each dimension; each gives a valid bound, so that leaving some out only weakens the largest
THRESHOLDS = 32


@dataclass(frozen=True)
class Packing:
    """Tiles in arrays.

    Tiles of one array share neither rows nor columns, so the cells off their diagonal hold zero.

    Attributes:
        array: R x C.
        bins: the contents of arrays, and how many arrays hold the same.
        lower_bound: arrays that no packing can do without.
    """

    array: ArraySpec
    bins: Bins
    lower_bound: int

    @property
    def arrays(self) -> int:
        """Arrays in use."""
        return sum(count for _, count in self.bins)

    @property
    def gap(self) -> int:
        """Arrays that a better packing might save; 0 proves that none does."""
        return self.arrays - self.lower_bound


def pack_tiles(extents: Mapping[Pair, int], array: ArraySpec) -> Packing:
    """Pack tiles into few arrays, with sum of rows <= R and sum of columns <= C in each.

    This is two-dimensional vector packing.

    First-fit decreasing under several orders (Panigrahy et al., 2011, compare them), then array by array the
    contents that are worth most (as Gilmore & Gomory, 1961, generate patterns); the best is kept.

    Args:
        extents: how many tiles have r rows and c columns in use, by (r, c).
        array: R x C.

    Raises:
        InputError: a tile is larger than the array, or counted less than once.
    """
    for (rows, columns), count in extents.items():
        fits = 1 <= rows <= array.rows and 1 <= columns <= array.columns
        if not fits or count < 1:
            raise InputError(f"tiles (={count} of {rows}x{columns}) must be at least one of at most {array}")
    if not extents:
        return Packing(array, (), 0)
    best: Bins | None = None
    bound: int | None = None
    # The quick orders first: the search is made only where they leave a gap to the bound.
    for fill in (*map(_in_order, _orders(array)), _by_value):
        found = _pack(extents, array, fill)
        if best is None or _arrays(found) < _arrays(best):
            best = found
        if bound is None:
            # Once, when a packing is known, at whose size the search for a bound can stop.
            bound = lower_bound(extents, array, enough=_arrays(best))
        # No packing can do with fewer: this one is proven best.
        if _arrays(best) == bound:
            break
    assert best is not None and bound is not None
    return Packing(array, best, bound)


def _arrays(bins: Bins) -> int:
    return sum(count for _, count in bins)


def _pack(extents: Mapping[Pair, int], array: ArraySpec, fill: Fill) -> Bins:
    """Array by array. Arrays with the same contents are filled at once, so equal tiles cost no time each."""
    left = dict(extents)
    bins: list[tuple[Contents, int]] = []
    while left:
        contents = fill(left, array)
        # As many arrays as the tiles last for.
        times = min(left[size] // number for size, number in contents)
        bins.append((contents, times))
        for size, number in contents:
            left[size] -= times * number
            if not left[size]:
                del left[size]
    return tuple(bins)


def _orders(array: ArraySpec) -> tuple[Callable[[Pair], tuple[float, ...]], ...]:
    rows, columns = array.rows, array.columns
    # By the longer side and then the area; by the sum of both sides, as shares; by the area.
    return (
        lambda size: (max(size[0] / rows, size[1] / columns), size[0] * size[1]),
        lambda size: (size[0] / rows + size[1] / columns,),
        lambda size: (size[0] * size[1],),
    )


def _in_order(order: Callable[[Pair], tuple[float, ...]]) -> Fill:
    """First-fit decreasing, seen from the arrays: each takes as many of each size, in order, as still fit."""

    def fill(left: Mapping[Pair, int], array: ArraySpec) -> Contents:
        rows, columns = array.rows, array.columns
        contents = []
        for size in sorted(left, key=lambda size: (order(size), size), reverse=True):
            # Tiles lie along the diagonal: their rows add up, and so do their columns.
            number = min(left[size], rows // size[0], columns // size[1])
            if number:
                contents.append((size, number))
                rows -= number * size[0]
                columns -= number * size[1]
        return tuple(contents)

    return fill


def _by_value(left: Mapping[Pair, int], array: ArraySpec) -> Contents:
    """The contents worth most, by branch and bound cut off after `EFFORT` nodes.

    A tile is worth its rows and columns, each weighted by how many arrays the tiles left over fill in that
    dimension, so that the scarcer one counts more; the exponent prefers large tiles, which are harder to
    place later.
    """
    # Arrays that all rows would fill, sum(n * r) / R, for each of the R rows; columns in the same way.
    scarce_rows = sum(number * size[0] for size, number in left.items()) / array.rows**2
    scarce_columns = sum(number * size[1] for size, number in left.items()) / array.columns**2
    # A tile's length is its use of scarce lines; its worth is length ** EXPONENT.
    length = {size: scarce_rows * size[0] + scarce_columns * size[1] for size in left}
    # Worth per length falls along this order, so that the first size not yet tried bounds what free lines may
    # still bring.
    order = sorted(left, key=lambda size: (length[size], size), reverse=True)
    best = 0.0
    # Any tile fits an empty array, so that there are contents whatever the search finds.
    chosen: Contents = ((order[0], 1),)
    # (worth, free rows, free columns, next size, contents), the newest first.
    stack: list[tuple[float, int, int, int, Contents]] = [(0.0, array.rows, array.columns, 0, ())]
    for _ in range(EFFORT):
        if not stack:
            break
        worth, rows, columns, index, contents = stack.pop()
        if worth > best:
            best, chosen = worth, contents
        # Sizes that no longer fit are passed over; they will not fit later in this branch either.
        while index < len(order) and (order[index][0] > rows or order[index][1] > columns):
            index += 1
        if index == len(order):
            continue
        size = order[index]
        each = length[size] ** EXPONENT
        # All free lines at the rate of this size, the best one left, would still not be enough.
        if worth + each / length[size] * (scarce_rows * rows + scarce_columns * columns) <= best:
            continue
        # The largest number is pushed last and so tried first: good contents come early and cut more.
        for number in range(min(left[size], rows // size[0], columns // size[1]) + 1):
            more: Contents = ()
            if number:
                more = ((size, number),)
            free_rows = rows - number * size[0]
            free_columns = columns - number * size[1]
            stack.append((worth + number * each, free_rows, free_columns, index + 1, contents + more))
    return chosen


def lower_bound(extents: Mapping[Pair, int], array: ArraySpec, enough: int | None = None) -> int:
    """Arrays that no packing can do without.

    The largest over thresholds k, l of: tiles that cannot share + volume of others.

    Leave out tiles of fewer than k rows or fewer than l columns. A tile of more than R - k rows, or more than
    C - l columns, then shares its array with no other and counts 1: L2 of Martello & Toth (1990), with a
    threshold in each dimension as in Caprara & Toth (2001). The other tiles need what L2 counts for their
    sizes w*r/R + (1-w)*c/C: for any w in [0, 1] a packing of pairs is also one of these numbers into bins of
    size 1. k = l = 0 and w = 0 or 1 are rows and columns alone. Also, tiles of which no two fit one array
    need one each.

    Args:
        extents: how many tiles have r rows and c columns in use, by (r, c).
        array: R x C.
        enough: arrays of a known packing; no bound is larger, so that the search ends where one is as large.
    """
    # In whole numbers, Python's where 64 bits may be too few, so that no rounding makes a bound too large.
    volume = MIXTURES * array.cells
    kind: Any = np.int64
    if sum(extents.values()) * volume >= 1 << 62:
        kind = object
    tall, wide = np.array(list(extents), dtype=kind).T
    counts = np.array(list(extents.values()), dtype=kind)
    rows, columns = tall * array.columns, wide * array.rows
    # w*r/R + (1-w)*c/C of each size for each w, times the volume 4*R*C that a bin then holds.
    mixed = [quarters * rows + (MIXTURES - quarters) * columns for quarters in range(MIXTURES + 1)]
    orders = [np.argsort(numbers) for numbers in mixed]
    best = _apart(extents, array)
    for least_rows in _thresholds(tall, array.rows):
        for least_columns in _thresholds(wide, array.columns):
            if best == enough:
                return best
            kept = (tall >= least_rows) & (wide >= least_columns)
            # A tile counts 1 at most: so few cannot raise the bound.
            if counts[kept].sum() <= best:
                continue
            alone = kept & ((tall > array.rows - least_rows) | (wide > array.columns - least_columns))
            rest = kept & ~alone
            # Positions of the rest in ascending order of each mixture, as `_martello_toth` takes numbers.
            others = [order[rest[order]] for order in orders]
            more = max(
                _martello_toth(x[which], counts[which], volume)
                for x, which in zip(mixed, others, strict=True)
            )
            best = max(best, int(counts[alone].sum()) + more)
    return best


def _thresholds(lengths: np.ndarray, side: int) -> list[int]:
    """Lengths up to half the side, with half the side rounded up (where all longer ones are alone), thinned
    evenly.
    """
    every = np.unique([0, (side + 1) // 2, *lengths[2 * lengths <= side]])
    if len(every) > THRESHOLDS:
        every = every[np.linspace(0, len(every) - 1, THRESHOLDS).round().astype(int)]
    return every.tolist()


def _martello_toth(numbers: np.ndarray, counts: np.ndarray, size: int) -> int:
    """L2: the bound for a threshold k <= size/2.

    Numbers above size - k fill a bin, those below k are left out, others count as they are.

    A bin with a number above size - k holds no other of at least k; any other bin holds at most its size. The
    numbers are in ascending order.
    """
    thresholds = np.concatenate(([0, size // 2], numbers[2 * numbers <= size]))
    # Ascending numbers, so that prefix sums answer for all thresholds (K,) at once: from `full` on each
    # number fills a bin, and from `counted` to `full` they share bins by volume.
    full = np.searchsorted(numbers, size - thresholds, side="right")
    counted = np.searchsorted(numbers, thresholds)
    number = np.concatenate(([0], np.cumsum(counts)))
    volume = np.concatenate(([0], np.cumsum(counts * numbers)))
    # volume[counted] - volume[full] is at most 0: floor division of it rounds the bins up.
    shared = -((volume[counted] - volume[full]) // size)
    return int((number[-1] - number[full] + shared).max())


def _apart(extents: Mapping[Pair, int], array: ArraySpec) -> int:
    """Tiles in a set of which no two fit one array, chosen greedily: large ones first, by rows, columns or
    both.
    """
    best = 0
    for order in _orders(array):
        chosen: list[Pair] = []
        for size in sorted(extents, key=order, reverse=True):
            # Held against itself too: its copies are counted one by one, so no two of them may fit.
            if all(
                size[0] + other[0] > array.rows or size[1] + other[1] > array.columns
                for other in (*chosen, size)
            ):
                chosen.append(size)
        best = max(best, sum(extents[size] for size in chosen))
    return best
