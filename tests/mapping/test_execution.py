"""Running the tiles is the convolution: every method, every layer, exactly."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.strategies import supported_layers
from rankfold.errors import InputError
from rankfold.lowrank import decompose, reconstruct
from rankfold.mapping import (
    MAPPINGS,
    ArraySpec,
    execute,
    low_rank_stages,
    map_layer,
    map_low_rank,
    map_one_window,
)
from rankfold.workload import ConvShape

MANY = max(settings().max_examples, 100)


def convolve(shape, inputs, weight):
    """torch's own convolution, in float64: exact for small integers."""
    top, bottom, left, right = shape.padding
    padded = torch.nn.functional.pad(torch.from_numpy(inputs).double(), (left, right, top, bottom))
    weight = torch.from_numpy(weight).double()
    found = torch.nn.functional.conv2d(
        padded[None], weight, stride=shape.stride, dilation=shape.dilation, groups=shape.groups
    )
    return found[0].numpy()


def kept(shape, support):
    """(m, C_in/G, kh, kw) which weights a support keeps."""
    size = shape.groups, shape.m // shape.groups, shape.in_channels // shape.groups, *shape.kernel
    if support is None:
        return np.ones((shape.m, *size[2:]), bool)
    return np.broadcast_to(support.reshape(shape.groups, 1, *size[2:]), size).reshape(shape.m, *size[2:])


