"""`NetworkEnergy`: what a whole network costs, by layer, stage and component."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rankfold.cost.energy.accuracy import ArrayAccuracy, accuracy_to_json
from rankfold.cost.energy.activity import StageActivity
from rankfold.cost.energy.engine import StageEnergy, stage_energy
from rankfold.cost.energy.table import ComponentTable
from rankfold.cost.homes import homes
from rankfold.mapping import ArraySpec
from rankfold.notebooks import Shown, in_brackets
from rankfold.workload import ConvShape


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

    def utilisation(self, array: ArraySpec) -> float:
        """Cells that hold a weight in use, over all cells of the array, mean over all activations, 0 to 1."""
        return _utilisation([stage.activity for stage in self.stages], array)

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
    return {
        "tiles": activity.tiles,
        "activations": activity.activations,
        "turns": activity.turns,
        "slices": activity.slices,
        "columns_per_weight": activity.columns_per_weight,
        "reads": activity.reads,
        "rows": activity.rows,
        "conversions": activity.conversions,
        "cells": activity.cells,
        "sums": activity.sums,
        "additions": activity.additions,
        "steered": activity.steered,
        "energy_pj": stage.energy,
        "area_um2": stage.area,
        "leakage_uw": stage.leakage,
        "latency_us": stage.latency,
    }


@dataclass(frozen=True)
class NetworkEnergy(Shown):
    """What all convolutions of a network cost for one image; others count where they do in cycles.

    Every stored tile has an array of its own, and weights stay. Buses, buffers and accumulators have energy
    but no area.

    Attributes:
        model: the network's name.
        array: the physical array, with bits per cell and DAC.
        table: the components.
        assumed: what neither plan nor array said and was taken instead, in words.
        layers: one entry for each convolution.
        accuracy: what the network keeps on these arrays; None: not simulated. Whatever shows the energy shows
            this too.
        adc_bits: by weight, where its ADCs have another resolution than the table's.
    """

    model: str
    array: ArraySpec
    table: ComponentTable
    assumed: tuple[str, ...]
    layers: tuple[LayerEnergy, ...]
    accuracy: ArrayAccuracy | None = None
    adc_bits: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        amounts = f"{1e-3 * self.energy:,.1f} nJ, {self.latency:,.1f} us per image, {self.area:,.2f} mm2"
        return in_brackets("NetworkEnergy", f"of {self.model} on {self.array} arrays: {amounts}")

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
        reads = 0
        for layer in self.layers:
            for stage in layer.stages:
                reads += stage.activity.reads
        return reads

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
        busy: defaultdict[Hashable, float] = defaultdict(float)
        for layer, keys in zip(self.layers, self.homes, strict=True):
            for key, stage in zip(keys, layer.stages, strict=True):
                # Arrays that run twice for an image are busy for both runs.
                busy[key] += stage.latency
        return max(busy.values(), default=0.0)

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
        macs = 0
        for layer in self.layers:
            for stage in layer.stages:
                macs += stage.activity.macs
        return macs

    @property
    def tops_per_watt(self) -> float:
        """Operations (two a multiply-accumulate that is executed) per pJ, dynamic and leaked with layers
        pipelined; 0 where nothing is stored.
        """
        if not self.arrays:
            return 0.0
        # Operations per pJ are 10^12 operations per joule: TOPS/W.
        return 2 * self.macs / (self.energy + self.pipelined_leakage_energy)

    @property
    def utilisation(self) -> float:
        """Cells that hold a weight in use, over all cells, mean over all activations, 0 to 1."""
        return _utilisation([stage.activity for layer in self.layers for stage in layer.stages], self.array)

    @cached_property
    def _stored(self) -> list[StageEnergy]:
        """One stage for each set of arrays: a layer that runs twice may use the same ones."""
        first: dict[Hashable, StageEnergy] = {}
        for layer, keys in zip(self.layers, self.homes, strict=True):
            for key, stage in zip(keys, layer.stages, strict=True):
                first.setdefault(key, stage)
        return list(first.values())

    @cached_property
    def homes(self) -> list[tuple[Hashable, ...]]:
        """For each layer the arrays that each of its stages runs on, see `cost.homes`; those of one key are
        the same arrays, with the same ADCs.
        """
        parameters, stages = [], []
        for layer in self.layers:
            adc = self.adc_bits.get(layer.shape.weight, self.table.adc_bits)
            parameters.append(layer.shape.stored)
            stages.append([(stage.activity, adc) for stage in layer.stages])
        return homes(parameters, stages, lambda stage: (stage[0].held, stage[1]))

    def with_table(self, table: ComponentTable) -> NetworkEnergy:
        """The same activity of the same arrays, priced by another table.

        Raises:
            InputError: the table's cells store fewer bits than the array's.
        """
        # The activity was counted for these cells, and another technology may not have them.
        table.check_cells(self.array)
        layers = []
        for layer in self.layers:
            stages = [stage_energy(table, self.array, stage.activity) for stage in layer.stages]
            layers.append(replace(layer, stages=tuple(stages)))
        return replace(self, table=table, layers=tuple(layers), accuracy=None, adc_bits={})

    def with_adc_bits(self, bits: Mapping[str, int]) -> NetworkEnergy:
        """The same activity, where the ADCs of some weights, by name, have a resolution of their own.

        Raises:
            InputError: a resolution is out of range.
        """
        layers = []
        for layer in self.layers:
            table = self.table.with_adc(bits=bits.get(layer.shape.weight, self.table.adc_bits))
            stages = [stage_energy(table, self.array, stage.activity) for stage in layer.stages]
            layers.append(replace(layer, stages=tuple(stages)))
        return replace(self, layers=tuple(layers), accuracy=None, adc_bits=dict(bits))

    def describe(self) -> str:
        """The conditions of every number, for the line below it."""
        table = self.table
        shared = f"{table.mux} columns an ADC"
        if table.mux == 1:
            shared = "an ADC for every column"
        resolution = f"{table.adc_bits}-bit"
        if self.adc_bits:
            each = {self.adc_bits.get(layer.shape.weight, table.adc_bits) for layer in self.layers}
            resolution = f"{min(each)}- to {max(each)}-bit"
        words = (
            f"{table.name}, {resolution} {table.adc} ADC, {shared}; "
            f"{self.array.cell_bits}-bit cells, {self.array.coding_in_words}, {self.array.inputs_in_words}"
        )
        if self.assumed:
            words += f" (assumed: {', '.join(self.assumed)})"
        return words

    def to_json(self, layers: bool = True) -> dict[str, Any]:
        """The stable interface of `--json`."""
        table = self.table
        content: dict[str, Any] = {
            "technology": table.name,
            "adc": {"kind": table.adc, "bits": table.adc_bits, "source": table.chosen_adc.source},
            "array": {
                "rows": self.array.rows,
                "columns": self.array.columns,
                "cell_bits": self.array.cell_bits,
                "coding": self.array.coding,
                "dac_bits": self.array.dac_bits,
                "rows_driven": self.array.rows_driven,
                "converts": self.array.converts,
                "input_coding": self.array.input_coding,
            },
            "assumed": list(self.assumed),
            "accuracy_on_arrays": accuracy_to_json(self.accuracy),
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
        }
        if self.adc_bits:
            content["adc"]["bits_by_layer"] = dict(self.adc_bits)
        if layers:
            content["layers"] = [layer.to_json() for layer in self.layers]
        return content


def _utilisation(stages: Sequence[StageActivity], array: ArraySpec) -> float:
    # Each multiplication uses all cells of its weight in a row, one for each physical column.
    used = sum(activity.macs * activity.columns_per_weight for activity in stages)
    # Without any activation no cell is used.
    return used / (array.cells * max(sum(activity.drives for activity in stages), 1))


def _added(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total
