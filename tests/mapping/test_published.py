"""Cycles that published code and papers print."""

import csv
from pathlib import Path

import numpy as np
import pytest

from rankfold.mapping import MAPPINGS, ArraySpec, map_layer, map_low_rank
from rankfold.workload import ConvShape, zoo_network

DATA = Path(__file__).parents[1] / "data"


def rows(name):
    return list(csv.DictReader((DATA / name).read_text(encoding="utf-8").splitlines()))


def layer(row):
    kernel, image = int(row["kernel"]), int(row["image"])
    shape = ConvShape(
        "layer", int(row["in_channels"]), int(row["out_channels"]), (kernel, kernel), (image, image)
    )
    return shape, ArraySpec(int(row["array_rows"]), int(row["array_cols"]))


@pytest.mark.parametrize("row", rows("peer_cycles.csv"), ids=lambda row: "-".join(list(row.values())[:7]))
def test_cycles_of_published_code(row):
    """im2col, SDK and VW-SDK as printed by the authors' scripts: equal in all 131 rows."""
    shape, array = layer(row)
    for method in ("im2col", "sdk", "vw-sdk"):
        assert map_layer(shape, array, method).cycles == int(row[method.replace("-", "_")])
    for method in ("tetris-sdk", "best"):
        assert map_layer(shape, array, method).cycles <= int(row["vw_sdk"])
    assert map_layer(shape, array, "sdk").window[0] + int(row["kernel"]) - 1 == int(row["sdk_window"])


@pytest.mark.parametrize(
    ("network", "cycles"),
    [
        ("vgg13", {"im2col": 243736, "sdk": 114697, "vw-sdk": 77102}),
        ("resnet18", {"im2col": 20041, "sdk": 7240, "vw-sdk": 4294}),
    ],
)
def test_published_tables_on_512x512(network, cycles):
    """Rhe et al., VW-SDK (DATE 2022), the table of 512x512 arrays: each shape of ResNet-18 once, VGG-13's
    last one twice.
    """
    chosen = [
        layer(row)
        for row in rows("peer_cycles.csv")
        if row["network"] == network and row["array_rows"] == row["array_cols"] == "512"
    ]
    chosen += chosen[-1:] if network == "vgg13" else []
    found = {method: sum(map_layer(*item, method).cycles for item in chosen) for method in MAPPINGS}
    assert {method: found[method] for method in cycles} == cycles
    assert found["best"] <= found["tetris-sdk"] <= found["vw-sdk"]


TETRIS = {
    # Published and ours agree that the 4 channels left over by two row tiles of 14 get windows of their own.
    # Published: 16 + 16 windows of 4x4, and 6 for the 4 channels, of 4x12 and, in the margin, 8x4 pixels. But
    # 4x12 pixels of 32 output channels need 1,536 columns, and the array has 512. Tiles that fit need 42.
    "cnn8-3": 42,
    # Ours tries every main window, 1x5 among them; published: 2x2.
    "cnn8-5": 13,
    # A 5x5 window, found by SDK, is not among those that the published search tries.
    "lenet5-3": 4,
    # As cnn8-3: 2 * 1,369 windows of 4x4 and 37*12 + 19 larger ones, of which each needs 1,536 columns.
    "vgg7-2": 3565,
    # A 4x4 window is not among those that the published search tries.
    "cnn4-2": 72,
}


@pytest.mark.parametrize("row", rows("peer_tetris.csv"), ids=lambda row: row["layer"])
def test_tetris_of_published_code(row):
    """What the code of Dong et al. (ISCAS 2024) prints: `best` is never above it, although its tiles must fit
    the array.
    """
    shape, array = layer(row)
    assert map_layer(shape, array, "im2col").cycles == int(row["im2col"])
    assert map_layer(shape, array, "sdk").cycles == int(row["sdk"])
    # That code's own VW-SDK tries no square window, and none as wide or as high as the plane.
    assert map_layer(shape, array, "vw-sdk").cycles <= int(row["vw_sdk"])
    assert map_layer(shape, array, "tetris-sdk").cycles == TETRIS[row["layer"]]
    assert map_layer(shape, array, "best").cycles <= int(row["tetris_sdk"])


def test_best_needs_fewer_cycles_than_published_tetris_over_its_layers():
    found = sum(map_layer(*layer(row), "best").cycles for row in rows("peer_tetris.csv"))
    assert found == 36 + 12 + 4 + 3081 + 72
    assert found < sum(int(row["tetris_sdk"]) for row in rows("peer_tetris.csv"))


