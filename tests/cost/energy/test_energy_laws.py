"""What holds for all layers and tables: counts are those of the tiles, parts add up; more costs no less."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.cost.energy import (
    TABLES,
    cheapest_mappings,
    load_table,
    network_energy,
    stage_activity,
    stage_energy,
)
from rankfold.errors import InputError
from rankfold.mapping import (
    INPUT_CODINGS,
    LOW_RANK_METHODS,
    MAPPINGS,
    ArraySpec,
    map_layer,
    map_pruned,
    steered_cycles,
)
from rankfold.plan import DenseLayer, LayerPlan, LowRankLayer, PatDNNLayer, Plan, uniform_plan
from rankfold.workload import ConvShape, Network, zoo_network

BITS = st.integers(2, 8)
ARRAYS = st.integers(4, 70).flatmap(
    lambda rows: st.builds(
        ArraySpec,
        st.just(rows),
        st.integers(20, 70),
        st.sampled_from([1, 2]),
        st.sampled_from(["offset", "differential"]),
        st.integers(1, 3),
        st.none() | st.integers(1, rows),
        st.sampled_from(["columns", "differences"]),
        st.sampled_from(INPUT_CODINGS),
    )
)
DENSE = DenseLayer()


@st.composite
def layers(draw):
    """Convolutions of one group or two, with strides and paddings."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    size = draw(st.tuples(st.integers(3, 9), st.integers(3, 9)))
    groups = draw(st.sampled_from([1, 1, 2]))
    channels, outputs = groups * draw(st.integers(1, 6)), groups * draw(st.integers(1, 6))
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*[st.integers(0, 1)] * 4))
    return ConvShape("conv", channels, outputs, kernel, size, stride, padding=padding, groups=groups)


@st.composite
def tables(draw):
    """The shipped technologies, with ADCs of all kinds and resolutions, and cells of up to four bits."""
    table = replace(load_table(draw(st.sampled_from(TABLES))), most_cell_bits=4)
    return table.with_adc(draw(st.sampled_from(["flash", "sar", "zigzag"])), draw(st.integers(2, 8)))


def one_layer(shape, array, table, weight_bits=4, input_bits=4, *, kind=DENSE, mapping="sdk"):
    """The energy of a network of one layer."""
    entry = LayerPlan("conv", kind, mapping=mapping, weight_bits=weight_bits, input_bits=input_bits)
    network = Network("one", (shape.in_channels, *shape.input), (shape,))
    return network_energy(network, Plan("one", network.input, array, (entry,)), table)


@settings(max_examples=100)
@given(layers(), ARRAYS, BITS, BITS, st.sampled_from(MAPPINGS), st.sampled_from([None, False, True]))
def test_counts_equal_those_of_the_tiles(shape, array, weight_bits, input_bits, method, signed):
    mapping = map_layer(shape, array.in_weights(weight_bits), method)
    activity = stage_activity(
        mapping, array, weight_bits, input_bits, steering="kernels", input_signed=signed
    )
    wide, slices = array.columns_per_weight(weight_bits), array.cycles_per_vector(input_bits, signed)
    # A row is driven in the pass of its input's sign alone.
    driven_slices = slices
    if array.input_coding == "differential" and signed is not False:
        driven_slices //= 2
    reference = array.coding == "offset"
    subtracted = array.converts == "differences"
    reads = rows = columns = converted = cells = kernels = 0
    busy = Counter()
    placed = []
    for region in mapping.regions:
        for number, tile in enumerate(region.tiles()):
            placed.append((region, number, tile))
    for region, number, tile in placed:
        times = region.activations * slices
        physical = tile.columns * wide + reference
        seen = physical
        if subtracted:
            seen = tile.columns * wide
            if not reference:
                seen //= 2
        # Row after row, as many at once as are driven.
        at_once = array.rows_driven or tile.rows
        for first in range(0, tile.rows, at_once):
            driven = min(at_once, tile.rows - first)
            reads += times
            rows += region.activations * driven_slices * driven
            columns += times * tile.columns
            converted += times * seen
            cells += region.activations * driven_slices * driven * physical
            kernels += times * driven * tile.columns
            # Regions that store the same matrix take turns at the same arrays.
            busy[region.stored, number] += times
    assert (activity.reads, activity.rows, activity.conversions) == (reads, rows, converted)
    assert (activity.cells, activity.steered, activity.columns) == (cells, kernels, columns)
    assert activity.longest * slices == max(busy.values())
    assert activity.activations == mapping.cycles
    assert activity.sums == mapping.conversions
    assert activity.additions == activity.sums - activity.outputs


