"""Patches of layers and of shapes of layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.calibration.patches import kernel_positions, patches
from rankfold.workload import trace


@pytest.mark.parametrize(
    "layer, size",
    [
        (nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=2), (4, 9, 8)),
        (nn.Conv2d(4, 6, (2, 3), padding="same"), (4, 9, 8)),
        (nn.Linear(5, 3), (7, 5)),
        (nn.Linear(5, 3), (5,)),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_a_shape_has_the_patches_of_its_layer(layer, size):
    x = torch.randn(2, *size, dtype=torch.float64)
    (shape,) = trace(nn.Sequential(layer), None, inputs=[x.float()]).layers
    assert torch.equal(patches(shape, x), patches(layer, x))
    assert kernel_positions(shape) == kernel_positions(layer)


def test_padding_of_any_mode_is_in_the_patches():
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    first = patches(layer, x)[0, 0, :, 0]
    assert first.tolist() == [8.0, 6.0, 7.0, 2.0, 0.0, 1.0, 5.0, 3.0, 4.0]


@pytest.mark.parametrize("dilation", [(1, 1), (1, 2)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_patches_are_in_the_order_of_weights(stride, dilation):
    layer = nn.Conv2d(4, 6, (3, 2), stride, (1, 2), dilation, groups=2)
    x = torch.randn(2, 4, 9, 8)
    wanted = F.unfold(x, (3, 2), dilation, (1, 2), stride)
    assert torch.equal(patches(layer, x), wanted.reshape(2, 2, 12, -1))
