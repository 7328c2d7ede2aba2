"""Pruned layers: rows are skipped tile by tile, and the tiles compute the convolution with kept weights."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.brute_force import stored_blocks, tiles_of
from common.strategies import ARRAYS, pruned_layers
from rankfold.errors import InputError
from rankfold.mapping import (
    PRUNED_METHODS,
    ArraySpec,
    execute,
    map_layer,
    map_one_window,
    map_pruned,
    steered_cycles,
)
from rankfold.workload import ConvShape

MANY = settings().max_examples
FEW = max(1, MANY // 3)  # tile by tile takes a while


def support(shape, mask, outputs):
    per_group = mask.reshape(shape.groups, shape.m // shape.groups, shape.in_channels // shape.groups, -1)
    return per_group[:, slice(*outputs)].any(axis=1).reshape(shape.in_channels, -1)


def fewest_cycles(shape, array, mask, windows):
    """Over some windows and both ways of cutting columns, from matrices written out cell by cell."""
    outputs = shape.m // shape.groups
    best = math.inf
    for window in windows:
        pixels = window[0] * window[1]
        if pixels > array.columns:
            continue
        ways = [[(0, outputs)]]
        size = array.columns // pixels
        if size < outputs:
            ways.append([(first, min(first + size, outputs)) for first in range(0, outputs, size)])
        count = math.ceil(shape.output[0] / window[0]) * math.ceil(shape.output[1] / window[1])
        for way in ways:
            tiles = 0
            for part in way:
                kept = support(shape, mask, part)
                blocks = stored_blocks(shape, window, (0, shape.in_channels // shape.groups), part, kept)
                tiles += tiles_of(blocks, array.rows, array.columns)
            best = min(best, count * tiles)
    return best


def all_windows(shape):
    return list(itertools.product(range(1, shape.output[0] + 1), range(1, shape.output[1] + 1)))


@settings(max_examples=MANY)
@given(pruned_layers(largest=7, channels=3))
def test_no_window_and_no_cut_needs_fewer_cycles(case):
    shape, array, mask = case
    assert map_pruned(shape, array, mask, "im2col").cycles == fewest_cycles(shape, array, mask, [(1, 1)])
    assert map_pruned(shape, array, mask, "sdk").cycles == fewest_cycles(
        shape, array, mask, all_windows(shape)
    )


@settings(max_examples=FEW)
@given(pruned_layers(largest=9), st.integers(0, 999))
def test_tiles_compute_the_pruned_convolution(case, seed):
    shape, array, mask = case
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-9, 10, (shape.in_channels, *shape.input))
    weight = rng.integers(1, 10, mask.shape) * mask
    top, bottom, left, right = shape.padding
    padded = torch.nn.functional.pad(torch.from_numpy(inputs).double(), (left, right, top, bottom))
    wanted = torch.nn.functional.conv2d(
        padded[None],
        torch.from_numpy(weight).double(),
        stride=shape.stride,
        dilation=shape.dilation,
        groups=shape.groups,
    )[0].numpy()
    for method in PRUNED_METHODS:
        mapping = map_pruned(shape, array, mask, method)
        assert (execute(mapping, inputs, weight) == wanted).all(), method
        assert mapping.macs == mask.sum() * shape.output[0] * shape.output[1]
        assert mapping.lower_bound <= mapping.cycles
        assert mapping.cycles == sum(
            region.activations * sum(1 for _ in region.tiles()) for region in mapping.regions
        )  # counted tile by tile
        found = mapping.support
        assert (np.ones_like(support(shape, mask, (0, None))) if found is None else found).sum() >= mask.any(
            axis=0
        ).sum()


@settings(max_examples=MANY)
@given(pruned_layers())
def test_pruning_never_costs_cycles(case):
    shape, array, mask = case
    dense = np.ones_like(mask)
    for method in PRUNED_METHODS:
        pruned = map_pruned(shape, array, mask, method).cycles
        assert pruned <= map_pruned(shape, array, dense, method).cycles
    assert map_pruned(shape, array, mask, "best").cycles <= map_pruned(shape, array, mask, "sdk").cycles
    assert map_pruned(shape, array, mask, "best").cycles <= map_layer(shape, array, "best").cycles
    assert map_pruned(shape, array, mask, "sdk").cycles <= map_pruned(shape, array, mask, "im2col").cycles
    assert map_pruned(shape, array, dense, "im2col").cycles <= map_layer(shape, array, "im2col").cycles
    assert map_pruned(shape, array, dense, "sdk").cycles <= map_one_window(shape, array).cycles


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 40), ARRAYS, st.integers(0, 999))
def test_ideal_steering_is_the_published_formula_and_bounds_plain(entries, channels, outputs, array, seed):
    """Jeon et al. (2025) count PatDNN with ceil(e*C_in/R) row tiles; with a window of N pixels, ceil(N*m/C)
    column tiles.
    """
    shape = ConvShape("conv", channels, outputs, (3, 3), (8, 8), padding=(1, 1, 1, 1))
    mask = np.zeros((outputs, channels, 9), bool)
    rng = np.random.default_rng(seed)
    for kernel in mask.reshape(-1, 9):
        kernel[rng.permutation(9)[:entries]] = True
    mask = mask.reshape(outputs, channels, 3, 3)
    row_tiles = math.ceil(entries * channels / array.rows)
    for method in ("im2col", "sdk"):
        assert steered_cycles(shape, array, mask, method) <= map_pruned(shape, array, mask, method).cycles
    assert steered_cycles(shape, array, mask, "im2col") == 64 * row_tiles * math.ceil(outputs / array.columns)
    assert steered_cycles(shape, array, mask, "sdk") == min(
        math.ceil(8 / a) * math.ceil(8 / b) * row_tiles * math.ceil(a * b * outputs / array.columns)
        for a, b in all_windows(shape)
        if a * b <= array.columns
    )


def test_a_row_counts_only_in_the_tiles_that_need_it():
    """By hand: 4 outputs on 2 columns, 8 channels on 8 rows.

    Outputs 0 and 1 keep the first tap of a 1x2 kernel, 2 and 3 the second.

    Every row is used by some output, so that all 16 would fill two row tiles; each of the two column tiles
    needs 8 of them.
    """
    shape = ConvShape("conv", 8, 4, (1, 2), (1, 5))
    mask = np.zeros((4, 8, 1, 2), bool)
    mask[:2, :, 0, 0] = mask[2:, :, 0, 1] = True
    array = ArraySpec(8, 2)
    assert map_pruned(shape, array, mask, "im2col").cycles == 4 * 2
    assert map_layer(shape, array, "im2col", np.ones((8, 2), bool)).cycles == 4 * 2 * 2
    tiles = [tile for _, tile in map_pruned(shape, array, mask, "im2col").tiles()]
    assert all(tile.matrix(mask).any(axis=1).all() for tile in tiles)


def test_wrong_masks_are_refused():
    shape = ConvShape("conv", 8, 4, (3, 3), (5, 5))
    good = np.ones((4, 8, 3, 3), bool)
    array = ArraySpec(8, 8)
    with pytest.raises(
        InputError, match=r"mapping of a pruned layer \(=vw-sdk\) must be one of im2col, sdk, best"
    ):
        map_pruned(shape, array, good, "vw-sdk")
    for mask in (good[:3], good.astype(int)):
        with pytest.raises(
            InputError, match=r"layer conv: mask .* must be boolean, \(m, C_in/G, kh, kw\) = \(4, 8, 3, 3\)"
        ):
            map_pruned(shape, array, mask)
    with pytest.raises(InputError, match="layer conv: mask must keep at least one weight"):
        steered_cycles(shape, array, ~good)
