"""`mapping_plan`: every layer as it is, and only its mapping chosen, under budgets and without data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rankfold.arguments import TEXT, Wanted, takes
from rankfold.cost.energy import ComponentTable, hardware_table
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.machine.hardware import HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.plan.uniform import Bits
from rankfold.planning.best import Planning
from rankfold.planning.exact import CYCLES, Budget, LayerChoices, pareto, solve
from rankfold.planning.exact.budget import limits_of, quantity_named
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import LayerSlot, dense_network, layer_slots
from rankfold.planning.request import check_budgets, counted_quantities
from rankfold.progress import Progress, Silent
from rankfold.workload import Network
from rankfold.workload.network import NETWORK


@takes(
    network=NETWORK,
    array=HARDWARE,
    budgets=Wanted("a Budget, such as Budget.parse('arrays', '1000')", Budget),
    objective=TEXT,
    table=Wanted("a ComponentTable (load_table)", ComponentTable, optional=True),
)
def mapping_plan(
    network: Network,
    array: ArraySpec | Hardware,
    *budgets: Budget,
    objective: str = CYCLES,
    bits: Bits = 4,
    table: ComponentTable | None = None,
) -> Planning:
    """The mappings of a network's layers, by method or window, that cost least within the budgets.

    Exact, as `planning.exact.solve` is. Nothing is lost by it: each layer computes what it did.

    Args:
        network: the network; of its weights nothing is asked.
        array: R x C, or the hardware, whose component table energy is counted with.
        budgets: the most of any of `planning.exact.QUANTITIES` together.
        objective: which of them shall be small.
        bits: of weights and inputs, or (of weights, of inputs); None for float.
        table: the components that energy is counted with; None: those of the hardware, else the default
            ones.

    Raises:
        InputError: what was given is wrong, or the budgets cannot be kept; the message says what can be.
    """
    goal = quantity_named(objective, "objective")
    check_budgets(budgets)
    quantities = counted_quantities(budgets, goal, ())
    choices = mapping_choices(network, array, bits, table, quantities)
    limits = limits_of(budgets, choices)
    solution = solve([layer.candidates for layer in choices], limits, goal)
    plan = Plan.of(network, array, [candidate.entry for candidate in solution.chosen])
    return Planning(plan, choices, solution, limits)


def mapping_choices(
    network: Network,
    array: ArraySpec | Hardware,
    bits: Bits,
    table: ComponentTable | None,
    quantities: Sequence[str],
    progress: Progress | None = None,
) -> tuple[LayerChoices, ...]:
    """The mappings of all layers, in the quantities that count; `progress` hears of each layer, other
    arguments are as of `mapping_plan`.
    """
    progress = progress or Silent()
    hardware = None
    if isinstance(array, Hardware):
        hardware, array = array, array.array
    slots = layer_slots(network, array, bits)
    priced_with = table or hardware_table(hardware or DEFAULT_HARDWARE.with_array(array))
    costing = Costing.of(network, dense_network(network, array, slots), priced_with)
    found = []
    progress.begin("mappings of layers", len(slots), "layers")
    for slot in slots:
        found.append(_choices(slot, costing, quantities))
        progress.advance()
    progress.end()
    return tuple(found)


def _choices(slot: LayerSlot, costing: Costing, quantities: Sequence[str]) -> LayerChoices:
    """The mappings of one layer that no other one is as good as."""
    by_method = [replace(slot.entry, mapping=mapping) for mapping in slot.entry.kind.mappings]
    entries = costing.with_windows(by_method, quantities)
    candidates = [costing.candidate(entry, quantities) for entry in entries]
    dense = costing.candidate(slot.entry, quantities)
    return LayerChoices(slot.shape, dense, pareto(candidates, quantities), slot.why_dense)
