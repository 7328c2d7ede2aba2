"""Laws of the quantised layers, and of the in-place steps around them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.signs import observe_signs
from rankfold.errors import InputError
from rankfold.models.zoo import build
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.quantised import LayerBits, QuantConv2d, QuantLinear, replace_by_quantised_
from rankfold.nn.quantisers import Quantiser

FOUR = LayerBits(4, 4, input_signed=False)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
    for name in (
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
        "kernel_size",
        "in_channels",
        "out_channels",
    ):
        assert getattr(quantised, name) == getattr(conv, name)
    x = normal(2, 4, 9, 9)
    quantised.input_quantiser.fit_(x)
    reference = copy.deepcopy(conv)
    with torch.no_grad():
        reference.weight.copy_(
            quantised.weight_quantiser.integers(conv.weight) * quantised.weight_quantiser.scale
        )
        expected = reference(quantised.input_quantiser.integers(x) * quantised.input_quantiser.scale)
    assert torch.equal(quantised(x), expected)


def test_a_linear_layer_keeps_everything_and_computes_with_quantised_operands():
    linear = nn.Linear(6, 3, dtype=torch.float64)
    quantised = QuantLinear.from_float(linear, FOUR)
    assert quantised.weight is linear.weight
    assert quantised.weight.dtype == torch.float64
    x = normal(5, 7, 6).double().relu()
    quantised.input_quantiser.fit_(x)
    found = quantised(x)  # in training, which may shorten the step of the weights first
    expected = F.linear(quantised.input_quantiser(x), quantised.weight_quantiser(linear.weight), linear.bias)
    assert torch.equal(found, expected)


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
    """Two convolutions, a shared one, and a classifier: in a Sequential, a ModuleList and under two names."""

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
        (
            {"again": FOUR, "blocks.0": LayerBits(8, 8, True)},
            "'again' and 'blocks.0' are one shared module with two settings",
        ),
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
    model.fc.forward = lambda x: x
    with pytest.raises(InputError, match="'fc' has hooks, or a forward of its own"):
        replace_by_quantised_(model, {"fc": FOUR})
    del model.fc.forward
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
    wanted = Quantiser(8, signed=True)
    wanted.fit_(torch.stack(batches))
    assert step == pytest.approx(wanted.step.item(), rel=0.1)


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


def test_integer_weights_are_the_levels_that_the_layer_computes_with():
    """Also of one bit, whose levels have no zero: what a mask drops is zero all the same."""
    for bits in (1, 4):
        masked = MaskedConv2d.from_conv(nn.Conv2d(4, 6, 3, groups=2), normal(6, 2, 3, 3).numpy() > 0)
        conv = QuantConv2d.from_float(masked, LayerBits(bits, 4, input_signed=False))
        levels = conv.integer_weights()
        assert levels.shape == (6, 2, 3, 3) and levels.dtype == torch.int32
        rounded = conv.weight_quantiser(conv.weight) * masked.mask
        assert torch.equal(levels * conv.weight_quantiser.scale, rounded)
    linear = QuantLinear.from_float(nn.Linear(5, 3), FOUR)
    assert linear.integer_weights().shape == (3, 5, 1, 1)
    assert torch.equal(linear.integer_weights()[..., 0, 0], linear.weight_quantiser.integers(linear.weight))
