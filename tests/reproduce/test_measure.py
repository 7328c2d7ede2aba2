"""Costs of a network on the arrays of a grid: which there are, and what stops the count."""

import pytest

from rankfold.cost import PUBLISHED, CostKey
from rankfold.errors import InputError
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.plan import LayerPlan, Plan, WindowLayer
from rankfold.plan.kinds import LowRankLayer
from rankfold.reproduce import measure
from rankfold.workload import ConvShape, Network

ARRAY = ArraySpec(32, 32)
NETWORK = Network("small", (4, 8, 8), (ConvShape("a", 4, 4, (3, 3), (8, 8), padding=(1, 1, 1, 1)),))


def costs(window):
    plan = Plan.of(NETWORK, ARRAY, (LayerPlan("a", WindowLayer(window), weight_bits=4, input_bits=4),))
    return measure.costs_on(ARRAY, NETWORK, plan, {}, DEFAULT_HARDWARE)


def test_the_published_reading_is_left_out_only_where_it_cannot_count():
    """Without padding the plane has 6x6 outputs, and no room for a window of 7x1."""
    assert PUBLISHED in costs((6, 1))
    assert costs((7, 1)) and PUBLISHED not in costs((7, 1))


def test_anything_else_that_is_wrong_in_it_is_an_error(monkeypatch):
    def fail(*_):
        raise InputError("a mask is missing")

    monkeypatch.setattr(measure, "published_cycles", fail)
    with pytest.raises(InputError, match="a mask is missing"):
        costs((6, 1))


def test_a_network_with_layers_of_two_kinds_has_one_row_a_mapping():
    """Each family of kinds has a key of its own for the whole network; a row each would look like seeds."""
    shapes = [ConvShape(name, 4, 4, (3, 3), (8, 8), padding=(1, 1, 1, 1)) for name in "ab"]
    network = Network("two", (4, 8, 8), tuple(shapes))
    kinds = (WindowLayer((2, 2)), LowRankLayer(1, 2))
    layers = [
        LayerPlan(name, kind, weight_bits=4, input_bits=4) for name, kind in zip("ab", kinds, strict=True)
    ]
    plan = Plan.of(network, ARRAY, tuple(layers))
    counted = measure.costs_on(ARRAY, network, plan, {}, DEFAULT_HARDWARE)
    keys = [CostKey.parse(text) for text in counted]
    mappings = [(key.mapping, measure.steering_of(key)) for key in keys]
    assert len(set(mappings)) == len(mappings) and {"im2col", "sdk", "best"} <= {name for name, _ in mappings}
