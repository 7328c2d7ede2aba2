"""Laws of the quantiser."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rankfold.errors import InputError
from rankfold.nn import learned_step
from rankfold.nn.learned_step import SMALLEST_STEP
from rankfold.nn.quantised import LayerBits
from rankfold.nn.quantisers import Quantiser

BITS = st.integers(2, 8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted(bits: int, signed: bool, sample: Tensor, batched: bool = False) -> Quantiser:
    quantiser = Quantiser(bits, signed, batched)
    quantiser.fit_(sample)
    return quantiser


def learned_step_reference(
    x: Tensor, dy: Tensor, step: float, low: int, high: int, samples: int
) -> tuple[Tensor, float]:
    """(dx, d step) of eq. 3 and 5 of Esser et al. 2020 element by element in float64, with its scale."""
    v = x.double() / step
    slope = torch.where(v <= low, float(low), torch.where(v >= high, float(high), v.round() - v))
    scale = 1 / math.sqrt(x.numel() / samples * high)
    return dy * ((v > low) & (v < high)), float((slope * dy.double()).sum()) * scale


@settings(deadline=None, max_examples=60)
@given(
    bits=BITS,
    signed=st.booleans(),
    seed=st.integers(0, 999),
    spread=st.floats(1e-4, 1e4),
    step=st.floats(1e-3, 1e3),
)
def test_forward_is_levels_times_step_within_range_and_idempotent(bits, signed, seed, spread, step):
    x = normal(3, 5, 7, seed=seed) * spread
    quantiser = fitted(bits, signed, x)
    quantiser.load_state_dict({"step": torch.tensor(step)})
    levels, y = quantiser.integers(x), quantiser(x)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    assert levels.dtype == torch.int32
    assert low <= int(levels.min()) and int(levels.max()) <= high
    assert torch.equal(y, levels * quantiser.scale)
    assert torch.equal(quantiser(y), y)
    # No level is nearer: |x/s - q| <= 1/2 inside the range, up to the rounding of the float32 quotient.
    inside = (x / step > low) & (x / step < high)
    assert torch.all(((x.double() / step - levels).abs() <= 0.5 + 1e-4)[inside])


@settings(deadline=None, max_examples=60)
@given(
    bits=BITS,
    signed=st.booleans(),
    batched=st.booleans(),
    seed=st.integers(0, 999),
    tile=st.sampled_from((16, 100, 1 << 18)),
    layout=st.sampled_from((torch.contiguous_format, torch.channels_last)),
)
def test_gradients_are_those_of_the_paper(bits, signed, batched, seed, tile, layout):
    x = normal(4, 3, 5, 6, seed=seed).contiguous(memory_format=layout).requires_grad_()
    dy = normal(4, 3, 5, 6, seed=seed + 1)  # in the other layout where x is channels last
    quantiser = fitted(bits, signed, x.detach() * 0.6, batched)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_step, "TILE", tile)
        y = quantiser(x)
        y.backward(dy)
    assert y.stride() == x.stride()
    samples = 4 if batched else 1
    dx, dstep = learned_step_reference(
        x.detach(), dy, quantiser.step.item(), quantiser.low, quantiser.high, samples
    )
    assert torch.equal(x.grad, dx)
    torch.testing.assert_close(quantiser.step.grad.item(), dstep, rtol=1e-3, atol=1e-4)


def test_gradient_is_zero_outside_the_range_and_passes_inside():
    quantiser = Quantiser(4, signed=True)
    quantiser.load_state_dict({"step": torch.tensor(0.5)})
    x = torch.tensor([-9.0, -4.1, -3.9, 0.0, 3.4, 3.6, 9.0], requires_grad=True)
    quantiser(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("wants", [(True, False), (False, True)])
def test_only_the_wanted_gradients_are_computed(wants):
    x = normal(2, 3, 8, 8).requires_grad_(wants[0])
    quantiser = fitted(4, True, x)
    quantiser.step.requires_grad_(wants[1])
    quantiser(x).square().sum().backward()
    assert ((x.grad is not None), (quantiser.step.grad is not None)) == wants


@pytest.mark.parametrize("bits", [4, 8])
def test_bfloat16_is_the_rounded_float32_result_with_a_float32_step(bits):
    x = normal(4, 3, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last)
    quantiser = fitted(bits, True, x)
    reference = copy.deepcopy(quantiser)
    a, b = x.clone().requires_grad_(), x.float().requires_grad_()
    y, exact = quantiser(a), reference(b)
    dy = normal(4, 3, 8, 8, seed=1).bfloat16()
    y.backward(dy)
    exact.backward(dy.float())
    assert y.dtype == a.grad.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, exact.bfloat16())
    assert torch.equal(a.grad, b.grad.bfloat16())
    assert quantiser.step.grad.dtype == torch.float32
    # The levels times the step were rounded to 8 significant bits, which the reference's were not.
    torch.testing.assert_close(quantiser.step.grad, reference.step.grad, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (5,), (), (2, 3, 1, 1)])
def test_odd_shapes_pass(shape):
    x = torch.ones(shape, requires_grad=True)
    quantiser = fitted(4, False, torch.ones(3), batched=len(shape) > 0)
    y = quantiser(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape


def test_a_strided_view_quantises_as_its_copy():
    x = normal(4, 6, 8, 8)
    quantiser = fitted(4, True, x)
    assert torch.equal(quantiser(x[:, ::2, 1:, :5]), quantiser(x[:, ::2, 1:, :5].clone()))
    assert torch.equal(quantiser(x[:1].expand(4, 6, 8, 8)), quantiser(x[:1].repeat(4, 1, 1, 1)))


def test_a_step_below_zero_acts_as_the_smallest_and_is_driven_back():
    quantiser = Quantiser(4, signed=False)
    quantiser.load_state_dict({"step": torch.tensor(-0.1)})
    x = torch.rand(64) + 0.1
    y = quantiser(x)
    assert torch.isfinite(y).all()
    assert torch.equal(y, quantiser.integers(x) * quantiser.scale)
    assert quantiser.scale.item() == pytest.approx(SMALLEST_STEP)
    (y - x).square().sum().backward()
    assert quantiser.step.grad.item() < 0  # descent raises the step


@settings(deadline=None, max_examples=30)
@given(
    bits=BITS,
    signed=st.booleans(),
    seed=st.integers(0, 99),
    shape=st.sampled_from(("normal", "uniform", "heavy")),
)
def test_the_fitted_step_beats_the_paper_s_start_and_any_step_of_a_fine_grid(bits, signed, seed, shape):
    x = normal(2000, seed=seed)
    x = {"normal": x, "uniform": x.erf(), "heavy": x**3}[shape]
    quantiser = fitted(bits, signed, x)

    def error(step: float) -> float:
        quantiser.load_state_dict({"step": torch.tensor(step)})
        with torch.no_grad():
            return float((quantiser(x) - x).square().mean())

    chosen = quantiser.step.item()
    least = error(chosen)
    assert least <= 1.02 * error(2 * x.abs().mean().item() / math.sqrt(quantiser.high))
    assert least <= 1.03 * min(error(chosen * factor) for factor in torch.linspace(0.3, 2.5, 45).tolist())


@settings(deadline=None, max_examples=30)
@given(bits=BITS, seed=st.integers(0, 99), step=st.floats(1e-2, 1.0))
def test_narrow_levels_are_those_of_all_levels_without_the_lowest(bits, seed, step):
    x = normal(400, seed=seed)
    narrow, full = Quantiser(bits, True, narrow=True), Quantiser(bits, True)
    for quantiser in (narrow, full):
        quantiser.load_state_dict({"step": torch.tensor(step)})
    assert torch.equal(narrow.integers(x), full.integers(x).clamp(min=1 - 2 ** (bits - 1)))
    assert torch.equal(narrow(x), narrow.integers(x) * narrow.scale)
    assert torch.equal(narrow(-x), -narrow(x))
    # Its own fit is no worse than that of all levels, cut off.
    full.fit_(x)
    narrow.load_state_dict(full.state_dict())
    with torch.no_grad():
        cut = float((narrow(x) - x).square().sum())
        narrow.fit_(x)
        assert float((narrow(x) - x).square().sum()) <= 1.001 * cut


def test_without_a_sign_nothing_is_left_out():
    assert (Quantiser(4, False, narrow=True).low, Quantiser(4, False, narrow=True).high) == (0, 15)


def test_a_sample_of_zeros_gets_a_usable_step():
    quantiser = fitted(4, True, torch.zeros(9))
    assert torch.equal(quantiser(torch.zeros(9)), torch.zeros(9))


@pytest.mark.parametrize("sample", [torch.empty(0), torch.tensor([1.0, math.nan]), torch.tensor([math.inf])])
def test_a_sample_without_sense_is_refused(sample):
    with pytest.raises(InputError, match="cannot be fitted"):
        Quantiser(4, True).fit_(sample)


def test_a_quantiser_without_a_step_refuses_to_run_also_when_its_state_was_saved():
    blank = Quantiser(4, True)
    again = Quantiser(4, True)
    again.load_state_dict(blank.state_dict())
    for quantiser in (blank, again):
        for call in (quantiser, quantiser.integers):
            with pytest.raises(InputError, match=r"no step size yet; call calibrate_"):
                call(torch.ones(3))


@pytest.mark.parametrize("bits", [9, 0, -4, 4.0, True])
def test_bits_out_of_range_are_refused_by_name(bits):
    for name, wrong in (("weight", (bits, 4)), ("input", (4, bits))):
        with pytest.raises(InputError, match=rf"{name} \(={bits}\) must be an integer from 1 to 8 bits"):
            LayerBits(*wrong, input_signed=True)
    with pytest.raises(InputError, match="bits"):
        Quantiser(bits, True)


@pytest.mark.parametrize("step", [0.1, 0.03, 1.0])
def test_bounds_of_bfloat16_are_not_rounded_to_it(step):
    """Of whole tensors, as on a GPU: every number of bfloat16 is inside or outside by bounds in float64."""
    x = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.bfloat16)
    x = x[x.isfinite()]
    scale = torch.tensor(step)
    low, high = -8, 7
    dy = torch.ones_like(x)
    y = (x.double() / scale).round().clamp(low, high).mul(scale).bfloat16()
    dx, total = learned_step._backward_at_once(
        x, y, dy, low * scale, high * scale, wants_x=True, wants_step=True
    )
    inside = (x.double() > low * scale.double()) & (x.double() < high * scale.double())
    assert torch.equal(dx, inside.to(dx.dtype))
    exact = (y.double() - x.double() * inside).sum()
    assert total.item() == pytest.approx(exact.item(), rel=1e-3)
