"""Whole networks on arrays: exact on ideal ones, trainable, and refused where the plan does not allow it."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from common.cells import CELLS
from common.thorough import thorough
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec
from rankfold.models.pretrained import shipped
from rankfold.models.zoo import build
from rankfold.plan import ChannelPruning, LowRank, LowRankLayer, Pairs, PatDNN, SharedSupport, uniform_plan
from rankfold.runs.evaluate import load_run
from rankfold.simulator import NonIdealities, calibrate_adc_, only, program_, simulate, simulated_layers
from rankfold.surgery.channels import channel_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.supports import with_supports
from rankfold.workload import trace

PAIRED = LowRank(groups=2, rank=4, force=True)
ROW_SPARSE = LowRank(groups=2, rank="1/4", entries=3, force=True)


def images(count, size=32, seed=0):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def resnet20():
    """The shipped 4-bit network and its plan."""
    model, plan, _ = load_run(shipped("resnet20-cifar10-4bit").folder)
    return model.eval(), plan


def quantised(model, plan, x):
    """`model` after decomposition, quantisation and calibration by `plan`."""
    compress_(model, plan)
    plan = quantise_(model, plan, [x])
    return model.eval(), plan


def small(array=CELLS, mapping="sdk", method=PAIRED):
    """A network of one's own to change, and its plan."""
    model, plan = made(array, mapping, method)
    return copy.deepcopy(model), plan


@cache
def made(array, mapping, method):
    model = build("resnet8", 10)
    plan = uniform_plan(trace(model, (3, 16, 16)), array, method, bits=4, mapping=mapping)
    return quantised(model, plan, images(16, 16))


def check_exact(model, network, x):
    """In float64 torch adds products of levels without error, so layers agree to the last unit."""
    model, network = model.double(), network.double()
    seen, wanted = {}, {}
    hooks = []
    for layer in simulated_layers(network):
        hooks.append(
            layer.register_forward_pre_hook(lambda m, i: seen.__setitem__(m.name, m.accumulators(i[0])))
        )
        plain = model.get_submodule(layer.name)

        def scaled(module, _, y, name=layer.name):
            bias = 0 if module.bias is None else module.bias.view(-1, *[1] * (y.ndim - 2))
            wanted[name] = (y - bias) / (
                module.weight_quantiser.scale.double() * module.input_quantiser.scale.double()
            )

        hooks.append(plain.register_forward_hook(scaled))
    with torch.no_grad():
        model(x.double())
        network(x.double())
    for hook in hooks:
        hook.remove()
    assert seen
    for name, found in seen.items():
        want = wanted[name].view(found.shape)
        assert torch.equal(found, want.round()), name
        assert (want - want.round()).abs().max() < 1e-5, name


@pytest.mark.parametrize("tiles", [False, True])
def test_resnet20_on_ideal_arrays_is_the_quantised_network(resnet20, tiles):
    """All 20 layers, bit-serial inputs and sliced cells, by the one matrix product and tile by tile."""
    model, plan = copy.deepcopy(resnet20[0]), replace(resnet20[1], array=CELLS)
    enough = NonIdealities(adc_bits=16, adc_range="full")
    network = simulate(model, plan, enough)
    layers = simulated_layers(network)
    assert len(layers) == 20
    for layer in layers:
        layer.all_tiles = tiles
    check_exact(model, network, images(3))


@pytest.mark.parametrize("mapping", ["im2col", "sdk", "best"])
@pytest.mark.parametrize(
    "array", [CELLS, ArraySpec(48, 40), replace(CELLS, coding="differential", dac_bits=2)]
)
def test_low_rank_networks_on_ideal_arrays_are_exact(mapping, array):
    model, plan = small(array, mapping)
    # A column of whole 8-bit weights sums up to more than converters tell apart.
    enough = NonIdealities() if array.cell_bits is None else NonIdealities(adc_bits=16, adc_range="full")
    network = simulate(model, plan, enough)
    for layer in simulated_layers(network):
        layer.all_tiles = True
    check_exact(model, network, images(2, 16, seed=1))


def test_dense_mappings_of_all_methods_are_exact():
    for mapping in ("vw-sdk", "tetris-sdk", "2x3"):
        model, plan = small(mapping=mapping, method=None)
        network = simulate(model, plan, NonIdealities(adc_bits=16, adc_range="full"))
        for layer in simulated_layers(network):
            layer.all_tiles = True
        check_exact(model, network, images(2, 16, seed=1))


