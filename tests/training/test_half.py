"""Steps in bfloat16."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.models.zoo import build
from rankfold.nn import batch_norm, convolution
from rankfold.training.data import load_images
from rankfold.training.half import bfloat16_steps
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe

CPU = torch.device("cpu")

# Kernel, stride, padding, dilation and size of the plane, outputs one pixel wide or high.
ONE_WIDE = [
    ((3, 3), 2, (1, 1), 1, (1, 1)),
    ((3, 3), 3, (1, 1), 1, (2, 2)),
    ((5, 5), 3, (2, 2), 1, (2, 2)),
    ((2, 3), 2, (0, 0), 1, (5, 4)),
    ((1, 3), 2, (0, 0), 2, (5, 6)),
]


def gradients(layer, x, half):
    """Outputs of a layer, and the gradients of its weight and its input under the sum of their squares."""
    layer.zero_grad()
    x = x.detach().requires_grad_()
    with bfloat16_steps(CPU, half):
        y = layer(x)
    y.float().square().sum().backward()
    return [y.detach().float(), layer.weight.grad.clone(), x.grad]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "plane"), ONE_WIDE)
def test_convolutions_that_torch_computes_wrong_in_bfloat16_are_exact(
    kernel, stride, padding, dilation, plane
):
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, kernel, stride, padding, dilation).to(memory_format=torch.channels_last)
    x = torch.randn(64, 16, *plane)
    expected = gradients(layer, x, False)
    for value, right in zip(gradients(layer, x, True), expected, strict=True):
        assert torch.equal(value, right)


def test_functions_with_arguments_by_name_and_other_dimensions_are_exact():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(8, 4, 2), torch.randn(6, 4, 3), torch.randn(6)
    with bfloat16_steps(CPU, True):
        y = F.conv1d(x, weight=weight, bias=bias, stride=(2,), padding=1)
    assert torch.equal(y, F.conv1d(x, weight, bias, 2, 1))


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": "same"}, {"padding": "valid"}])
def test_all_other_convolutions_stay_in_bfloat16(options):
    layer = nn.Conv2d(2, 3, 3, **options)
    x = torch.randn(2, 2, 8, 8)
    with bfloat16_steps(CPU, True):
        assert layer(x).dtype == torch.bfloat16
    with bfloat16_steps(CPU, False):
        assert layer(x).dtype == torch.float32


def test_compiled_steps_are_the_same():
    """Dynamo follows the calls of torch that are run in another precision."""
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 3, 2, 1)
    x = torch.randn(64, 16, 1, 1)
    expected = gradients(layer, x, False)
    compiled = torch.compile(copy.deepcopy(layer), backend="aot_eager")
    for value, right in zip(gradients(compiled, x, True), expected, strict=True):
        assert torch.equal(value, right)


def losses(images):
    """Mean losses of training in steps of bfloat16, four of them an epoch."""
    recipe = Recipe(epochs=4, batch_size=64, peak_rate=0.1, precision="bfloat16")
    history = train(build("resnet8", 10, 1), images, recipe, CPU)
    return torch.tensor([record.train_loss for record in history])


def test_training_by_kernels_goes_where_that_by_torch_goes(image_cache, monkeypatch):
    digits = load_images("digits")
    few = replace(digits, train=digits.train.sample(256, 0), test=digits.test.sample(8, 0))
    found = losses(few)
    monkeypatch.setattr(convolution, "convolution_kernels", lambda: None)
    monkeypatch.setattr(batch_norm, "kernels", lambda: None)
    expected = losses(few)
    assert expected[-1] < 0.9 * expected[0]
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0)
