"""Low-rank pairs: their own windows, a shared one, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.strategies import ARRAYS, conv_shapes, supported_layers
from rankfold.errors import InputError
from rankfold.mapping import (
    LOW_RANK_METHODS,
    MAPPINGS,
    ArraySpec,
    map_layer,
    map_low_rank,
    map_one_window,
    map_with_window,
)
from rankfold.workload import ConvShape


@given(supported_layers(), st.integers(1, 4))
def test_windows_never_cost_more_than_one_pixel_at_a_time(case, rank):
    shape, array, support = case
    groups = shape.in_channels // shape.groups
    plain, windowed, best = (
        map_low_rank(shape, array, groups, rank, method, support) for method in ("im2col", "sdk", "best")
    )
    assert best.cycles <= windowed.cycles <= plain.cycles
    assert windowed.cycles == windowed.stage1.cycles + windowed.stage2.cycles
    assert (
        windowed.stage1.shape.out_channels
        == windowed.stage2.shape.in_channels
        == shape.groups * groups * rank
    )
    assert windowed.stage2.shape.output == shape.output


@given(conv_shapes(largest=8), ARRAYS, st.integers(1, 3))
def test_shared_window_is_the_best_one_for_both_stages(shape, array, rank):
    pair = map_low_rank(shape, array, 1, rank, "sdk")
    shared = pair.shared
    assert shared.stage1.window == shared.stage2.window
    assert shared.cycles >= pair.cycles
    height, width = shape.output
    each = [
        map_with_window(pair.stage1.shape, array, (a, b)).cycles
        + map_with_window(pair.stage2.shape, array, (a, b)).cycles
        for a in range(1, height + 1)
        for b in range(1, width + 1)
        if a * b <= array.columns
    ]
    assert shared.cycles == min(each)
    plain = map_low_rank(shape, array, 1, rank, "im2col")
    assert plain.shared.cycles == plain.cycles


def test_depthwise_blocks_share_an_array():
    shape = ConvShape("dw", 8, 8, (3, 3), (4, 4), padding=(1, 1, 1, 1), groups=8)
    assert map_layer(shape, ArraySpec(72, 8), "im2col").tile_count == 1
    assert map_layer(shape, ArraySpec(36, 8), "im2col").tile_count == 2


def test_what_is_refused():
    shape, array = ConvShape("conv1", 3, 16, (3, 3), (8, 8)), ArraySpec(64, 64)
    with pytest.raises(InputError, match=r"mapping \(=magic\) must be one of im2col, sdk"):
        map_layer(shape, array, "magic")
    with pytest.raises(InputError, match="must be one of im2col, sdk"):
        map_low_rank(shape, array, 1, 2, "vw-sdk")
    with pytest.raises(InputError, match=r"groups \(=2\) must divide its 3 input channels"):
        map_low_rank(shape, array, 2, 2, "sdk")
    with pytest.raises(InputError, match=r"rank \(=0\) must be 1 or more"):
        map_low_rank(shape, array, 1, 0, "sdk")
    with pytest.raises(
        InputError,
        match=r"layer conv1: support \(=bool \(3, 3\)\) must be boolean, \(C_in, kh\*kw\) = \(3, 9\)",
    ):
        map_layer(shape, array, "sdk", np.ones((3, 3), bool))
    with pytest.raises(InputError, match=r"support \(=int64"):
        map_layer(shape, array, "sdk", np.ones((3, 9), np.int64))
    with pytest.raises(InputError, match="support must keep at least one kernel position"):
        map_one_window(shape, array, np.zeros((3, 9), bool))
    with pytest.raises(InputError, match=r"window \(=7x1\) must lie within 6x6 outputs"):
        map_with_window(shape, array, (7, 1))
    with pytest.raises(InputError, match=r"window \(=3x3\) must .* and have at most 8 pixels"):
        map_with_window(shape, ArraySpec(64, 8), (3, 3))
    assert LOW_RANK_METHODS == ("im2col", "sdk", "best")
    assert MAPPINGS == ("im2col", "sdk", "vw-sdk", "tetris-sdk", "best")
