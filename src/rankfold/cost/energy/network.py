"""Energy, latency and area of a whole network under a plan, by layer, stage and component."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankfold.cost.energy.activity import StageActivity, stage_activity
from rankfold.cost.energy.engine import StageEnergy, stage_energy
from rankfold.cost.energy.table import ComponentTable
from rankfold.cost.planned import Masks, array_mapping, required_mask
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, LowRankMapping, map_steered
from rankfold.plan import DENSE, IDEAL, PRUNED, LayerPlan, Plan, uniform_plan, weights
from rankfold.workload import ConvShape, Network

BITS = 4  # of weights and inputs where the plan has none; 8 in the first convolution and the classifier
DAC_BITS = 1  # where the array does not say


@dataclass(frozen=True)
class LayerEnergy:
    """What one convolution costs for one image.

    Attributes:
        shape: the convolution.
        stages: one, or two for a low-rank pair.
    """

    shape: ConvShape
    stages: tuple[StageEnergy, ...]

    @property
    def components(self) -> dict[str, float]:
        """pJ by component."""
        return _added(stage.energy for stage in self.stages)

    @property
    def energy(self) -> float:
        """pJ, dynamic."""
        return sum(stage.total for stage in self.stages)

    @property
    def conversions(self) -> int:
        """Columns converted by ADCs."""
        return sum(stage.activity.conversions for stage in self.stages)

    @property
    def latency(self) -> float:
        """us, stage after stage."""
        return sum(stage.latency for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """The layer's entry in the `--json` output."""
        return {
            "name": self.shape.name,
            "energy_pj": self.energy,
            "conversions": self.conversions,
            "latency_us": self.latency,
            "stages": [_stage_to_json(stage) for stage in self.stages],
        }


def _stage_to_json(stage: StageEnergy) -> dict[str, Any]:
    activity = stage.activity
    counts = ("tiles", "activations", "slices", "columns_per_weight", "reads", "rows", "conversions", "cells", "sums",
              "additions", "steered")  # fmt: skip
    return {
        **{key: getattr(activity, key) for key in counts},
        "energy_pj": stage.energy,
        "area_um2": stage.area,
        "leakage_uw": stage.leakage,
        "latency_us": stage.latency,
    }


