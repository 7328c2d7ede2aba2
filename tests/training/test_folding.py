"""Batch norms folded into convolutions."""

import copy

import torch
from torch import nn

from rankfold.models.zoo import build
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.folding import fold_norms_

BATCH = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def with_statistics(network: nn.Module) -> nn.Module:
    """A network in eval mode whose norms do something, of two batches."""
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
        expected = network(BATCH)
        fold_norms_(network, BATCH)
        assert norms(network) == left
        torch.testing.assert_close(network(BATCH), expected, rtol=1e-3, atol=1e-3)


def test_shared_weights_and_norms_without_parameters_fold_each_for_themselves():
    first, second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
    second.weight = first.weight
    network = nn.Sequential(first, nn.BatchNorm2d(3), second, nn.BatchNorm2d(3, affine=False), nn.ReLU())
    with_statistics(network)
    expected = network(BATCH)
    fold_norms_(network, BATCH)
    assert norms(network) == 0
    torch.testing.assert_close(network(BATCH), expected, rtol=1e-4, atol=1e-4)


def test_a_norm_whose_input_others_read_stays():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    network = with_statistics(Both())
    expected = network(BATCH)
    fold_norms_(network, BATCH)
    assert torch.equal(network(BATCH), expected)


def test_a_teacher_folds_a_copy_that_runs_in_its_place():
    network = with_statistics(build("resnet8", 10))
    before = copy.deepcopy(network.state_dict())
    teacher = Teacher(network, Distillation(1.0))
    teacher.prepare_(torch.device("cpu"), compiled=False, half=False)
    logits = network(BATCH)
    # Its pupil knows all that it knows.
    _, _, soft = teacher.losses(BATCH, logits, torch.zeros(()))
    assert soft < 1e-5  # sixteen times what float32 leaves of no divergence
    assert norms(teacher._folded) == 0
    for held in (network, teacher.network):
        assert all(torch.equal(value, before[name]) for name, value in held.state_dict().items())


def test_layers_that_something_looks_at_stay():
    network = with_statistics(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    network[0].register_forward_hook(lambda module, inputs, output: output + 1)
    expected = network(BATCH)
    fold_norms_(network, BATCH)
    assert norms(network) == 1
    assert torch.equal(network(BATCH), expected)
