"""Batch norms folded into convolutions."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.models.zoo import build
from rankfold.nn.convolution_kernels import ConvolutionKernels, convolution_kernels
from rankfold.nn.rectified import rectified_norm
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.folding import folded

BATCH = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def with_statistics(network: nn.Module) -> nn.Module:
    """A network in eval mode whose norms do something, of two batches."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        network.train()(BATCH)
    return network.eval().requires_grad_(False)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_a_folded_network_computes_the_same():
    for name, left in (("resnet8", 0), ("wrn16-4", 6)):  # norms before convolutions stay
        network = with_statistics(build(name, 10))
        made = folded(network, BATCH)
        assert norms(made) == left
        torch.testing.assert_close(made(BATCH), network(BATCH), rtol=1e-3, atol=1e-3)


def test_shared_weights_and_norms_without_parameters_fold_each_for_themselves():
    first, second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
    second.weight = first.weight
    network = nn.Sequential(first, nn.BatchNorm2d(3), second, nn.BatchNorm2d(3, affine=False), nn.ReLU())
    with_statistics(network)
    made = folded(network, BATCH)
    assert norms(made) == 0
    torch.testing.assert_close(made(BATCH), network(BATCH), rtol=1e-4, atol=1e-4)


def test_a_norm_whose_input_others_read_stays():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    network = with_statistics(Both())
    assert torch.equal(folded(network, BATCH)(BATCH), network(BATCH))


class Between(nn.Module):
    """A convolution, and code between it and its norm, or before it, that depends on where it is."""

    def __init__(self, call):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.call = call

    def forward(self, x):
        return self.call(self, x)


def mean_by_pixels(net, x, rectified):
    y = net.conv(x)
    pixels = y.shape[2] * y.shape[3]
    return rectified(net.bn, y).sum((2, 3)) / pixels


def flat(net, x, rectified):
    y = net.conv(x)
    b, c, h, w = y.shape
    return rectified(net.bn, y).reshape(b, c, h * w)


def of_its_type(net, x, rectified):
    return rectified(net.bn, net.conv(x.to(net.conv.weight.dtype)))


def read_before_it_changes(net, x, rectified):
    y = net.conv(x)
    x.clamp_(min=0)
    return rectified(net.bn, y).sum() + x.sum((1, 2, 3))


@pytest.mark.parametrize("rectified", [lambda norm, y: F.relu(norm(y)), rectified_norm])
@pytest.mark.parametrize("call", [mean_by_pixels, flat, of_its_type, read_before_it_changes])
def test_code_between_a_convolution_and_its_norm_computes_what_it_did(call, rectified):
    torch.manual_seed(0)
    network = with_statistics(Between(lambda net, x: call(net, x, rectified)))
    before = BATCH.clone()
    made = folded(network, BATCH)
    assert torch.equal(BATCH, before)
    assert norms(made) == 0
    torch.testing.assert_close(made(BATCH.clone()), network(BATCH.clone()), rtol=1e-4, atol=1e-4)


def test_a_teacher_folds_a_copy_that_runs_in_its_place():
    network = with_statistics(build("resnet8", 10))
    before = copy.deepcopy(network.state_dict())
    teacher = Teacher(network, Distillation(1.0))
    teacher.prepare_(torch.device("cpu"), compiled=False, half=False)
    logits = network(BATCH)
    # Its pupil knows all that it knows.
    _, _, soft = teacher.losses(BATCH, logits, torch.zeros(()))
    assert soft < 1e-6
    assert norms(teacher._folded) == 0
    for held in (network, teacher.network):
        assert all(torch.equal(value, before[name]) for name, value in held.state_dict().items())


@pytest.mark.skipif(convolution_kernels() is None, reason="needs a processor with AMX, and a C compiler")
def test_convolutions_of_a_teacher_add_and_rectify(monkeypatch):
    seen, forward = [], ConvolutionKernels.forward

    def watched(kernels, x, weight, bias, window, **finish):
        added = finish.get("added")
        seen.append((finish.get("rectify"), None if added is None else tuple(added.shape)))
        return forward(kernels, x, weight, bias, window, **finish)

    monkeypatch.setattr(ConvolutionKernels, "forward", watched)
    network = with_statistics(build("resnet8", 10))
    teacher = Teacher(network, Distillation(1.0))
    teacher.prepare_(torch.device("cpu"), compiled=False, half=True)
    batch = BATCH.contiguous(memory_format=torch.channels_last)
    teacher.losses(batch, torch.zeros(4, 10), torch.zeros(()))
    # Two convolutions of each of three blocks; the first of the network reads three channels.
    planes = [(4, 16, 32, 32), (4, 32, 16, 16), (4, 64, 8, 8)]
    assert seen == [(True, added) for plane in planes for added in (None, plane)]


def test_layers_that_something_looks_at_stay():
    for which, register in ((0, "register_forward_hook"), (1, "register_full_backward_hook")):
        network = with_statistics(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
        getattr(network[which], register)(lambda module, before, after: None)
        made = folded(network, BATCH)
        assert norms(made) == 1
        assert torch.equal(made(BATCH), network(BATCH))


def test_a_network_that_computes_otherwise_without_its_norm_stays():
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.conv(x)) * self.norm.num_features

    network = with_statistics(Asking())
    assert folded(network, BATCH) is network
