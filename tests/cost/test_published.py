"""The published reading: the counts of the code of PAIRS and GAROS, and what stands behind them."""

import json
from dataclasses import replace
from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import GENERATORS
from rankfold.cli.main import main
from rankfold.cost import large_array, published_cycles
from rankfold.cost.published import has_published_cycles
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_low_rank
from rankfold.mapping.published import published_count, published_window
from rankfold.plan import (
    LayerPlan,
    LowRank,
    Pairs2023,
    Plan,
    WindowLayer,
    WindowLowRankLayer,
    Windows,
    uniform_plan,
)
from rankfold.pruning import published_library
from rankfold.workload import ConvShape, Network, zoo_network

# Cycles by network, arrays and entries, as the published code gives them; 9 entries: nothing is pruned.
COUNTS = {
    ("resnet20", (32, 64, 128)): {
        9: (66_200, 19_400, 6_500),
        8: (61_500, 17_420, 5_300),
        6: (50_400, 14_100, 4_875),
        4: (39_300, 11_270, 3_585),
        2: (28_200, 7_950, 3_160),
    },
    ("wrn16-4", (128, 256, 512)): {
        9: (35_820, 10_380, 3_420),
        8: (33_300, 9_372, 2_820),
        6: (27_240, 7_560, 2_565),
        4: (21_180, 6_042, 1_911),
        2: (15_120, 4_230, 1_656),
    },
}
CASES = [
    (name, entries, size, cycles)
    for (name, sizes), by_entries in COUNTS.items()
    for entries, counts in by_entries.items()
    for size, cycles in zip(sizes, counts, strict=True)
]


def plan_with_masks(network, array, entries):
    """The network with published patterns, any for each channel: all of so many entries skip alike."""
    if entries == 9:
        return uniform_plan(network, array), {}
    plan = uniform_plan(network, array, Pairs2023(entries))
    rng = np.random.default_rng(0)
    shapes = {shape.weight: shape for shape in network.layers}
    library = published_library(entries)
    masks = {}
    for layer in plan.changed:
        shape = shapes[layer.name]
        chosen = library[rng.integers(len(library), size=shape.in_channels)]  # (C_in, 9)
        masks[layer.name] = np.tile(chosen.reshape(1, -1, 3, 3), (shape.m, 1, 1, 1))
    return plan, masks


@pytest.mark.parametrize("name", ["resnet20", "wrn16-4"])
@pytest.mark.parametrize("entries", [9, 8, 6, 4, 2])
def test_all_published_counts_are_met(name, entries):
    network = zoo_network(name)
    cases = [case for case in CASES if case[:2] == (name, entries)]
    assert len(cases) == 3
    plan, masks = plan_with_masks(network, ArraySpec(64, 64), entries)
    for _, _, size, cycles in cases:
        on_array = plan.on(ArraySpec(size, size))
        assert published_cycles(network, on_array, masks).cycles == cycles


def test_windows_are_found_for_the_published_arrays():
    for name, size in (("resnet20", ArraySpec(512, 256)), ("wrn16-4", ArraySpec(2048, 1024))):
        network = zoo_network(name)
        assert large_array(network) == size
        plan = uniform_plan(network, ArraySpec(64, 64))
        assert published_cycles(network, plan) == published_cycles(network, plan, large=size)
        # Another size for the windows gives another count.
        assert (
            published_cycles(network, plan, large=ArraySpec(64, 64)).cycles
            != published_cycles(network, plan).cycles
        )


def window_by_the_words(plane, channels, outputs, rows, columns):
    """The largest square that fits the tiles of one pixel at a time and needs no more windows."""
    tall, wide = ceil(9 * channels / rows), ceil(outputs / columns)
    best, fewest = 1, (plane - 2) ** 2
    for side in range(2, plane - 1):
        if (side + 2) ** 2 * channels > rows * tall or side**2 * outputs > columns * wide:
            break
        windows = ceil((plane - 2) / side) ** 2
        if windows <= fewest:
            best, fewest = side, windows
    return best, best


