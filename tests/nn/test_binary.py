"""One bit with a sign: {-s, +s}."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.nn.binary import BinaryQuantiser
from rankfold.nn.quantised import LayerBits, QuantConv2d
from rankfold.nn.quantisers import Quantiser


@given(st.integers(0, 999), st.floats(0.01, 100))
def test_the_step_is_the_best_for_two_levels(seed, size):
    x = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * size
    quantiser = BinaryQuantiser()
    quantiser.fit_(x)
    y = quantiser(x)
    assert torch.equal(y, quantiser.integers(x) * quantiser.scale)
    assert set(quantiser.integers(x).tolist()) <= {-1, 1}
    error = (y - x).square().sum()
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert error <= (quantiser.integers(x) * quantiser.scale * factor - x).square().sum() * (1 + 1e-6)


def test_gradients_are_dorefas_and_lsqs():
    x = torch.tensor([-2.0, -0.1, 0.0, 3.0], requires_grad=True)
    quantiser = BinaryQuantiser()
    quantiser.fit_(x)
    dy = torch.tensor([1.0, 2.0, 4.0, 8.0])
    quantiser(x).backward(dy)
    assert torch.equal(x.grad, dy)
    assert quantiser.step.grad.item() == pytest.approx((-1 - 2 + 4 + 8) / 2)  # over sqrt(4 elements)


def test_layers_of_one_bit():
    conv = QuantConv2d.from_float(torch.nn.Conv2d(3, 4, 3), LayerBits(1, 1, False))
    assert isinstance(conv.weight_quantiser, BinaryQuantiser)
    assert type(conv.input_quantiser) is Quantiser
    assert (conv.input_quantiser.low, conv.input_quantiser.high) == (0, 1)
    conv.input_quantiser.fit_(torch.rand(100))
    assert len(conv.weight_quantiser(conv.weight).unique()) == 2
    assert conv(torch.rand(2, 3, 8, 8)).shape == (2, 4, 6, 6)
    signed = QuantConv2d.from_float(torch.nn.Conv2d(3, 4, 3), LayerBits(1, 1, True))
    assert isinstance(signed.input_quantiser, BinaryQuantiser) and signed.input_quantiser.batched
    with pytest.raises(InputError, match=r"bits \(=1\) must be 2 or more with a sign"):
        Quantiser(1, True)
    with pytest.raises(InputError, match="no step size yet"):
        BinaryQuantiser()(torch.ones(3))
