"""What a network costs before and after its layers are replaced, for people and for records."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from rankfold.cost import network_cycles
from rankfold.cost.energy import (
    ComponentTable,
    choose_mappings,
    dense_plan,
    find_table,
    network_energy,
)
from rankfold.errors import InputError
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
    except InputError:
        # An array may be too small for one weight spread over its cells; its cycles are known all the same.
        pass
    return NetworkCost(
        cycles=costs.chosen_cycles,
        arrays=arrays,
        energy=energy,
        stored=sum(stored.values()),
    )


def dense_cost(network: Network, plan: Plan, table: ComponentTable | None = None) -> NetworkCost:
    """The same of the dense network on the array of a plan, laid out by the rule that plans without a
    mapping are: else a better mapping would look like a saving.
    """
    dense = dense_plan(plan, "sdk")
    # An array may be too small for one weight; its cycles are counted all the same, as above.
    with suppress(InputError):
        dense = choose_mappings(network, dense, table or find_table(None, plan.array))
    return network_cost(network, dense, table)
