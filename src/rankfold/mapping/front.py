"""The front of a layer's mappings: few cycles, few arrays and few conversions are not had by the same one.

The space is that of all methods of `MAPPINGS`, and of one window on the whole plane for every window (a, b)
of the output plane with a column for each pixel, cut element by element. Of windows that need the same
positions down and across only the smallest has to be looked at: a larger one holds the smaller one's pixels
and more, is activated as often, and needs no fewer tiles, rows or columns (as `Windows.minimal` says; held
against all windows by brute force). So a plane of H x W pixels has less than 4 sqrt(H W) windows to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.layer import MAPPINGS, map_layer
from rankfold.mapping.mapping import Mapping
from rankfold.mapping.names import window_name
from rankfold.mapping.windows import minimal_sides
from rankfold.workload.shape import ConvShape, Pair


def mapping_front(
    shape: ConvShape,
    array: ArraySpec,
    support: np.ndarray | None = None,
    *,
    methods: Sequence[str] = MAPPINGS,
) -> tuple[Mapping, ...]:
    """The mappings that no other one of the space is as good as in cycles, arrays and conversions.

    Exact over the space above. Of mappings that are equal in all three the first is taken, in the order of
    the methods, then windows from small to large.

    Args:
        shape: any convolution.
        array: R x C, columns counted in weights.
        support: as in `map_layer`.
        methods: those of `MAPPINGS` that are compared with the windows.

    Returns:
        Mappings by rising cycles, each named so that `map_layer` makes it again (`Mapping.method`).
    """
    names = [
        *methods,
        *(window_name([window]) for window in windows_worth_trying([shape.output], array.columns)),
    ]
    mappings = [map_layer(shape, array, name, support) for name in names]
    costs = np.array([(one.cycles, one.tile_count, one.conversions) for one in mappings], float)
    front = [mappings[index] for index in undominated(costs)]
    return tuple(sorted(front, key=lambda mapping: mapping.cycles))


def windows_worth_trying(planes: Sequence[Pair], columns: int) -> tuple[Pair, ...]:
    """From small to large, the windows of which no smaller one needs as few positions on all planes, and is
    cut to the same ones of them.

    A window that is cut to a plane is stored for that plane alone: with more arrays, each of which works for
    fewer runs. Where no pixels of a window share an input, as under 1x1 kernels, windows of different sides
    may hold the same cells, each on a plane of its own: such pairs are not looked for.

    Args:
        planes: (OH, OW) of the output of each run of a weight.
        columns: of the array: a window has one for each pixel at least.
    """
    sides = [_sides_worth_trying({plane[axis] for plane in planes}) for axis in (0, 1)]
    windows = product(*sides)
    return tuple((a, b) for a, b in windows if a * b <= columns)


def _sides_worth_trying(planes: set[int]) -> list[int]:
    """Between two of these sides neither a number of positions changes nor which planes are smaller."""
    least = {int(side) for plane in planes for side in minimal_sides(plane)}
    cut = {plane + 1 for plane in planes if plane < max(planes)}
    return sorted(least | cut)


def undominated(costs: np.ndarray) -> list[int]:
    """Indices of the rows that no other row is as good as in every column; of equal rows the first.

    Args:
        costs: (K, Q) of K things in Q quantities.
    """
    # By rising first column, then second, ...: a row can only be beaten by one before it. Equal rows stay in
    # their order, as this sort is stable.
    order = np.lexsort(costs.T[::-1])
    kept: list[int] = []
    left = np.empty_like(costs)
    for index in order.tolist():
        if not (left[: len(kept)] <= costs[index]).all(axis=1).any():
            left[len(kept)] = costs[index]
            kept.append(index)
    return sorted(kept)
