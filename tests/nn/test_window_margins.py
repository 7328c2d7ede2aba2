"""Planes in parts as modules: they begin as the convolution that they stand in for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.covers import covers_of
from rankfold.errors import InputError
from rankfold.mapping.window_cover import PlanePart
from rankfold.nn.window import WindowConv2d
from rankfold.nn.window_margins import PartOfPlane, WindowMarginsConv2d

PARTS = (
    PlanePart((0, 0), (6, 4), (2, 2)),
    PlanePart((0, 4), (7, 1), (4, 1)),
    PlanePart((6, 0), (1, 4), (1, 3)),
)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, torch.Tensor, tuple[PlanePart, ...]]:
    """A convolution in float64, an input for it and a cover of its plane."""
    groups = draw(st.sampled_from((1, 1, 2)))
    torch.manual_seed(draw(st.integers(0, 99)))
    conv = nn.Conv2d(
        2 * groups,
        3 * groups,
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        groups,
        draw(st.booleans()),
        draw(st.sampled_from(("zeros", "zeros", "reflect", "circular", "replicate"))),
        dtype=torch.float64,
    )
    images = torch.randn(2, 2 * groups, draw(st.integers(5, 9)), draw(st.integers(5, 9)), dtype=torch.float64)
    height, width = conv(images).shape[2:]
    return conv, images, draw(covers_of((height, width), cuts=draw(st.integers(0, 3))))


@given(convolutions())
def test_a_plane_in_parts_begins_as_its_convolution(case) -> None:
    conv, images, parts = case
    before = torch.get_rng_state()
    layer = WindowMarginsConv2d.from_conv(conv, parts)
    assert torch.equal(before, torch.get_rng_state())
    assert layer.plane == conv(images).shape[2:]
    # The same products in sums of another order, with zeros among them.
    plane = conv(images)
    torch.testing.assert_close(layer(images), plane, rtol=0, atol=1e-14)
    for part in layer.each:
        is_a_window_layer_on_what_it_reads(part, conv, images, plane)


def is_a_window_layer_on_what_it_reads(
    own: PartOfPlane, conv: nn.Conv2d, images: torch.Tensor, plane: torch.Tensor
) -> None:
    """The windows of a part are those of a plane of its own."""
    part = own.part
    (top, left), (bottom, right) = part.corner, part.end
    bare = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        (conv.stride[0], conv.stride[1]),
        dilation=(conv.dilation[0], conv.dilation[1]),
        groups=conv.groups,
        dtype=torch.float64,
    )
    alone, read = WindowConv2d(bare, part.window), own.padded(images)
    assert alone.output_size(read) == part.size == own.output_size(images)
    assert torch.equal(alone.extended(read), own.extended(images))
    assert torch.equal(own.by_window(plane), alone.by_window(plane[:, :, top:bottom, left:right]))
    assert own.windows == own.by_window(plane).shape[-1]


def test_integers_come_out_exactly() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(torch.randint(-7, 8, conv.weight.shape))
        assert conv.bias is not None
        conv.bias.copy_(torch.randint(-7, 8, conv.bias.shape))
    images = torch.randint(-7, 8, (2, 4, 13, 9)).double()
    layer = WindowMarginsConv2d.from_conv(conv, PARTS)
    assert torch.equal(layer(images), conv(images))
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(layer, name) == getattr(conv, name)
    # Outputs lie in memory as those of the convolution do.
    assert layer(images).is_contiguous()
    last = layer.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_another_plane_is_refused_in_one_sentence() -> None:
    layer = WindowMarginsConv2d(nn.Conv2d(4, 6, 3, padding=1), PARTS)
    with pytest.raises(InputError, match="computes 7x5 outputs, and this input has 8x5; give inputs of the"):
        layer(torch.randn(1, 4, 8, 5))
