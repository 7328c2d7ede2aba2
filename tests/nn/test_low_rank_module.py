"""`LowRankConv2d`: the pair computes exactly the convolution that `to_dense` gives, with all its
attributes.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rankfold.errors import InputError
from rankfold.lowrank import LowRankFactors, decompose, reconstruct
from rankfold.nn.low_rank import LowRankConv2d, weight_shape
from rankfold.plan import LowRankLayer
from rankfold.surgery.kinds.low_rank import decompose_conv


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def convolution(seed: int = 0, **options: Any) -> nn.Conv2d:
    """A float64 convolution with weights fixed by `seed`."""
    conv = nn.Conv2d(**options, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(normal(*conv.weight.shape, seed=seed))
        if conv.bias is not None:
            conv.bias.copy_(normal(*conv.bias.shape, seed=seed + 1))
    return conv


@st.composite
def convolutions(draw: st.DrawFn, groups: int) -> nn.Conv2d:
    """Convolutions whose input channels have so many low-rank groups."""
    conv_groups = draw(st.sampled_from([1, 2, 3]))
    stride: Any = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding: Any = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    if draw(st.integers(0, 4)) == 0:
        stride, padding = 1, "same"
    return convolution(
        seed=draw(st.integers(0, 10_000)),
        in_channels=conv_groups * groups * draw(st.integers(1, 2)),
        out_channels=conv_groups * draw(st.integers(1, 5)),
        kernel_size=(draw(st.integers(1, 4)), draw(st.integers(1, 3))),
        stride=stride,
        padding=padding,
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        groups=conv_groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    )


ATTRIBUTES = (
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
    "in_channels",
    "out_channels",
)


# Torch tells of a copy that it makes for an uneven 'same' padding; the result is right.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@given(data=st.data())
@settings(max_examples=120)
def test_output_equals_the_equivalent_dense_convolution(data: st.DataObject) -> None:
    groups = data.draw(st.sampled_from([1, 2, 3]))
    conv = data.draw(convolutions(groups))
    limit = min(conv.out_channels // conv.groups, conv.weight[0].numel() // groups)
    rank = data.draw(st.integers(1, limit))
    module, factors = decompose_conv(conv, LowRankLayer(groups, rank))
    x = normal(2, conv.in_channels, data.draw(st.integers(8, 11)), data.draw(st.integers(8, 11)))
    dense = module.to_dense()
    with torch.no_grad():
        out, expected, original = module(x), dense(x), conv(x)
    assert out.shape == original.shape
    scale = max(1.0, float(expected.abs().max()))
    assert float((out - expected).abs().max()) <= 1e-10 * scale
    # The dense convolution carries every attribute, and the weight that the factors stand for.
    for name in ATTRIBUTES:
        assert getattr(dense, name) == getattr(conv, name) == getattr(module, name), name
    weight = reconstruct(factors, conv.groups, groups)
    np.testing.assert_allclose(dense.weight.detach().numpy(), weight, rtol=0, atol=1e-12)
    assert torch.equal(module.weight, dense.weight)
    distance = float((dense.weight - conv.weight).detach().norm() / conv.weight.detach().norm())
    assert factors.error == pytest.approx(distance, rel=1e-7, abs=1e-10)
    if rank == limit:
        assert float((out - original).abs().max()) <= 1e-10 * scale


def test_without_data_the_factors_are_those_of_the_grouped_svd() -> None:
    conv = convolution(in_channels=8, out_channels=6, kernel_size=3, groups=2)
    module, factors = decompose_conv(conv, LowRankLayer(2, 2))
    expected = decompose(conv.weight.detach().numpy(), 2, 2, 2)
    assert (factors.error, factors.plain_error) == (expected.error, expected.plain_error)
    np.testing.assert_array_equal(module.reduce.weight.detach().numpy(), expected.reduce)
    np.testing.assert_array_equal(module.expand.weight.detach().numpy(), expected.expand)


@pytest.mark.parametrize("row_sparse", [False, True])
def test_stages_have_the_documented_shapes(row_sparse: bool) -> None:
    conv = convolution(in_channels=8, out_channels=12, kernel_size=(3, 5), stride=2, padding=1, groups=2)
    module = LowRankConv2d(conv, 2, 3, row_sparse)
    middle = module.reduce(normal(4, 8, 9, 9))
    assert middle.shape == (4, 2 * 2 * 3, 5, 4)
    assert module.expand(middle).shape == (4, 12, 5, 4)
    assert (module.reduce.groups, module.expand.groups) == (4, 2)
    assert module.reduce.bias is None
    assert "groups=2, rank=3" in repr(module)


def test_the_equivalent_of_a_row_sparse_pair_has_its_mask() -> None:
    module = LowRankConv2d(convolution(in_channels=4, out_channels=6, kernel_size=3), 2, 2, row_sparse=True)
    x = normal(2, 4, 7, 7)
    keep = torch.rand(module.reduce.mask.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    module.reduce.mask.copy_(keep)
    torch.testing.assert_close(module(x), module.to_dense()(x))
    kept = (module.reduce.weight * keep).detach().numpy()
    factors = LowRankFactors(kept, module.expand.weight.detach().numpy(), 0.0, 0.0)
    np.testing.assert_allclose(module.weight.numpy(), reconstruct(factors, 1, 2))


def test_state_dict_round_trip_gives_the_same_outputs_bit_for_bit() -> None:
    options = {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "padding": 1}
    module, _ = decompose_conv(convolution(seed=3, **options), LowRankLayer(2, 2))
    fresh = LowRankConv2d(convolution(seed=9, **options), 2, 2)
    x = normal(2, 4, 7, 7)
    assert not torch.equal(fresh(x), module(x))
    assert set(module.state_dict()) == {"reduce.weight", "expand.weight", "expand.bias"}
    fresh.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(fresh(x), module(x))
    other = LowRankConv2d(convolution(**options), 2, 1)
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(module.state_dict())


@pytest.mark.parametrize("training", [True, False])
def test_mode_dtype_and_bias_parameter_are_those_of_the_convolution(training: bool) -> None:
    conv = nn.Conv2d(4, 4, 3, dtype=torch.float32).train(training)
    before = copy.deepcopy(conv.state_dict())
    module, _ = decompose_conv(conv, LowRankLayer(1, 2))
    assert module.bias is module.expand.bias is conv.bias
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert [m.training for m in module.modules()] == [training] * 3
    dense = module.to_dense()
    assert dense.training is training and dense.weight.dtype is torch.float32
    assert dense.bias is not None and torch.equal(dense.bias, conv.bias) and dense.bias is not conv.bias
    assert all(torch.equal(before[key], value) for key, value in conv.state_dict().items())
    bare = LowRankConv2d(nn.Conv2d(4, 4, 3, bias=False), 1, 2)
    assert bare.bias is None and bare.to_dense().bias is None


def test_both_factors_are_trained() -> None:
    module = LowRankConv2d(convolution(in_channels=4, out_channels=4, kernel_size=3), 2, 2)
    module(normal(2, 4, 6, 6)).square().mean().backward()
    gradients = {name: p.grad for name, p in module.named_parameters()}
    assert set(gradients) == {"reduce.weight", "expand.weight", "expand.bias"}
    assert all(grad is not None and float(grad.abs().max()) > 0 for grad in gradients.values())


@pytest.mark.parametrize(
    ("groups", "rank", "message"),
    [
        (3, 1, r"groups \(=3\) must divide its 4 input channels; use one of 1, 2, 4"),
        (0, 1, r"groups \(=0\) must divide"),
        (4, 7, r"rank \(=7\) must lie between 1 and 6, the full rank with 4 groups"),
        (1, 0, r"rank \(=0\) must lie between 1 and 6"),
    ],
)
def test_groups_and_ranks_that_do_not_fit(groups: int, rank: int, message: str) -> None:
    conv = nn.Conv2d(4, 6, 3)
    with pytest.raises(InputError, match=message):
        LowRankConv2d(conv, groups, rank)
    with pytest.raises(InputError, match=message):
        decompose_conv(conv, LowRankLayer(groups, rank))


def test_a_weight_that_is_not_finite_is_refused() -> None:
    conv = nn.Conv2d(4, 6, 3)
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="finite"):
        decompose_conv(conv, LowRankLayer(1, 2))


def test_weight_shape_is_that_of_the_weight() -> None:
    shape = weight_shape(nn.Conv2d(6, 9, (3, 2), stride=2, padding=4, dilation=7, groups=3))
    assert (shape.m, shape.n, shape.parameters) == (9, 12, 108)
