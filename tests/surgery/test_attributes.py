"""What stands in for a layer has its attributes, so that code around the layer runs on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from common.cells import CELLS
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.low_rank_linear import LowRankLinear
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.quantised import LayerBits, QuantConv2d, QuantLinear
from rankfold.plan import LowRank, PatDNN, SharedSupport, uniform_plan
from rankfold.simulator import simulate, simulated_layers
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.workload import trace

OF_A_WINDOW = (
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "padding_mode",
    "in_channels",
    "out_channels",
    "groups",
)
OF_LINEAR = ("in_features", "out_features")
BITS = LayerBits(4, 4, True)

CONVOLUTIONS: dict[str, Any] = {
    "low-rank": lambda conv: LowRankConv2d(conv, 1, 1),
    "row-sparse": lambda conv: LowRankConv2d(conv, 1, 1, row_sparse=True),
    "masked": MaskedConv2d.from_conv,
    "quantised": lambda conv: QuantConv2d.from_float(conv, BITS),
    "masked and quantised": lambda conv: QuantConv2d.from_float(MaskedConv2d.from_conv(conv), BITS),
}
LINEARS: dict[str, Any] = {
    "low-rank": lambda linear: LowRankLinear(linear, 1, 1),
    "quantised": lambda linear: QuantLinear.from_float(linear, BITS),
}


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Conv2d:
    groups = draw(st.sampled_from([1, 2]))
    stride: Any = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    padding: Any = draw(st.tuples(st.integers(0, 2), st.integers(0, 1)))
    if draw(st.booleans()):
        stride, padding = (1, 1), draw(st.sampled_from(["same", "valid"]))
    return nn.Conv2d(
        2 * groups,
        3 * groups,
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        stride,
        padding,
        draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        groups,
        draw(st.booleans()),
        draw(st.sampled_from(["zeros", "reflect"])),
    )


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@given(conv=convolutions())
@settings(max_examples=20)
def test_what_replaces_a_convolution_has_its_attributes(kind: str, conv: nn.Conv2d) -> None:
    before = {name: getattr(conv, name) for name in OF_A_WINDOW}
    bias = conv.bias
    made = CONVOLUTIONS[kind](conv)
    assert {name: getattr(made, name) for name in OF_A_WINDOW} == before
    assert made.bias is bias
    assert isinstance(made.weight, Tensor) and made.weight.shape == conv.weight.shape
    if not kind.startswith(("low-rank", "row-sparse")):
        assert made.weight is conv.weight


@pytest.mark.parametrize("kind", LINEARS)
@pytest.mark.parametrize("biased", [False, True])
def test_what_replaces_a_linear_layer_has_its_attributes(kind: str, biased: bool) -> None:
    linear = nn.Linear(6, 4, bias=biased)
    made = LINEARS[kind](linear)
    assert (made.in_features, made.out_features) == (6, 4)
    assert made.bias is linear.bias
    assert isinstance(made.weight, Tensor) and made.weight.shape == (4, 6)


class Asking(nn.Module):
    """A network whose code asks its layers for everything that they have."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2)
        self.hidden = nn.Linear(8, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.stem, self.conv):
            for name in OF_A_WINDOW:
                getattr(conv, name)
            height = (x.shape[2] + 2 * conv.padding[0] - conv.kernel_size[0]) // conv.stride[0] + 1
            assert x.shape[1] == conv.in_channels
            scale = conv.weight.abs().mean() + conv.bias.abs().mean()
            x = torch.relu(conv(x))
            assert x.shape[1:3] == (conv.out_channels, height)
            x = x / scale.detach().clamp(min=0.1).to(x.dtype)
        x = x.mean((2, 3))
        for linear in (self.hidden, self.head):
            assert x.shape[1] == linear.in_features
            x = linear(x) + 0 * linear.bias.sum() * linear.weight.sum().to(x.dtype)
            assert x.shape[1] == linear.out_features
        return x


METHODS = [None, LowRank(groups=2, rank=2, linear=True, force=True), PatDNN(4), SharedSupport(4)]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "dense" if method is None else method.name)
def test_code_that_asks_layers_for_their_attributes_runs_on(method: Any) -> None:
    """After surgery, after quantisation, and on simulated arrays."""
    torch.manual_seed(0)
    model = Asking()
    images = torch.randn(8, 3, 8, 8)
    plan = uniform_plan(trace(model, (3, 8, 8)), CELLS, method, bits=4)
    kept = {name: getattr(model.conv, name) for name in OF_A_WINDOW}
    compress_(model, plan, [images])
    assert model(images).shape == (8, 4)
    plan = quantise_(model, plan, [images])
    model(images).sum().backward()
    on_arrays = simulate(model.eval(), plan)
    assert len(simulated_layers(on_arrays)) == (6 if isinstance(method, LowRank) else 4)
    with torch.no_grad():
        torch.testing.assert_close(on_arrays(images), model(images), rtol=1e-4, atol=1e-4)
    for network in (model, on_arrays):
        assert {name: getattr(network.conv, name) for name in OF_A_WINDOW} == kept
        assert network.conv.weight.shape == (8, 4, 3, 3) and network.conv.bias.shape == (8,)
        assert {name: getattr(network.head, name) for name in OF_LINEAR} == {
            "in_features": 6,
            "out_features": 4,
        }


def test_a_simulated_layer_has_no_more_than_its_layer() -> None:
    model = Asking()
    images = torch.randn(8, 3, 8, 8)
    plan = uniform_plan(trace(model, (3, 8, 8)), CELLS, bits=4)
    on_arrays = simulate(model, quantise_(model, plan, [images]))
    assert on_arrays.conv.weight is model.conv.weight and on_arrays.conv.bias is model.conv.bias
    assert not hasattr(on_arrays.conv, "in_features") and not hasattr(on_arrays.head, "stride")
    with pytest.raises(AttributeError, match="colour"):
        on_arrays.conv.colour  # noqa: B018
    names = {name for name, _ in on_arrays.named_parameters()}
    assert "conv.layer.weight" in names and "conv.weight" not in names
