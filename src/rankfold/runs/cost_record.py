"""What a network costs before and after its layers are replaced, for people and for records."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rankfold.cost import network_cycles
from rankfold.cost.energy import ComponentTable, dense_plan, find_table, network_energy
from rankfold.errors import NarrowArrayError, UnpricedCellsError
from rankfold.plan import Plan
from rankfold.workload import Network


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """What all layers of a network cost for one image, fully connected ones too.

    Attributes:
        cycles: activations of arrays, one for a whole input vector, as papers count.
        arrays: physical arrays that hold the weights; None where no weight fits an array's cells.
        energy: nJ, dynamic; None as `arrays`.
        stored: numbers that the arrays hold, without biases.
    """

    cycles: int
    arrays: int | None
    energy: float | None
    stored: int


def network_cost(network: Network, plan: Plan, table: ComponentTable | None = None) -> NetworkCost:
    """What a network costs under a plan.

    Args:
        network: the network.
        plan: a plan for it; layers without bits are taken to have the usual ones, where energy is counted.
        table: components; None: the default for the plan's array.

    Raises:
        InputError: a layer's kernel positions are not known yet.
    """
    costs = network_cycles(network, plan, (), linear=True)
    stored = {layer.shape.stored: layer.parameters for layer in costs.layers}
    arrays, energy = None, None
    try:
        counted = network_energy(network, plan, table or find_table(None, plan.array), linear=True)
        arrays, energy = counted.arrays, 1e-3 * counted.energy
    except (NarrowArrayError, UnpricedCellsError):
        # An array may hold no weight, or be of cells that nobody prices; its cycles are known all the same.
        pass
    return NetworkCost(
        cycles=costs.chosen_cycles,
        arrays=arrays,
        energy=energy,
        stored=sum(stored.values()),
    )


def dense_cost(network: Network, plan: Plan, table: ComponentTable | None = None) -> NetworkCost:
    """The same of the dense network on the array of a plan, each layer under the mapping that it has in the
    plan: else another mapping would look like a saving, or hide one.
    """
    layers = []
    for layer, kept in zip(plan.layers, dense_plan(plan, "sdk").layers, strict=True):
        if layer.mapping in kept.kind.mappings:
            kept = replace(kept, mapping=layer.mapping)
        layers.append(kept)
    return network_cost(network, replace(plan, layers=tuple(layers)), table)