def test_both_paths_agree_and_the_fast_one_switches_itself_off(resnet20):
    model, plan = resnet20[0], replace(resnet20[1], array=CELLS)
    x = images(thorough(4, 1))
    exact = simulate(model, plan, NonIdealities(adc_bits=16, adc_range="full"))
    with torch.no_grad():
        fast = exact(x)
        for layer in simulated_layers(exact):
            layer.all_tiles = True
        assert torch.equal(exact(x), fast)
    for chosen in (
        NonIdealities(adc_bits=3, adc_range="full"),
        NonIdealities(program_noise=0.01),
        NonIdealities(read_noise=0.01),
        NonIdealities(output_noise=0.01),
        NonIdealities(stuck=0.01),
        NonIdealities(ir_drop=1e-6),
        NonIdealities(drift=60.0),
        NonIdealities(read_noise="pcm"),
    ):
        network = simulate(model, plan, chosen)
        with torch.no_grad():
            assert not torch.equal(network(x), fast), chosen
        layer = simulated_layers(network)[0]
        assert not layer.arrays[32, 32].is_exact(layer.converter((32, 32)))


def test_calibrated_ranges_fit_the_data():
    """Sums of real inputs are far below the largest possible ones; a calibrated range loses less."""
    model, plan = small()
    x = images(8, 16, seed=1)
    with torch.no_grad():
        ideal = model(x)
        errors = []
        for adc_range in ("full", "calibrated"):
            network = simulate(
                model, plan, NonIdealities(adc_bits=5, adc_range=adc_range), calibration=[images(8, 16)]
            )
            errors.append(float((network(x) - ideal).norm()))
    assert errors[1] < 0.9 * errors[0]
    network = simulate(model, plan, NonIdealities(adc_bits=5))
    with pytest.raises(
        InputError,
        match=r"a calibrated ADC range needs data; call calibrate_adc_\(network, batches\), or choose `full`",
    ):
        network(x)
    calibrate_adc_(network, [images(8, 16)])
    assert network(x).shape == (8, 10)


def test_weights_too_low_for_the_cells_are_counted():
    model, plan = small(ArraySpec(64, 64, cell_bits=1, coding="differential"), method=None)
    with torch.no_grad():
        layer = model.get_submodule("layer1.0.conv1")
        layer.weight[0, 0, 0, :2] = -100.0
    network = simulate(model, plan)
    by_name = {layer.name: layer for layer in simulated_layers(network)}
    assert by_name["layer1.0.conv1"].saturated >= 2
    x = torch.ones(1, 16, 16, 16)
    found = by_name["layer1.0.conv1"]
    fast = found.accumulators(x)
    found.all_tiles = True
    assert torch.equal(found.accumulators(x), fast) and not torch.equal(fast, found.ideal_accumulators(x))


def test_one_image_needs_no_batch_and_layers_may_be_called_by_keyword():
    model, plan = small()
    layer = simulated_layers(simulate(model, plan))[0]
    x = images(1, 16)
    with torch.no_grad():
        assert torch.equal(layer(input=x[0]), layer(x)[0])


def test_chips_differ_by_their_seed():
    model, plan = small()
    network = simulate(model, plan, NonIdealities(program_noise=0.02), seed=1)
    x = images(4, 16)
    with torch.no_grad():
        first, again = network(x), network(x)
        program_(network, 2)
        other = network(x)
        program_(network, 1)
        assert torch.equal(first, again) and torch.equal(network(x), first) and not torch.equal(other, first)


def test_one_layer_at_a_time():
    model, plan = small()
    network = simulate(
        model, plan, NonIdealities(adc_bits=4, program_noise=0.05), calibration=[images(4, 16)]
    )
    x = images(4, 16)
    with torch.no_grad():
        ideal, all_noisy = simulate(model, plan)(x), network(x)
        outputs = []
        for layer in simulated_layers(network):
            with only(network, layer.name):
                outputs.append(network(x))
        assert torch.equal(network(x), all_noisy)
    errors = [float((found - ideal).norm()) for found in outputs]
    assert min(errors) > 0 and max(errors) < 2 * float((all_noisy - ideal).norm())
    assert len({round(float(found.sum()), 6) for found in outputs}) == len(outputs)


