"""Slices of images that lie channels last."""

import pytest
import torch

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
    y.detach().zero_()  # of its own memory
    assert torch.equal(x, same)


@pytest.mark.parametrize("index", [0, (0, slice(None)), ..., torch.tensor([1, 0]), (slice(None), None)])
def test_every_other_index_is_torch_s(index):
    x = images()
    assert torch.equal(sliced(x, index), x[index])


def test_steps_slice_so():
    x = images()
    with bfloat16_steps(torch.device("cpu"), True):
        y = (x * 1)[:, :, ::2, ::2]
    assert "_Slice" in type(y.grad_fn).__name__
