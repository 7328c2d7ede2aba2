"""Mapping many different layers solves each of them once for each array, whatever is then asked of them."""

import random
from collections import Counter

import pytest

from rankfold.cost import network_cycles
from rankfold.cost.energy import choose_mappings, find_table, on_arrays
from rankfold.mapping import MAPPINGS, ArraySpec, clear_cache, stored
from rankfold.mapping.best import BestSearch
from rankfold.plan import uniform_plan
from rankfold.workload import ConvShape, Network


def different_layers(number: int) -> Network:
    """Layers of different sizes, each of which is cut in several ways under `best`."""
    draw = random.Random(0)
    layers: dict[tuple[int, int, int], ConvShape] = {}
    while len(layers) < number:
        inputs, outputs, kernel = draw.randint(3, 200), draw.randint(3, 200), draw.randint(1, 5)
        shape = ConvShape(f"layer{len(layers)}", inputs, outputs, (kernel, kernel), (12, 12))
        layers.setdefault((inputs, outputs, kernel), shape)
    return Network("many", (3, 12, 12), tuple(layers.values()))


def test_each_layer_is_solved_once_for_each_array(monkeypatch: pytest.MonkeyPatch):
    """As `rankfold map` goes through a network: choice of mappings, cycles, energy under every mapping."""
    calls: Counter[str] = Counter()

    def counted(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def count(*arguments):
            calls[name] += 1
            return original(*arguments)

        monkeypatch.setattr(owner, name, count)

    counted(BestSearch, "solve")
    counted(stored, "extents_of")
    clear_cache()
    network, array = different_layers(12), ArraySpec(64, 64)
    plan = choose_mappings(network, uniform_plan(network, array))
    network_cycles(network, plan, MAPPINGS)
    table = find_table(None, array)
    priced = on_arrays(network, plan, table)
    # With a weight in a cell, as papers count, and on the cells that energy is counted with.
    assert calls["solve"] == 2 * len(network.layers)
    once = calls["extents_of"]
    assert once > 0
    on_arrays(network, plan, table)
    assert calls["solve"] == 2 * len(network.layers)
    assert calls["extents_of"] == once
    assert priced.energy.energy > 0
