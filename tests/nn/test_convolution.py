"""Convolutions by the compiled kernels are those of torch, and what the kernels do not know is left to it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rankfold.nn.convolution import convolution
from rankfold.nn.convolution_kernels import convolution_kernels
from rankfold.nn.rectified import rectified_norm
from rankfold.training.half import bfloat16_steps

compiled = pytest.mark.skipif(
    convolution_kernels() is None, reason="needs a processor with AMX, and a C compiler"
)


def values(*shape: int, seed: int = 0) -> Tensor:
    """Numbers that bfloat16 has, channels last."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float()
    return drawn.contiguous(memory_format=torch.channels_last)


def close(found: Tensor, exact: Tensor, digits: int) -> bool:
    """Whether all numbers agree to so many binary digits of the largest."""
    return bool((found.double() - exact).abs().max() <= exact.abs().max() * 2.0**-digits)


def results(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> tuple[Tensor, ...]:
    """y, and the gradients of x, weight and bias, as a step of training computes them."""
    parts = [part.clone().requires_grad_() for part in (x, weight, bias)]
    padding = weight.shape[2] // 2
    with bfloat16_steps(torch.device("cpu"), x.dtype != torch.float64):
        y = torch.conv2d(*parts, stride, padding)
    y.backward(values(*y.shape, seed=3).to(y.dtype))
    return (y.detach(), *(part.grad for part in parts))


@compiled
@settings(max_examples=20)
@given(
    batch=st.integers(1, 5),
    channels=st.sampled_from((16, 32, 48, 64, 128)),
    outputs=st.sampled_from((16, 32, 48, 80)),
    height=st.integers(3, 19),
    width=st.integers(1, 19),
    kernel=st.sampled_from((1, 3)),
    stride=st.sampled_from((1, 2)),
)
def test_outputs_and_gradients_are_those_of_float64(batch, channels, outputs, height, width, kernel, stride):
    width += ((width - 1) // stride + 1) % 2 * stride  # an even number of outputs
    x, weight, bias = (
        values(batch, channels, height, width),
        values(outputs, channels, kernel, kernel),
        values(outputs, 1, 1, 1).flatten(),
    )
    taken = convolution({"input": x, "weight": weight, "stride": stride, "padding": kernel // 2})
    assert taken is not None
    y, dx, dw, db = results(x, weight, bias, stride)
    exact = results(x.double(), weight.double(), bias.double(), stride)
    assert y.dtype == torch.bfloat16
    # The first two are rounded to eight digits, the others are sums in float32.
    for found, right, digits in zip((y, dx, dw, db), exact, (8, 8, 16, 16), strict=True):
        assert close(found, right, digits)


@compiled
@settings(max_examples=10)
@given(
    channels=st.sampled_from((16, 48)),
    outputs=st.sampled_from((16, 32, 48)),
    plane=st.tuples(st.integers(3, 19), st.integers(2, 10)),
    stride=st.sampled_from((1, 2)),
    biased=st.booleans(),
    summed=st.booleans(),
)
def test_what_follows_is_done_before_results_are_rounded(channels, outputs, plane, stride, biased, summed):
    height, width = plane[0], 2 * stride * plane[1]
    layer = nn.Conv2d(channels, outputs, 3, stride, 1, bias=biased).to(memory_format=torch.channels_last)
    x, added = (
        values(2, channels, height, width),
        values(2, outputs, (height - 1) // stride + 1, width // stride),
    )
    given = added.bfloat16() if summed else None
    with torch.no_grad(), bfloat16_steps(x.device, enabled=True):
        y = rectified_norm(layer, x.bfloat16(), given)
    weight = layer.weight.detach().bfloat16().double()
    bias = None if layer.bias is None else layer.bias.detach().double()
    exact = torch.conv2d(x.double(), weight, bias, stride, 1) + summed * added.double()
    assert y.dtype == torch.bfloat16 and y.is_contiguous(memory_format=torch.channels_last)
    # Rounded once, at the very end: each number has eight digits of its own.
    torch.testing.assert_close(y.double(), exact.relu(), rtol=2**-8, atol=1e-4)


@compiled
def test_what_the_kernels_cannot_add_is_added_by_torch():
    layer = nn.Conv2d(16, 16, 3, padding=1).to(memory_format=torch.channels_last)
    x = values(2, 16, 4, 6).bfloat16()
    for added in (x.float(), x.contiguous(), x[:1]):
        with torch.no_grad(), bfloat16_steps(x.device, enabled=True):
            assert torch.equal(rectified_norm(layer, x, added), (layer(x) + added).relu())
    # With gradients the ReLU has one, too.
    with bfloat16_steps(x.device, enabled=True):
        y = rectified_norm(layer, x)
        assert torch.equal(y, layer(x).relu()) and y.grad_fn.name() == "ReluBackward0"


@compiled
def test_results_do_not_depend_on_threads():
    x, weight = values(9, 32, 8, 8), values(64, 32, 3, 3, seed=1)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(results(x, weight, torch.zeros(64), 1))
    finally:
        torch.set_num_threads(threads)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


@compiled
def test_numbers_that_are_not_finite_stay_so():
    """Wherever a tap sees them, perhaps elsewhere in their image (see the source), and in no other image."""
    for channels, stride in ((16, 1), (32, 1), (48, 1), (48, 2)):
        x, weight = values(3, channels, 8, 8), values(16, channels, 3, 3)
        x[1, 3, 2, 2] = float("nan")
        y, _, dw, _ = results(x, weight, torch.zeros(16), stride)
        seen = torch.conv2d(x, weight, None, stride, 1).isnan()
        assert seen.any() and y[seen].isnan().all()
        assert y[0].isfinite().all() and y[2].isfinite().all()
        assert dw[:, 3, 1, 1].isnan().all()
        layer = nn.Conv2d(channels, 16, 3, stride, 1, bias=False, dtype=torch.float32)
        layer.weight.data = weight
        with torch.no_grad(), bfloat16_steps(x.device, enabled=True):
            assert rectified_norm(layer, x)[seen].isnan().all()


def of(x: Tensor, weight: Tensor, **others) -> dict[str, object]:
    return {"input": x, "weight": weight, "padding": 1, **others}


@pytest.mark.parametrize(
    "given",
    [
        of(values(2, 24, 4, 4), values(16, 24, 3, 3)),  # channels
        of(values(2, 16, 4, 3), values(16, 16, 3, 3)),  # an odd number of outputs
        of(values(2, 16, 4, 4).contiguous(), values(16, 16, 3, 3)),
        of(values(2, 16, 4, 4).double(), values(16, 16, 3, 3)),
        of(values(2, 16, 4, 4)[0], values(16, 16, 3, 3)),
        of(values(2, 32, 4, 4), values(16, 16, 3, 3), groups=2),
        of(values(2, 32, 4, 4), values(16, 16, 3, 3)),  # which torch refuses
        of(values(2, 16, 4, 4), values(16, 16, 3, 3), bias=torch.zeros(8)),
        of(values(2, 16, 4, 4), values(16, 16, 3, 3), dilation=2),
        of(values(2, 16, 4, 4), values(16, 16, 3, 3), stride=(2, 1)),
        of(values(2, 16, 4, 4), values(16, 16, 3, 3), padding="same"),
        of(values(2, 16, 4, 4), values(16, 16, 3, 3), padding=(1, 0)),
        of(values(2, 16, 4, 4), values(16, 16, 5, 5)),
        of(values(2, 16, 4, 4), values(16, 16, 3, 1)),
        of(values(0, 16, 4, 4), values(16, 16, 3, 3)),
    ],
)
def test_other_convolutions_are_left_to_torch(given):
    assert convolution(given) is None


def test_without_a_compiler_torch_does_it(monkeypatch):
    monkeypatch.setenv("CC", "false")
    convolution_kernels.cache_clear()
    try:
        assert convolution(of(values(2, 16, 4, 4), values(16, 16, 3, 3))) is None
    finally:
        convolution_kernels.cache_clear()
