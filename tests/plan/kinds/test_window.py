"""Window layers in plans: what fits a layer, what one can stand in for, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rankfold.errors import InputError
from rankfold.mapping.window_matrix import window_shape
from rankfold.plan import DenseLayer, LayerPlan, LowRankLayer, WindowLayer, support_to_text
from rankfold.workload import ConvShape

BODY = ConvShape("body", 4, 6, (3, 3), (8, 8), padding=(1, 1, 1, 1))
GROUPED = ConvShape("parts", 4, 6, (3, 3), (8, 8), groups=2)


def chosen(shape: ConvShape, kind: WindowLayer, rows: int) -> str:
    """A support that keeps the last `rows` inputs of each group."""
    whole = window_shape(shape, kind.window)
    support = np.zeros((shape.groups, whole.n), bool)
    support[:, -rows:] = True
    return support_to_text(support.reshape(shape.in_channels, -1))


@pytest.mark.parametrize("shape", [BODY, GROUPED])
def test_what_fits(shape: ConvShape) -> None:
    WindowLayer((2, 2)).check(shape)
    open_rows = WindowLayer((2, 2), 16)
    open_rows.check(shape)
    filled = open_rows.with_support(chosen(shape, open_rows, 16))
    filled.check(shape)
    assert LayerPlan.from_json(LayerPlan("body", filled, mapping="im2col").to_json()).kind == filled


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (
            WindowLayer((9, 1)),
            BODY,
            "layer body: a window of 9x1 output pixels does not fit its plane of 8x8",
        ),
        (WindowLayer((2, 2), 65), BODY, r"rows \(=65\) must be at most 64, the inputs of a window of 2x2"),
        (WindowLayer((2, 2), 33), GROUPED, r"rows \(=33\) must be at most 32"),
        (WindowLayer((2, 2), 8, "1 1"), BODY, "support is for 2 input channels, the layer has 4"),
        (WindowLayer((2, 2), 8, "1 1 1 10000"), BODY, "beyond the 16 of its kernel"),
        (WindowLayer((2, 2), 8, "1 1 1 1"), BODY, r"rows \(=8\) must be the inputs that its support .*, 4$"),
        (WindowLayer((2, 2), 1, "1 0 3 0"), GROUPED, r"keeps in each group, 1 and 2$"),
        (WindowLayer((1, 1)), ConvShape("head", 4, 2, (1, 1), (1, 1), kind="linear"), "a window needs an"),
        (
            WindowLayer((1, 1)),
            ConvShape("odd", 4, 2, (1, 1), (4, 4), fixed="it has hooks"),
            "layer odd: it cannot be a window layer: it has hooks; make it dense",
        ),
    ],
)
def test_what_does_not_fit(kind: WindowLayer, shape: ConvShape, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind.check(shape)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": (2, 0)}, r"window \(=\(2, 0\)\) must be a pair of positive"),
        ({"window": (2,)}, "must be a pair of positive whole numbers"),
        ({"window": (2, 2.0)}, "must be a pair of positive whole numbers"),
        ({"window": (2, 2), "rows": 0}, r"rows \(=0\) must be a positive whole number"),
        ({"window": (2, 2), "support": "1"}, "only window layers with rows have a support"),
        ({"window": (2, 2), "rows": 1, "support": "x"}, "support must be hexadecimal numbers"),
    ],
)
def test_fields_that_no_layer_has(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WindowLayer(**fields)


def test_what_a_window_layer_holds() -> None:
    whole = WindowLayer((2, 2))
    some, fewer = WindowLayer((2, 2), 3, "3 1"), WindowLayer((2, 2), 2, "1 1")
    # Shifted copies of any kernel fit into the whole box, and no kernel holds free weights.
    assert whole.holds(DenseLayer()) and whole.holds(LowRankLayer(1, 2)) and whole.holds(some)
    assert some.holds(fewer) and not fewer.holds(some) and not some.holds(whole)
    assert not DenseLayer().holds(whole) and not some.holds(DenseLayer())
    assert not WindowLayer((2, 1)).holds(fewer)
    assert not WindowLayer((2, 2), 3).holds(fewer)  # which rows it drives is still open


def test_a_window_in_a_few_letters() -> None:
    assert WindowLayer((1, 2), 64).short() == "w1x2 r64" and WindowLayer((4, 2)).short() == "w4x2"
