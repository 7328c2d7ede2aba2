"""Whole networks on ideal arrays: the integers of the quantised network, layer by layer."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from common.cells import CELLS
from common.simulated import images, quantised, small
from common.thorough import thorough
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.pretrained import shipped
from rankfold.models.zoo import build
from rankfold.plan import ChannelPruning, LowRank, LowRankLayer, Pairs, PatDNN, SharedSupport, uniform_plan
from rankfold.runs.evaluate import load_run
from rankfold.simulator import NonIdealities, simulate, simulated_layers
from rankfold.surgery.channels import channel_plan
from rankfold.surgery.supports import with_supports
from rankfold.workload import trace

ROW_SPARSE = LowRank(groups=2, rank="1/4", entries=3, force=True)


@pytest.fixture(scope="module")
def resnet20():
    """The shipped 4-bit network and its plan."""
    model, plan, _ = load_run(shipped("resnet20-cifar10-4bit").folder)
    return model.eval(), plan


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
