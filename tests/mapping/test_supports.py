"""A support never costs cycles: zeros are stored at the positions that it drops where that is cheaper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import ARRAYS, conv_shapes, supports
from rankfold.mapping import (
    LOW_RANK_METHODS,
    MAPPINGS,
    ArraySpec,
    execute,
    map_layer,
    map_low_rank,
    map_one_window,
)
from rankfold.workload import ConvShape


def bits(text):
    """(C_in, kh*kw) booleans of `110 111`."""
    return np.array([[bit == "1" for bit in channel] for channel in text.split()])


def layer(channels, outputs, kernel, size, stride, **others):
    return ConvShape("layer", channels, outputs, kernel, size, stride, **others)


# Layers that need fewer cycles without their support, as the method knows more ways there: windows share
# their overflow (`best`), left-over channels have windows of their own (`tetris-sdk`), im2col fills more row
# tiles, so that larger squares are allowed (`sdk`).
CHEAPER_WITH_ZEROS = [
    (
        "best",
        layer(6, 6, (3, 1), (3, 1), (2, 1), padding=(2, 0, 0, 2)),
        ArraySpec(23, 15),
        "111 110 111 111 101 111",
    ),
    (
        "best",
        layer(2, 1, (2, 3), (8, 12), (2, 1), padding=(2, 1, 1, 1), dilation=(1, 2)),
        ArraySpec(13, 6),
        "111111 111110",
    ),
    (
        "best",
        layer(4, 4, (3, 2), (4, 11), (1, 3), padding=(1, 2, 1, 0)),
        ArraySpec(39, 28),
        "111101 111111 111111 011101",
    ),
    (
        "tetris-sdk",
        layer(6, 5, (2, 3), (8, 6), (1, 1), padding=(2, 1, 0, 0), dilation=(1, 2)),
        ArraySpec(45, 13),
        "111111 110111 111111 111111 111111 111111",
    ),
    (
        "sdk",
        layer(2, 4, (4, 2), (11, 11), (2, 2), padding=(1, 1, 0, 1), dilation=(2, 2)),
        ArraySpec(15, 29),
        "10001110 01011101",
    ),
]


@given(st.data(), conv_shapes(), ARRAYS)
def test_a_support_never_costs_cycles(data, shape, array):
    support = data.draw(supports(shape, shares=(0.2, 0.5, 0.8, 0.95)))
    for method in MAPPINGS:
        kept = map_layer(shape, array, method, support)
        whole = map_layer(shape, array, method)
        assert kept.cycles <= whole.cycles, method
    assert map_one_window(shape, array, support).cycles <= map_one_window(shape, array).cycles


@given(st.data(), conv_shapes(), ARRAYS, st.integers(1, 3))
def test_a_support_never_costs_cycles_of_a_pair(data, shape, array, rank):
    support = data.draw(supports(shape, shares=(0.2, 0.5, 0.8, 0.95)))
    groups = shape.in_channels // shape.groups
    for method in LOW_RANK_METHODS:
        kept = map_low_rank(shape, array, groups, rank, method, support)
        whole = map_low_rank(shape, array, groups, rank, method)
        assert kept.cycles <= whole.cycles, method
        assert kept.shared.cycles <= whole.shared.cycles, method


@pytest.mark.parametrize(("method", "shape", "array", "text"), CHEAPER_WITH_ZEROS)
def test_zeros_are_stored_where_that_is_cheaper(method, shape, array, text):
    """The mapping is that of the whole layer; what the layer keeps, and its bound, is its support still."""
    support = bits(text)
    mapping = map_layer(shape, array, method, support)
    whole = map_layer(shape, array, method)
    assert mapping.regions == whole.regions
    assert mapping.cycles == whole.cycles
    assert (mapping.support == support).all()
    assert mapping.macs * support.size == whole.macs * support.sum()
    rng = np.random.default_rng(0)
    inputs = rng.integers(-9, 10, (shape.in_channels, *shape.input))
    weight = rng.integers(1, 10, (shape.m, shape.in_channels, *shape.kernel))
    weight *= support.reshape(shape.in_channels, *shape.kernel)
    assert (
        execute(mapping, inputs, weight) == execute(map_layer(shape, array, "im2col"), inputs, weight)
    ).all()


def test_the_first_stage_of_a_pair_stores_zeros_where_that_is_cheaper():
    shape = layer(1, 2, (3, 4), (6, 11), (1, 3), padding=(2, 2, 2, 1), dilation=(2, 1))
    support = bits("110111111011")
    pair = map_low_rank(shape, ArraySpec(15, 13), 1, 2, "best", support)
    whole = map_low_rank(shape, ArraySpec(15, 13), 1, 2, "best")
    assert pair.stage1.regions == whole.stage1.regions
    assert (pair.stage1.support == support).all()
    assert pair.cycles == whole.cycles == 14
    # With one window for both stages, rows are skipped as before.
    assert pair.shared.stage1.regions[0].footprint.mask is not None
