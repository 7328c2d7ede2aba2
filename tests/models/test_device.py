"""Where a network is: of its parameters, else of its buffers, else the CPU."""

import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.models.device import device_of, dtype_of
from rankfold.models.load import check_classes
from rankfold.runs.evaluate import evaluate


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
