"""Compensated rounding of quantised networks: on the grid, masks kept, outputs nearer to the float ones."""

import copy

import pytest
import torch
from torch import Tensor, nn

from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.rounding import compensate_rounding_
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.quantised import LayerBits, QuantConv2d, QuantLinear, replace_by_quantised_
from rankfold.plan import Pairs, SharedSupport, WindowLowRank, Windows, uniform_plan
from rankfold.plan.methods import LowRank, Method, Quantise
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.workload import trace

BITS = LayerBits(weight=3, input=6, input_signed=True)


def images(count: int = 64, channels: int = 3) -> Tensor:
    """Images whose neighbouring pixels are much alike, as those of photographs."""
    noise = torch.randn(count, channels, 9, 9, generator=torch.Generator().manual_seed(0))
    return nn.functional.avg_pool2d(noise, 2, stride=1) * 2 + 0.3


def quantised(model: nn.Module, names: dict[str, LayerBits], x: Tensor) -> nn.Module:
    replace_by_quantised_(model, names)
    calibrate_(model, [x])
    return model.eval()


def networks() -> dict[str, nn.Module]:
    """One layer each, in a network of its own."""
    torch.manual_seed(0)
    masked = MaskedConv2d(4, 6, 3, padding=1)
    masked.mask.copy_(torch.rand_like(masked.weight) < 0.5)
    with torch.no_grad():
        masked.weight *= masked.mask
    return {
        "dense": nn.Conv2d(4, 6, 3, padding=1),
        "without bias": nn.Conv2d(4, 6, 3, stride=2, bias=False),
        "groups": nn.Conv2d(4, 6, 3, groups=2),
        "masked": masked,
    }


@pytest.mark.parametrize("name", networks())
def test_weights_become_levels_of_a_smaller_error(name: str) -> None:
    x = images(channels=4)
    layer = networks()[name]
    model = quantised(nn.Sequential(layer), {"0": BITS}, x)
    wanted = layer(model[0].input_quantiser(x)).detach()
    made = copy.deepcopy(model)
    compensate_rounding_(made, [x])
    weight, rounded = made[0].weight, made[0].to_dense().weight
    # Rounding to the nearest leaves them as they are.
    torch.testing.assert_close(weight, rounded, rtol=0, atol=0)
    assert not torch.equal(made[0].integer_weights(), model[0].integer_weights())
    if model[0].mask is not None:
        assert (weight[~model[0].mask] == 0).all()

    def error(network: nn.Module) -> float:
        return float((network(x).detach() - wanted).square().mean())

    assert error(made) < 0.8 * error(model)


def test_the_constant_error_goes_into_the_bias() -> None:
    x = images(channels=4)
    layer = networks()["dense"]
    model = quantised(nn.Sequential(layer), {"0": BITS}, x)
    wanted = layer(model[0].input_quantiser(x)).detach()
    compensate_rounding_(model, [x])
    torch.testing.assert_close(model(x).mean((0, 2, 3)), wanted.mean((0, 2, 3)), rtol=0, atol=1e-4)


def test_uncorrelated_inputs_keep_the_nearest_levels() -> None:
    # All corners of a cube: every feature has one power, and nothing in common with the others.
    x = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 5)
    model = quantised(nn.Sequential(nn.Linear(5, 3)), {"0": BITS}, x)
    made = copy.deepcopy(model)
    compensate_rounding_(made, [x])
    assert torch.equal(made[0].integer_weights(), model[0].integer_weights())


def test_layers_that_share_a_weight_are_left_alone() -> None:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    x = torch.randn(32, 5) @ torch.randn(5, 5)
    model = quantised(nn.Sequential(first, second), {"0": BITS, "1": BITS}, x)
    before = first.weight.detach().clone()
    compensate_rounding_(model, [x])
    assert torch.equal(first.weight, before)


def test_no_batch_is_refused() -> None:
    model = quantised(nn.Sequential(nn.Linear(5, 3)), {"0": BITS}, torch.randn(8, 5))
    with pytest.raises(InputError, match="batches is empty"):
        compensate_rounding_(model, [])


class Net(nn.Module):
    """Two convolutions with a norm, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.norm(self.first(x)).relu()).relu()
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize(
    "method",
    [
        Quantise(),
        SharedSupport(4),
        Pairs(4),
        Windows(row_tiles=1),
        WindowLowRank(rank="1/2"),
        LowRank(groups=2, rank="1/2"),
    ],
    ids=lambda method: type(method).__name__,
)
def test_every_kind_of_layer_is_rounded(method: Method) -> None:
    torch.manual_seed(0)
    model, x = Net().eval(), images()
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(16, 16), method, bits=3)
    compress_(model, plan, [x])
    nearest = copy.deepcopy(model)
    settled = quantise_(model, plan, [x], rounding="compensated")
    assert settled == quantise_(nearest, plan, [x])
    layers = [module for module in model.modules() if isinstance(module, (QuantConv2d, QuantLinear))]
    others = [module for module in nearest.modules() if isinstance(module, (QuantConv2d, QuantLinear))]
    for layer, other in zip(layers, others, strict=True):
        assert layer.weight_quantiser.scale == other.weight_quantiser.scale
        # Dropped weights too: they are zero, which one bit alone has no level for.
        torch.testing.assert_close(layer.weight, layer.to_dense().weight, rtol=0, atol=0)
    pairs = zip(layers, others, strict=True)
    assert any(not torch.equal(made.integer_weights(), plain.integer_weights()) for made, plain in pairs)


def test_wrong_roundings_are_refused() -> None:
    model, x = Net(), images()
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(16, 16), Quantise(), bits=4)
    with pytest.raises(InputError, match=r"rounding \(=up\) must be one of nearest, compensated"):
        quantise_(model, plan, [x], rounding="up")
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(16, 16), Pairs(4), bits=None)
    with pytest.raises(InputError, match="the plan has no bits, so that no weight is rounded"):
        quantise_(model, plan, [x], rounding="compensated")
