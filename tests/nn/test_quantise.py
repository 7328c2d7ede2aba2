"""Laws of the quantiser, of the quantised layers, and of the in-place steps around them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.signs import observe_signs
from rankfold.errors import InputError
from rankfold.models.zoo import build
from rankfold.nn import quantiser as quantiser_module
from rankfold.nn.quantised import LayerBits, QuantConv2d, QuantLinear, replace_by_quantised_
from rankfold.nn.quantisers import SMALLEST_STEP, Quantiser

BITS = st.integers(2, 8)
FOUR = LayerBits(4, 4, input_signed=False)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted(bits: int, signed: bool, sample: Tensor, batched: bool = False) -> Quantiser:
    quantiser = Quantiser(bits, signed, batched)
    quantiser.fit_(sample)
    return quantiser


def learned_step_reference(x: Tensor, dy: Tensor, step: float, low: int, high: int, samples: int) -> tuple[Tensor, float]:
    """Eq. 3 and 5 of Esser et al. 2020 element by element in float64, with its gradient scale: (dx, d step)."""
    v = x.double() / step
    slope = torch.where(v <= low, float(low), torch.where(v >= high, float(high), v.round() - v))
    scale = 1 / math.sqrt(x.numel() / samples * high)
    return dy * ((v > low) & (v < high)), float((slope * dy.double()).sum()) * scale


# The quantiser


@settings(deadline=None, max_examples=60)
@given(bits=BITS, signed=st.booleans(), seed=st.integers(0, 999), spread=st.floats(1e-4, 1e4), step=st.floats(1e-3, 1e3))
def test_forward_is_levels_times_step_within_range_and_idempotent(bits, signed, seed, spread, step):
    x = normal(3, 5, 7, seed=seed) * spread
    quantiser = fitted(bits, signed, x)
    with torch.no_grad():
        quantiser.step.fill_(step)
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
    bits=BITS, signed=st.booleans(), batched=st.booleans(), seed=st.integers(0, 999), tile=st.sampled_from((16, 100, 1 << 18)),
    layout=st.sampled_from((torch.contiguous_format, torch.channels_last)),
)  # fmt: skip
def test_gradients_are_those_of_the_paper(bits, signed, batched, seed, tile, layout):
    x = normal(4, 3, 5, 6, seed=seed).contiguous(memory_format=layout).requires_grad_()
    dy = normal(4, 3, 5, 6, seed=seed + 1)  # in the other layout where x is channels last
    quantiser = fitted(bits, signed, x.detach() * 0.6, batched)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiser_module, "_TILE", tile)
        y = quantiser(x)
        y.backward(dy)
    assert y.stride() == x.stride()
    samples = 4 if batched else 1
    dx, dstep = learned_step_reference(x.detach(), dy, quantiser.step.item(), quantiser.low, quantiser.high, samples)
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
@given(bits=BITS, signed=st.booleans(), seed=st.integers(0, 99), shape=st.sampled_from(("normal", "uniform", "heavy")))
def test_the_fitted_step_beats_the_paper_s_start_and_any_step_of_a_fine_grid(bits, signed, seed, shape):
    x = normal(2000, seed=seed)
    x = {"normal": x, "uniform": x.erf(), "heavy": x**3}[shape]
    quantiser = fitted(bits, signed, x)

    def error(step: float) -> float:
        with torch.no_grad():
            quantiser.step.fill_(step)
            return float((quantiser(x) - x).square().mean())

    chosen = quantiser.step.item()
    least = error(chosen)
    assert least <= 1.02 * error(2 * x.abs().mean().item() / math.sqrt(quantiser.high))
    assert least <= 1.03 * min(error(chosen * factor) for factor in torch.linspace(0.3, 2.5, 45).tolist())


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


# The layers

CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (3, 1), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "bias": False},
    {"kernel_size": 3, "padding": "same", "groups": 2},
    {"kernel_size": 4, "padding": "same"},
    {"kernel_size": 3, "padding": (2, 1), "padding_mode": "circular"},
    {"kernel_size": 1, "groups": 4, "padding_mode": "reflect"},
]


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths")
@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_a_convolution_keeps_everything_and_computes_with_quantised_operands(options):
    conv = nn.Conv2d(4, 8, **options).eval()
    quantised = QuantConv2d.from_float(conv, LayerBits(4, 5, input_signed=True))
    assert quantised.weight is conv.weight
    assert quantised.bias is conv.bias
    assert not quantised.training
    for name in ("stride", "padding", "dilation", "groups", "padding_mode", "kernel_size", "in_channels", "out_channels"):
        assert getattr(quantised, name) == getattr(conv, name)
    x = normal(2, 4, 9, 9)
    quantised.input_quantiser.fit_(x)
    reference = copy.deepcopy(conv)
    with torch.no_grad():
        reference.weight.copy_(quantised.weight_quantiser.integers(conv.weight) * quantised.weight_quantiser.scale)
        expected = reference(quantised.input_quantiser.integers(x) * quantised.input_quantiser.scale)
    assert torch.equal(quantised(x), expected)


def test_a_linear_layer_keeps_everything_and_computes_with_quantised_operands():
    linear = nn.Linear(6, 3, dtype=torch.float64)
    quantised = QuantLinear.from_float(linear, FOUR)
    assert quantised.weight is linear.weight
    assert quantised.weight.dtype == torch.float64
    x = normal(5, 7, 6).double().relu()
    quantised.input_quantiser.fit_(x)
    expected = F.linear(quantised.input_quantiser(x), quantised.weight_quantiser(linear.weight), linear.bias)
    assert torch.equal(quantised(x), expected)


def test_steps_get_no_weight_decay_and_every_parameter_a_gradient():
    layer = QuantConv2d(3, 4, 3, bits=LayerBits(4, 4, input_signed=True))
    layer.weight_quantiser.fit_(layer.weight)
    x = normal(2, 3, 8, 8)
    layer.input_quantiser.fit_(x)
    layer(x).square().sum().backward()
    assert {name for name, p in layer.named_parameters() if p.ndim >= 2} == {"weight"}
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())


def test_autocast_trains_in_bfloat16_with_float32_steps():
    layer = QuantConv2d(3, 4, 3, bits=LayerBits(4, 4, input_signed=True))
    layer.weight_quantiser.fit_(layer.weight)
    x = normal(2, 3, 8, 8)
    layer.input_quantiser.fit_(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16
    assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


# Whole networks


class Branches(nn.Module):
    """Two convolutions and a shared one, in a Sequential, a ModuleList and under a second name, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        shared = nn.Conv2d(8, 8, 3, padding=1)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.ModuleList([shared, nn.Conv2d(8, 8, 1)])
        self.again = shared
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.again(F.relu(self.blocks[0](x)))) + self.blocks[1](x)
        return self.fc(self.drop(x).mean((2, 3)))


