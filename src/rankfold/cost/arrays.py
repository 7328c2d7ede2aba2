"""How many arrays hold a set of tiles, where tiles may share an array diagonally."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.workload.shape import Pair

Contents = tuple[tuple[Pair, int], ...]  # ((rows, columns), how many of them)


@dataclass(frozen=True)
class Packing:
    """Tiles in arrays. Tiles of one array share neither rows nor columns, so the cells off their diagonal hold zero.

    Attributes:
        array: R x C.
        bins: the contents of arrays, and how many arrays hold the same.
        lower_bound: arrays that no packing can do without.
    """

    array: ArraySpec
    bins: tuple[tuple[Contents, int], ...]
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
    """Pack tiles into few arrays: two-dimensional vector packing, sum of rows <= R and sum of columns <= C in each.

    First-fit decreasing under several orders (Panigrahy et al. 2011 compare them); the best is kept.

    Args:
        extents: how many tiles have r rows and c columns in use, by (r, c).
        array: R x C.

    Raises:
        InputError: a tile is larger than the array, or counted less than once.
    """
    for (rows, columns), count in extents.items():
        if not (1 <= rows <= array.rows and 1 <= columns <= array.columns) or count < 1:
            raise InputError(f"tiles (={count} of {rows}x{columns}) must be at least one of at most {array}")
    if not extents:
        return Packing(array, (), 0)
    bound = lower_bound(extents, array)
    best: tuple[tuple[Contents, int], ...] | None = None
    for order in _orders(array):
        found = _first_fit(extents, array, order)
        if best is None or sum(count for _, count in found) < sum(count for _, count in best):
            best = found
        if sum(count for _, count in best) == bound:
            break
    assert best is not None
    return Packing(array, best, bound)


def _orders(array: ArraySpec) -> tuple[Callable[[Pair], tuple[float, ...]], ...]:
    rows, columns = array.rows, array.columns
    return (
        lambda size: (max(size[0] / rows, size[1] / columns), size[0] * size[1]),
        lambda size: (size[0] / rows + size[1] / columns,),
        lambda size: (size[0] * size[1],),
        lambda size: (size[0], size[1]),
        lambda size: (size[1], size[0]),
    )


def _first_fit(
    extents: Mapping[Pair, int], array: ArraySpec, order: Callable[[Pair], tuple[float, ...]]
) -> tuple[tuple[Contents, int], ...]:
    """First-fit decreasing, array by array: each takes as many of each size, in order, as still fit.

    Arrays with the same contents are filled at once, so equal tiles cost no time each.
    """
    left = {size: extents[size] for size in sorted(extents, key=lambda size: (order(size), size), reverse=True)}
    bins: list[tuple[Contents, int]] = []
    while left:
        rows, columns = array.rows, array.columns
        contents = []
        for size, count in left.items():
            fits = min(count, rows // size[0], columns // size[1])
            if fits:
                contents.append((size, fits))
                rows, columns = rows - fits * size[0], columns - fits * size[1]
        times = min(left[size] // fits for size, fits in contents)
        bins.append((tuple(contents), times))
        for size, fits in contents:
            left[size] -= times * fits
            if not left[size]:
                del left[size]
    return tuple(bins)


def lower_bound(extents: Mapping[Pair, int], array: ArraySpec) -> int:
    """Arrays that no packing can do without: the largest of three kinds of bound.

    A packing of pairs (r, c) is also one of the numbers w*r/R + (1-w)*c/C into bins of size 1, for any w in [0, 1]; to these
    the bound L2 of Martello & Toth (1990) applies. And tiles of which no two fit one array need one each.
    """
    # In whole numbers, quarters of w, so that no rounding makes a bound too large.
    size = 4 * array.rows * array.columns
    mixed = [
        [
            (quarters * rows * array.columns + (4 - quarters) * columns * array.rows, count)
            for (rows, columns), count in extents.items()
        ]
        for quarters in range(5)
    ]
    return max(*(_martello_toth(numbers, size) for numbers in mixed), _apart(extents, array))


def _martello_toth(numbers: list[tuple[int, int]], size: int) -> int:
    """L2: for a threshold k <= size/2, numbers above size - k fill a bin, those below k are left out, others count as they are.

    A bin with a number above size - k holds no other of at least k; any other bin holds at most its size.
    """
    best = 0
    for threshold in {0, *(number for number, _ in numbers if 2 * number <= size)}:
        full = sum(count for number, count in numbers if number > size - threshold)
        rest = sum(count * number for number, count in numbers if threshold <= number <= size - threshold)
        best = max(best, full - (-rest // size))
    return best


def _apart(extents: Mapping[Pair, int], array: ArraySpec) -> int:
    """Tiles in a set of which no two fit one array, chosen greedily: large ones first, by rows, columns or both."""
    best = 0
    for order in _orders(array):
        chosen: list[Pair] = []
        for size in sorted(extents, key=order, reverse=True):
            if all(size[0] + other[0] > array.rows or size[1] + other[1] > array.columns for other in (*chosen, size)):
                chosen.append(size)
        best = max(best, sum(extents[size] for size in chosen))
    return best
