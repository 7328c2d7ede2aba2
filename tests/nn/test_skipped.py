"""What stands in for a convolution gives outputs that code behind it may write to."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.nn.grouped import GroupedConv2d
from rankfold.nn.rectified import rectified_norm
from rankfold.nn.skipped import SkippedConv2d
from rankfold.nn.trimmed import TrimmedConv2d

CONV = nn.Conv2d(4, 4, 3, padding=1)
FEW = np.array([True, False, True, True])
LAYERS = [
    SkippedConv2d(CONV),
    GroupedConv2d(CONV, 2),
    TrimmedConv2d(CONV, nn.Conv2d(3, 3, 3, padding=1), FEW, FEW),
]


def add_(y, x):
    y += x
    return y


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize(
    ("in_place", "apart"),
    [
        (lambda y, x: nn.ReLU(inplace=True)(y), lambda y, x: y.relu()),
        (add_, lambda y, x: y + x),
        (lambda y, x: rectified_norm(nn.Identity(), y, x), lambda y, x: (y + x).relu()),
        (lambda y, x: rectified_norm(nn.Identity(), y), lambda y, x: y.relu()),
    ],
    ids=["relu", "sum", "rectified sum", "rectified"],
)
def test_outputs_may_be_changed_in_place(layer, in_place, apart):
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    found = []
    for change in (in_place, apart):
        own = copy.deepcopy(layer)
        y = change(own(x), x)
        y.square().sum().backward()
        found.append((y.detach(), *(parameter.grad for parameter in own.parameters())))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_skipped_layer_keeps_the_layout_of_its_input(layout):
    y = LAYERS[0](torch.ones(2, 4, 5, 6).contiguous(memory_format=layout))
    assert y.is_contiguous(memory_format=layout)
