"""Window layers and their low-rank pairs in plans: what fits, what one can stand in for, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.mapping.window_matrix import window_shape
from rankfold.plan import (
    DenseLayer,
    LayerKind,
    LayerPlan,
    LowRankLayer,
    WindowLayer,
    WindowLowRankLayer,
    support_to_text,
)
from rankfold.workload import ConvShape

BODY = ConvShape("body", 4, 6, (3, 3), (8, 8), padding=(1, 1, 1, 1))
GROUPED = ConvShape("parts", 4, 6, (3, 3), (8, 8), groups=2)
LINEAR = ConvShape("head", 4, 2, (1, 1), (1, 1), kind="linear")
HOOKED = ConvShape("odd", 4, 2, (1, 1), (4, 4), fixed="it has hooks")


def pair(window: Any, rows: Any = None, support: Any = None, rank: Any = 1) -> WindowLowRankLayer:
    """A low-rank pair with the arguments of a window layer."""
    return WindowLowRankLayer(window, rank, rows, support)


# Layers of window, rows and support.
BOTH = pytest.mark.parametrize("layer", [WindowLayer, pair], ids=["window", "low-rank"])
Layer = Callable[..., LayerKind]


@BOTH
@pytest.mark.parametrize("shape", [BODY, GROUPED])
def test_what_fits(layer: Layer, shape: ConvShape) -> None:
    layer((2, 2)).check(shape)
    open_rows = layer((2, 2), 16)
    open_rows.check(shape)
    assert open_rows.shares_support and open_rows.known_support is None
    support = np.zeros((shape.groups, window_shape(shape, (2, 2)).n), bool)
    support[:, -16:] = True
    text = support_to_text(support.reshape(shape.in_channels, -1))
    filled = open_rows.with_support(text)
    filled.check(shape)
    assert filled == layer((2, 2), 16, text) and filled.known_support == text
    assert LayerPlan.from_json(LayerPlan("body", filled, mapping="im2col").to_json()).kind == filled


@BOTH
@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        (((9, 1),), BODY, "layer body: a window of 9x1 output pixels does not fit its plane of 8x8"),
        (((2, 2), 65), BODY, r"rows \(=65\) must be at most 64, the inputs of a window of 2x2"),
        (((2, 2), 33), GROUPED, r"rows \(=33\) must be at most 32"),
        (((2, 2), 8, "1 1"), BODY, "support is for 2 input channels, the layer has 4"),
        (((2, 2), 8, "1 1 1 10000"), BODY, "beyond the 16 of its kernel"),
        (((2, 2), 8, "1 1 1 1"), BODY, r"rows \(=8\) must be the inputs that its support .*, 4$"),
        (((2, 2), 1, "1 0 3 0"), GROUPED, r"keeps in each group, 1 and 2$"),
        (((1, 1),), LINEAR, "a window needs an output plane"),
        (((1, 1),), HOOKED, "layer odd: it cannot be a window layer: it has hooks; make it dense"),
    ],
)
def test_what_does_not_fit(layer: Layer, fields: tuple[Any, ...], shape: ConvShape, message: str) -> None:
    with pytest.raises(InputError, match=message):
        layer(*fields).check(shape)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
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
    ],
)
def test_ranks_that_no_pair_has(kind: WindowLowRankLayer, shape: ConvShape, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind.check(shape)


@BOTH
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (((2, 0),), r"window \(=\(2, 0\)\) must be a pair of positive"),
        (((2,),), "must be a pair of positive whole numbers"),
        (((2, 2.0),), "must be a pair of positive whole numbers"),
        (((2, 2), 0), r"rows \(=0\) must be a positive whole number"),
        (((2, 2), None, "1"), "only window layers with rows have a support"),
        (((2, 2), 1, "x"), "support must be hexadecimal numbers"),
    ],
)
def test_fields_that_no_layer_has(layer: Layer, fields: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        layer(*fields)


@pytest.mark.parametrize("rank", [0, 1.0])
def test_a_rank_is_a_positive_whole_number(rank: Any) -> None:
    with pytest.raises(InputError, match=rf"rank \(={rank}\) must be a positive whole number"):
        WindowLowRankLayer((2, 2), rank)


@BOTH
def test_what_one_holds(layer: Layer) -> None:
    """Others of the same window that drive no other inputs; the kernels that it can hold are told below."""
    whole = layer((2, 2))
    some, fewer = layer((2, 2), 3, "3 1"), layer((2, 2), 2, "1 1")
    assert whole.holds(some) and some.holds(fewer) and not fewer.holds(some) and not some.holds(whole)
    assert not layer((2, 1)).holds(fewer)
    assert not layer((2, 2), 3).holds(fewer)  # which rows it drives is still open
    assert not some.holds(DenseLayer()) and not DenseLayer().holds(whole)


def test_a_window_layer_holds_any_kernel() -> None:
    """Shifted copies of it fit into the whole box."""
    whole = WindowLayer((2, 2))
    assert whole.holds(DenseLayer()) and whole.holds(LowRankLayer(1, 2))


def test_a_pair_holds_pairs_of_the_kernel_up_to_its_rank() -> None:
    whole, some = pair((2, 2), rank=8), pair((2, 2), 8, "7 1f", rank=6)
    # Of a pair of the kernel, 4 pixels of g blocks of rank r.
    assert whole.holds(LowRankLayer(1, 2)) and whole.holds(LowRankLayer(2, 1))
    assert not whole.holds(LowRankLayer(1, 3)) and not some.holds(LowRankLayer(1, 1))
    assert whole.holds(some) and some.holds(pair((2, 2), 2, "1 1", rank=4)) and not some.holds(whole)
    assert not whole.holds(pair((1, 2), rank=2)) and not whole.holds(pair((2, 2), rank=9))
    assert not whole.holds(DenseLayer()) and not whole.holds(WindowLayer((2, 2)))


def test_in_a_few_letters() -> None:
    assert WindowLayer((1, 2), 64).short() == "w1x2 r64" and WindowLayer((4, 2)).short() == "w4x2"
    pairs = partial(WindowLowRankLayer, rank=12)
    assert pairs((2, 2), rows=16).short() == "w2x2 q12 r16" and pairs((1, 2)).short() == "w1x2 q12"


def test_what_is_worse_than_dense() -> None:
    array = ArraySpec(16, 16)
    dense = map_layer(BODY, array, "best").cycles
    # Sixteen windows of 64 inputs, 24 values and 24 outputs.
    own = 16 * (4 * 2 + 2 * 2)
    told = WindowLowRankLayer((2, 2), 24).worse_than_dense([BODY], array, "best")
    assert told == f"w2x2 q24 saves nothing ({own} cycles instead of {dense})"
    assert WindowLowRankLayer((2, 2), 16).worse_than_dense([BODY], ArraySpec(64, 24), "im2col") == ""
