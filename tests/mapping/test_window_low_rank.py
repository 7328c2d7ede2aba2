"""Low-rank pairs of a window's matrix on arrays: their counts, and the window that is chosen for them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import ARRAYS, conv_shapes
from rankfold.mapping import ArraySpec, map_low_rank
from rankfold.mapping.window_low_rank import (
    cheapest_window,
    map_window_low_rank,
    window_low_rank_cycles,
    window_rank,
)
from rankfold.mapping.window_matrix import window_shape
from rankfold.workload import ConvShape


@st.composite
def windowed(draw):
    """A layer, a window, a rank and a number of rows that it can have."""
    shape = draw(conv_shapes(largest=8, channels=3, outputs=4, groups=(1, 1, 2, 3)))
    height, width = shape.output
    window = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
    whole = window_shape(shape, window)
    rows = draw(st.integers(1, whole.n))
    return shape, window, draw(st.integers(1, min(rows, whole.m // whole.groups))), rows


@given(windowed(), ARRAYS)
def test_the_count_is_that_of_the_tiles_that_are_cut(case, array) -> None:
    shape, window, rank, rows = case
    whole = window_shape(shape, window)
    support = np.zeros((shape.groups, whole.n), bool)
    support[:, -rows:] = True
    mapping = map_window_low_rank(shape, array, window, rank, support.reshape(shape.in_channels, -1))
    assert mapping.cycles == window_low_rank_cycles(shape, window, rank, array, rows)
    every = map_window_low_rank(shape, array, window, rank)
    assert every.cycles == window_low_rank_cycles(shape, window, rank, array)


@given(
    conv_shapes(largest=5, channels=2, outputs=3, groups=(1, 2)),
    ARRAYS,
    st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(3, 2), Fraction(4)]),
    st.none() | st.integers(1, 3),
)
def test_the_window_of_the_fewest_cycles(shape, array, rank, row_tiles) -> None:
    def cycles(window) -> int:
        rows = None if row_tiles is None else row_tiles * array.rows
        return window_low_rank_cycles(shape, window, window_rank(window, rank), array, rows)

    chosen = cheapest_window([shape], array, rank, row_tiles)
    fewest = cycles(chosen)
    assert chosen == (1, 1) or chosen[0] * chosen[1] * rank <= array.rows
    for window in np.ndindex(shape.output):
        a, b = window[0] + 1, window[1] + 1
        if a * b * rank <= array.rows:
            assert fewest <= cycles((a, b))


# Wherever N r values fill the rows, free cells cost what the copies and zeros of a pair of the kernel cost.
@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize(("channels", "side"), [(16, 32), (32, 16), (64, 8)])
def test_free_cells_cost_what_tied_ones_do(size: int, channels: int, side: int) -> None:
    shape = ConvShape("body", channels, channels, (3, 3), (side, side), padding=(1, 1, 1, 1))
    array, rank = ArraySpec(size, size), Fraction(channels, 4)
    window = cheapest_window([shape], array, rank, None)
    assert window[0] * window[1] * rank == size
    own = window_low_rank_cycles(shape, window, size, array)
    assert own == map_low_rank(shape, array, 1, channels // 4, "sdk").cycles
