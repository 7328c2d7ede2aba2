"""Codings of signed inputs in whole networks: exact on ideal arrays, and counted alike everywhere."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rankfold.chip.tasks import task_graph
from rankfold.cost import network_cycles
from rankfold.cost.cycles import placed_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.mapping import CODINGS, CONVERSIONS, INPUT_CODINGS, ArraySpec
from rankfold.nn.quantised import QuantLayer
from rankfold.plan import LowRank, uniform_plan
from rankfold.simulator import NonIdealities, simulate, simulated_layers
from rankfold.simulator.reading import Tally
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.workload import trace

IMAGE = (3, 8, 8)
PAIRED = LowRank(groups=2, rank=2, force=True)  # whose second stages read signed sums
ENOUGH = NonIdealities(adc_bits=16, adc_range="full")


def images(count, seed=0):
    return torch.randn(count, *IMAGE, generator=torch.Generator().manual_seed(seed)).double()


def network():
    """Layers that read images, signed and unsigned values."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.Hardswish(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.Flatten(),
        nn.Linear(6 * 9, 5),
    )


@cache
def pairs(bits):
    """The network in pairs, quantised, on arrays that are yet to be said; and its plan."""
    model = network()
    plan = uniform_plan(trace(model, IMAGE), ArraySpec(64, 64), PAIRED, bits=bits)
    compress_(model, plan)
    plan = quantise_(model, plan, [images(8).float()])
    model = model.double().eval()
    for module in model.modules():
        # Symmetric, so that cells and slices hold all levels.
        if isinstance(module, QuantLayer):
            for quantiser in (module.weight_quantiser, module.input_quantiser):
                quantiser.low = max(quantiser.low, -quantiser.high)
    return model, plan


@settings(max_examples=10)
@given(
    st.integers(2, 4),
    st.integers(1, 5),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(CODINGS),
    st.sampled_from(CONVERSIONS),
    st.sampled_from(INPUT_CODINGS),
)
def test_ideal_arrays_compute_the_quantised_network(bits, dac_bits, cell_bits, cells, converts, coding):
    """Slice by slice through all tiles, whatever the coding of cells and of inputs."""
    model, plan = pairs(bits)
    array = ArraySpec(64, 64, cell_bits, cells, dac_bits, converts=converts, input_coding=coding)
    on_arrays = simulate(model, plan.on(array), ENOUGH)
    signed = set()
    for layer in simulated_layers(on_arrays):
        layer.all_tiles = True
        assert not layer.saturated
        signed.add(layer.layer.input_quantiser.signed)
    assert signed == {False, True}
    x = images(2, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(on_arrays(x), model(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("coding", INPUT_CODINGS)
@pytest.mark.parametrize("dac_bits", [1, 3])
def test_slices_are_the_same_in_simulation_cycles_energy_and_chips(coding, dac_bits):
    model, plan = pairs(4)
    array = ArraySpec(64, 64, 2, "differential", dac_bits, input_coding=coding)
    plan = plan.on(array)
    on_arrays = simulate(model, plan, ENOUGH)
    tally = Tally()
    for layer in simulated_layers(on_arrays):
        layer.tally = tally
    with torch.no_grad():
        on_arrays(images(1))
    activations, conversions = tally.activations, tally.conversions
    traced = trace(network(), IMAGE)
    assert network_cycles(traced, plan, linear=True).array_cycles == activations
    energy = network_energy(traced, plan, load_table("rram-22nm"), linear=True)
    assert (energy.reads, energy.conversions) == (activations, conversions)
    # No table has drivers of both signs.
    assert ("drivers of both signs" in energy.describe()) == (coding == "sign-magnitude")
    placed = placed_cycles(traced, plan, (), linear=True)
    assert placed.reads == activations
    tasks = task_graph(traced, placed, energy).tasks
    assert sum(tiles * times for task in tasks for tiles, times in task.matrices) == activations


def test_inputs_below_what_slices_hold_are_driven_as_the_lowest():
    """By the one product and slice by slice alike."""
    layer = network()[:1]
    plan = uniform_plan(trace(layer, IMAGE), ArraySpec(64, 64), bits=3)
    plan = quantise_(layer, plan, [images(8).float()])
    layer = layer.double().eval()
    quantiser = layer[0].input_quantiser
    x = 4 * images(2, seed=1)
    assert quantiser.signed and int(quantiser.integers(x).min()) == quantiser.low
    held = quantiser.levels(x).clamp(min=quantiser.low + 1) * quantiser.scale.double()
    for coding in ("sign-magnitude", "differential"):
        on_arrays = simulate(layer, plan.on(ArraySpec(64, 64, dac_bits=1, input_coding=coding)), ENOUGH)
        (simulated,) = simulated_layers(on_arrays)
        for all_tiles in (False, True):
            simulated.all_tiles = all_tiles
            with torch.no_grad():
                torch.testing.assert_close(on_arrays(x), layer(held), rtol=1e-9, atol=1e-9)


def test_a_coding_of_slices_needs_slices():
    model, plan = pairs(4)
    with pytest.raises(InputError, match=r"input_coding \(=differential\) is of slices"):
        simulate(model, plan.on(ArraySpec(64, 64, input_coding="differential")))
