"""Low-rank pairs of windows as modules: they hold every low-rank pair of the kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rankfold.mapping.window_matrix import window_weight
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.window import WindowConv2d
from rankfold.nn.window_low_rank import WindowLowRankConv2d


@st.composite
def pairs(draw):
    """A low-rank pair of integers in float64, a window that fits it, and images."""
    groups = draw(st.sampled_from((1, 1, 2)))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    mode = draw(st.sampled_from(("zeros", "reflect")))
    conv = nn.Conv2d(
        2 * groups,
        3 * groups,
        kernel,
        stride,
        draw(st.integers(0, 2)),
        dilation,
        groups,
        draw(st.booleans()),
        mode,
        dtype=torch.float64,
    )
    pair = LowRankConv2d(conv, 1, draw(st.integers(1, 2)))
    torch.manual_seed(draw(st.integers(0, 99)))
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.copy_(torch.randint(-7, 8, parameter.shape))
    images = torch.randint(-7, 8, (2, 2 * groups, draw(st.integers(5, 9)), draw(st.integers(5, 9)))).double()
    height, width = pair(images).shape[2:]
    window = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
    return conv, pair, images, window


def tied(conv: nn.Conv2d, pair: LowRankConv2d, window) -> WindowLowRankConv2d:
    """The pair of windows whose stages are shifted copies of R_, and I_N (x) L of each group."""
    pixels, groups, rank = window[0] * window[1], conv.groups, pair.rank
    made = WindowLowRankConv2d(conv, window, pixels * rank)
    first = pair.reduce.weight.detach().numpy()
    copies = window_weight(first, groups, made.stride, made.dilation, window)
    second = pair.expand.weight.detach().numpy().reshape(groups, -1, rank)
    blocks = np.stack([np.kron(np.eye(pixels), block) for block in second])  # (G, N m/G, N r)
    with torch.no_grad():
        made.reduce.weight.copy_(torch.from_numpy(copies))
        made.expand.weight.copy_(torch.from_numpy(blocks.reshape(made.expand.weight.shape)))
        made.set_bias_(pair.bias)
    return made


@given(pairs())
def test_it_holds_every_pair_of_the_kernel_to_the_last_unit(case) -> None:
    conv, pair, images, window = case
    made = tied(conv, pair, window)
    assert torch.equal(made(images), pair(images))
    # And the matrix that it stands for is that of the window layer with the product's copies.
    assert torch.equal(made.weight, WindowConv2d.from_conv(pair.to_dense(), window).weight)


def test_random_states_modes_and_types_are_kept() -> None:
    conv = nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), groups=2).eval()
    before = torch.get_rng_state()
    layer = WindowLowRankConv2d(conv.double(), (2, 2), 5)
    assert torch.equal(before, torch.get_rng_state())
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(layer, name) == getattr(conv, name)
    assert layer.weight.dtype == torch.float64 and not layer.training
    assert "window=2x2, rank=5" in repr(layer)
    assert layer.weight.shape == (24, 2, 5, 2)


def test_blocks_off_the_diagonal_learn_and_rows_outside_the_mask_do_not() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1).double()
    layer = tied(conv, LowRankConv2d(conv, 1, 2), (2, 2))
    with torch.no_grad():
        layer.reduce.mask[:, :, 0] = False
        layer.reduce.weight.mul_(layer.reduce.mask)
    free = (layer.expand.weight == 0).detach().clone()
    assert int(free.sum()) == 3 * 4 * 3 * 2
    optimiser = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        layer(torch.randn(4, 2, 6, 6).double()).square().sum().backward()
        optimiser.step()
    assert (layer.expand.weight[free] != 0).all()
    assert (layer.reduce.weight[~layer.reduce.mask] == 0).all()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_half_precision_and_both_layouts(memory) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, padding=1).to(torch.bfloat16)
    pair = LowRankConv2d(conv, 1, 4)
    images = torch.randn(2, 8, 10, 10).to(torch.bfloat16, memory_format=memory)
    layer = WindowLowRankConv2d(conv, (2, 2), 16).to(memory_format=memory)
    with torch.no_grad():
        wide = tied(nn.Conv2d(8, 16, 3, padding=1).double(), pair.double(), (2, 2))
        layer.load_state_dict(wide.state_dict())
    pair = pair.to(torch.bfloat16)
    torch.testing.assert_close(layer(images), pair(images), rtol=4e-2, atol=4e-2)
