"""Where a network is: of its parameters, else of its buffers, else the CPU."""

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.models.device import device_of, dtype_of
from rankfold.models.load import check_classes
from rankfold.nn.masked import MaskedConv2d
from rankfold.runs.evaluate import evaluate
from rankfold.training.loaders import LoaderData


def test_parameters_come_before_buffers():
    norm = nn.BatchNorm2d(4, device="meta")
    norm.running_mean = torch.zeros(4)
    assert device_of(norm).type == "meta"
    assert device_of(nn.BatchNorm2d(4, affine=False, device="meta")).type == "meta"
    assert device_of(nn.Flatten()).type == "cpu"


def test_the_type_is_that_of_parameters():
    assert dtype_of(nn.Linear(2, 2).double()) == torch.float64
    # A count is a buffer, but nothing that a network computes in.
    assert dtype_of(nn.BatchNorm2d(4, affine=False)) == torch.float32


def test_a_network_without_parameters_is_evaluated():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert evaluate(nn.Flatten(), [(images, torch.tensor([0, 0]))]) == 0.5


def test_a_network_without_parameters_gives_its_logits():
    check_classes(nn.Flatten(), "flat", (1, 2, 2), 4)
    with pytest.raises(InputError):
        check_classes(nn.Flatten(), "flat", (1, 2, 2), 5)


def test_an_evaluated_network_keeps_the_layout_of_its_weights():
    images, classes = torch.randn(4, 3, 6, 6), torch.tensor([0, 1, 0, 1])
    conv = MaskedConv2d.from_conv(nn.Conv2d(3, 2, 3), np.ones((2, 3, 3, 3), bool))
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    tensors = [*model.parameters(), *model.buffers()]
    before = [(tensor.data_ptr(), tensor.stride()) for tensor in tensors]
    batches = [(images, classes)]
    assert evaluate(model, LoaderData(batches, batches)) == evaluate(model, batches)
    after = [*model.parameters(), *model.buffers()]
    assert all(one is other for one, other in zip(tensors, after, strict=True))
    assert [(tensor.data_ptr(), tensor.stride()) for tensor in after] == before