@given(
    GENERATORS,
    st.integers(5, 12),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(8, 64),
    st.integers(8, 64),
    st.floats(0, 1),
)
def test_counts_are_those_of_a_count_by_hand(
    rng, plane, channels, rows, columns, large_rows, large_columns, share
):
    shape = ConvShape("a", channels, channels, (3, 3), (plane, plane), padding=(1, 1, 1, 1))
    window = published_window(shape, ArraySpec(large_rows, large_columns))
    assert window == window_by_the_words(plane, channels, channels, large_rows, large_columns)
    mask = rng.random((channels, channels, 3, 3)) < share
    side = window[0]
    driven = set()
    for _, channel, y, x in np.argwhere(mask):
        for down, across in product(range(side), repeat=2):
            driven.add((channel, y + down, x + across))
    count = published_count(shape, ArraySpec(rows, columns), window, mask)
    windows = ceil((plane - 2) / side) ** 2
    tiles = ceil(len(driven) / rows)
    assert count.cycles == windows * tiles * ceil(side**2 * channels / columns)
    assert count.conversions == windows * tiles * side**2 * channels


def test_other_kinds_are_mapped_without_padding():
    shape = ConvShape("a", 16, 16, (3, 3), (8, 8), padding=(1, 1, 1, 1))
    strided = ConvShape("b", 16, 16, (3, 3), (8, 8), stride=(2, 2))
    first = ConvShape("first", 3, 16, (3, 3), (8, 8))
    network = Network(
        "small", (3, 8, 8), (first, shape, strided, ConvShape("last", 16, 10, (1, 1), (1, 1), kind="linear"))
    )
    array = ArraySpec(32, 32)
    pair = uniform_plan(network, array, LowRank(groups=2, rank=2, force=True))
    counted = published_cycles(network, pair)
    assert [layer.name for layer, _ in counted.layers] == ["a"]
    window = published_window(shape, large_array(network))
    bare = shape.without_padding()
    shared = map_low_rank(bare, array, 2, 2, "sdk")
    stages = [count for _, count in counted.layers]
    assert stages[0].window == window
    # Windows of its own for each stage are never worse than one that was found for another array.
    assert counted.cycles >= shared.cycles
    windows = uniform_plan(network, array, Windows(row_tiles=1))
    a, b = windows.layer("a").kind.window
    one_row_tile = ceil(6 / a) * ceil(6 / b) * ceil(a * b * 16 / 32)
    assert published_cycles(network, windows).cycles == one_row_tile


@pytest.mark.parametrize("make", [WindowLayer, lambda window: WindowLowRankLayer(window, rank=2)])
def test_what_can_be_counted_is_known_beforehand(make):
    """A window of the padded plane may be larger than the plane without padding, which has 6x6 outputs."""
    padded = ConvShape("a", 4, 4, (3, 3), (8, 8), padding=(1, 1, 1, 1))
    network = Network("small", (4, 8, 8), (padded,))
    for window, fits in (((6, 6), True), ((7, 2), False), ((2, 8), False)):
        plan = Plan.of(network, ArraySpec(32, 32), (LayerPlan("a", make(window)),))
        assert has_published_cycles(network, plan) == fits
        if fits:
            assert published_cycles(network, plan).cycles
            continue
        with pytest.raises(InputError, match="does not fit its plane of 6x6"):
            published_cycles(network, plan)
    strided = Network("small", (4, 8, 8), (replace(padded, stride=(2, 2)),))
    assert not has_published_cycles(strided, uniform_plan(strided, ArraySpec(32, 32)))


def test_a_network_without_such_layers_is_refused():
    network = Network("small", (3, 8, 8), (ConvShape("first", 3, 16, (3, 3), (8, 8)),))
    with pytest.raises(
        InputError, match="small has no layer that the published reading counts: it counts 3x3"
    ):
        published_cycles(network, uniform_plan(network, ArraySpec(32, 32)))


def test_map_shows_the_reading(capsys):
    command = ["map", "resnet20", "--array", "64x64", "--reading"]
    assert main([*command, "published"]) == 0
    told = capsys.readouterr().out
    assert "19,400 cycles on 64x64 arrays, of 16 of 20 layers: 3x3, stride 1" in told
    assert main([*command, "published:512x256", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)["published"]
    assert (content["cycles"], content["windows_for"]) == (19_400, [512, 256])
    for wrong, message in {
        "ours": "reading (=ours) must be published, or with the arrays of its windows published:512x256",
        "published:9": "array (=9) must be rows x columns",
    }.items():
        assert main([*command, wrong]) == 2
        assert message in capsys.readouterr().err
    assert main([*command, "published", "--csv"]) == 2
    assert "omit --reading, or use --json or the table" in capsys.readouterr().err
