"""The mapping of least energy for every layer: what a layer computes stays the same, only its place on the
arrays changes.
"""

from __future__ import annotations

from dataclasses import replace

from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.energy.pricing import network_energy
from rankfold.cost.energy.table import ComponentTable
from rankfold.cost.planned import Masks
from rankfold.mapping import MAPPINGS
from rankfold.plan import Plan
from rankfold.workload import Network


def cheapest_mappings(
    network: Network,
    plan: Plan,
    table: ComponentTable,
    masks: Masks | None = None,
) -> Plan:
    """The plan with every layer's mapping replaced by the one that costs the least dynamic energy.

    Fewest cycles and least energy differ: windows of many pixels need fewer activations, and may convert more
    columns. Of mappings that cost the same, the earliest in `MAPPINGS` is taken; a layer keeps its own where
    none of these costs less, such as a window that it was given.

    Args:
        network: the network.
        plan: its plan; the array is the plan's.
        table: the components.
        masks: as `network_energy` takes them.

    Raises:
        InputError: as `network_energy`.
    """
    best: dict[str, tuple[float, str]] = {}
    for method in MAPPINGS:
        priced = network_energy(network, all_laid_out(plan, method), table, masks)
        for name, energy in _by_weight(priced).items():
            possible = method in plan.layer(name).kind.mappings
            # Strictly less, so that of equal ones the earlier mapping stays.
            if possible and (name not in best or energy < best[name][0]):
                best[name] = energy, method
    own = _by_weight(network_energy(network, plan, table, masks))
    layers = []
    for layer in plan.layers:
        if layer.name in best and (layer.mapping in MAPPINGS or best[layer.name][0] < own[layer.name]):
            layer = replace(layer, mapping=best[layer.name][1])
        layers.append(layer)
    return replace(plan, layers=tuple(layers))


def all_laid_out(plan: Plan, method: str) -> Plan:
    """The plan with every layer that can be laid out so; the others stay as they are."""
    layers = []
    for layer in plan.layers:
        if method in layer.kind.mappings:
            layer = replace(layer, mapping=method)
        layers.append(layer)
    return replace(plan, layers=tuple(layers))


def _by_weight(energy: NetworkEnergy) -> dict[str, float]:
    """pJ of each weight, over all layers that use it."""
    # A plan has one mapping for a weight, however many layers run it.
    found: dict[str, float] = {}
    for layer in energy.layers:
        found[layer.shape.weight] = found.get(layer.shape.weight, 0.0) + layer.energy
    return found
