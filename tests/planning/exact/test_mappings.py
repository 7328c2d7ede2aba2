"""Mappings within a number of arrays, against every choice of them."""

import itertools
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from common.stored_cells import cells_of
from common.strategies import conv_shapes
from rankfold.cost.choice import options_by_weight
from rankfold.cost.energy import find_table, network_energy
from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan import LayerPlan, LowRankLayer, Plan
from rankfold.planning.exact.mappings import _ways, mappings_within
from rankfold.workload import Network, trace, zoo_network


@settings(max_examples=15)
@given(
    st.lists(conv_shapes(largest=6, channels=3), min_size=1, max_size=3),
    st.sampled_from([ArraySpec(9, 24), ArraySpec(16, 40, cell_bits=2, dac_bits=1)]),
    st.booleans(),
    st.integers(1, 60),
)
def test_no_choice_within_the_arrays_needs_fewer_cycles(shapes, array, low_rank, arrays):
    layers = tuple(
        replace(shape, name=f"layer{number}", weight=f"layer{number}") for number, shape in enumerate(shapes)
    )
    network = Network("random", (layers[0].in_channels, *layers[0].input), layers)
    entries = [LayerPlan(layer.name, weight_bits=4, input_bits=4) for layer in layers]
    if low_rank:
        entries[0] = replace(entries[0], kind=LowRankLayer(1, 1))
    plan = Plan.of(network, array, tuple(entries))
    options = options_by_weight(network, plan, {})
    sums = []
    for choice in itertools.product(*options.values()):
        if sum(option.arrays for option in choice) <= arrays:
            sums.append(sum(option.cycles for option in choice))
    if not sums:
        with pytest.raises(InputError, match=f"no plan has at most {arrays} array"):
            mappings_within(network, plan, plan, arrays, masks={})
        return
    chosen = mappings_within(network, plan, plan, arrays, masks={})
    taken = []
    for layer in chosen.layers:
        taken += [option for option in options[layer.name] if option.mapping == layer.mapping]
    assert sum(option.cycles for option in taken) == min(sums)
    assert sum(option.arrays for option in taken) <= arrays


def test_more_arrays_never_need_more_cycles():
    network = zoo_network("resnet20")
    plan = Plan.of(
        network,
        ArraySpec(64, 64, cell_bits=2, coding="offset", dac_bits=1, converts="columns"),
        tuple(LayerPlan(layer.weight, weight_bits=4, input_bits=4) for layer in network.layers),
    )
    options = options_by_weight(network, plan, {})
    before = None
    for arrays in (230, 300, 600, 3000):
        chosen = mappings_within(network, plan, plan, arrays, masks={})
        cycles = 0
        for layer in chosen.layers:
            if layer.name != "fc":
                (taken,) = (option for option in options[layer.name] if option.mapping == layer.mapping)
                cycles += taken.cycles
        assert before is None or cycles < before
        before = cycles


class Tied(nn.Module):
    """Two convolutions of one parameter, on planes of different sizes."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.other = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(self.pool(self.one(x)))


def test_layers_of_one_parameter_have_one_set_of_arrays():
    """Against every choice of both mappings, with cycles and arrays as they are priced."""
    network = trace(Tied(), (8, 12, 12), "tied")
    table = find_table(None, ArraySpec(64, 64))
    array = ArraySpec(64, 64, cell_bits=table.cell_bits, dac_bits=1)
    entries = [LayerPlan(name, weight_bits=4, input_bits=4) for name in ("one", "other")]
    plan = Plan.of(network, array, tuple(entries))
    every = []
    for mappings in itertools.product(MAPPINGS, repeat=2):
        laid_out = zip(entries, mappings, strict=True)
        layers = tuple(replace(entry, mapping=mapping) for entry, mapping in laid_out)
        priced = network_energy(network, replace(plan, layers=layers), table)
        every.append((priced.arrays, priced.reads))
    fewest = min(arrays for arrays, _ in every)
    twice = sum(
        min(option.arrays for option in options) for options in options_by_weight(network, plan, {}).values()
    )
    assert fewest < twice  # counted for each layer, no choice would fit
    with pytest.raises(InputError, match=f"the fewest that these layers can reach is {fewest} arrays"):
        mappings_within(network, plan, plan, fewest - 1, masks={})
    for most in sorted({arrays for arrays, _ in every}):
        chosen = network_energy(network, mappings_within(network, plan, plan, most, masks={}), table)
        assert chosen.arrays <= most
        assert chosen.reads == min(reads for arrays, reads in every if arrays <= most)


class TiedStrides(nn.Module):
    """Convolutions of one parameter with other strides and dilations."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.two = nn.Conv2d(8, 8, 3, padding=1, stride=2, bias=False)
        self.three = nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False)
        self.two.weight = self.three.weight = self.one.weight

    def forward(self, x):
        return self.three(self.two(self.one(x)))


