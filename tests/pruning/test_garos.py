"""Patterns of several sizes: the best choice of all within the rows, counted by brute force."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import GENERATORS
from rankfold.pruning import PatternWindow, mixed_patterns, published_library, shared_patterns

ALL_SIZES = np.concatenate([*(published_library(size) for size in (1, 2, 4, 6, 8)), np.ones((1, 9), bool)])


def rows_of(mask, window):
    """Inputs that any output of a group reads, over its channels."""
    return sum(window.rows(pattern) for pattern in mask.any(axis=0).reshape(-1, 9))


def test_rows_are_the_inputs_that_are_read():
    """p x p = 16 inputs of a window of 2x2 outputs, and 25 with a stride of 2."""
    rows = [PatternWindow(2).rows(published_library(entries)[0]) for entries in (8, 6, 4, 2, 1)]
    assert rows == [15, 12, 9, 6, 4]
    centre, whole = published_library(1)[0], np.ones(9, bool)
    assert [PatternWindow(2, (2, 2)).rows(pattern) for pattern in (centre, whole)] == [4, 25]


@given(
    GENERATORS,
    st.integers(1, 4),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_rows_are_those_of_a_count_one_by_one(rng, side, stride, dilation):
    kept = rng.random((3, 3)) < 0.5
    read = {
        (i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1])
        for i, j, u, v in product(range(side), range(side), range(3), range(3))
        if kept[u, v]
    }
    assert PatternWindow(side, stride, dilation).rows(kept.reshape(9)) == len(read)


@given(
    GENERATORS,
    st.sampled_from([8, 7, 6, 5, 4, 2, 1]),
    st.integers(1, 3),
    st.sampled_from([(1, 1), (2, 2), (1, 2)]),
    st.sampled_from([1, 2]),
)
def test_no_choice_keeps_more_within_the_rows(rng, entries, side, stride, groups):
    window = PatternWindow(side, stride)
    weight = rng.standard_normal((2, 2, 3, 3)) * rng.choice([0.1, 1, 10], size=(1, 2, 1, 1))
    mask = mixed_patterns(weight, entries, window, groups)
    most = 2 * max(window.rows(pattern) for pattern in published_library(entries))
    rows = [window.rows(pattern) for pattern in ALL_SIZES]
    for first in range(0, 2, 2 // groups):
        own, kept = weight[first : first + 2 // groups], mask[first : first + 2 // groups]
        assert (kept == kept[:1]).all() and rows_of(kept, window) <= most
        energy = np.square(own).sum(axis=0).reshape(2, 9) @ ALL_SIZES.T  # (C_in, P)
        best = max(
            energy[0, one] + energy[1, other]
            for one, other in product(range(len(rows)), repeat=2)
            if rows[one] + rows[other] <= most
        )
        assert np.square(own * kept).sum() == pytest.approx(best)


@pytest.mark.parametrize("entries", [8, 6, 4, 2])
def test_more_is_kept_than_by_one_size(entries):
    """Channels of unequal weight, so that sizes are worth mixing."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 16, 3, 3)) * rng.uniform(0.1, 2, size=(1, 16, 1, 1))
    window = PatternWindow(3)
    one_size = shared_patterns(weight, published_library(entries))
    mixed = mixed_patterns(weight, entries, window)
    assert rows_of(mixed, window) <= rows_of(one_size, window)
    assert np.square(weight * mixed).sum() > np.square(weight * one_size).sum()
