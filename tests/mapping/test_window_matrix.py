"""The matrix of a window: a convolution of its own, which computes the layer's convolution exactly."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import product

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
from rankfold.workload import ConvShape, zoo_network


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
    chosen = filling_window([shape], array, row_tiles)

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
    fewest = cycles(chosen)
    for window in np.ndindex(height, width):
        a, b = window[0] + 1, window[1] + 1
        if a * b == 1 or a * b * shape.m // shape.groups <= array.columns:
            assert fewest <= cycles((a, b))
    # Windows of several column tiles are not tried, but counted as exactly.
    cycles((min(3, height), min(3, width)))


def test_no_cover_of_several_matrices_needs_fewer_cycles() -> None:
    """Margins of a plane with matrices of their own would save nothing in the 3x3 layers of the zoo.

    A pixel takes at least the row tiles of the best window over its pixels, so that no cover of the plane by
    windows of any shapes, each with a matrix of its own, needs fewer cycles than this times the pixels.
    """
    layers = {
        replace(shape, name="layer", weight="")
        for name in ("resnet20", "wrn16-4", "vgg16", "resnet18", "resnet50", "mobilenetv2")
        for shape in zoo_network(name).convolutions
        if shape.groups == 1 and shape.kernel != (1, 1)
    }
    tried = 0
    for shape, size, row_tiles in product(layers, (64, 128, 256, 512), (1, 2)):
        (height, width), pixels = shape.output, size // shape.m
        if pixels < 2:
            continue
        least = min(
            Fraction(-(-min(row_tiles * size, window_shape(shape, (a, b)).n) // size), a * b)
            for a in range(1, pixels + 1)
            for b in range(1, pixels // a + 1)
            if a <= height and b <= width
        )
        array = ArraySpec(size, size)
        window = filling_window([shape], array, row_tiles)
        cycles = window_cycles(shape, window, array, row_tiles * size)
        assert cycles == math.ceil(height * width * least)
        tried += 1
    assert tried > 50


def test_windows_of_several_column_tiles_drive_a_smaller_share_of_their_inputs() -> None:
    """For as many cycles a pixel, k ~ N/c row tiles of N pixels, c column tiles, n ~ (a+2)(b+2) inputs."""
    columns = 64
    for outputs in range(1, 3 * columns + 1):
        alone = -(-outputs // columns)
        filling = max(math.lcm(outputs, columns) // outputs, columns // outputs)
        shares: dict[bool, Fraction] = {True: Fraction(0), False: Fraction(0)}
        for a in range(1, filling + 1):
            for b in range(a, filling // a + 1):
                tiles = -(-a * b * outputs // columns)
                share = Fraction(a * b, tiles * (a + 2) * (b + 2))
                shares[tiles <= alone] = max(shares[tiles <= alone], share)
        assert shares[True] >= shares[False]


def test_the_window_of_a_layer_on_several_planes_is_the_best_for_all() -> None:
    # Alone, the first plane would have windows of 1x4, which fit the second one badly.
    runs = [
        ConvShape("a", 2, 4, (1, 1), (4, 8)),
        ConvShape("a#2", 2, 4, (1, 1), (6, 2), weight="a"),
    ]
    array = ArraySpec(64, 16)

    def cycles(window, *counted) -> int:
        return sum(window_cycles(run, window, array, 64) for run in counted)

    chosen = filling_window(runs, array, 1)
    fitting = [(a, b) for a in range(1, 5) for b in range(1, 3) if a * b <= 4]
    assert cycles(chosen, *runs) == min(cycles(window, *runs) for window in fitting)
    assert chosen in fitting
    assert cycles(filling_window(runs[1:], array, 1), *runs) >= cycles(chosen, *runs)


# The windows that fill 64 and 128 columns in the three stages of ResNet-20.
@pytest.mark.parametrize(
    ("size", "windows"), [(64, [(2, 2), (1, 2), (1, 1)]), (128, [(2, 4), (2, 2), (1, 2)])]
)
def test_windows_of_resnet20(size: int, windows) -> None:
    stages = [(16, 32), (32, 16), (64, 8)]
    for (channels, side), window in zip(stages, windows, strict=True):
        shape = ConvShape("body", channels, channels, (3, 3), (side, side), padding=(1, 1, 1, 1))
        assert filling_window([shape], ArraySpec(size, size), 1) == window