@dataclass(frozen=True)
class NetworkEnergy:
    """What all convolutions of a network cost for one image. Fully connected layers are not counted, as in cycles.

    Every stored tile has an array of its own, and weights stay. Buses, buffers and accumulators have energy but no area.

    Attributes:
        model: the network's name.
        array: the physical array, with bits per cell and DAC.
        table: the components.
        assumed: what neither plan nor array said and was taken instead, in words.
        layers: one entry for each convolution.
    """

    model: str
    array: ArraySpec
    table: ComponentTable
    assumed: tuple[str, ...]
    layers: tuple[LayerEnergy, ...]

    @property
    def components(self) -> dict[str, float]:
        """pJ by component."""
        return _added(layer.components for layer in self.layers)

    @property
    def energy(self) -> float:
        """pJ, dynamic."""
        return sum(layer.energy for layer in self.layers)

    @property
    def conversions(self) -> int:
        """Columns converted by ADCs."""
        return sum(layer.conversions for layer in self.layers)

    @property
    def reads(self) -> int:
        """Activations of arrays, one for each slice of the inputs."""
        return sum(stage.activity.reads for layer in self.layers for stage in layer.stages)

    @property
    def arrays(self) -> int:
        """Arrays, one for each tile."""
        return sum(stage.activity.tiles for stage in self._stored)

    @property
    def area(self) -> float:
        """mm2 of all arrays with their drivers, multiplexers, ADCs and shift-adders."""
        return 1e-6 * sum(sum(stage.area.values()) for stage in self._stored)

    @property
    def leakage(self) -> float:
        """uW of all arrays."""
        return sum(stage.leakage for stage in self._stored)

    @property
    def latency(self) -> float:
        """us from the first read of an image to its last, one stage after another."""
        return sum(layer.latency for layer in self.layers)

    @property
    def interval(self) -> float:
        """us between images where layers work on successive images: the time of the slowest stage."""
        busy: Counter[tuple[str, int]] = Counter()
        for layer in self.layers:
            for index, stage in enumerate(layer.stages):
                busy[layer.shape.weight, index] += stage.latency  # type: ignore[assignment]
        return float(max(busy.values()))

    @property
    def leakage_energy(self) -> float:
        """pJ that leak away while one image is computed alone: leakage times latency."""
        return self.leakage * self.latency

    @property
    def pipelined_leakage_energy(self) -> float:
        """pJ that leak away for each image where layers work on successive images: leakage times interval."""
        return self.leakage * self.interval

    @property
    def macs(self) -> int:
        """Multiply-accumulates with the weights that are stored."""
        return sum(stage.activity.macs for layer in self.layers for stage in layer.stages)

    @property
    def tops_per_watt(self) -> float:
        """Operations (two a multiply-accumulate that is executed) per pJ, dynamic and leaked with layers pipelined."""
        return 2 * self.macs / (self.energy + self.pipelined_leakage_energy)

    @property
    def utilisation(self) -> float:
        """Cells that hold a weight in use, over all cells, mean over all activations, 0 to 1."""
        stages = [stage.activity for layer in self.layers for stage in layer.stages]
        used = sum(activity.macs * activity.columns_per_weight for activity in stages)
        return used / (self.array.cells * sum(activity.activations for activity in stages))

    @property
    def _stored(self) -> list[StageEnergy]:
        """The stages of each weight once: a layer that runs twice uses the same arrays."""
        first = {layer.shape.weight: layer for layer in reversed(self.layers)}
        return [stage for layer in first.values() for stage in layer.stages]

    def with_table(self, table: ComponentTable) -> NetworkEnergy:
        """The same activity of the same arrays, priced by another table.

        Raises:
            InputError: the table's cells store fewer bits than the array's.
        """
        _check_cells(self.array, table)
        layers = (
            replace(layer, stages=tuple(stage_energy(table, self.array, stage.activity) for stage in layer.stages))
            for layer in self.layers
        )
        return replace(self, table=table, layers=tuple(layers))

    def describe(self) -> str:
        """The conditions of every number, for the line below it."""
        table = self.table
        words = [
            f"{table.name}, {table.adc_bits}-bit {table.adc} ADC, {table.mux} columns an ADC",
            f"{self.array.cell_bits}-bit cells, {self.array.coding} coding, {self.array.dac_bits}-bit DACs",
        ]
        return "; ".join(words) + (f" (assumed: {', '.join(self.assumed)})" if self.assumed else "")

    def to_json(self, layers: bool = True) -> dict[str, Any]:
        """The stable interface of `--json`."""
        table = self.table
        content: dict[str, Any] = {
            "technology": table.name,
            "adc": {"kind": table.adc, "bits": table.adc_bits, "source": table.chosen_adc.source},
            "array": {
                "rows": self.array.rows, "columns": self.array.columns, "cell_bits": self.array.cell_bits,
                "coding": self.array.coding, "dac_bits": self.array.dac_bits,
            },
            "assumed": list(self.assumed),
            "total": {
                "energy_pj": self.energy,
                "components_pj": self.components,
                "conversions": self.conversions,
                "reads": self.reads,
                "leakage_uw": self.leakage,
                "leakage_pj": self.leakage_energy,
                "pipelined_leakage_pj": self.pipelined_leakage_energy,
                "arrays": self.arrays,
                "area_mm2": self.area,
                "latency_us": self.latency,
                "interval_us": self.interval,
                "tops_per_watt": self.tops_per_watt,
                "utilisation": self.utilisation,
            },
        }  # fmt: skip
        if layers:
            content["layers"] = [layer.to_json() for layer in self.layers]
        return content


