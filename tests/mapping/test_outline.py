"""Sorts of tiles: what is counted once stands for all that is alike."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rankfold.mapping.outline import Cut, Diagonal, EvenCuts, Grid


def turned(cut: Cut, period: int) -> Cut:
    """A cut, moved to the first period."""
    first, last = cut
    return first % period, first % period + last - first


@given(
    cuts=st.tuples(st.integers(0, 40), st.integers(1, 60), st.integers(1, 20)),
    width=st.integers(1, 60),
    step=st.integers(1, 20),
    blocks=st.integers(1, 3),
    period=st.integers(1, 9),
    pixels=st.integers(1, 9),
)
def test_sorts_of_a_grid_count_its_tiles(
    cuts: tuple[int, int, int], width: int, step: int, blocks: int, period: int, pixels: int
):
    start, height, across = cuts
    rows = EvenCuts(start, start + height, across)
    grid = Grid(np.arange(1), range(blocks), rows, EvenCuts(0, width, step))
    expected: Counter[tuple[int, Cut, Cut]] = Counter()
    for ((block, top, bottom),), columns in grid.strips():
        for ((_, left, right),) in columns:
            expected[block, turned((top, bottom), period), turned((left, right), pixels)] += 1
    found: Counter[tuple[int, Cut, Cut]] = Counter()
    for ((block, top, bottom),), ((_, left, right),), tiles in grid.sorts(period, pixels):
        found[block, (top, bottom), (left, right)] += tiles
    assert found == expected
    assert found.total() == grid.tile_count


def test_tiles_alike_are_one_sort():
    """A tall matrix has thousands of tiles, which are not looked at one by one."""
    grid = Grid(np.arange(1), range(1), EvenCuts(0, 90_000, 90), EvenCuts(0, 900, 9))
    assert [tiles for _, _, tiles in grid.sorts(9, 9)] == [grid.tile_count]
    assert len(list(grid.sorts(None, 9))) == 1000


def test_tiles_of_a_diagonal_are_sorts_of_their_own():
    diagonal = Diagonal(np.arange(1), [5, 5, 5], (0, 4), 7, 2)
    assert sum(tiles for _, _, tiles in diagonal.sorts(3, 2)) == diagonal.tile_count
