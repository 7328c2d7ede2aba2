"""Low-rank pairs of windows in plans: what fits a layer, what one can stand in for, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.mapping.window_matrix import window_shape
from rankfold.plan import (
    DenseLayer,
    LayerPlan,
    LowRankLayer,
    WindowLayer,
    WindowLowRankLayer,
    support_to_text,
)
from rankfold.workload import ConvShape

BODY = ConvShape("body", 4, 6, (3, 3), (8, 8), padding=(1, 1, 1, 1))
GROUPED = ConvShape("parts", 4, 6, (3, 3), (8, 8), groups=2)


@pytest.mark.parametrize("shape", [BODY, GROUPED])
def test_what_fits(shape: ConvShape) -> None:
    WindowLowRankLayer((2, 2), 12).check(shape)
    open_rows = WindowLowRankLayer((2, 2), 12, 16)
    open_rows.check(shape)
    support = np.zeros((shape.groups, window_shape(shape, (2, 2)).n), bool)
    support[:, -16:] = True
    filled = open_rows.with_support(support_to_text(support.reshape(shape.in_channels, -1)))
    filled.check(shape)
    assert LayerPlan.from_json(LayerPlan("body", filled, mapping="im2col").to_json()).kind == filled
    assert filled.short() == "w2x2 q12 r16" and WindowLowRankLayer((1, 2), 3).short() == "w1x2 q3"


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (
            WindowLowRankLayer((9, 1), 2),
            BODY,
            "layer body: a window of 9x1 output pixels does not fit its plane of 8x8",
        ),
        (
            WindowLowRankLayer((2, 2), 25),
            BODY,
            r"rank \(=25\) must be at most 24, the full rank of the 24 outputs of a window of 2x2 and its 64 "
            "inputs that are driven",
        ),
        (
            WindowLowRankLayer((2, 2), 13),
            GROUPED,
            r"rank \(=13\) must be at most 12, the full rank of the 12",
        ),
        (WindowLowRankLayer((2, 2), 9, 8), BODY, r"rank \(=9\) must be at most 8"),
        (WindowLowRankLayer((2, 2), 4, 65), BODY, r"rows \(=65\) must be at most 64, the inputs of a window"),
        (WindowLowRankLayer((2, 2), 4, 8, "1 1"), BODY, "support is for 2 input channels, the layer has 4"),
        (
            WindowLowRankLayer((1, 1), 1),
            ConvShape("head", 4, 2, (1, 1), (1, 1), kind="linear"),
            "a window needs an output plane",
        ),
    ],
)
def test_what_does_not_fit(kind: WindowLowRankLayer, shape: ConvShape, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind.check(shape)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": (2, 0), "rank": 1}, r"window \(=\(2, 0\)\) must be a pair of positive"),
        ({"window": (2, 2), "rank": 0}, r"rank \(=0\) must be a positive whole number"),
        ({"window": (2, 2), "rank": 1.0}, r"rank \(=1.0\) must be a positive whole number"),
        ({"window": (2, 2), "rank": 1, "rows": 0}, r"rows \(=0\) must be a positive whole number"),
        ({"window": (2, 2), "rank": 1, "support": "1"}, "only window layers with rows have a support"),
    ],
)
def test_fields_that_no_layer_has(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WindowLowRankLayer(**fields)


def test_what_one_holds() -> None:
    whole = WindowLowRankLayer((2, 2), 8)
    some, fewer = WindowLowRankLayer((2, 2), 6, 8, "7 1f"), WindowLowRankLayer((2, 2), 4, 2, "1 1")
    assert whole.holds(some) and some.holds(fewer) and not fewer.holds(some) and not some.holds(whole)
    # Of a pair of the kernel, 4 pixels of g blocks of rank r.
    assert whole.holds(LowRankLayer(1, 2)) and whole.holds(LowRankLayer(2, 1))
    assert not whole.holds(LowRankLayer(1, 3)) and not some.holds(LowRankLayer(1, 1))
    assert not whole.holds(WindowLowRankLayer((1, 2), 2)) and not whole.holds(WindowLowRankLayer((2, 2), 9))
    assert not whole.holds(DenseLayer()) and not whole.holds(WindowLayer((2, 2)))


def test_what_is_worse_than_dense() -> None:
    array = ArraySpec(16, 16)
    dense = map_layer(BODY, array, "best").cycles
    # Sixteen windows of 64 inputs, 24 values and 24 outputs.
    own = 16 * (4 * 2 + 2 * 2)
    told = WindowLowRankLayer((2, 2), 24).worse_than_dense([BODY], array, "best")
    assert told == f"w2x2 q24 saves nothing ({own} cycles instead of {dense})"
    assert WindowLowRankLayer((2, 2), 16).worse_than_dense([BODY], ArraySpec(64, 24), "im2col") == ""
