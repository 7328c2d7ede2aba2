"""`best` against an independent brute force, and against every other mapping."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.brute_force import fewest_cycles
from common.strategies import ARRAYS, conv_shapes, shapes_of_plane, supported_layers, supports
from common.thorough import THOROUGH
from rankfold.mapping import MAPPINGS, ArraySpec, map_layer, map_one_window, map_with_window
from rankfold.mapping import best as best_module
from rankfold.mapping.best import BestSearch
from rankfold.mapping.bounds import Bounds
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.plane import Plane, _made_of
from rankfold.mapping.windows import NEVER, Block, Windows
from rankfold.workload import ConvShape

if THOROUGH:  # 85,050 layers, some minutes
    PLANES = [(h, w) for h in range(1, 5) for w in range(1, 5) if h * w <= 12]
    KERNELS, STRIDES = [(1, 1), (1, 2), (2, 2), (3, 3), (2, 3)], [(1, 1), (2, 2), (1, 2)]
    CHANNELS, ROWS, COLUMNS = (1, 2, 3), (1, 2, 3, 5, 7, 9, 12), (1, 2, 3, 4, 6, 8)
else:
    PLANES = [(1, 3), (2, 2), (3, 3)]
    KERNELS, STRIDES = [(1, 1), (1, 2), (2, 2), (3, 3)], [(1, 1), (2, 2)]
    CHANNELS, ROWS, COLUMNS = (1, 2, 3), (2, 5, 7), (1, 3, 4, 6)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("plane", PLANES, ids=str)
def test_best_equals_brute_force_on_all_small_layers(plane, kernel):
    for stride, channels, outputs, rows, columns in itertools.product(
        STRIDES, CHANNELS, CHANNELS, ROWS, COLUMNS
    ):
        size = tuple((n - 1) * s + k for n, s, k in zip(plane, stride, kernel, strict=True))
        shape, array = ConvShape("layer", channels, outputs, kernel, size, stride), ArraySpec(rows, columns)
        assert map_layer(shape, array, "best").cycles == fewest_cycles(shape, array), (shape, array)


@st.composite
def small_cases(draw):
    """A layer of at most nine output pixels, a small array and, every other time, a support."""
    planes = [(h, w) for h, w in itertools.product(range(1, 5), range(1, 5)) if h * w <= 9]
    shape = draw(shapes_of_plane(planes))
    array = ArraySpec(draw(st.integers(1, 14)), draw(st.integers(1, 10)))
    return shape, array, draw(st.none() | supports(shape))


@settings(max_examples=max(settings().max_examples, 200))
@given(small_cases())
def test_best_equals_brute_force_with_groups_dilation_and_supports(case):
    shape, array, support = case
    fewest = fewest_cycles(shape, array)
    if support is not None:
        # Or with zeros stored at the positions that the support drops.
        fewest = min(fewest, fewest_cycles(shape, array, support.tolist()))
    assert map_layer(shape, array, "best", support).cycles == fewest


@given(supported_layers())
def test_best_is_never_worse_and_never_below_the_bound(case):
    shape, array, support = case
    mappings = {method: map_layer(shape, array, method, support) for method in MAPPINGS}
    mappings["one-window"] = map_one_window(shape, array, support)
    for mapping in mappings.values():
        assert mappings["best"].cycles <= mapping.cycles
        assert mapping.cycles >= mapping.lower_bound
        assert mapping.over_bound >= 1
        assert 0 < mapping.utilisation <= 1
    assert mappings["one-window"].cycles <= min(mappings[method].cycles for method in ("im2col", "sdk"))


@settings(max_examples=60)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 7),
    st.integers(8, 60),
    st.integers(1, 2),
    st.sampled_from([ArraySpec(32, 32), ArraySpec(128, 64), ArraySpec(256, 256), ArraySpec(512, 512)]),
)
def test_best_is_never_worse_on_large_layers(channels, outputs, kernel, size, stride, array):
    shape = ConvShape(
        "layer",
        channels,
        outputs,
        (kernel, kernel),
        (size, size),
        (stride, stride),
        padding=(kernel // 2,) * 4,
    )
    cycles = {method: map_layer(shape, array, method).cycles for method in MAPPINGS}
    assert min(cycles.values()) == cycles["best"]
    assert cycles["tetris-sdk"] <= cycles["vw-sdk"] <= cycles["im2col"]
    assert cycles["sdk"] <= cycles["im2col"]


@settings(max_examples=50)
@given(conv_shapes(), ARRAYS)
def test_a_larger_array_never_needs_more_cycles(shape, array):
    double = ArraySpec(2 * array.rows, 2 * array.columns)
    assert map_one_window(shape, double).cycles <= map_one_window(shape, array).cycles
    assert map_layer(shape, double, "best").cycles <= map_layer(shape, array, "best").cycles


@given(conv_shapes(), ARRAYS, st.integers(0, 999))
def test_a_smaller_support_never_needs_more_cycles_in_one_pixel(shape, array, seed):
    """A position that no output uses takes no row."""
    rng = np.random.default_rng(seed)
    large = rng.random((shape.in_channels, shape.kernel[0] * shape.kernel[1])) < 0.7
    small = large & (rng.random(large.shape) < 0.7)
    if small.any():
        assert (
            map_layer(shape, array, "im2col", small).cycles <= map_layer(shape, array, "im2col", large).cycles
        )
        assert map_one_window(shape, array, small).cycles <= map_one_window(shape, array, large).cycles


@given(supported_layers())
def test_windows_left_out_need_no_fewer_cycles(case):
    """One-window searches try only the smallest windows of each number of positions; all others, tried here,
    are no better.
    """
    shape, array, support = case
    height, width = shape.output
    each = [
        map_with_window(shape, array, (a, b), support).cycles
        for a in range(1, height + 1)
        for b in range(1, width + 1)
        if a * b <= array.columns
    ]
    assert map_one_window(shape, array, support).cycles == min(each)


def test_a_mapping_without_a_better_one_says_so():
    mapping = map_layer(ConvShape("layer", 8, 8, (3, 3), (10, 10)), ArraySpec(72, 8), "im2col")
    assert mapping.over_bound == 1
    assert mapping.lower_bound == mapping.cycles == 64


@settings(max_examples=60)
@given(
    sizes=st.tuples(st.integers(2, 200), st.integers(2, 200)),
    kernel=st.integers(1, 4),
    plane=st.integers(1, 12),
    array=ARRAYS,
    share=st.floats(0.2, 1.5),
    cut_inputs=st.booleans(),
)
def test_cuts_are_left_out_by_runs_as_one_by_one(sizes, kernel, plane, array, share, cut_inputs):
    """Which is exact, as a bound never falls where a part gets channels."""
    shape = ConvShape("layer", *sizes, (kernel, kernel), (plane + kernel - 1,) * 2)
    search = BestSearch(Windows.every(Footprint(shape), array), 0)
    every = Block.whole(search.windows.footprint)
    total = sizes[0] if cut_inputs else sizes[1]
    bounds = search._bounds.of_inputs if cut_inputs else search._bounds.of_outputs
    each = bounds(every, np.arange(1, total + 1)).tolist()
    assert each == sorted(each)
    cycles = int(share * each[-1])
    parts = [(size, each[total - size - 1], each[size - 1]) for size in range(1, total // 2 + 1)]
    expected = [part for part in parts if part[1] + part[2] < cycles]
    sizes = search._sizes(every, cycles, cut_inputs=cut_inputs)  # (3, K)
    assert list(map(tuple, sizes.T.tolist())) == expected


@settings(max_examples=20)
@given(
    sizes=st.tuples(st.integers(2, 80), st.integers(2, 80)),
    kernel=st.integers(1, 3),
    plane=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    array=ARRAYS,
)
def test_cuts_looked_at_together_are_chosen_as_one_by_one(sizes, kernel, plane, array):
    padded = plane[0] + kernel - 1, plane[1] + kernel - 1
    windows = Windows.every(Footprint(ConvShape("layer", *sizes, (kernel, kernel), padded)), array)
    together = BestSearch(windows, 0).solve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_module, "FIRST_CUTS", 1)
        patch.setattr(best_module, "MOST_CUTS", 1)
        assert BestSearch(windows, 0).solve() == together


@settings(max_examples=30)
@given(conv_shapes(), ARRAYS, st.data())
def test_blocks_counted_together_cost_what_they_cost_alone(shape, array, data):
    """And no less than their bounds; planes filled together are the same as one by one."""
    footprint = Footprint(shape)
    windows = Windows.every(footprint, array)
    inputs, outputs = st.integers(1, footprint.group_inputs), st.integers(1, footprint.group_outputs)
    sizes = data.draw(st.lists(st.tuples(inputs, outputs), min_size=1, max_size=4))
    blocks = [Block((0, inputs), (0, outputs)) for inputs, outputs in sizes]
    tiles = windows.tiles_of_each(blocks)
    assert np.array_equal(tiles, [windows.tiles(block) for block in blocks])
    planes = Plane.each(shape.output, windows.a, windows.b, tiles)
    for block, plane, of_block in zip(blocks, planes, tiles, strict=True):
        (alone,) = Plane.each(shape.output, windows.a, windows.b, of_block[None])
        assert plane.cycles == alone.cycles == plane.solve().cycles
        assert plane.solve() == alone.solve()
        if shape.groups == 1:
            (bound,) = Bounds(windows).of_inputs(block, np.array([block.channels[1]]))
            assert bound <= plane.cycles


@settings(max_examples=30)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 999))
def test_the_cheapest_parts_against_every_partition(length, longest, seed):
    longest = min(length, longest)
    costs = np.full((length + 1, 2, 2), NEVER)
    costs[1 : longest + 1] = np.random.default_rng(seed).integers(1, 20, (longest, 2, 2))
    costs[2:][costs[2:] > 15] = NEVER
    sums = {0: [np.zeros((2, 2), int)]}
    for total in range(1, length + 1):
        sums[total] = [costs[part] + rest for part in range(1, total + 1) for rest in sums[total - part]]
    expected = [np.minimum(np.min(sums[total], axis=0), NEVER) for total in range(length + 1)]
    assert np.array_equal(_made_of(costs, longest), expected)
