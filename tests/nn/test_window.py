"""Window layers as modules: they begin as the convolution that they stand in for."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rankfold.nn.window import WindowConv2d


@st.composite
def convolutions(draw):
    """A convolution in float64, an input for it and a window."""
    groups = draw(st.sampled_from((1, 1, 2)))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.just("same")))
    stride = (1, 1)
    if padding != "same":
        stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    mode = draw(st.sampled_from(("zeros", "zeros", "reflect", "circular", "replicate")))
    torch.manual_seed(draw(st.integers(0, 99)))
    conv = nn.Conv2d(
        2 * groups,
        3 * groups,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        draw(st.booleans()),
        mode,
        dtype=torch.float64,
    )
    images = torch.randn(2, 2 * groups, draw(st.integers(5, 9)), draw(st.integers(5, 9)), dtype=torch.float64)
    height, width = conv(images).shape[2:]
    window = draw(st.integers(1, min(4, height))), draw(st.integers(1, min(4, width)))
    return conv, images, window


# torch says that it copies the input where it pads an even kernel to the same size.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@given(convolutions())
def test_a_window_layer_begins_as_its_convolution(case) -> None:
    conv, images, window = case
    before = torch.get_rng_state()
    layer = WindowConv2d.from_conv(conv, window)
    assert torch.equal(before, torch.get_rng_state())
    # The same products in sums of another order, with zeros among them.
    torch.testing.assert_close(layer(images), conv(images), rtol=0, atol=1e-14)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@given(convolutions())
def test_a_plane_by_windows_is_put_in_place_again(case) -> None:
    conv, images, window = case
    layer = WindowConv2d(conv, window)
    plane = conv(images)
    windows = layer.by_window(plane)
    size = layer.output_size(images)
    down, across = (-(-pixels // side) for pixels, side in zip(size, window, strict=True))
    outputs = windows.reshape(len(images), -1, down, across)
    assert torch.equal(layer.placed(outputs, size), plane)
    # Beyond the plane there is nothing.
    assert torch.isclose(windows.abs().sum(), plane.abs().sum())


def test_integers_come_out_exactly() -> None:
    # Sums of integers are exact in any order, so that the last unit agrees.
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(torch.randint(-7, 8, conv.weight.shape))
        assert conv.bias is not None
        conv.bias.copy_(torch.randint(-7, 8, conv.bias.shape))
    images = torch.randint(-7, 8, (2, 4, 13, 11)).double()
    for window in [(1, 1), (2, 3), (3, 2), (7, 6)]:
        assert torch.equal(WindowConv2d.from_conv(conv, window)(images), conv(images))


def test_it_answers_for_its_convolution() -> None:
    conv = nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), groups=2)
    layer = WindowConv2d.from_conv(conv, (2, 2)).eval()
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    for name in names:
        assert getattr(layer, name) == getattr(conv, name)
    assert layer.weight.dtype == conv.weight.dtype and not layer.training


def test_rows_outside_the_mask_stay_zero_in_training() -> None:
    torch.manual_seed(0)
    layer = WindowConv2d.from_conv(nn.Conv2d(2, 3, 3, padding=1), (2, 2))
    layer.matrix.mask[:, :, 0] = False
    with torch.no_grad():
        layer.matrix.weight.mul_(layer.matrix.mask)
    free = copy.deepcopy(layer.matrix.weight)
    optimiser = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        layer(torch.randn(4, 2, 6, 6)).square().sum().backward()
        optimiser.step()
    assert torch.equal(layer.weight[~layer.matrix.mask], torch.zeros(int((~layer.matrix.mask).sum())))
    # Also the zeros between the copies are weights of their own.
    between = (free == 0) & layer.matrix.mask
    assert between.any() and (layer.weight[between] != 0).all()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_half_precision_and_both_layouts(memory) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, padding=1).to(torch.bfloat16)
    images = torch.randn(2, 8, 10, 10).to(torch.bfloat16, memory_format=memory)
    layer = WindowConv2d.from_conv(conv, (2, 2)).to(memory_format=memory)
    torch.testing.assert_close(layer(images), conv(images), rtol=2e-2, atol=2e-2)


def test_outputs_lie_in_memory_as_those_of_a_convolution_do() -> None:
    layer = WindowConv2d.from_conv(nn.Conv2d(3, 4, 3, padding=1), (2, 2))
    x = torch.randn(2, 3, 5, 6)
    assert layer(x).is_contiguous()  # for networks that flatten them as a view
    layer.to(memory_format=torch.channels_last)
    assert layer(x.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1).stride(-1) == 1