def network_energy(
    network: Network, plan: Plan, table: ComponentTable, masks: Masks | None = None, circuits: bool = True
) -> NetworkEnergy:
    """What a network costs under a plan, each tile on an array of its own.

    Where the array says nothing of cells and DACs, the table's bits per cell and one-bit DACs are taken; where the plan has no
    bits, 4 (8 in the first convolution and the classifier). `NetworkEnergy.assumed` names what was taken.

    Args:
        network: the network.
        plan: its plan; the array is the plan's.
        table: the components.
        masks: the weights that pattern-pruned layers keep, (m, C_in/G, kh, kw) booleans by layer; see `load_masks`.
        circuits: whether pattern-pruned layers pay for their steering circuits: a multiplexer for each row they drive, or with
            ideal steering for each row and column of weights. False: steering for free, as papers count it.

    Raises:
        InputError: the table's cells store fewer bits than the array's, not one weight fits a row, or the mask of a pruned
            layer is missing.
    """
    array, entries, assumed = _precise(network, plan, table)
    layers = []
    for shape in network.convolutions:
        mask = None if masks is None else masks.get(shape.weight)
        activities = layer_activities(shape, array, entries[shape.weight], mask, circuits)
        layers.append(LayerEnergy(shape, tuple(stage_energy(table, array, activity) for activity in activities)))
    return NetworkEnergy(network.name, array, table, assumed, tuple(layers))


def dense_plan(plan: Plan, mapping: str = "im2col") -> Plan:
    """The plan that keeps every layer dense, at the same bits: the network that savings are measured against.

    Raises:
        InputError: `mapping` is no mapping of a dense layer.
    """
    layers = (
        LayerPlan(layer.name, DENSE, mapping=mapping, weight_bits=layer.weight_bits, input_bits=layer.input_bits)
        for layer in plan.layers
    )
    return replace(plan, layers=tuple(layers))


def layer_activities(
    shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None = None, circuits: bool = True
) -> tuple[StageActivity, ...]:
    """What the arrays do for a layer: one stage, or the two of a low-rank pair.

    Args:
        shape: the convolution.
        array: the physical array, with bits per cell and DAC.
        entry: the layer's plan, with bits.
        mask: the weights that a pattern-pruned layer keeps.
        circuits: as `network_energy` takes it.

    Raises:
        InputError: the layer has no bits, not one weight fits a row, or the mask is missing.
    """
    mapping = array_mapping(shape, array, entry, mask)
    bits = entry.weight_bits, entry.input_bits
    assert bits[0] is not None and bits[1] is not None  # array_mapping refuses a layer without
    if isinstance(mapping, LowRankMapping):
        return tuple(stage_activity(stage, array, bits[0], bits[1]) for stage in (mapping.stage1, mapping.stage2))
    if entry.steering == IDEAL:
        packed = map_steered(shape, array.in_weights(bits[0]), required_mask(shape, mask), entry.mapping)
        return (stage_activity(packed, array, bits[0], bits[1], "kernels" if circuits else "none", shape),)
    how = "rows" if circuits and entry.kind == PRUNED else "none"
    return (stage_activity(mapping, array, bits[0], bits[1], how),)


def _precise(network: Network, plan: Plan, table: ComponentTable) -> tuple[ArraySpec, dict[str, LayerPlan], tuple[str, ...]]:
    """The array and the plan's entries with all bits filled in, and what was filled in, in words."""
    array, assumed = plan.array, []
    if array.cell_bits is None:
        array = replace(array, cell_bits=table.cell_bits)
        assumed.append(f"{table.cell_bits}-bit cells")
    if array.dac_bits is None:
        array = replace(array, dac_bits=DAC_BITS)
        assumed.append(f"{DAC_BITS}-bit DACs")
    _check_cells(array, table)
    entries = {name: plan.layer(name) for name in weights(network)}
    if any(entry.weight_bits is None for entry in entries.values()):
        assumed.append(f"{BITS}-bit weights and inputs, 8 in the first convolution and the classifier, where the plan has floats")
        usual = uniform_plan(network, array, bits=BITS)
        for name, entry in entries.items():
            if entry.weight_bits is None:
                bits = usual.layer(name)
                entries[name] = replace(entry, weight_bits=bits.weight_bits, input_bits=bits.input_bits)
    return array, entries, tuple(assumed)


def _check_cells(array: ArraySpec, table: ComponentTable) -> None:
    if array.cell_bits is not None and array.cell_bits > table.most_cell_bits:
        raise InputError(
            f"array cell_bits (={array.cell_bits}): cells of {table.name} store at most {table.most_cell_bits}; "
            "lower --cell-bits or choose another technology"
        )


def _added(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total
