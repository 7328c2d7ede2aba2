"""The matrix of a window: a convolution of its own, which computes the layer's convolution exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import ARRAYS, SEEDS, conv_shapes
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.mapping.window_matrix import (
    filling_window,
    overhang,
    window_box,
    window_cycles,
    window_shape,
    window_weight,
)
from rankfold.workload import ConvShape


@st.composite
def windowed(draw):
    """A layer and a window that it can have."""
    shape = draw(conv_shapes(largest=9, channels=3, outputs=3))
    height, width = shape.output
    return shape, (draw(st.integers(1, min(4, height))), draw(st.integers(1, min(4, width))))


@given(windowed())
def test_windows_cover_the_plane_once_and_no_more(case) -> None:
    shape, (a, b) = case
    whole = window_shape(shape, (a, b))
    height, width = shape.output
    assert whole.output == (-(-height // a), -(-width // b))
    assert whole.m == shape.m * a * b and whole.groups == shape.groups and whole.name == shape.name
    assert whole.input == shape.input


@given(windowed(), SEEDS)
def test_every_weight_stands_where_its_pixel_reads(case, seed: int) -> None:
    shape, (a, b) = case
    channels, outputs = shape.in_channels // shape.groups, shape.m // shape.groups
    weight = np.random.default_rng(seed).standard_normal((shape.m, channels, *shape.kernel))
    matrix = window_weight(weight, shape.groups, shape.stride, shape.dilation, (a, b))
    ph, pw = window_box(shape, (a, b))
    expected = np.zeros((shape.groups, a, b, outputs, channels, ph, pw))
    for group, i, j, o, c, u, v in np.ndindex(shape.groups, a, b, outputs, channels, *shape.kernel):
        y = i * shape.stride[0] + u * shape.dilation[0]
        x = j * shape.stride[1] + v * shape.dilation[1]
        expected[group, i, j, o, c, y, x] += weight[group * outputs + o, c, u, v]
    assert np.array_equal(matrix, expected.reshape(matrix.shape))


@given(windowed())
def test_nothing_hangs_over_where_the_window_divides_the_plane(case) -> None:
    shape, window = case
    below, right = overhang(shape.output, shape.stride, window)
    assert (below == 0) == (shape.output[0] % window[0] == 0)
    assert (right == 0) == (shape.output[1] % window[1] == 0)


@pytest.mark.parametrize("window", [(9, 1), (1, 9), (0, 1)])
def test_a_window_beyond_the_plane_is_refused(window) -> None:
    shape = ConvShape("body", 3, 4, (3, 3), (8, 8), padding=(1, 1, 1, 1))
    with pytest.raises(InputError, match=r"layer body: a window of .* does not fit its plane of 8x8"):
        window_shape(shape, window)


@given(conv_shapes(largest=7, channels=3, outputs=3, groups=(1, 2, 4)), ARRAYS, st.integers(1, 3))
def test_the_window_of_the_fewest_cycles(shape, array, row_tiles: int) -> None:
    chosen = filling_window(shape, array, row_tiles)

    def cycles(window) -> int:
        # Of the tiles that are really cut, for the inputs that come first in each group.
        whole = window_shape(shape, window)
        rows = min(row_tiles * array.rows, whole.n)
        support = np.zeros((whole.groups, whole.n), bool)
        support[:, :rows] = True
        counted = map_layer(whole, array, "im2col", support.reshape(whole.in_channels, -1)).cycles
        assert window_cycles(shape, window, array, row_tiles * array.rows) == counted
        return counted

    height, width = shape.output
    for window in np.ndindex(height, width):
        a, b = window[0] + 1, window[1] + 1
        if a * b == 1 or a * b * shape.m <= array.columns:
            assert cycles(chosen) <= cycles((a, b))


# The windows that fill 64 and 128 columns in the three stages of ResNet-20.
@pytest.mark.parametrize(
    ("size", "windows"), [(64, [(2, 2), (1, 2), (1, 1)]), (128, [(2, 4), (2, 2), (1, 2)])]
)
def test_windows_of_resnet20(size: int, windows) -> None:
    stages = [(16, 32), (32, 16), (64, 8)]
    for (channels, side), window in zip(stages, windows, strict=True):
        shape = ConvShape("body", channels, channels, (3, 3), (side, side), padding=(1, 1, 1, 1))
        assert filling_window(shape, ArraySpec(size, size), 1) == window
