"""Slices of images that lie channels last."""

import pytest
import torch

from rankfold.models.zoo import ShortcutA
from rankfold.nn.slices import sliced
from rankfold.training.half import bfloat16_steps

EVERY_SECOND = (slice(None), slice(None), slice(None, None, 2), slice(None, None, 2))
PART = (slice(None), slice(1, 3), slice(2, None), slice(0, 4))


def images() -> torch.Tensor:
    x = torch.randn(2, 4, 7, 6, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("index", [EVERY_SECOND, PART])
def test_values_and_gradients_are_those_of_torch_in_the_layout_of_the_images(index):
    x, same = images(), images()
    y, expected = sliced(x, index), same[index]
    dy = torch.randn(expected.shape)
    y.backward(dy)
    expected.backward(dy)
    assert torch.equal(y, expected)
    assert torch.equal(x.grad, same.grad)
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("index", [0, (0, slice(None)), ..., torch.tensor([1, 0]), (slice(None), None)])
def test_every_other_index_is_torch_s(index):
    x = images()
    assert torch.equal(sliced(x, index), x[index])


def test_the_shortcuts_of_the_zoo_slice_so():
    x = images()
    ShortcutA(2, 4)(x).sum().backward()
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_steps_leave_slices_of_networks_views_that_can_be_written_to():
    x = images()
    with bfloat16_steps(torch.device("cpu"), True):
        y = x * 1
        y[:, :2].mul_(0)
    assert not y[:, :2].any()


def test_the_gradient_is_where_the_tensor_is():
    """On a device of its own, as on a GPU."""
    x = torch.zeros(2, 4, 6, 6, device="meta").to(memory_format=torch.channels_last).requires_grad_()
    sliced(x, EVERY_SECOND).sum().backward()
    assert x.grad.device == x.device and x.grad.is_contiguous(memory_format=torch.channels_last)