def _cells(option):
    """Of an option of a layer that runs once."""
    (run,) = option.laid_out
    return [cells_of(stage) for stage in run.stages]


@pytest.mark.parametrize("model", [Tied, TiedStrides])
def test_arrays_are_shared_where_their_cells_agree(model):
    """All pairs of options, against the tiles themselves and against the arrays that are priced."""
    network = trace(model(), (8, 6, 6), "tied")
    names = [layer.name for layer in network.layers]
    table = find_table(None, ArraySpec(64, 64))
    array = ArraySpec(64, 64, cell_bits=table.cell_bits, dac_bits=1)
    entries = [LayerPlan(name, weight_bits=4, input_bits=4) for name in names]
    plan = Plan.of(network, array, tuple(entries))
    options = options_by_weight(network, plan, {})
    shared = 0
    for first, second in itertools.combinations(names, 2):
        for one, other in itertools.product(options[first], options[second]):
            alike = one.held == other.held
            shared += alike
            assert alike == (_cells(one) == _cells(other)), (one, other)
            chosen = [replace(entries[names.index(first)], mapping=one.mapping)]
            chosen.append(replace(entries[names.index(second)], mapping=other.mapping))
            pair = tuple(layer for layer in network.layers if layer.name in (first, second))
            both = replace(network, layers=pair)
            priced = network_energy(both, Plan.of(both, array, tuple(chosen)), table)
            assert priced.arrays == one.arrays + other.arrays * (not alike)
    assert shared


@dataclass(frozen=True)
class Way:
    """What `_ways` asks of an option."""

    mapping: str
    held: dict[int, int]
    arrays: int
    cycles: int
    whole_cycles: int = 0


def _tied(draw, layers, keys):
    """Options of layers of one parameter, which need as many arrays where they hold the same."""
    arrays = draw(st.lists(st.integers(1, 9), min_size=keys, max_size=keys))
    entries = [LayerPlan(f"layer{number}") for number in range(layers)]
    options = {}
    for entry in entries:
        # A layer on planes of several sizes may hold several.
        sets = st.sets(st.integers(0, keys - 1), min_size=1, max_size=2)
        held = draw(st.lists(sets, min_size=1, max_size=3))
        of_layer = []
        for number, some in enumerate(held):
            key = {one: arrays[one] for one in some}
            of_layer.append(Way(str(number), key, sum(key.values()), draw(st.integers(1, 30))))
        options[entry.name] = of_layer
    return entries, options


def _front(costs):
    """Those that no other undercuts in both cycles and arrays."""
    return {
        cost for cost in costs if not any(o != cost and o[0] <= cost[0] and o[1] <= cost[1] for o in costs)
    }


@settings(max_examples=40)
@given(st.data(), st.integers(2, 4))
def test_ways_of_tied_layers_against_every_choice(data, layers):
    entries, options = _tied(data.draw, layers, 5)
    every = set()
    for choice in itertools.product(*options.values()):
        arrays = sum(dict(item for option in choice for item in option.held.items()).values())
        every.add((sum(option.cycles for option in choice), arrays))
    assert {(way.cycles, way.arrays) for way in _ways(entries, options)} == _front(every)


def test_many_tied_layers_are_chosen_for_in_no_time():
    """5^12 choices, and as many sets of what arrays hold as there are mappings."""
    entries = [LayerPlan(f"layer{number}") for number in range(12)]
    options = {}
    for number, entry in enumerate(entries):
        alike = [Way(str(key), {key: 3 + key}, 3 + key, 40 - 5 * key) for key in range(4)]
        own = Way("own", {100 + number: 2}, 2, 20)
        options[entry.name] = [*alike, own]
    # Some layers on arrays of their own, all others on those that one of the mappings needs.
    every = set()
    for own, key in itertools.product(range(13), range(4)):
        shared = (3 + key) * (own < 12)
        every.add((20 * own + (40 - 5 * key) * (12 - own), 2 * own + shared))
    assert {(way.cycles, way.arrays) for way in _ways(entries, options)} == _front(every)
