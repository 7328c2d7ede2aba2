"""A parameter that two modules share is stored once, as a module that runs twice is."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.cost.stored import stages_of
from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, LayerPlan, Plan, coverage, uniform_plan
from rankfold.workload import trace

ARRAY = ArraySpec(32, 32)


class Twice(nn.Module):
    """Runs a convolution, halves the plane, and runs the same weight once more: in one module, or in two."""

    def __init__(self, *, tied):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.one = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.other = self.one
        if tied:
            self.other = nn.Conv2d(8, 8, 3, padding=1, bias=False)
            self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(self.pool(self.one(self.stem(x))))


def counts(model, mapping="im2col"):
    """Everything that is counted of what is stored, and of how long it works."""
    network = trace(model, (3, 12, 12), "twice")
    plan = uniform_plan(network, ARRAY, bits=4, mapping=mapping)
    costs = network_cycles(network, plan, ("im2col",))
    energy = network_energy(network, plan, load_table("rram-22nm"))
    whole = coverage(network, plan)
    return {
        "parameters": costs.to_json()["total"]["parameters"],
        "left": costs.to_json()["total"]["planned_parameters"],
        "covered": sum(layer.parameters for layer in whole.layers),
        "of": whole.parameters,
        "loads": [stage.loads for stage in stages_of(costs)],
        "arrays": energy.arrays,
        "area": energy.area,
        "leakage": energy.leakage,
        "interval": energy.interval,
        "latency": energy.latency,
    }


def test_two_modules_of_one_parameter_count_as_one_that_runs_twice():
    assert counts(Twice(tied=True)) == counts(Twice(tied=False))


def test_each_has_a_name_and_a_place_in_plans_of_its_own():
    """So that plans of version 0.1 go on working; only what is stored is the same."""
    network = trace(Twice(tied=True), (3, 12, 12), "twice")
    assert [(layer.weight, layer.shares) for layer in network.layers] == [
        ("stem", ""),
        ("one", ""),
        ("other", "one"),
    ]
    layers = tuple(LayerPlan(name, DenseLayer()) for name in ("stem", "one", "other"))
    plan = Plan("twice", (3, 12, 12), ArraySpec(32, 32), layers)
    costs = network_cycles(network, plan, ("im2col",))
    assert [layer.shape.name for layer in costs.layers] == ["stem", "one", "other"]
    assert costs.to_json()["total"]["parameters"] == 3 * 8 + 8 * 8 * 9


def test_arrays_that_hold_it_in_two_ways_are_two():
    network = trace(Twice(tied=True), (3, 12, 12), "twice")
    plan = uniform_plan(network, ArraySpec(256, 256), bits=4, mapping="im2col")
    alike = network_energy(network, plan, load_table("rram-22nm"))
    entries = (*plan.layers[:2], replace(plan.layers[2], mapping="sdk"))
    other = network_energy(network, replace(plan, layers=entries), load_table("rram-22nm"))
    assert other.arrays > alike.arrays
