"""What the candidates of a network cost on its arrays: cycles, arrays and energy of each, from their mappings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rankfold.cost import array_mapping, planned_mapping
from rankfold.cost.energy import ComponentTable, layer_energy, precise_plan
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, LowRankMapping, Mapping
from rankfold.plan import LayerPlan, Plan
from rankfold.planning.exact.candidate import Candidate
from rankfold.workload import ConvShape, Network


@dataclass(frozen=True)
class Costing:
    """Prices entries of plans for one network on one array.

    Fully connected layers cost nothing here, as in `rankfold map`: only convolutions count.

    Attributes:
        array: R x C, with cells and DACs where the user named them.
        runs: the convolutions that each weight is used in, by the weight's name.
        table: the components that energy is counted with.
        precise: array and bits with which it is counted, of the network kept dense.
    """

    array: ArraySpec
    runs: dict[str, tuple[ConvShape, ...]]
    table: ComponentTable
    precise: Plan

    @classmethod
    def of(cls, network: Network, dense: Plan, table: ComponentTable) -> Costing:
        """For a network, the plan that keeps it dense, and a table.

        Raises:
            InputError: the network has no convolution, or the table's cells store fewer bits than the array's.
        """
        if not network.convolutions:
            raise InputError(f"{network.name} has no two-dimensional convolution, so that there is nothing to plan")
        runs: dict[str, tuple[ConvShape, ...]] = {}
        for shape in network.convolutions:
            runs[shape.weight] = (*runs.get(shape.weight, ()), shape)
        return cls(dense.array, runs, table, precise_plan(network, dense, table)[0])

    def candidate(self, entry: LayerPlan, energy: bool = False) -> Candidate:
        """The candidate with its cycles and arrays, and its energy where asked for.

        Raises:
            InputError: the array holds no weight of the layer.
        """
        runs = self.runs.get(entry.name, ())
        if not runs:
            return Candidate(entry, 0, 0, 0.0, 0)
        cycles = 0
        for shape in runs:
            mapping = planned_mapping(shape, self.array, entry)
            cycles += mapping.cycles
        stored = _stages(array_mapping(runs[0], self.array, entry))
        found = Candidate(entry, cycles, sum(stage.tile_count for stage in stored), None, _weights(stored))
        return self.with_energy(found) if energy else found

    def with_energy(self, candidate: Candidate) -> Candidate:
        """The candidate with its energy.

        Raises:
            InputError: the array holds no weight of the layer, spread over cells.
        """
        if candidate.energy is not None:
            return candidate
        entry = candidate.entry
        bits = self.precise.layer(entry.name)
        priced = replace(entry, weight_bits=bits.weight_bits, input_bits=bits.input_bits)
        runs = self.runs[entry.name]
        spent = sum(layer_energy(shape, self.precise.array, priced, self.table).energy for shape in runs)
        return replace(candidate, energy=spent)


def _stages(mapping: Mapping | LowRankMapping) -> tuple[Mapping, ...]:
    return (mapping.stage1, mapping.stage2) if isinstance(mapping, LowRankMapping) else (mapping,)


def _weights(stages: tuple[Mapping, ...]) -> int:
    """Weights that are stored, zeros of a support left out."""
    found = 0
    for stage in stages:
        height, width = stage.shape.output
        found += stage.macs // (height * width)
    return found