NAMES = ("stem.0", "blocks.0", "blocks.1", "fc")


def data(batches: int = 3, size: int = 8) -> list[Tensor]:
    return [normal(size, 3, 8, 8, seed=i) for i in range(batches)]


def ready(bits: int = 4) -> Branches:
    model = Branches()
    signs = observe_signs(model, data(), NAMES)
    replace_by_quantised_(model, {name: LayerBits(bits, bits, signs[name]) for name in NAMES})
    calibrate_(model, data())
    return model


def test_named_layers_are_replaced_in_all_places_and_no_others():
    model = Branches()
    parameters = set(model.parameters())
    replace_by_quantised_(model, {"stem.0": FOUR, "again": FOUR, "blocks.0": FOUR})
    assert type(model.stem[0]) is QuantConv2d
    assert type(model.again) is QuantConv2d
    assert model.again is model.blocks[0]
    assert type(model.blocks[1]) is nn.Conv2d
    assert type(model.fc) is nn.Linear
    assert parameters < set(model.parameters())


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ({"stem.9": FOUR}, "'stem.9' is not in the model"),
        ({"stem.1": FOUR}, "'stem.1' is a BatchNorm2d; only plain"),
        ({"": FOUR}, "'' is the whole model"),
        ({"again": FOUR, "blocks.0": LayerBits(8, 8, True)}, "'again' and 'blocks.0' are one shared module with two settings"),
    ],
)
def test_wrong_names_are_refused_before_any_change(bits, message):
    model = Branches()
    with pytest.raises(InputError, match=message):
        replace_by_quantised_(model, {"stem.0": FOUR, **bits})
    assert type(model.stem[0]) is nn.Conv2d


def test_hooks_bad_weights_and_quantised_layers_are_refused():
    model = Branches()
    handle = model.fc.register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="'fc' has hooks"):
        replace_by_quantised_(model, {"fc": FOUR})
    handle.remove()
    with torch.no_grad():
        model.fc.weight[0, 0] = math.nan
    with pytest.raises(InputError, match=r"'fc': .*not finite"):
        replace_by_quantised_(model, {"stem.0": FOUR, "fc": FOUR})
    assert type(model.stem[0]) is nn.Conv2d
    replace_by_quantised_(model, {"stem.0": FOUR})
    with pytest.raises(InputError, match=r"'stem.0' is a QuantConv2d"):
        replace_by_quantised_(model, {"stem.0": FOUR})


def test_signs_are_those_of_the_data_and_modes_stay():
    model = Branches()
    model.stem[1].eval()
    signs = observe_signs(model, data(), NAMES)
    assert signs == {"stem.0": True, "blocks.0": False, "blocks.1": False, "fc": True}
    assert observe_signs(model, [batch.abs() for batch in data()], ["stem.0"]) == {"stem.0": False}
    assert model.training and model.drop.training and not model.stem[1].training
    assert not model.fc._forward_pre_hooks
    with pytest.raises(InputError, match="'nothing' is not in the model"):
        observe_signs(model, data(), ["nothing"])
    with pytest.raises(InputError, match="batches is empty"):
        observe_signs(model, [], NAMES)
    model.unused = nn.Linear(2, 2)
    with pytest.raises(InputError, match="'unused' is never called"):
        observe_signs(model, data(), ["unused"])


