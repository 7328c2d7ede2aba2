"""What studies of a network on several chips have in common, kept from one chip to the next.

Mappings depend on the network, its plan and the cells of the arrays; what arrays do, on the mappings; what
that costs, on the component table; places and traffic, on the cores, the kind of interconnect and the bits of
sums. So chips that differ in buffers, rates and energies alone are timed, and no more. Everything kept is
frozen, and found by what it depends on: networks, plans, tables and chips by their values, what was made of
these by itself.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache

from rankfold.chip.graph import TaskGraph
from rankfold.chip.mappings import ChipMappings
from rankfold.chip.placement import Placement, place
from rankfold.chip.tasks import task_graph
from rankfold.chip.traffic import Traffic, traffic
from rankfold.cost.cycles import NetworkCycles, placed_cycles
from rankfold.cost.energy.engine import read_time, variables
from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.energy.pricing import network_energy
from rankfold.cost.energy.table import ComponentTable
from rankfold.cost.planned import Masks
from rankfold.machine import Buffer, ChipSpec, Cores, Hardware, Interconnect
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.workload import Network

NETWORKS = 32  # under plans on arrays, each with the options of all layers
KEPT = 512  # of these with mappings chosen, as placed and as priced; a ResNet-20 takes some 100 kB
ANY_ARRAYS = Hardware(array=ArraySpec(1, 1))


class LaidOut:
    """A network whose layers have their mappings, on its arrays, whatever the chip around these.

    Args:
        network: the network.
        plan: its plan, with cells, DACs and bits, see `energy.precise_plan`.
        masks: the weights that pattern-pruned layers keep.
    """

    def __init__(self, network: Network, plan: Plan, masks: Masks) -> None:
        self.network, self.plan, self.masks = network, plan, masks
        self._graphs: dict[int, TaskGraph] = {}
        self._counted: NetworkEnergy | None = None

    @cached_property
    def placed(self) -> NetworkCycles:
        """Its layers on their arrays."""
        return placed_cycles(self.network, self.plan, (), self.masks, linear=True)

    def priced(self, table: ComponentTable) -> NetworkEnergy:
        """What its arrays do, which is counted once, and cost by a table."""
        if self._counted is None:
            self._counted = network_energy(self.network, self.plan, table, self.masks, linear=True)
            return self._counted
        return self._counted.with_table(table)

    def graph(self, activity: NetworkEnergy) -> TaskGraph:
        """Its tasks; of a table only the bits of the ADCs, and so of sums, make a difference.

        Args:
            activity: what its arrays do, priced by the table.
        """
        bits = activity.table.adc_bits
        if bits not in self._graphs:
            self._graphs[bits] = task_graph(self.network, self.placed, activity)
        return self._graphs[bits]


def mappings_of(network: Network, plan: Plan, masks: Masks, *, free: bool) -> ChipMappings:
    """What every layer needs under each of its mappings; arguments as of `ChipMappings`."""
    if masks:
        # Arrays of NumPy, by which nothing can be found.
        return ChipMappings(network, plan, masks, free=free)
    return _mappings_of(network, replace(plan, hardware=None), free)


@lru_cache(maxsize=NETWORKS)
def _mappings_of(network: Network, plan: Plan, free: bool) -> ChipMappings:
    return ChipMappings(network, plan, {}, free=free)


@lru_cache(maxsize=KEPT)
def best_plan(mappings: ChipMappings, arrays: int) -> Plan:
    """The plan with the mappings of the shortest interval; see `ChipMappings.plan`."""
    return mappings.plan(arrays)


def laid_out(network: Network, plan: Plan, masks: Masks) -> LaidOut:
    """A network under a plan on its arrays; arguments as of `LaidOut`."""
    if masks:
        return LaidOut(network, plan, masks)
    return _laid_out(network, replace(plan, hardware=None))


@lru_cache(maxsize=KEPT)
def _laid_out(network: Network, plan: Plan) -> LaidOut:
    return LaidOut(network, plan, {})


@lru_cache(maxsize=KEPT)
def priced(laid: LaidOut, table: ComponentTable) -> tuple[NetworkEnergy, float]:
    """What the arrays do and cost, and ns of an activation: one clock for all of them, that of the slowest
    stage.
    """
    activity = laid.priced(table)
    times = [0.0]
    for layer in activity.layers:
        for stage in layer.stages:
            times.append(read_time(table, variables(table, activity.array, stage.activity)))
    return activity, max(times)


def placed_on(graph: TaskGraph, chip: ChipSpec, arrays: int) -> tuple[Placement, Traffic]:
    """Copies and cores of the tasks on so many arrays of a chip, and what they send.

    Args:
        graph: the tasks, one of `LaidOut.graph`, by which itself this is kept.
        chip: the chip.
        arrays: that it may use.

    Raises:
        InputError: the network has more tiles.
    """
    # Neither places nor traffic depend on any other figure of the chip.
    bare = ChipSpec(
        name="",
        hardware=ANY_ARRAYS,
        cores=Cores(count=chip.cores.count, arrays=chip.cores.arrays, rate=1, energy=0),
        buffer=Buffer(size=1, rate=1, energy=0),
        interconnect=Interconnect(kind=chip.interconnect.kind, rate=1, energy=0),
    )
    return _placed_on(graph, bare, arrays)


@lru_cache(maxsize=KEPT)
def _placed_on(graph: TaskGraph, bare: ChipSpec, arrays: int) -> tuple[Placement, Traffic]:
    placement = place(graph, bare, arrays)
    return placement, traffic(graph, placement, bare)
