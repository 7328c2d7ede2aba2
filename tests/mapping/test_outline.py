"""Sorts of tiles: what is counted once stands for all that is alike."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.mapping.outline import Cut, Diagonal, EvenCuts
from rankfold.mapping.turns import CutSorts, Turns


def turned(cut: Cut, period: int) -> Cut:
    """A cut, moved to the first period."""
    first, last = cut
    return first % period, first % period + last - first


@given(
    cuts=st.tuples(st.integers(0, 40), st.integers(1, 60), st.integers(1, 20)),
    period=st.integers(1, 9),
)
def test_sorts_of_cuts_count_them(cuts: tuple[int, int, int], period: int):
    start, height, step = cuts
    even = EvenCuts(start, start + height, step)
    expected = Counter(turned(cut, period) for cut in even)
    for given_as in (even, list(even)):
        sorts = CutSorts.of(given_as, period)
        found: Counter[Cut] = Counter()
        for first, length, times in zip(sorts.first, sorts.length, sorts.times, strict=True):
            found[int(first), int(first + length)] += int(times)
        assert found == expected


def test_cuts_alike_are_one_sort():
    """A tall matrix has thousands of tiles, which are not looked at one by one."""
    sorts = CutSorts.of(EvenCuts(0, 90_000, 90), 9)
    assert sorts.times.tolist() == [999, 1]


@given(
    reads=st.integers(1, 6).flatmap(
        lambda pixels: st.lists(
            st.lists(st.booleans(), min_size=pixels, max_size=pixels).filter(any), min_size=1, max_size=6
        )
    ),
    lines=st.lists(st.tuples(st.integers(0, 15), st.integers(1, 15)), min_size=1, max_size=3),
    columns=st.lists(st.tuples(st.integers(0, 15), st.integers(1, 15)), min_size=1, max_size=3),
)
def test_rows_and_columns_in_use_are_those_that_meet(reads, lines, columns):
    """Counted from running sums over two turns, as if every line and column were looked at."""
    table = np.array(reads)
    table[:, ~table.any(axis=0)] = True  # every pixel reads something
    turns = Turns(*table.shape, table.shape[1], lambda: table)
    line_cuts = [(first, first + length) for first, length in lines]
    column_cuts = [(first, first + length) for first, length in columns]
    by_lines = CutSorts.of(line_cuts, len(table))
    by_columns = CutSorts.of(column_cuts, table.shape[1])
    rows = turns.rows_in_use(by_lines, by_columns)
    read = turns.columns_in_use(by_lines, by_columns)
    for k, of_lines in enumerate(line_cuts):
        for m, of_columns in enumerate(column_cuts):
            row = np.arange(*of_lines) % len(table)
            column = np.arange(*of_columns) % table.shape[1]
            piece = table[np.ix_(row, column)]
            assert rows[k, m] == piece.any(axis=1).sum()
            assert read[k, m] == piece.any(axis=0).sum()


@given(
    blocks=st.integers(1, 12),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    capacity=st.integers(1, 20),
    limit=st.integers(1, 4),
    sideways=st.booleans(),
)
def test_tiles_of_equal_blocks_repeat(blocks, height, width, capacity, limit, sideways):
    diagonal = Diagonal(np.arange(1), [height] * blocks, (0, width), capacity, limit, sideways=sideways)
    expected: Counter[tuple[Cut, ...]] = Counter()
    for lines, (columns,) in diagonal.strips():
        pieces = columns if sideways else lines
        expected[tuple((first, last) for _, first, last in pieces)] += 1
    found: Counter[tuple[Cut, ...]] = Counter()
    for pieces, times in diagonal.alike():
        found[tuple(pieces)] += times
    assert +found == expected
    assert expected.total() == diagonal.tile_count


@pytest.mark.parametrize("sideways", [False, True])
def test_blocks_that_share_no_tile_are_a_grid(sideways: bool):
    diagonal = Diagonal(np.arange(1), [5, 5, 5], (2, 11), 3, 1, sideways=sideways, start=4)
    grid = diagonal.as_grid()
    tiles = Counter((lines, columns) for lines, strips in diagonal.strips() for columns in strips)
    assert Counter((lines, columns) for lines, strips in grid.strips() for columns in strips) == tiles
    assert not diagonal.shares
    assert len(tiles) == grid.tile_count == diagonal.tile_count


def test_a_thousand_groups_are_a_few_sorts():
    diagonal = Diagonal(np.arange(1), [9] * 1000, (0, 1), 128, 128)
    assert len(list(diagonal.alike())) < 20