@pytest.mark.parametrize("row", rows("peer_tetris.csv"), ids=lambda row: row["layer"])
def test_windows_that_the_published_search_tries(row):
    """Its VW-SDK counts are the best over non-square windows smaller than the plane: the search, not the
    count, differs.
    """
    shape, array = layer(row)
    height, width = shape.output
    found = []
    for a in range(1, height):
        for b in range(1, width):
            inputs = (a + shape.kernel[0] - 1) * (b + shape.kernel[1] - 1)
            if a != b and inputs <= array.rows and a * b <= array.columns:
                row_tiles = -(-shape.in_channels // (array.rows // inputs))
                column_tiles = -(-shape.m // (array.columns // (a * b)))
                found.append(-(-height // a) * -(-width // b) * row_tiles * column_tiles)
    assert min(found) == int(row["vw_sdk"])


@pytest.mark.parametrize(("window", "expected"), [((1, 1), 1024), ((1, 2), 512), ((2, 2), 256)], ids=str)
def test_window_counts_of_zigzag(window, expected):
    """ZigZag-IMC's diagonal unrolling of OX and OY is SDK: C_in 4, C_out 16, 3x3, 32x32 outputs, 64x64 array,
    one tile each.
    """
    from rankfold.mapping import map_with_window

    shape = ConvShape("layer", 4, 16, (3, 3), (32, 32), padding=(1, 1, 1, 1))
    mapping = map_with_window(shape, ArraySpec(64, 64), window)
    assert mapping.windows == mapping.cycles == expected
    assert map_layer(shape, ArraySpec(64, 64), "best").cycles == 256


@pytest.mark.parametrize(
    ("network", "groups", "divisor", "dense", "low_rank"),
    [("resnet20", 8, 8, 13952, 9472), ("wrn16-4", 4, 8, 97536, 34304)],
)
def test_totals_on_64x64_arrays(network, groups, divisor, dense, low_rank):
    """An independent prototype found 13,952 and 9,872, 97,536 and 34,304; it did not pack the blocks of R_ as
    tightly.
    """
    array = ArraySpec(64, 64)
    layers = zoo_network(network).convolutions
    assert sum(map_layer(shape, array, "best").cycles for shape in layers) == dense
    total = 0
    for index, shape in enumerate(layers):
        if index == 0 or shape.kernel == (1, 1):
            total += map_layer(shape, array, "best").cycles
        else:
            total += map_low_rank(shape, array, groups, shape.m // divisor, "sdk").cycles
    assert total == low_rank


@pytest.mark.parametrize(("network", "dense", "both"), [("resnet20", 7938, None), ("wrn16-4", 44288, 24832)])
def test_totals_with_a_support_of_four_positions(network, dense, both):
    """The prototype found 8,064 and 44,288 with 4 of 9 positions, and 25,152 with g = 4, r = m/8 as well."""
    array = ArraySpec(64, 64)
    found = pairs = 0
    for index, shape in enumerate(zoo_network(network).convolutions):
        support = np.zeros((shape.in_channels, 9), bool)
        support[:, [0, 1, 3, 4]] = True
        if index == 0 or shape.kernel == (1, 1):
            found += map_layer(shape, array, "best").cycles
            pairs += map_layer(shape, array, "best").cycles
        else:
            found += map_layer(shape, array, "best", support).cycles
            pairs += map_low_rank(shape, array, 4, shape.m // 8, "sdk", support).cycles
    assert found == dense
    assert both is None or pairs == both


def test_plain_low_rank_under_im2col_needs_more_cycles_than_dense():
    """Plain low-rank pairs need 1.27x the dense im2col cycles on ResNet-20 with 64x64 arrays, at every
    rank.
    """
    array = ArraySpec(64, 64)
    first, *rest = zoo_network("resnet20").convolutions
    dense = sum(map_layer(shape, array, "im2col").cycles for shape in (first, *rest))
    for divisor in (2, 4, 8, 16):
        pairs = [map_low_rank(shape, array, 1, shape.m // divisor, "im2col").cycles for shape in rest]
        assert (sum(pairs) + map_layer(first, array, "im2col").cycles) / dense == pytest.approx(
            1.27, abs=0.005
        )