def test_an_uncalibrated_network_refuses_to_run():
    model = Branches()
    replace_by_quantised_(model, {"fc": FOUR})
    with pytest.raises(InputError, match="calibrate_"):
        model(data()[0])


def test_calibration_repeats_exactly_and_touches_only_the_steps():
    first, second = ready(), ready()
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    plain = Branches().state_dict()
    for name, value in first.state_dict().items():
        if not name.endswith(".step"):
            assert torch.equal(value, plain[name]), name
    assert first.training
    state = torch.random.get_rng_state()
    calibrate_(first, data(batches=20, size=2))
    assert torch.equal(state, torch.random.get_rng_state())


def test_calibration_errors_leave_the_steps_as_they_were():
    model = ready()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="batches is empty"):
        calibrate_(model, [])
    with pytest.raises(InputError, match=r"'stem.0': .*not finite"):
        calibrate_(model, [torch.full((2, 3, 8, 8), math.nan)])
    model.unused = QuantLinear(2, 2, bits=FOUR)
    with pytest.raises(InputError, match="'unused': the model never calls it"):
        calibrate_(model, data())
    del model.unused
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model(data()[0])
    with pytest.raises(InputError, match="no quantised layer"):
        calibrate_(Branches(), data())


def test_a_calibration_on_large_activations_samples_all_of_them():
    layer = nn.Sequential(QuantConv2d(4, 2, 1, bits=LayerBits(8, 8, input_signed=True)))
    batches = [normal(8, 4, 64, 64, seed=i) for i in range(20)]
    calibrate_(layer, batches)
    step = layer[0].input_quantiser.step.item()
    assert step == pytest.approx(fitted(8, True, torch.stack(batches)).step.item(), rel=0.1)


@pytest.mark.parametrize(("bits", "error"), [(8, 0.02), (6, 0.08), (4, 0.3)])
def test_the_error_of_a_calibrated_network_shrinks_with_the_bits(bits, error):
    model = ready(bits).eval()
    plain = Branches().eval()
    x = data()[0]
    with torch.no_grad():
        assert (model(x) - plain(x)).norm() < error * plain(x).norm()


def test_state_dict_and_deepcopy_give_bit_identical_outputs():
    model = ready().eval()
    x = data()[0]
    again = Branches()
    replace_by_quantised_(again, {name: LayerBits(4, 4, name in ("stem.0", "fc")) for name in NAMES})
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(x), again.eval()(x))
        assert torch.equal(model(x), copy.deepcopy(model)(x))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_without_graph_breaks_to_the_same_numbers(backend):
    model = ready()
    model.drop.p = 0.0
    x = data()[0]

    def gradients(function: nn.Module) -> list[Tensor]:
        model.zero_grad()
        function(x).square().sum().backward()
        return [p.grad.clone() for p in model.parameters()]

    torch._dynamo.reset()
    try:
        compiled = gradients(torch.compile(model, backend=backend, fullgraph=True))
    finally:
        torch._dynamo.reset()
    for a, b in zip(gradients(model), compiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_quantised_resnet_learns_in_bfloat16_autocast():
    model = build("resnet8", 4).to(memory_format=torch.channels_last)
    x, y = normal(32, 3, 16, 16), torch.arange(32) % 4
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    signs = observe_signs(model, [x], names)
    replace_by_quantised_(model, {name: LayerBits(4, 4, signs[name]) for name in names})
    calibrate_(model, [x])
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model.train()(x).float(), y)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# Batch norm


def test_reestimated_statistics_equal_those_computed_directly():
    model = Branches()
    norm = model.stem[1]
    norm.momentum = 0.3
    model.drop.eval()
    batches = data(batches=5, size=6)
    reestimate_batch_norm_(model, (batch for batch in batches))
    with torch.no_grad():
        values = [model.stem[0](batch).transpose(0, 1).flatten(1) for batch in batches]
    torch.testing.assert_close(norm.running_mean, torch.stack([v.mean(1) for v in values]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([v.var(1) for v in values]).mean(0))
    assert norm.momentum == 0.3
    assert int(norm.num_batches_tracked) == 5
    assert norm.training and not model.drop.training


def test_reestimation_without_batches_keeps_the_statistics():
    model = Branches()
    model(data()[0])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="batches is empty"):
        reestimate_batch_norm_(model, [])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.stem[1].momentum == 0.1
    reestimate_batch_norm_(nn.Conv2d(1, 1, 1), [])  # nothing to do


def test_reestimation_skips_norms_that_keep_no_statistics():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3, affine=False))
    reestimate_batch_norm_(model, data())
    assert int(model[1].num_batches_tracked) == 3
