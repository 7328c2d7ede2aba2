"""Mapping: golden counts from published code, and laws that hold for every layer."""

import csv
import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.mapping import LOW_RANK_METHODS, METHODS, ArraySpec, map_layer, map_low_rank
from rankfold.workload import ConvShape, zoo_network

GOLDEN = list(csv.DictReader((Path(__file__).parent / "data" / "peer_cycles.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: "-".join(list(row.values())[:7]))
def test_cycles_of_published_code(row):
    """im2col, SDK and VW-SDK as printed by the authors' scripts: equal in all 131 rows."""
    kernel, image = int(row["kernel"]), int(row["image"])
    shape = ConvShape("layer", int(row["in_channels"]), int(row["out_channels"]), (kernel, kernel), (image, image))
    array = ArraySpec(int(row["array_rows"]), int(row["array_cols"]))
    for method in ("im2col", "sdk", "vw-sdk"):
        assert map_layer(shape, array, method).cycles == int(row[method.replace("-", "_")])
    assert map_layer(shape, array, "best").cycles <= int(row["vw_sdk"])
    a, _ = map_layer(shape, array, "sdk").window
    assert a + kernel - 1 == int(row["sdk_window"])


@pytest.mark.parametrize(
    ("window", "expected"), [("im2col", 1024), ("best", 256)], ids=["one pixel", "2x2 window"]
)  # fmt: skip
def test_window_counts_of_zigzag(window, expected):
    """hardware.md of the project's references: ZigZag-IMC, C_in 4, C_out 16, 3x3, 32x32 outputs, 64x64 array."""
    shape = ConvShape("layer", 4, 16, (3, 3), (32, 32), padding=(1, 1, 1, 1))
    mapping = map_layer(shape, ArraySpec(64, 64), window)
    assert mapping.windows == expected
    assert mapping.tile_count == 1


@pytest.mark.parametrize(
    ("network", "groups", "divisor", "dense", "low_rank"),
    [("resnet20", 8, 8, 13952, 9872), ("wrn16-4", 4, 8, 97536, 34304)],
)
def test_totals_on_64x64_arrays(network, groups, divisor, dense, low_rank):
    """Independent prototype counts (square-free window search, element-wise tiles); ours may only be lower."""
    array = ArraySpec(64, 64)
    layers = zoo_network(network).convolutions
    assert sum(map_layer(layer, array, "best").cycles for layer in layers) == dense
    total = 0
    for index, layer in enumerate(layers):
        if index == 0 or layer.kernel == (1, 1):
            total += map_layer(layer, array, "best").cycles
        else:
            total += map_low_rank(layer, array, groups, layer.m // divisor, "sdk").cycles
    assert total <= low_rank


def test_plain_low_rank_under_im2col_needs_more_cycles_than_dense():
    """method.md: 1.27x the dense im2col cycles on ResNet-20 with 64x64 arrays, at every rank."""
    array = ArraySpec(64, 64)
    first, *rest = zoo_network("resnet20").convolutions
    dense = sum(map_layer(layer, array, "im2col").cycles for layer in (first, *rest))
    for divisor in (2, 4, 8, 16):
        pairs = [map_low_rank(layer, array, 1, layer.m // divisor, "im2col").cycles for layer in rest]
        assert (sum(pairs) + map_layer(first, array, "im2col").cycles) / dense == pytest.approx(1.27, abs=0.005)


@st.composite
def shapes(draw, largest=12):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    size = tuple(draw(st.integers((k - 1) * d + 1, largest)) for k, d in zip(kernel, dilation, strict=True))
    return ConvShape(
        "layer", groups * draw(st.integers(1, 6)), groups * draw(st.integers(1, 9)), kernel, size,
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), draw(st.tuples(*[st.integers(0, 2)] * 4)), dilation, groups,
    )  # fmt: skip


arrays = st.builds(ArraySpec, st.integers(1, 90), st.integers(1, 40))


@given(shapes(), arrays)
def test_best_is_never_worse_and_never_below_the_bound(shape, array):
    cycles = {method: map_layer(shape, array, method) for method in METHODS}
    for mapping in cycles.values():
        assert cycles["best"].cycles <= mapping.cycles
        assert mapping.cycles >= mapping.lower_bound
        assert 0 < mapping.utilisation <= 1


@given(shapes(largest=8), arrays)
def test_best_equals_a_naive_search(shape, array):
    """The same space written out naively: every window, blocks packed or tiled one by one, by group, or all in one grid."""
    height, width = shape.output
    found = math.inf
    for a, b in itertools.product(range(1, height + 1), range(1, width + 1)):
        rows_seen, columns = set(), a * b * shape.m // shape.groups
        for y, x, ky, kx in itertools.product(range(a), range(b), range(shape.kernel[0]), range(shape.kernel[1])):
            rows_seen.add((y * shape.stride[0] + ky * shape.dilation[0], x * shape.stride[1] + kx * shape.dilation[1]))
        top = max(y for y, _ in rows_seen) + 1
        left = max(x for _, x in rows_seen) + 1
        levels = [(shape.groups, top * left * shape.in_channels // shape.groups, columns)]
        extent = [(k - 1) * d + 1 for k, d in zip(shape.kernel, shape.dilation, strict=True)]
        if shape.stride[0] >= extent[0] and shape.stride[1] >= extent[1]:
            levels = [(shape.groups * a * b, shape.n, shape.m // shape.groups), (shape.groups, a * b * shape.n, columns)]
        levels.append((1, shape.groups * levels[-1][1], shape.groups * columns))
        tiles = math.inf
        for blocks, rows, wide in levels:
            if rows <= array.rows and wide <= array.columns:
                tiles = min(tiles, math.ceil(blocks / min(array.rows // rows, array.columns // wide)))
            else:
                tiles = min(tiles, blocks * math.ceil(rows / array.rows) * math.ceil(wide / array.columns))
        found = min(found, math.ceil(height / a) * math.ceil(width / b) * tiles)
    assert map_layer(shape, array, "best").cycles == found


@given(shapes(), arrays, st.integers(1, 4))
def test_low_rank_windows_never_cost_more_than_one_pixel_at_a_time(shape, array, rank):
    groups = shape.in_channels // shape.groups
    plain = map_low_rank(shape, array, groups, rank, "im2col")
    windowed = map_low_rank(shape, array, groups, rank, "sdk")
    assert windowed.cycles <= plain.cycles
    assert windowed.cycles == windowed.stage1.cycles + windowed.stage2.cycles
    assert windowed.stage1.shape.out_channels == windowed.stage2.shape.in_channels == shape.groups * groups * rank
    assert windowed.stage2.shape.output == shape.output


@settings(max_examples=50)
@given(shapes(), st.integers(1, 60), st.integers(1, 30))
def test_a_larger_array_never_needs_more_cycles(shape, rows, columns):
    small = map_layer(shape, ArraySpec(rows, columns), "best").cycles
    assert map_layer(shape, ArraySpec(2 * rows, 2 * columns), "best").cycles <= small


def test_depthwise_blocks_share_an_array():
    shape = ConvShape("dw", 8, 8, (3, 3), (4, 4), padding=(1, 1, 1, 1), groups=8)
    assert map_layer(shape, ArraySpec(72, 8), "im2col").tile_count == 1
    assert map_layer(shape, ArraySpec(36, 8), "im2col").tile_count == 2


def test_unknown_method_and_array():
    shape = ConvShape("layer", 3, 16, (3, 3), (8, 8))
    with pytest.raises(InputError, match=r"mapping \(=magic\) must be one of im2col, sdk"):
        map_layer(shape, ArraySpec(64, 64), "magic")
    with pytest.raises(InputError, match="must be one of im2col, sdk"):
        map_low_rank(shape, ArraySpec(64, 64), 1, 2, "vw-sdk")
    for text in ("64by64", "64", "0x64", "64x-1", "x", "6.4x64"):
        with pytest.raises(InputError, match="array"):
            ArraySpec.parse(text)
    assert ArraySpec.parse(" 512X256 ") == ArraySpec(512, 256)
    assert LOW_RANK_METHODS == ("im2col", "sdk")