def test_training_with_noise_reaches_the_model_behind():
    model, plan = small()
    network = simulate(
        model, plan, NonIdealities(adc_bits=8, adc_range="full", program_noise=0.02, read_noise=0.01)
    )
    assert not ({id(p) for p in network.parameters()} ^ {id(p) for p in model.parameters()})
    network.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameters(), 0.01)
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(network(images(16, 16)), torch.arange(16) % 10)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.endswith("reduce.weight") for name in changed) and any(
        "running_mean" in name for name in changed
    )
    assert any(name.endswith("step") for name in changed)
    assert len(set(losses)) == 3


def test_training_goes_on_where_it_stopped():
    """Noise depends on how often it was drawn, which the state remembers."""
    outputs = []
    for interrupted in (False, True):
        model, plan = small()
        chosen = NonIdealities(program_noise=0.02, read_noise=0.02)
        network = simulate(model, plan, chosen).train()
        network(images(4, 16))
        if interrupted:
            state = network.state_dict()
            network = simulate(model, plan, chosen).train()
            network.load_state_dict(state)
        outputs.append(network(images(4, 16)).detach())
    assert torch.equal(*outputs)


def test_gradients_are_those_of_the_quantised_network():
    model, plan = small(method=None)
    model = model.double()  # where no rounding puts an input on the other side of a level
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)  # nor of a rectifier: a sum of exactly zero may be 1e-17 in torch
    network = simulate(model, plan)
    x = images(4, 16).double()
    wanted = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    found = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
    by_identity = {id(p): g for p, g in zip(network.parameters(), found, strict=True)}
    for parameter, want in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(by_identity[id(parameter)], want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("array", [CELLS, ArraySpec(40, 40, cell_bits=4, dac_bits=4)])
@pytest.mark.parametrize(
    "method",
    [PatDNN(3), Pairs(3, block=8), SharedSupport(3), ROW_SPARSE, ChannelPruning(0.5)],
    ids=["patdnn", "pairs", "support", "row-sparse", "channel"],
)
def test_pruned_networks_on_ideal_arrays_are_exact(method, array):
    """Skipped rows read nothing that a kept weight needs."""
    model = build("resnet8", 10)
    traced = trace(model, (3, 16, 16))
    if isinstance(method, ChannelPruning):
        plan = channel_plan(model, traced, array, method, bits=4)
    else:
        plan = uniform_plan(traced, array, method, bits=4)
    model, plan = quantised(model, plan, images(16, 16))
    network = simulate(model, plan, NonIdealities(adc_bits=16, adc_range="full"))
    for layer in simulated_layers(network):
        layer.all_tiles = True
    check_exact(model, network, images(2, 16, seed=1))


def test_the_arrays_hold_only_the_rows_that_a_support_needs():
    model = build("resnet8", 10)
    traced = trace(model, (3, 16, 16))
    array = ArraySpec(32, 32)
    model, plan = quantised(model, uniform_plan(traced, array, ROW_SPARSE, bits=4), images(16, 16))
    activations = {
        layer.name: sum(held.cycles for held in layer.arrays.values())
        for layer in simulated_layers(simulate(model, plan))
    }
    costs = network_cycles(traced, with_supports(plan, model))
    decomposed = [layer for layer in costs.layers if isinstance(layer.entry.kind, LowRankLayer)]
    assert decomposed
    for layer in decomposed:
        name = layer.shape.name
        stages = [stage.cycles for stage in layer.chosen.stages]
        assert [activations[f"{name}.reduce"], activations[f"{name}.expand"]] == stages
    other = plan.with_supports({name: " ".join(["7"] * model.get_submodule(f"{name}.reduce").in_channels)})
    with pytest.raises(
        InputError, match=rf"layer {name}: its weights keep other kernel positions or channels"
    ):
        simulate(model, other)


def test_binary_layers_are_refused():
    model = build("resnet8", 10)
    plan = uniform_plan(trace(model, (3, 16, 16)), CELLS, bits=1)
    model, plan = quantised(model, plan, images(16, 16))
    with pytest.raises(
        InputError,
        match=r"layer layer1.0.conv1 has 1-bit weights, the levels -1 and \+1, which no cell coding",
    ):
        simulate(model, plan)


def test_layers_may_stay_digital_and_float():
    model, plan = small(method=None)
    network = simulate(model, plan, digital=["fc", "conv1"])
    names = [layer.name for layer in simulated_layers(network)]
    assert names == [layer.name for layer in plan.layers if layer.name not in ("fc", "conv1")]
    with pytest.raises(InputError, match="has no layer conv9 that could be left digital"):
        simulate(model, plan, digital=["conv9"])


def test_what_cannot_be_simulated_is_refused():
    model, plan = small(method=None)
    float_plan = replace(
        plan, layers=tuple(replace(layer, weight_bits=None, input_bits=None) for layer in plan.layers)
    )
    with pytest.raises(
        InputError,
        match="gives no layer bits, and arrays compute with integers; make it with bits, such as bits=4",
    ):
        simulate(model, float_plan)
    with pytest.raises(InputError, match="is not quantised in the network, as the plan says"):
        simulate(build("resnet8", 10), plan)
    with pytest.raises(InputError, match=r"ir_drop \(=0.001\) needs real cells"):
        simulate(model, replace(plan, array=ArraySpec(64, 64)), NonIdealities(ir_drop=1e-3))
    with pytest.raises(
        InputError, match=r"cells of whole weights have signed sums, so adc_bits \(=1\) must be 2 or more"
    ):
        simulate(model, replace(plan, array=ArraySpec(64, 64)), NonIdealities(adc_bits=1))
    with pytest.raises(
        InputError, match=r"layer conv1: its sums are signed, so adc_bits \(=1\) must be 2 or more"
    ):
        simulate(model, replace(plan, array=ArraySpec(64, 64, cell_bits=2)), NonIdealities(adc_bits=1))
    fewer = replace(plan, layers=tuple(replace(layer, weight_bits=2) for layer in plan.layers))
    with pytest.raises(
        InputError, match="layer conv1 has weights and inputs of 8 and 8 bits, the plan says 2 and 8"
    ):
        simulate(model, fewer)
    with (
        pytest.raises(InputError, match="no layer nope of the network runs on arrays"),
        only(simulate(model, plan), "nope"),
    ):
        pass
    with pytest.raises(
        InputError, match="layer conv1: an input of 17x17 was not planned for; its arrays take 16x16"
    ):
        simulate(model, plan)(images(1, 17))


class Reused(nn.Module):
    """A convolution that runs on two sizes, and a linear layer on sequences."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.mix = nn.Linear(3, 5)

    def forward(self, x):
        x = self.conv(torch.relu(self.conv(x))[:, :, ::2, ::2])
        return self.mix(x.flatten(2).transpose(1, 2)).mean(1)


def test_shared_layers_of_two_sizes_and_sequences():
    model = Reused()
    plan = uniform_plan(trace(model, (3, 8, 8)), CELLS, bits=4)
    model, plan = quantised(model, plan, images(8, 8))
    network = simulate(model, plan, NonIdealities(adc_bits=16, adc_range="full"))
    (conv,) = [layer for layer in simulated_layers(network) if layer.name == "conv"]
    assert set(conv.arrays) == {(8, 8), (4, 4)}
    for layer in simulated_layers(network):
        layer.all_tiles = True
    x = images(2, 8, seed=1).double()
    with torch.no_grad():
        torch.testing.assert_close(network.double()(x), model.double()(x), rtol=1e-9, atol=1e-9)


def test_hardware_says_all_of_the_arrays_at_once():
    """The hardware that is given, else the plan's; what it leaves open is as its component table says."""
    model, plan = small()
    hardware = Hardware(
        array=ArraySpec(32, 32, 2, "differential", 1, rows_driven=8),
        adc_bits=3,
        noise=NonIdealities(adc_range="full", program_noise=0.02),
    )
    x = images(4, 16, seed=1)
    apart = simulate(model, replace(plan, array=hardware.array), hardware.non_idealities, seed=3)
    with torch.no_grad():
        wanted = apart(x)
        assert torch.equal(simulate(model, plan, hardware, seed=3)(x), wanted)
        assert torch.equal(simulate(model, plan.on(hardware), seed=3)(x), wanted)
        assert not torch.equal(model(x), wanted)
    assert all(a.sums.rows <= 8 for layer in simulated_layers(apart) for a in layer.arrays.values())
    open_figures = simulate(model, plan, Hardware(array=ArraySpec(64, 64)), seed=3)
    for layer in simulated_layers(open_figures):
        for arrays in layer.arrays.values():
            assert (arrays.chosen.adc_bits, arrays.cell_coding.cell_bits) == (5, 2)
            assert arrays.input_coding.dac_bits == 1
