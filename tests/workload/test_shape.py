"""Shapes of convolutions: what follows from them, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.workload import ConvShape
from rankfold.workload.shape import parse_pair, same_padding


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"in_channels": 0}, r"layer c: in_channels \(=0\)"),
        ({"out_channels": -1}, r"out_channels \(=-1\)"),
        ({"kernel": (3, 0)}, r"kernel \(=3x0\)"),
        ({"stride": (1, 0)}, r"stride \(=1x0\)"),
        ({"dilation": (1, 1.5)}, r"dilation \(=1x1.5\)"),
        ({"padding": (0, 0, -1, 0)}, r"padding \(=0x0x-1x0\)"),
        ({"kernel": (3, 3, 3)}, r"kernel \(=3x3x3\) must be a pair of numbers \(vertical, horizontal\)"),
        ({"padding": (1, 1)}, r"padding \(=1x1\) must be four numbers \(top, bottom, left, right\)"),
        ({"padding": 1}, r"padding must be four numbers \(top, bottom, left, right\), not 1"),
        ({"in_channels": True}, r"in_channels \(=True\) must be positive whole numbers"),
        ({"kind": "pool"}, r"kind \(=pool\) must be conv or linear"),
        ({"groups": 3}, r"groups \(=3\) must divide in_channels \(=4\)"),
        ({"groups": 4, "out_channels": 6}, r"groups \(=4\) must divide out_channels \(=6\)"),
        ({"input": (2, 9)}, r"does not fit the padded input of 2x9"),
        ({"dilation": (1, 5)}, r"with dilation 1x5 does not fit"),
        ({"in_channels": 999_999_999}, "999,999,999 input channels"),
        ({"out_channels": 2**62}, "output channels"),
        ({"kernel": (9999, 9999), "input": (9999, 9999)}, "99,980,001 positions in its kernel"),
        ({"input": (10**6, 10**6)}, "1,000,000,000,000 positions in its padded input"),
        ({"padding": (10**9, 0, 10**9, 0)}, "positions in its padded input"),
        ({"in_channels": 2**20, "kernel": (9, 9)}, "84,934,656 inputs for each output"),
    ],
)
def test_impossible_shapes_are_refused_by_name(changes: dict, message: str) -> None:
    good = {"name": "c", "in_channels": 4, "out_channels": 8, "kernel": (3, 3), "input": (9, 9)}
    ConvShape(**good)
    with pytest.raises(InputError, match=message):
        ConvShape(**{**good, **changes})


def test_shape_figures_of_a_grouped_strided_layer() -> None:
    layer = ConvShape("c", 8, 6, (3, 2), (10, 7), (2, 1), padding=(1, 0, 2, 1), dilation=(2, 3), groups=2)
    assert (layer.m, layer.n, layer.parameters) == (6, 24, 144)
    assert (layer.padded_input, layer.extent, layer.output) == ((11, 10), (5, 4), (4, 7))
    assert layer.macs == 144 * 28
    assert layer.without_padding().output == (3, 4)
    assert layer.without_padding().weight == "c"


@pytest.mark.parametrize("text, pair", [("3", (3, 3)), ("3x5", (3, 5)), (" 3X5 ", (3, 5))])
def test_sizes_are_read(text: str, pair: tuple[int, int]) -> None:
    assert parse_pair(text, "kernel") == pair


@pytest.mark.parametrize("text", ["", "x", "3x", "3x3x3", "-1", "1.5", "three", "²"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"kernel .* must be a size such as 3 or 3x5"):
        parse_pair(text, "kernel")


@given(data=st.data())
def test_same_padding_gives_a_window_for_every_stride(data) -> None:
    """ceil(H/stride) x ceil(W/stride) outputs, and no side has two zeros more than the other."""
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    size = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    kernel, stride, dilation = data.draw(pair), data.draw(pair), data.draw(pair)
    top, bottom, left, right = same_padding(size, kernel, stride, dilation)
    assert 0 <= bottom - top <= 1 and 0 <= right - left <= 1
    layer = ConvShape("c", 1, 1, kernel, size, stride, padding=(top, bottom, left, right), dilation=dilation)
    assert layer.output == (-(-size[0] // stride[0]), -(-size[1] // stride[1]))
