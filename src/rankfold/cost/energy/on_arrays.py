"""`OnArrays`: a network on arrays as they are built, as planned and under all that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankfold.cost.cycles import NetworkCycles, placed_cycles
from rankfold.cost.energy.by_mapping import energy_by_mapping
from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.energy.pricing import network_energy, precise_plan
from rankfold.cost.energy.table import ComponentTable
from rankfold.cost.keys import DENSE_FAMILY, IM2COL, CostKey
from rankfold.cost.layer_cycles import LayerCycles, main_stage, window_and_tiles
from rankfold.cost.planned import Masks
from rankfold.mapping import MAPPINGS
from rankfold.plan import Plan
from rankfold.workload import Network


@dataclass(frozen=True)
class OnArrays:
    """A network on arrays as they are built: weights spread over cells, inputs over slices, all of it priced.

    Attributes:
        placed: every layer on its arrays, see `placed_cycles`.
        energy: the network as planned.
        by_mapping: the same for every mapping that arrays can hold.
    """

    placed: NetworkCycles
    energy: NetworkEnergy
    by_mapping: dict[CostKey, NetworkEnergy]

    @property
    def dense(self) -> NetworkEnergy:
        """The dense network under im2col."""
        return self.by_mapping[IM2COL]

    @property
    def dense_best(self) -> CostKey:
        """The mapping under which the dense network needs the least energy."""
        dense = [key for key in self.by_mapping if key.family == DENSE_FAMILY]
        return min(dense, key=lambda key: self.by_mapping[key].energy)

    @property
    def own(self) -> dict[CostKey, NetworkEnergy]:
        """The mappings of what layers became, which could be chosen instead: without those of the dense
        network.
        """
        families = {key.family for key in self.by_mapping}
        if len(families) > 1:
            families.discard(DENSE_FAMILY)
        return {key: energy for key, energy in self.by_mapping.items() if key.family in families}

    @property
    def fewest(self) -> int:
        """Arrays under the mapping that needs the fewest."""
        return min(energy.arrays for energy in self.own.values())

    @property
    def shorter(self) -> CostKey | None:
        """The mapping of the shortest interval, of those of no more arrays and a shorter interval than
        planned.
        """
        better = []
        for key, energy in self.own.items():
            fewer = energy.arrays <= self.energy.arrays
            # Sums of equal times in another order differ in their last digits.
            shorter = energy.interval < self.energy.interval * (1 - 1e-9)
            if fewer and shorter:
                better.append(key)
        return min(better, key=lambda key: self.by_mapping[key].interval, default=None)

    def to_json(self) -> dict[str, Any]:
        """The entry `on_arrays` of `rankfold map --json`."""
        mappings = {str(key): _totals(energy) for key, energy in self.by_mapping.items()}
        shorter = None
        if self.shorter is not None:
            shorter = str(self.shorter)
        return {
            "planned": _totals(self.energy),
            "mappings": mappings,
            "dense_best": str(self.dense_best),
            "shorter_interval_with_no_more_arrays": shorter,
            "layers": [_layer_to_json(layer) for layer in self.placed.layers],
        }


def on_arrays(
    network: Network,
    plan: Plan,
    table: ComponentTable,
    masks: Masks | None = None,
    linear: bool | None = None,
) -> OnArrays:
    """A network on the arrays that energy is counted with; arguments and errors as `network_energy`."""
    precise, assumed = precise_plan(network, plan, table)
    placed = placed_cycles(network, precise, MAPPINGS, masks, linear)
    by_mapping = energy_by_mapping(placed, table, assumed)
    energy = network_energy(network, plan, table, masks, linear=linear)
    return OnArrays(placed, energy, by_mapping)


def _totals(energy: NetworkEnergy) -> dict[str, Any]:
    return {
        "array_cycles": energy.reads,
        "arrays": energy.arrays,
        "area_mm2": energy.area,
        "interval_us": energy.interval,
        "latency_us": energy.latency,
        "energy_pj": energy.energy,
        "conversions": energy.conversions,
    }


def _layer_to_json(layer: LayerCycles) -> dict[str, Any]:
    window, tiles = window_and_tiles(main_stage(layer.executed))
    return {
        "name": layer.shape.name,
        "window": window,
        "tiles": tiles,
        "arrays": layer.arrays,
        "cycles": layer.chosen_cycles,
        "slices": layer.most_slices,
        "array_cycles": layer.reads,
    }
