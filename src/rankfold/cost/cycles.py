"""Cycles of a network on an array, layer by layer, under every mapping asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.errors import InputError
from rankfold.mapping import LOW_RANK_METHODS, ArraySpec, LowRankMapping, Mapping, map_layer, map_low_rank
from rankfold.plan import LOW_RANK, LayerPlan, Plan, weights
from rankfold.workload import ConvShape, Network

BASIC_METHODS = ("im2col", "sdk", "vw-sdk")


@dataclass(frozen=True)
class LayerCycles:
    """One convolution on the array.

    Attributes:
        shape: the convolution.
        groups: g if the plan makes it low-rank, else None.
        rank: r if the plan makes it low-rank, else None.
        cycles: per image, by mapping: dense ones under their own name, low-rank ones as `low-rank-im2col`, `low-rank-sdk`,
            `low-rank-best`, and `low-rank-shared` (both stages with one window, so that stage 1 feeds stage 2 without a
            buffer). A layer that stays dense counts there with its dense cycles.
        chosen: the mapping that the plan (or the user) chose, as executed.
        array_cycles: activations of the arrays with the cells and DACs of `ArraySpec`, weights spread over columns and
            inputs over cycles; None where it names neither. `cycles` counts one activation for a whole vector, as papers do.
    """

    shape: ConvShape
    groups: int | None
    rank: int | None
    cycles: dict[str, int]
    chosen: Mapping | LowRankMapping
    array_cycles: int | None = None

    @property
    def stages(self) -> tuple[Mapping, ...]:
        """The stored matrices: one, or two for a low-rank pair."""
        if isinstance(self.chosen, LowRankMapping):
            return self.chosen.stage1, self.chosen.stage2
        return (self.chosen,)

    @property
    def parameters(self) -> int:
        """Weights as stored, without bias."""
        if self.groups is None or self.rank is None:
            return self.shape.parameters
        # R_: each of the r rows of a block sees n/g inputs, for every one of the G*g blocks; L: m rows of g*r.
        return self.rank * self.shape.groups * self.shape.n + self.shape.m * self.groups * self.rank

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates over cells * cycles of what is executed, 0 to 1."""
        cells = self.chosen.array.cells
        return sum(stage.macs for stage in self.stages) / (cells * self.chosen.cycles)

    @property
    def lower_bound(self) -> int:
        """Cycles that no mapping of what is executed can beat."""
        return sum(stage.lower_bound for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """The layer's entry in the `--json` output."""
        shape = self.shape
        entry: dict[str, Any] = {
            "name": shape.name,
            "in_channels": shape.in_channels,
            "out_channels": shape.out_channels,
            "kernel": list(shape.kernel),
            "stride": list(shape.stride),
            "padding": list(shape.padding),
            "dilation": list(shape.dilation),
            "groups": shape.groups,
            "input": list(shape.input),
            "output": list(shape.output),
            "macs": shape.macs,
            "parameters": shape.parameters,
            "cycles": self.cycles,
            "method": self.chosen.method,
            "window": list(self.stages[0].window),
            "tiles": [self.stages[0].row_tiles, self.stages[0].column_tiles],
            "lower_bound": self.lower_bound,
            "utilisation": self.utilisation,
            "array_cycles": self.array_cycles,
        }
        if self.groups is not None:
            entry["low_rank"] = {
                "groups": self.groups,
                "rank": self.rank,
                "parameters": self.parameters,
                "stages": [_stage_to_json(stage) for stage in self.stages],
            }
        else:
            entry["regions"] = _stage_to_json(self.stages[0])["regions"]
        return entry


def _stage_to_json(stage: Mapping) -> dict[str, Any]:
    regions = [
        {
            "channels": list(region.block.channels),
            "outputs": list(region.block.outputs),
            "origin": list(region.origin),
            "size": list(region.size),
            "phase": None if region.phase is None else list(region.phase),
            "window": list(region.window),
            "windows_at_once": region.slots,
            "tiles": region.tile_count,
            "cycles": region.cycles,
        }
        for region in stage.regions
    ]
    return {
        "window": list(stage.window),
        "tiles": [stage.row_tiles, stage.column_tiles],
        "cycles": stage.cycles,
        "regions": regions,
    }


@dataclass(frozen=True)
class NetworkCycles:
    """All convolutions of a network on an array. Fully connected layers are not counted, as in the literature."""

    model: str
    array: ArraySpec
    layers: tuple[LayerCycles, ...]

    @property
    def total(self) -> dict[str, int]:
        """Cycles per image of the whole network, by mapping."""
        return {key: sum(layer.cycles[key] for layer in self.layers) for key in self.layers[0].cycles}

    @property
    def chosen_cycles(self) -> int:
        """Cycles per image of what the plan chose."""
        return sum(layer.chosen.cycles for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates over cells * cycles of the whole network, 0 to 1."""
        work = sum(stage.macs for layer in self.layers for stage in layer.stages)
        return work / (self.array.cells * self.chosen_cycles)

    @property
    def lower_bound(self) -> int:
        """Cycles that no mapping of what is executed can beat."""
        return sum(layer.lower_bound for layer in self.layers)

    @property
    def array_cycles(self) -> int | None:
        """Activations per image of arrays with the given cells and DACs; None where the array names neither."""
        found = [layer.array_cycles for layer in self.layers if layer.array_cycles is not None]
        return sum(found) if found else None

    def to_json(self) -> dict[str, Any]:
        """The stable interface of `rankfold map --json`."""
        seen = {layer.shape.weight: layer for layer in self.layers}.values()
        return {
            "model": self.model,
            "array": [self.array.rows, self.array.columns],
            "layers": [layer.to_json() for layer in self.layers],
            "total": {
                "cycles": self.total,
                "macs": sum(layer.shape.macs for layer in self.layers),
                "parameters": sum(layer.shape.parameters for layer in seen),
                "planned_cycles": self.chosen_cycles,
                "planned_parameters": sum(layer.parameters for layer in seen),
                "lower_bound": self.lower_bound,
                "utilisation": self.utilisation,
                "array_cycles": self.array_cycles,
            },
        }


def network_cycles(network: Network, plan: Plan, methods: Sequence[str] = BASIC_METHODS) -> NetworkCycles:
    """Map every convolution of `network` as `plan` says, and as each of `methods` would.

    Args:
        network: the network.
        plan: its plan; the array is the plan's.
        methods: dense mappings to compare with.

    Raises:
        InputError: the array has bits per cell or DAC, and a layer of the plan no bits, or more than a row holds.
    """
    array = plan.array
    compressed = any(layer.kind == LOW_RANK for layer in plan.layers)
    planned = {name: plan.layer(name) for name in weights(network)}
    layers = []
    for shape in network.convolutions:
        entry = planned[shape.weight]
        cycles = {method: map_layer(shape, array, method).cycles for method in methods}
        if entry.groups is not None and entry.rank is not None:
            pairs = {method: map_low_rank(shape, array, entry.groups, entry.rank, method) for method in LOW_RANK_METHODS}
            cycles |= {f"low-rank-{method}": pair.cycles for method, pair in pairs.items()}
            cycles["low-rank-shared"] = pairs["sdk"].shared_cycles
        elif compressed:
            dense = {method: map_layer(shape, array, method).cycles for method in LOW_RANK_METHODS}
            cycles |= {f"low-rank-{method}": dense[method] for method in LOW_RANK_METHODS} | {"low-rank-shared": dense["sdk"]}
        chosen = planned_mapping(shape, array, entry)
        layers.append(LayerCycles(shape, entry.groups, entry.rank, cycles, chosen, _array_cycles(shape, array, entry)))
    return NetworkCycles(network.name, array, tuple(layers))


def planned_mapping(shape: ConvShape, array: ArraySpec, entry: LayerPlan) -> Mapping | LowRankMapping:
    """The mapping that a plan chose for a layer, with columns counted in weights."""
    if entry.groups is not None and entry.rank is not None:
        return map_low_rank(shape, array, entry.groups, entry.rank, entry.mapping)
    return map_layer(shape, array, entry.mapping)


def array_mapping(shape: ConvShape, array: ArraySpec, entry: LayerPlan) -> Mapping | LowRankMapping:
    """The mapping that a plan chose for a layer, on arrays whose columns are physical: weights spread over cells.

    Its array is `array.in_weights(bits)`; each activation of it takes `array.cycles_per_vector(input bits)` cycles.

    Raises:
        InputError: the array has bits per cell or DAC, and the layer has none, or more than a row holds.
    """
    if array.cell_bits is None and array.dac_bits is None:
        return planned_mapping(shape, array, entry)
    if entry.weight_bits is None or entry.input_bits is None:
        raise InputError(
            f"layer {shape.name}: an array with bits per cell or DAC needs the bits of weights and inputs; "
            "plan it with bits (--bits 4)"
        )
    return planned_mapping(shape, array.in_weights(entry.weight_bits), entry)


def _array_cycles(shape: ConvShape, array: ArraySpec, entry: LayerPlan) -> int | None:
    if array.cell_bits is None and array.dac_bits is None:
        return None
    mapping = array_mapping(shape, array, entry)
    assert entry.input_bits is not None  # array_mapping refuses a layer without
    return mapping.cycles * array.cycles_per_vector(entry.input_bits)
