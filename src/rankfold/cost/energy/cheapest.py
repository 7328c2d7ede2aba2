"""The mapping of least energy for every layer: what a layer computes stays the same, only its place on the arrays changes."""

from __future__ import annotations

from dataclasses import replace

from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.energy.pricing import network_energy
from rankfold.cost.energy.table import ComponentTable
from rankfold.cost.planned import Masks
from rankfold.mapping import LOW_RANK_METHODS, METHODS, PRUNED_METHODS
from rankfold.plan import LOW_RANK, PRUNED, LayerPlan, Plan
from rankfold.workload import Network


def cheapest_mappings(network: Network, plan: Plan, table: ComponentTable, masks: Masks | None = None) -> Plan:
    """The plan with every layer's mapping replaced by the one that costs the least dynamic energy.

    Fewest cycles and least energy differ: windows of many pixels need fewer activations, and may convert more columns. A
    layer's accuracy does not depend on its mapping, so neither does the plan's. Of mappings that cost the same, the earliest
    in `METHODS` (`LOW_RANK_METHODS`, `PRUNED_METHODS`) is taken.

    Args:
        network: the network.
        plan: its plan; the array is the plan's.
        table: the components.
        masks: as `network_energy` takes them.

    Raises:
        InputError: as `network_energy`.
    """
    best: dict[str, tuple[float, str]] = {}
    for method in METHODS:
        layers = tuple(replace(layer, mapping=method) if method in _choices(layer) else layer for layer in plan.layers)
        found: NetworkEnergy = network_energy(network, replace(plan, layers=layers), table, masks)
        for name, energy in _by_weight(found).items():
            if method in _choices(plan.layer(name)) and (name not in best or energy < best[name][0]):
                best[name] = energy, method
    return replace(
        plan, layers=tuple(replace(layer, mapping=best[layer.name][1]) if layer.name in best else layer for layer in plan.layers)
    )


def _choices(layer: LayerPlan) -> tuple[str, ...]:
    return {LOW_RANK: LOW_RANK_METHODS, PRUNED: PRUNED_METHODS}.get(layer.kind, METHODS)


def _by_weight(energy: NetworkEnergy) -> dict[str, float]:
    """pJ of each weight, over all layers that use it."""
    found: dict[str, float] = {}
    for layer in energy.layers:
        found[layer.shape.weight] = found.get(layer.shape.weight, 0.0) + layer.energy
    return found