@settings(max_examples=60)
@given(layers(), ARRAYS, tables(), st.sampled_from(LOW_RANK_METHODS), st.data())
def test_parts_add_up(shape, array, table, method, data):
    groups = data.draw(st.sampled_from([1, shape.in_channels // shape.groups]))
    kind = LowRankLayer(groups, data.draw(st.integers(1, 3)))
    energy = one_layer(shape, array, table, kind=kind, mapping=method)
    stages = [stage for layer in energy.layers for stage in layer.stages]
    assert len(stages) == 2
    assert energy.energy == pytest.approx(sum(energy.components.values()))
    assert energy.energy == pytest.approx(sum(sum(stage.energy.values()) for stage in stages))
    assert set(energy.components) == set(table.names) - {"periphery"}
    assert energy.area == pytest.approx(1e-6 * sum(sum(stage.area.values()) for stage in stages))
    assert energy.latency == pytest.approx(sum(stage.latency for stage in stages))
    assert energy.interval == max(stage.latency for stage in stages)
    assert energy.conversions == sum(stage.activity.conversions for stage in stages)
    assert all(value >= 0 for value in energy.components.values())
    assert 0 < energy.utilisation <= 1
    assert energy.leakage_energy >= energy.pipelined_leakage_energy > 0
    assert energy.tops_per_watt < 2 * energy.macs / energy.energy


@settings(max_examples=60)
@given(layers(), ARRAYS, tables(), st.sampled_from(MAPPINGS), BITS, BITS)
def test_more_never_costs_less(shape, array, table, method, weight_bits, input_bits):
    """Finer ADCs, wider inputs, busier rows, dearer parts; for im2col a taller input, on the same tiles."""

    def energy(shape=shape, table=table, weights=weight_bits, inputs=input_bits):
        return one_layer(shape, array, table, weights, inputs, mapping=method)

    base = energy()

    def rises(more):
        before = [base.energy, *base.components.values(), base.latency]
        after = [more.energy, *more.components.values(), more.latency]
        assert all(one >= other for one, other in zip(after, before, strict=True))

    rises(energy(table=table.with_adc(bits=table.adc_bits + 1)))
    rises(energy(inputs=input_bits + 1))
    rises(energy(table=replace(table, active_rows=0.7, active_cells=0.9)))
    rises(energy(table=replace(table, mux=table.mux + 1)))
    if method == "im2col":
        rises(energy(shape=replace(shape, input=(shape.input[0] + 1, shape.input[1]))))
        wider = energy(weights=weight_bits + 1)
        assert wider.conversions >= base.conversions
        assert wider.arrays >= base.arrays
        assert wider.area >= base.area


@settings(max_examples=40)
@given(layers(), ARRAYS, tables(), st.floats(0, 1))
def test_fewer_kernel_positions_never_cost_more(shape, array, table, share):
    positions = shape.kernel[0] * shape.kernel[1]
    support = np.random.default_rng(1).random((shape.in_channels, positions)) <= share
    support[0, 0] = True
    priced = []
    for mask in (None, support):
        mapping = map_layer(shape, array.in_weights(4), "im2col", mask)
        priced.append(stage_energy(table, array, stage_activity(mapping, array, 4, 4)))
    dense, pruned = priced
    if shape.groups == 1:
        assert all(pruned.energy[name] <= energy * (1 + 1e-12) for name, energy in dense.energy.items())


def test_shared_weights_are_stored_once():
    """A module that runs twice takes its energy twice, its arrays once, and holds up the pipeline twice."""
    shape = ConvShape("conv", 4, 4, (3, 3), (8, 8), padding=(1, 1, 1, 1))
    again = replace(shape, name="conv#2", weight="conv")
    entry = LayerPlan("conv", weight_bits=4, input_bits=4)
    plan = Plan("n", (4, 8, 8), ArraySpec(64, 64), (entry,))
    table = load_table("sram-22nm")
    once = network_energy(Network("n", (4, 8, 8), (shape,)), plan, table)
    twice = network_energy(Network("n", (4, 8, 8), (shape, again)), plan, table)
    assert twice.energy == pytest.approx(2 * once.energy)
    assert (twice.arrays, twice.area) == (once.arrays, once.area)
    assert twice.interval == pytest.approx(2 * once.interval)


def test_what_was_assumed_is_said():
    network, table = zoo_network("resnet20"), load_table("rram-22nm")
    cells = ArraySpec(64, 64, 1, "differential", 2)
    said = network_energy(network, uniform_plan(network, cells, bits=4), table)
    assert said.assumed == ()
    assumed = network_energy(network, uniform_plan(network, ArraySpec(64, 64)), table)
    floats = (
        "4-bit weights and inputs, 8 in the first convolution and the classifier, where the plan has floats"
    )
    assert assumed.assumed == (
        "2-bit cells, differential coding, differences converted",
        "1-bit DACs",
        floats,
    )
    cells = ArraySpec(64, 64, 2, "differential", 1, converts="differences")
    explicit = network_energy(network, uniform_plan(network, cells, bits=4), table)
    assert assumed.energy == explicit.energy
    assert "assumed: 2-bit cells" in assumed.describe()


def test_cells_that_the_technology_lacks_are_refused():
    network = zoo_network("resnet20")
    plan = uniform_plan(network, ArraySpec(64, 64, cell_bits=2), bits=4)
    with pytest.raises(InputError, match=r"cell_bits \(=2\): cells of sram-22nm store at most 1"):
        network_energy(network, plan, load_table("sram-22nm"))


def test_a_mapping_for_another_array_is_refused():
    shape = ConvShape("conv", 2, 2, (3, 3), (6, 6))
    with pytest.raises(
        InputError, match="layer conv: mapped onto 64x64 weights, but arrays of 64x64 hold 64x16 of 4 bits"
    ):
        stage_activity(map_layer(shape, ArraySpec(64, 64), "im2col"), ArraySpec(64, 64, 2), 4, 4)
    with pytest.raises(InputError, match=r"steering \(=magic\) must be one of none, rows, kernels"):
        stage_activity(
            map_layer(shape, ArraySpec(64, 64), "im2col"), ArraySpec(64, 64), 4, 4, steering="magic"
        )


@settings(max_examples=15)
@given(layers(), ARRAYS, tables(), st.sampled_from([DENSE, LowRankLayer(1, 1)]))
def test_the_cheapest_mapping_is_never_dearer_than_another(shape, array, table, kind):
    entry = LayerPlan("conv", kind, weight_bits=4, input_bits=4)
    network = Network("one", (shape.in_channels, *shape.input), (shape,))
    plan = Plan("one", network.input, array, (entry,))
    cheapest = cheapest_mappings(network, plan, table)
    energies = {}
    for method in kind.mappings:
        energies[method] = one_layer(shape, array, table, mapping=method, kind=kind).energy
    assert energies[cheapest.layers[0].mapping] == min(energies.values())
    assert replace(cheapest.layers[0], mapping=entry.mapping) == entry


def test_a_window_that_costs_less_than_every_rule_is_kept():
    """Whichever window is named, what is chosen costs no more than it did."""
    shape, table = ConvShape("conv", 1, 2, (2, 2), (9, 9)), load_table("rram-22nm")
    network, kept = Network("one", (1, 9, 9), (shape,)), 0
    for a, b in product(range(1, 9), repeat=2):
        entry = LayerPlan("conv", DENSE, mapping=f"{a}x{b}", weight_bits=4, input_bits=4)
        plan = Plan("one", network.input, ArraySpec(64, 64, 2), (entry,))
        cheapest = cheapest_mappings(network, plan, table)
        before, after = (network_energy(network, each, table).energy for each in (plan, cheapest))
        assert after <= before
        kept += cheapest == plan
    assert 0 < kept < 64


@settings(max_examples=30)
@given(layers(), ARRAYS, tables(), st.integers(0, 99), st.booleans())
def test_pruned_layers_pay_for_what_their_masks_leave(shape, array, table, seed, ideal):
    """As many activations as counted for that steering, whose circuits alone cost energy and area."""
    if shape.kernel == (1, 1):
        shape = replace(shape, kernel=(2, 2))
    size = shape.m, shape.in_channels // shape.groups, *shape.kernel
    mask = np.random.default_rng(seed).random(size) < 0.5
    mask[0, 0, 0, 0] = True
    kind = PatDNNLayer(1, "ideal" if ideal else "plain")
    entry = LayerPlan("conv", kind, mapping="sdk", weight_bits=4, input_bits=4)
    network = Network("one", (shape.in_channels, *shape.input), (shape,))
    plan = Plan("one", network.input, array, (entry,))
    paid = network_energy(network, plan, table, {"conv": mask})
    free = network_energy(network, plan, table, {"conv": mask}, circuits=False)
    activity = free.layers[0].stages[0].activity
    in_weights = array.in_weights(4)
    if ideal:
        assert activity.activations == steered_cycles(shape, in_weights, mask, "sdk")
    else:
        assert activity.activations == map_pruned(shape, in_weights, mask, "sdk").cycles
    assert activity.macs == int(mask.sum()) * shape.output[0] * shape.output[1]
    assert activity.outputs == shape.m * shape.output[0] * shape.output[1]
    assert activity.kernel == shape.kernel[0] * shape.kernel[1]
    assert free.components["steering"] == 0 < paid.components["steering"]
    assert free.area < paid.area
    assert paid.energy - free.energy == pytest.approx(paid.components["steering"], rel=1e-6)
    with pytest.raises(InputError, match="needs its mask, which is saved with the weights"):
        network_energy(network, plan, table)