def integers(shape, support, seed):
    """Random integer inputs and weights without zeros; the weights outside the support are zero."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-9, 10, (shape.in_channels, *shape.input))
    weight = rng.integers(1, 10, (shape.m, shape.in_channels // shape.groups, *shape.kernel))
    weight *= rng.choice([-1, 1], weight.shape)
    return inputs, weight * kept(shape, support)


@settings(max_examples=MANY)
@given(supported_layers(), st.integers(0, 999))
def test_tiles_are_as_counted_and_compute_the_convolution(case, seed):
    shape, array, support = case
    inputs, weight = integers(shape, support, seed)
    wanted = convolve(shape, inputs, weight)
    for method in MAPPINGS:
        mapping = map_layer(shape, array, method, support)
        found = execute(mapping, inputs, weight)
        assert found.dtype == np.int64
        assert (found == wanted).all(), method
        check_tiles(mapping)
    check_tiles(map_one_window(shape, array, support))


@settings(max_examples=MANY)
@given(
    st.builds(
        lambda *n: n,
        st.integers(2, 14),
        st.integers(1, 4),
        st.integers(2, 3),
        st.integers(4, 10),
        st.integers(1, 2),
    ),
    st.builds(ArraySpec, st.integers(20, 90), st.integers(8, 60)),
    st.integers(0, 999),
)
def test_tiles_of_deep_layers_compute_the_convolution(sizes, array, seed):
    """Layers with more rows than an array, where windows may share their overflow."""
    channels, outputs, kernel, size, stride = sizes
    shape = ConvShape(
        "layer", channels, outputs, (kernel, kernel), (size, size), (stride, stride), padding=(1, 1, 1, 1)
    )
    inputs, weight = integers(shape, None, seed)
    mapping = map_layer(shape, array, "best")
    assert (execute(mapping, inputs, weight) == convolve(shape, inputs, weight)).all()
    check_tiles(mapping)


def test_some_layers_share_their_overflow_and_some_are_taken_phase_by_phase():
    """The two cases above are met: 36 cycles for a layer that no single window maps in fewer than 42."""
    shape = ConvShape("layer", 32, 32, (3, 3), (18, 18))
    mapping = map_layer(shape, ArraySpec(512, 512), "best")
    assert [region.slots for region in mapping.regions] == [1, 4]
    assert [region.cycles for region in mapping.regions] == [32, 4]
    check_tiles(mapping)
    dilated = ConvShape("layer", 4, 8, (3, 3), (20, 20), dilation=(2, 2))
    mapping = map_layer(dilated, ArraySpec(64, 64), "best")
    assert {region.phase for region in mapping.regions} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    plain = map_layer(ConvShape("layer", 4, 8, (3, 3), (10, 10)), ArraySpec(64, 64), "best")
    assert mapping.cycles == 4 * plain.cycles
    assert mapping.tile_count == plain.tile_count


def test_a_plane_that_is_cut_across_first():
    """20 cycles; cut from top to bottom first, no fewer than 21 are found."""
    shape = ConvShape("layer", 8, 2, (2, 2), (12, 11))
    mapping = map_layer(shape, ArraySpec(79, 39), "best")
    assert mapping.cycles == 20
    assert {region.origin for region in mapping.regions} == {(0, 0), (0, 6), (4, 6), (9, 0), (9, 2)}
    inputs, weight = integers(shape, None, 0)
    assert (execute(mapping, inputs, weight) == convolve(shape, inputs, weight)).all()
    check_tiles(mapping)


def check_tiles(mapping):
    """Counting is the tiles: as many as counted, none empty, none too large."""
    array, cycles = mapping.array, 0
    for region in mapping.regions:
        tiles = list(region.tiles())
        assert Counter((tile.rows, tile.columns) for tile in tiles) == region.extents()
        for tile in tiles:
            used = tile.weight_index >= 0
            assert 0 < tile.rows <= array.rows
            assert 0 < tile.columns <= array.columns
            assert used.any(axis=0).all()
            assert used.any(axis=1).all()
        assert len(tiles) == region.tile_count
        cycles += len(region.origins()) * len(tiles)
    assert cycles == mapping.cycles
    assert sum(stored.tile_count * activations for stored, activations in mapping.loads) == mapping.cycles
    assert sum(stored.extents().total() for stored, _ in mapping.loads) == mapping.tile_count


@given(supported_layers(largest=7, channels=3))
def test_every_product_is_computed_once(case):
    """For each output pixel and each weight that makes part of it, one cell in one activation; nothing else.

    But for zeros, which a mapping may store at positions that the support drops.
    """
    shape, array, support = case
    keeps = kept(shape, support).reshape(-1)
    for method in MAPPINGS:
        seen = Counter()
        for region, tile in map_layer(shape, array, method, support).tiles():
            origins = region.origins()
            counts = region.kept(tile)
            for column in range(tile.columns):
                cells = tile.weight_index[:, column]
                cells = cells[cells >= 0]
                assert (cells // shape.n == tile.col_channel[column]).all()
                within = tile.col_y[column], tile.col_x[column]
                pixels = origins[counts[:, column], tile.col_slot[column]] + within
                for pixel in map(tuple, pixels.tolist()):
                    seen.update((*pixel, cell) for cell in cells[keeps[cells]].tolist())
        assert set(seen.values()) == {1}, method
        assert len(seen) == keeps.sum() * shape.output[0] * shape.output[1], method


@given(supported_layers(), st.integers(1, 3), st.integers(0, 999), st.sampled_from(["im2col", "sdk", "best"]))
def test_low_rank_pairs_compute_their_product(case, rank, seed, method):
    """Theorem 2 of Jeon et al. (2025): both stages, run from their tiles, are the convolution with L R_."""
    shape, array, support = case
    groups = shape.in_channels // shape.groups
    rng = np.random.default_rng(seed)
    first, second = low_rank_stages(shape, groups, rank)
    pair = map_low_rank(shape, array, groups, rank, method, support)
    inputs = rng.normal(size=(shape.in_channels, *shape.input))
    r_ = rng.normal(size=(first.m, first.in_channels // first.groups, *first.kernel)) * kept(first, support)
    left = rng.normal(size=(shape.m, second.in_channels // second.groups))
    for mapping in (pair, pair.shared):
        found = execute(mapping.stage2, execute(mapping.stage1, inputs, r_), left[:, :, None, None])
        dense = np.zeros((shape.m, shape.in_channels // shape.groups, *shape.kernel))
        for output in range(shape.m):
            group = output // (shape.m // shape.groups)
            for channel in range(groups):  # one low-rank group for each input channel of the group
                rows = slice((group * groups + channel) * rank, (group * groups + channel + 1) * rank)
                dense[output, channel] = np.tensordot(
                    left[output, channel * rank : (channel + 1) * rank], r_[rows, 0], 1
                )
        assert np.abs(found - convolve(shape, inputs, dense)).max() < 1e-10


def test_decomposed_layer_runs_on_its_tiles():
    """The factors that `decompose` gives, run from the tiles of both stages, equal their dense product to
    1e-10.
    """
    shape = ConvShape("layer", 16, 24, (3, 3), (9, 9), padding=(1, 1, 1, 1))
    rng = np.random.default_rng(0)
    weight, inputs = rng.normal(size=(24, 16, 3, 3)), rng.normal(size=(16, 9, 9))
    factors = decompose(weight, 1, 4, 3)
    pair = map_low_rank(shape, ArraySpec(64, 64), 4, 3, "sdk")
    found = execute(pair.stage2, execute(pair.stage1, inputs, factors.reduce), factors.expand)
    assert np.abs(found - convolve(shape, inputs, reconstruct(factors, 1, 4))).max() < 1e-10


def test_execute_refuses_what_does_not_fit():
    mapping = map_layer(ConvShape("conv1", 3, 8, (3, 3), (6, 6)), ArraySpec(16, 16), "sdk")
    with pytest.raises(
        InputError, match=r"layer conv1: inputs of shape \(3, 5, 6\) must have shape \(3, 6, 6\)"
    ):
        execute(mapping, np.zeros((3, 5, 6)), np.zeros((8, 3, 3, 3)))
    with pytest.raises(InputError, match="layer conv1: weight of shape"):
        execute(mapping, np.zeros((3, 6, 6)), np.zeros((8, 3, 3)))
