"""The windows that planning proposes, against all there are."""

from dataclasses import replace
from itertools import product

import pytest

from rankfold.cost.energy import load_table
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRankLayer, SupportLayer
from rankfold.planning.exact import ARRAYS, CONVERSIONS, CYCLES, ENERGY, INTERVAL, WEIGHTS
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import dense_network, layer_slots
from rankfold.workload import ConvShape, Network

SUPPORT = "1b 15"  # four positions of one channel, three of the other
LAYER = ConvShape("layer", 2, 4, (3, 3), (5, 4), padding=(1, 1, 1, 1))
NETWORK = Network(
    "net",
    (2, 5, 4),
    (
        ConvShape("first", 2, 2, (1, 1), (5, 4)),
        LAYER,
        # The same weight on a smaller plane.
        replace(LAYER, name="again", weight="layer", input=(3, 4)),
        ConvShape("last", 4, 4, (1, 1), (1, 1)),
    ),
)


def costing_on(array):
    slots = layer_slots(NETWORK, array, 4)
    costing = Costing.of(NETWORK, dense_network(NETWORK, array, slots), load_table("rram-22nm"))
    return costing, slots[1].entry


def as_good(one, other):
    return all(left <= right for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", [None, LowRankLayer(2, 2), SupportLayer(4, support=SUPPORT)])
@pytest.mark.parametrize(
    ("array", "quantities"),
    [
        (ArraySpec(12, 16), (CYCLES, ARRAYS)),
        (ArraySpec(12, 64), (CYCLES, ARRAYS, CONVERSIONS, ENERGY)),
        (ArraySpec(12, 80, cell_bits=2, dac_bits=1), (CYCLES, ARRAYS, INTERVAL, WEIGHTS)),
        (
            ArraySpec(12, 80, cell_bits=2, dac_bits=1, input_coding="sign-magnitude"),
            (CYCLES, CONVERSIONS, INTERVAL),
        ),
    ],
)
def test_no_windows_are_left_out_that_a_budget_could_prefer(array, quantities, kind):
    costing, entry = costing_on(array)
    if kind is not None:
        entry = replace(entry, kind=kind, mapping="")
    proposed = costing.with_windows([entry], quantities)[1:]
    # Windows that need no more columns than there are weights in a row of cells.
    columns = costing.precise.array.in_weights(4).columns
    sizes = [f"{a}x{b}" for a, b in product(range(1, 6), range(1, 5)) if a * b <= columns]
    every = ["+".join(names) for names in product(sizes, repeat=entry.kind.windows)]

    # Of layers on supports the windows are compared in cycles and arrays.
    compared = quantities
    if isinstance(kind, SupportLayer):
        compared = tuple(quantity for quantity in quantities if quantity in (CYCLES, ARRAYS))

    def costs(one):
        # Sums of the same energies in another order differ in their last digits.
        candidate = costing.candidate(one, quantities)
        return tuple(round(candidate.cost(quantity), 6) for quantity in compared)

    found = {costs(one) for one in proposed}
    for name in every:
        wanted = costs(replace(entry, mapping=name))
        assert any(as_good(one, wanted) for one in found)
    if columns >= 20:
        assert len(proposed) < len(every)


def test_where_only_cycles_count_no_window_is_proposed():
    costing, entry = costing_on(ArraySpec(12, 16))
    assert costing.with_windows([entry], (CYCLES, WEIGHTS)) == [entry]
