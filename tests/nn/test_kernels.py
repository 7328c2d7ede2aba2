"""The compiled kernels compute what torch's operations do."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.nn import kernels as module
from rankfold.nn import learned_step
from rankfold.nn.batch_norm import batch_norm
from rankfold.nn.kernels import kernels
from rankfold.nn.learned_step import LearnedStep
from rankfold.nn.quantised import LayerBits, QuantConv2d
from rankfold.nn.quantisers import Quantiser
from rankfold.nn.rectified import Asked, rectified_norm
from rankfold.training.half import bfloat16_steps

TYPES = st.sampled_from((torch.float32, torch.bfloat16))
compiled = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return normal(*shape, seed=seed).to(dtype).contiguous(memory_format=torch.channels_last)


def quantised(x: Tensor, dy: Tensor, low: int, high: int) -> tuple[Tensor, Tensor, Tensor]:
    """y, and the gradients of x and of the step."""
    x, step = x.clone().requires_grad_(), torch.tensor(0.3, requires_grad=True)
    y = LearnedStep.apply(x, step, low, high, 1.0)
    y.backward(dy)
    return y.detach(), x.grad, step.grad


@compiled
@settings(max_examples=20)
@given(shape=st.lists(st.integers(1, 9), min_size=1, max_size=4), signed=st.booleans(), dtype=TYPES)
def test_quantising_is_the_same_by_kernels_and_by_tiles(shape, signed, dtype):
    low, high = (-8, 7) if signed else (0, 15)
    # Many values fall on halves of levels.
    x, dy = ((normal(*shape) * 10).round() * 0.15).to(dtype), normal(*shape, seed=1).to(dtype)
    y, dx, step = quantised(x, dy, low, high)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_step, "kernels", lambda: None)
        expected = quantised(x, dy, low, high)
    assert torch.equal(y, expected[0])
    assert torch.equal(dx, expected[1])
    # The step's gradient in float64, from its definition, with the levels that were chosen.
    s = torch.tensor(0.3)
    levels = quantised(x.float(), dy.float(), low, high)[0].double() / s
    inside = (x.float() > low * s) & (x.float() < high * s)
    exact = (dy.double() * (levels - inside * x.double() / s)).sum()
    torch.testing.assert_close(step.double(), exact, rtol=1e-3, atol=1e-3)


@compiled
def test_values_that_are_not_finite_stay_visible():
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0])
    for dtype in (torch.float32, torch.bfloat16):
        y = LearnedStep.apply(x.to(dtype), torch.tensor(0.5), -8, 7, 1.0).tolist()
        assert y[0] != y[0]
        assert y[1:] == [3.5, -4.0, 1.0]
    # A number of these bits would become zero when it is rounded to bfloat16.
    odd = torch.tensor([-1], dtype=torch.int32).view(torch.float32).expand(64).contiguous()
    batch = odd.bfloat16().view(1, 16, 2, 2).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        spread = batch_norm(batch, torch.zeros(16), torch.ones(16))
    assert spread.isnan().all()


@compiled
def test_results_do_not_depend_on_threads():
    x, dy = images(32, 24, 16, 16, dtype=torch.bfloat16), images(32, 24, 16, 16, seed=1, dtype=torch.bfloat16)
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append((*quantised(x, dy, 0, 15), *normalised(batch_norm, x, dy)))
    finally:
        torch.set_num_threads(threads)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def normalised(norm, x: Tensor, dy: Tensor, mean: float = 0.0) -> tuple[Tensor, ...]:
    """y, the gradients of x, weight and bias, and the running statistics."""
    channels = x.shape[1]
    x = (x + mean).requires_grad_()
    weight = normal(channels, seed=2).to(torch.promote_types(x.dtype, torch.float32)).requires_grad_()
    bias = normal(channels, seed=3).to(weight.dtype).requires_grad_()
    running = torch.zeros(channels, dtype=weight.dtype), torch.ones(channels, dtype=weight.dtype)
    y = norm(x, *running, weight, bias, training=True, momentum=0.3, eps=1e-5)
    y.backward(dy.to(y.dtype))
    return (y.detach(), x.grad, weight.grad, bias.grad, *running)


@compiled
@settings(max_examples=20)
@given(
    batch=st.integers(1, 5),
    channels=st.sampled_from((1, 3, 16, 64, 130)),
    plane=st.tuples(st.integers(1, 9), st.integers(2, 9)),
    mean=st.sampled_from((0.0, 300.0)),
)
def test_batch_norm_is_that_of_torch_in_float64(batch, channels, plane, mean):
    x, dy = images(batch, channels, *plane), images(batch, channels, *plane, seed=1)
    expected = normalised(F.batch_norm, (x + mean).double(), dy.double())
    # Far from zero the values themselves have fewer digits after the point.
    for value, exact in zip(normalised(batch_norm, x, dy, mean), expected, strict=True):
        torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=2e-4 if mean else 3e-5)


@compiled
def test_gradients_do_not_depend_on_the_default_type_and_device():
    x, dy = images(4, 16, 5, 6), images(4, 16, 5, 6, seed=1)
    weight, bias = torch.ones(16, requires_grad=True), torch.zeros(16, requires_grad=True)
    found = []
    for dtype, device in ((torch.float32, "cpu"), (torch.float64, "meta")):
        torch.set_default_dtype(dtype)
        torch.set_default_device(device)
        try:
            y = batch_norm(x, None, None, weight, bias, training=True)
            found.append((y, *torch.autograd.grad(y, (weight, bias), dy)))
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_default_device(None)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@compiled
def test_batch_norm_in_bfloat16_rounds_its_results_alone():
    x, dy = images(8, 16, 9, 7, dtype=torch.bfloat16), images(8, 16, 9, 7, seed=1, dtype=torch.bfloat16)
    y, dx, *rest = normalised(batch_norm, x, dy)
    exact = normalised(F.batch_norm, x.double(), dy.double())
    assert y.dtype == dx.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact[0], rtol=2**-8, atol=1e-5)
    torch.testing.assert_close(dx.double(), exact[1], rtol=2**-8, atol=1e-5)
    for value, right in zip(rest, exact[2:], strict=True):
        torch.testing.assert_close(value.double(), right, rtol=1e-4, atol=1e-4)


def rectified(*args, added=None, **options):
    return batch_norm(*args, **options, asked=Asked(added))


@compiled
@settings(max_examples=20)
@given(
    channels=st.sampled_from((1, 3, 16, 64, 130)),
    plane=st.tuples(st.integers(1, 9), st.integers(2, 9)),
    dtype=TYPES,
)
def test_a_rectified_norm_is_a_norm_that_is_rectified(channels, plane, dtype):
    x, dy = images(4, channels, *plane, dtype=dtype), images(4, channels, *plane, seed=1, dtype=dtype)
    y, dx, *others = normalised(rectified, x, dy)
    plain, *_ = normalised(batch_norm, x, dy)
    assert torch.equal(y, plain.relu())
    # Its gradients are those of the norm for what is left of dy.
    _, expected, *rest = normalised(batch_norm, x, torch.where(plain > 0, dy, 0))
    assert torch.equal(dx, expected)
    assert all(torch.equal(a, b) for a, b in zip(others, rest, strict=True))


@compiled
def test_what_is_added_before_it_is_rectified_has_its_gradient():
    x, added, dy = (images(4, 16, 5, 5, seed=seed) for seed in range(3))
    added.requires_grad_()
    y, dx, dw, db, *_ = normalised(lambda *args, **options: rectified(*args, **options, added=added), x, dy)
    other = added.detach().double().requires_grad_()
    exact = normalised(
        lambda *args, **options: (F.batch_norm(*args, **options) + other).relu(), x.double(), dy.double()
    )
    for value, right in zip((y, dx, dw, db, added.grad), (*exact[:4], other.grad), strict=True):
        torch.testing.assert_close(value.double(), right, rtol=1e-4, atol=1e-4)
    # Of another type or layout, torch adds it.
    found, *_ = normalised(lambda *args, **options: rectified(*args, **options, added=other.detach()), x, dy)
    torch.testing.assert_close(found.float(), y, rtol=1e-4, atol=1e-4)


@compiled
@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_modules_are_rectified_as_one_operation_where_nothing_looks_on(hooked, training):
    norm, seen = nn.BatchNorm2d(16).train(training), []
    if hooked:
        norm.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    x = images(4, 16, 4, 4, dtype=torch.bfloat16).requires_grad_()
    with bfloat16_steps(torch.device("cpu"), enabled=True), torch.set_grad_enabled(training):
        y = rectified_norm(norm, x)
        plain = norm(x)
        summed = rectified_norm(norm, x, x)
    assert torch.equal(y, plain.relu())
    torch.testing.assert_close(summed, (plain + x).relu(), rtol=2**-6, atol=2**-6)
    assert len(seen) == 3 * hooked
    assert all(torch.equal(output, plain) for output in seen)  # before it is rectified
    if training:
        assert y.grad_fn.name() == ("ReluBackward0" if hooked else "_NormBackward")
    # Whatever is no batch norm is called as it is.
    assert torch.equal(rectified_norm(nn.Identity(), torch.tensor([-1.0, 1.0])), torch.tensor([0.0, 1.0]))


def reading(training: bool, signed: bool, channels: int = 16) -> nn.ModuleList:
    """A norm, and a quantised convolution that reads it."""
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    nn.init.normal_(norm.bias)
    reader = QuantConv2d(channels, 16, 3, padding=1, bits=LayerBits(4, 4, signed))
    reader.weight_quantiser.fit_(reader.weight)
    reader.input_quantiser.fit_(normal(1000).relu())
    return nn.ModuleList([norm, reader]).train(training).to(memory_format=torch.channels_last)


def counting(forward, called):
    def watched(module, x):
        called.append(module)
        return forward(module, x)

    return watched


@compiled
@settings(max_examples=12)
@given(
    channels_last=st.booleans(),
    training=st.booleans(),
    signed=st.booleans(),
    channels=st.sampled_from((3, 16, 48, 130)),
    dtype=TYPES,
    seed=st.integers(0, 99),
)
def test_a_norm_that_is_quantised_is_that_which_a_quantiser_reads(
    channels_last, training, signed, channels, dtype, seed
):
    torch.manual_seed(seed)
    together = reading(training, signed, channels)
    apart = copy.deepcopy(together)
    seen, called = [], []
    apart[1].input_quantiser.register_forward_hook(lambda *call: seen.append(call))
    results = []
    for norm, reader in (together, apart):
        x = images(4, channels, 5, 6, dtype=dtype)
        x = (x if channels_last else x.contiguous()).requires_grad_()
        with (
            pytest.MonkeyPatch.context() as patch,
            bfloat16_steps(torch.device("cpu"), enabled=True),
            torch.set_grad_enabled(training),
        ):
            patch.setattr(Quantiser, "forward", counting(Quantiser.forward, called))
            y = rectified_norm(norm, x, reader=reader)
        if training:
            y.backward(images(*y.shape, seed=1, dtype=y.dtype))
        gradients = [part.grad for part in (x, *norm.parameters(), *reader.parameters())]
        results.append((y.detach(), *norm.buffers(), *gradients))
    assert len(seen) == 1
    # Its quantiser is a part of the norm where the kernels take the images.
    assert (together[1].input_quantiser in called) == (not channels_last)
    assert apart[1].input_quantiser in called
    for found, right in zip(*results, strict=True):
        if right is None or right.ndim > 0:
            assert found is right or torch.equal(found, right)
        else:  # the gradient of a step, of sums in another order
            torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


@compiled
def test_a_reader_is_called_as_it_is_where_its_input_is_asked_for():
    norm, reader = reading(True, False)
    x, seen = images(4, 16, 5, 6, dtype=torch.bfloat16), []
    handle = reader.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    with bfloat16_steps(torch.device("cpu"), enabled=True):
        rectified_norm(norm, x, reader=reader)
        assert torch.equal(seen[0], rectified_norm(norm, x))
        handle.remove()
        reader.input_quantiser.fitted = False
        with pytest.raises(InputError, match="no step size"):
            rectified_norm(norm, x, reader=reader)
    assert torch.equal(
        rectified_norm(norm, x.float(), reader=nn.Flatten()), norm(x.float()).relu().flatten(1)
    )


@compiled
def test_batch_norm_in_evaluation_uses_running_statistics():
    x, mean, variance = images(4, 16, 5, 5), normal(16), normal(16).square()
    with torch.no_grad():
        y = batch_norm(x, mean, variance, None, None)
    torch.testing.assert_close(y, F.batch_norm(x, mean, variance), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "x", [normal(4, 3, 5, 5), normal(4, 3), normal(4, 3, 5, 5).double().to(memory_format=torch.channels_last)]
)
def test_batch_norm_of_other_inputs_is_torch_s(x):
    mean, variance = torch.zeros(3, dtype=x.dtype), torch.ones(3, dtype=x.dtype)
    expected = F.batch_norm(x, mean.clone(), variance.clone(), training=True)
    assert torch.equal(batch_norm(x, mean, variance, training=True), expected)


def test_torch_refuses_what_the_kernels_would_read_beyond():
    x, few = images(2, 16, 4, 4), torch.ones(8)
    with torch.no_grad(), pytest.raises(RuntimeError, match="running_mean"):
        batch_norm(x, None, None)
    with pytest.raises(RuntimeError, match="16 elements"):
        batch_norm(x, None, None, few, training=True)
    with pytest.raises(RuntimeError, match="16 elements"):
        batch_norm(x, few, few.clone(), training=True)


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler", "'unclosed"])
def test_without_a_compiler_torch_does_it(monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    module.kernels.cache_clear()
    try:
        assert kernels() is None
        y, dx, _ = quantised(torch.tensor([0.4, 9.0, -1.0]), torch.ones(3), 0, 15)
        x = images(2, 3, 4, 4)
        found, expected = normalised(batch_norm, x, x), normalised(F.batch_norm, x, x)
    finally:
        module.kernels.cache_clear()
    torch.testing.assert_close(y, torch.tensor([0.3, 4.5, 0.0]))
    assert dx.tolist() == [1, 0, 0]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
