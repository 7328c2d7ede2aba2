"""Covers of planes by windows of several shapes: the cheapest one against every tiling, and where none is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold import zoo_network
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_cover import PlanePart, cheapest_cover, cover_cycles, covers, straight_cut
from rankfold.mapping.window_matrix import filling_window, window_cycles
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair

ROWS = 16  # of arrays


def tilings(plane: Pair, most: int) -> Iterator[list[tuple[Pair, Pair]]]:
    """Every tiling of a plane by at most so many rectangles (corner, size), straight cuts or not."""

    def fill(free: frozenset[Pair], left: int) -> Iterator[list[tuple[Pair, Pair]]]:
        if not free:
            yield []
        if not free or not left:
            return
        top, start = min(free)
        for a, b in product(range(1, plane[0] - top + 1), range(1, plane[1] - start + 1)):
            taken = frozenset(product(range(top, top + a), range(start, start + b)))
            if taken <= free:
                for rest in fill(free - taken, left - 1):
                    yield [((top, start), (a, b)), *rest]

    yield from fill(frozenset(product(range(plane[0]), range(plane[1]))), most)


@lru_cache
def sizes_of_tilings(plane: Pair, most: int) -> frozenset[tuple[Pair, ...]]:
    """The sizes of their rectangles: all that cycles depend on."""
    return frozenset(tuple(sorted(size for _, size in tiling)) for tiling in tilings(plane, most))


SIDES = st.integers(1, 5)


@given(SIDES, SIDES, st.integers(1, 4), st.integers(1, 40), st.integers(1, 3), st.none() | st.integers(1, 3))
def test_no_tiling_of_four_rectangles_needs_fewer_cycles(
    height: int, width: int, outputs: int, columns: int, kernel: int, row_tiles: int | None
) -> None:
    shape = ConvShape("layer", 3, outputs, (kernel, kernel), (height + kernel - 1, width + kernel - 1))
    array = ArraySpec(ROWS, columns)

    def tiles(a: int, b: int) -> int:
        inputs = 3 * (a + kernel - 1) * (b + kernel - 1)
        driven = inputs if row_tiles is None else min(inputs, ROWS * row_tiles)
        return math.ceil(driven / ROWS) * math.ceil(a * b * outputs / columns)

    @lru_cache
    def alone(h: int, w: int) -> int:
        windows = product(range(1, h + 1), range(1, w + 1))
        fitting = [(a, b) for a, b in windows if a * b == 1 or a * b * outputs <= columns]
        return min(math.ceil(h / a) * math.ceil(w / b) * tiles(a, b) for a, b in fitting)

    fewest = min(sum(alone(*size) for size in sizes) for sizes in sizes_of_tilings((height, width), 4))
    parts = cheapest_cover(shape, array, row_tiles)
    assert covers(parts, (0, 0), (height, width)) and len(parts) <= 4
    rows = None if row_tiles is None else row_tiles * ROWS
    assert cover_cycles(shape, parts, array, [rows] * len(parts)) == fewest
    # Windows that overhang are kept where margins save nothing, and are those of the window layer.
    window = filling_window([shape], array, row_tiles or 10**6)
    overhanging = window_cycles(shape, window, array, rows)
    assert (len(parts) == 1) == (overhanging == fewest)
    if len(parts) == 1:
        assert window_cycles(shape, parts[0].window, array, rows) == overhanging


def test_straight_cuts_make_every_tiling_of_four_rectangles() -> None:
    for plane in ((3, 3), (4, 3), (2, 5)):
        for tiling in tilings(plane, 4):
            parts = [PlanePart(corner, size, size) for corner, size in tiling]
            assert covers(parts, (0, 0), plane)
            assert len(parts) == 1 or straight_cut(parts) is not None
            # Not another plane, not one pixel twice, not one too few.
            assert not covers(parts, (0, 0), (plane[0] + 1, plane[1]))
            assert not covers([*parts, parts[0]], (0, 0), plane)
            assert len(parts) == 1 or not covers(parts[1:], (0, 0), plane)
    # Four around one: the smallest that they do not make.
    pinwheel = [((0, 0), (1, 2)), ((0, 2), (2, 1)), ((2, 1), (1, 2)), ((1, 0), (2, 1)), ((1, 1), (1, 1))]
    assert not covers([PlanePart(corner, size, size) for corner, size in pinwheel], (0, 0), (3, 3))


@given(SIDES, SIDES, SIDES, SIDES, st.randoms(use_true_random=False))
def test_smaller_windows_are_never_fewer(height: int, width: int, a: int, b: int, random) -> None:
    """Of pixels a apart and b apart no window of at most a x b holds two: margins need longer ones."""
    free = np.ones((height, width), bool)
    windows = 0
    while free.any():
        top, start = np.argwhere(free)[0]
        free[top : top + random.randint(1, a), start : start + random.randint(1, b)] = False
        windows += 1
    assert windows >= math.ceil(height / a) * math.ceil(width / b)


# By hand, of planes of 7x7: two pixels of m = 512 fit 1024 columns, three of m = 160 fit 512. There are 28
# windows of 1x2, or 21 of 1x3, that overhang; ceil(49 / 2) = 25 and ceil(49 / 3) = 17 are the fewest of all.
@pytest.mark.parametrize(
    ("network", "layer", "array", "row_tiles", "overhanging", "wanted"),
    [
        ("resnet18", "layer4.0.conv2", 1024, 1, 28, 25),
        ("mobilenetv2", "features.14.conv.2", 512, 1, 21, 17),
    ],
)
def test_margins_of_known_layers(
    network: str, layer: str, array: int, row_tiles: int, overhanging: int, wanted: int
) -> None:
    shape = next(shape for shape in zoo_network(network).layers if shape.name == layer)
    size = ArraySpec(array, array)
    rows = row_tiles * array
    window = filling_window([shape], size, row_tiles)
    parts = cheapest_cover(shape, size, row_tiles)
    cycles = cover_cycles(shape, parts, size, [rows] * len(parts))
    assert (window_cycles(shape, window, size, rows), cycles) == (overhanging, wanted)


def test_planes_of_very_many_cycles_have_no_margins() -> None:
    """Beyond 2^30 cycles, which keys of covers cannot say."""
    shape = ConvShape("layer", 512, 1, (32, 32), (1055, 1055))
    array = ArraySpec(1, 3)
    (part,) = cheapest_cover(shape, array, None)
    assert part.size == shape.output == (1024, 1024)
    assert cover_cycles(shape, [part], array, [None]) > 2**30
    windows = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1))
    assert cover_cycles(shape, [part], array, [None]) == min(
        window_cycles(shape, window, array, None) for window in windows
    )
