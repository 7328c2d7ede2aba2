"""The mappings that layers get where nobody names one, on the arrays that energy is counted with."""

from __future__ import annotations

from rankfold.cost.choice import chosen_on
from rankfold.cost.energy.chosen_table import find_table
from rankfold.cost.energy.pricing import precise_plan
from rankfold.cost.energy.table import DEFAULT_TABLE, ComponentTable
from rankfold.cost.planned import BITS
from rankfold.errors import InputError
from rankfold.plan import Plan
from rankfold.workload import Network


def choose_mappings(network: Network, plan: Plan, table: str | ComponentTable = DEFAULT_TABLE) -> Plan:
    """The plan with the mapping of every layer chosen by the rule of `cost.choose_mapping`.

    Arrays and time are those of `counted_plan`.

    Args:
        network: the network.
        plan: its plan.
        table: the components, or the name or YAML file of a table of them.

    Raises:
        InputError: the array that the plan names holds no weight of a layer; or there is no such table.
    """
    if isinstance(table, str):
        table = find_table(table, plan.array)
    return chosen_on(network, plan, counted_plan(network, plan, table))


def counted_plan(network: Network, plan: Plan, table: ComponentTable) -> Plan:
    """The plan with the cells, DACs and bits that energy is counted with: its own, or what the table assumes.

    Where an array with the assumed cells holds no weight of some layer, the plan as it is: a weight in a
    cell.

    Args:
        network: the network.
        plan: its plan.
        table: the components.

    Raises:
        InputError: the array that the plan names holds no weight of a layer, or the table's cells store fewer
            bits than the array's.
    """
    try:
        precise, _ = precise_plan(network, plan, table)
        for layer in precise.layers:
            precise.array.in_weights(layer.weight_bits or BITS)
    except InputError:
        # Cells that somebody named are meant; those that were assumed are not.
        if plan.array.cell_bits is not None:
            raise
        return plan
    return precise
