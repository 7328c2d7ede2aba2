"""Cycles of a network on an array, layer by layer, under every mapping asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.mapping import LOW_RANK_METHODS, ArraySpec, LowRankMapping, Mapping, map_layer, map_low_rank
from rankfold.plan import LOW_RANK, Plan, weights
from rankfold.workload import ConvShape, Network

BASIC_METHODS = ("im2col", "sdk", "vw-sdk")


@dataclass(frozen=True)
class LayerCycles:
    """One convolution on the array.

    Attributes:
        shape: the convolution.
        groups: g if the plan makes it low-rank, else None.
        rank: r if the plan makes it low-rank, else None.
        cycles: per image, by mapping: dense ones under their own name, low-rank ones as `low-rank-im2col` and
            `low-rank-sdk`. A layer that stays dense counts there with its dense cycles.
        chosen: the mapping that the plan (or the user) chose, as executed.
    """

    shape: ConvShape
    groups: int | None
    rank: int | None
    cycles: dict[str, int]
    chosen: Mapping | LowRankMapping

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
        return sum(stage.shape.macs for stage in self.stages) / (cells * self.chosen.cycles)

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
            "utilisation": self.utilisation,
        }
        if self.groups is not None:
            entry["low_rank"] = {
                "groups": self.groups,
                "rank": self.rank,
                "parameters": self.parameters,
                "stages": [
                    {"window": list(stage.window), "tiles": [stage.row_tiles, stage.column_tiles], "cycles": stage.cycles}
                    for stage in self.stages
                ],
            }
        return entry


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
        work = sum(stage.shape.macs for layer in self.layers for stage in layer.stages)
        return work / (self.array.cells * self.chosen_cycles)

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
                "utilisation": self.utilisation,
            },
        }


def network_cycles(network: Network, plan: Plan, methods: Sequence[str] = BASIC_METHODS) -> NetworkCycles:
    """Map every convolution of `network` as `plan` says, and as each of `methods` would.

    Args:
        network: the network.
        plan: its plan; the array is the plan's.
        methods: dense mappings to compare with.
    """
    array = plan.array
    compressed = any(layer.kind == LOW_RANK for layer in plan.layers)
    planned = {name: plan.layer(name) for name in weights(network)}
    layers = []
    for shape in network.convolutions:
        entry = planned[shape.weight]
        dense = {method: map_layer(shape, array, method) for method in dict.fromkeys((*methods, *LOW_RANK_METHODS))}
        cycles = {method: dense[method].cycles for method in methods}
        chosen: Mapping | LowRankMapping
        if entry.groups is not None and entry.rank is not None:
            pairs = {method: map_low_rank(shape, array, entry.groups, entry.rank, method) for method in LOW_RANK_METHODS}
            chosen = pairs[entry.mapping]
            cycles |= {f"low-rank-{method}": pair.cycles for method, pair in pairs.items()}
        else:
            chosen = dense.get(entry.mapping) or map_layer(shape, array, entry.mapping)
            if compressed:
                cycles |= {f"low-rank-{method}": dense[method].cycles for method in LOW_RANK_METHODS}
        layers.append(LayerCycles(shape, entry.groups, entry.rank, cycles, chosen))
    return NetworkCycles(network.name, array, tuple(layers))
