"""`LowRankLinear`: the pair computes exactly the linear layer that `to_dense` gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rankfold.errors import InputError
from rankfold.lowrank import decompose
from rankfold.nn.low_rank_linear import LowRankLinear
from rankfold.plan import LowRankLayer
from rankfold.surgery.kinds.low_rank import decompose_linear


@given(st.sampled_from([1, 2, 3]), st.integers(1, 4), st.sampled_from([(), (3,), (2, 5)]))
def test_it_is_the_linear_layer_of_its_factors(groups, rank, places):
    torch.manual_seed(rank)
    linear = nn.Linear(12, 7, bias=bool(groups % 2)).double()
    module, factors = decompose_linear(linear, LowRankLayer(groups, rank))
    dense = module.to_dense()
    x = torch.randn(2, *places, 12, dtype=torch.float64)
    torch.testing.assert_close(module(input=x), dense(x))
    expected = decompose(linear.weight.detach().numpy()[:, :, None, None], 1, groups, rank)
    assert factors.error == pytest.approx(expected.error)
    assert factors.error <= factors.plain_error + 1e-12
    lost = torch.linalg.norm((dense.weight - linear.weight).detach()) / torch.linalg.norm(linear.weight)
    assert lost.item() == pytest.approx(factors.error, abs=1e-9)
    full, _ = decompose_linear(linear, LowRankLayer(1, 7))
    torch.testing.assert_close(full(x), linear(x))


@pytest.mark.parametrize("training", [True, False])
def test_mode_dtype_and_bias_parameter_are_those_of_the_layer(training):
    linear = nn.Linear(12, 7).double().train(training)
    module = LowRankLinear(linear, 2, 3)
    assert module.bias is module.expand.bias is linear.bias
    assert (module.in_features, module.out_features) == (12, 7)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float64}
    assert [part.training for part in module.modules()] == [training] * 3
    dense = module.to_dense()
    assert dense.training is training and torch.equal(dense.bias, linear.bias)
    assert torch.equal(module.weight, dense.weight)
    assert LowRankLinear(nn.Linear(12, 7, bias=False), 2, 3).bias is None
    assert "groups=2, rank=3" in repr(module)


@pytest.mark.parametrize(
    ("groups", "rank", "message"),
    [
        (5, 1, r"groups \(=5\) must divide its 12 input channels"),
        (1, 8, r"rank \(=8\) must lie between 1 and 7, the full rank with 1 groups"),
        (4, 4, r"rank \(=4\) must lie between 1 and 3, the full rank with 4 groups"),
    ],
)
def test_groups_and_ranks_that_do_not_fit(groups, rank, message):
    with pytest.raises(InputError, match=message):
        LowRankLinear(nn.Linear(12, 7), groups, rank)
