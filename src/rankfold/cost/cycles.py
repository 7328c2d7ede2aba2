"""Cycles of a network on an array, layer by layer, under every mapping asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.cost.planned import (
    COMPRESSED,
    Masks,
    array_cycles,
    counted_layers,
    planned_mapping,
    planned_mask,
)
from rankfold.mapping import ArraySpec, LowRankMapping, Mapping, map_layer, map_steered
from rankfold.plan import IDEAL, NARROWED, PRUNED, LayerPlan, Plan, weights
from rankfold.workload import ConvShape, Network

BASIC_METHODS = ("im2col", "sdk", "vw-sdk")


@dataclass(frozen=True)
class LayerCycles:
    """One convolution on the array.

    Attributes:
        shape: the convolution.
        groups: g if the plan makes it low-rank, else None.
        rank: r if the plan makes it low-rank, else None.
        mappings: the mappings to compare: dense ones under their own name, low-rank ones as `low-rank-im2col`, `low-rank-sdk`,
            `low-rank-best`, and `low-rank-shared` (both stages with one window, so that stage 1 feeds stage 2 without a
            buffer). Of a pattern-pruned layer, `pruned-im2col`, `pruned-sdk` and `pruned-best` skip a row where nothing in a
            tile needs it, `ideal-im2col` and `ideal-sdk` steer inputs to each column for nothing. Those of a channel-pruned
            one begin with `channel-`. A layer that stays dense, or is compressed in another way, counts under all of them with
            the mapping of that name that it has.
        chosen: the mapping that the plan (or the user) chose, as executed.
        array_cycles: activations of the arrays with the cells and DACs of `ArraySpec`, weights spread over columns and
            inputs over cycles; None where it names neither. `cycles` counts one activation for a whole vector, as papers do.
        entry: what the plan says of the layer.
        steered: the mapping with ideal steering, where the plan assumes it; `chosen` is what an array without it executes.
    """

    shape: ConvShape
    groups: int | None
    rank: int | None
    mappings: dict[str, Mapping | LowRankMapping]
    chosen: Mapping | LowRankMapping
    array_cycles: int | None = None
    entry: LayerPlan | None = None
    steered: Mapping | None = None

    @property
    def cycles(self) -> dict[str, int]:
        """Per image, by mapping."""
        return {key: mapping.cycles for key, mapping in self.mappings.items()}

    @property
    def conversions(self) -> dict[str, int]:
        """Columns converted by ADCs per image, by mapping; one for a column and a whole vector, as cycles count."""
        return {key: mapping.conversions for key, mapping in self.mappings.items()}

    @property
    def chosen_cycles(self) -> int:
        """Cycles of what the plan chose, with the steering that it assumes."""
        return (self.steered or self.chosen).cycles

    @property
    def chosen_conversions(self) -> int:
        """Columns converted by ADCs for what the plan chose, with the steering that it assumes."""
        return (self.steered or self.chosen).conversions

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
            (stage,) = self.stages
            return stage.shape.parameters if stage.weights is None else stage.weights
        # R_: each of the r rows of a block sees the block's inputs, those of its support; L: m rows of g*r.
        support = self.stages[0].support
        inputs = self.shape.groups * self.shape.n if support is None else int(support.sum())
        return self.rank * inputs + self.shape.m * self.groups * self.rank

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates over cells * cycles of what is executed, 0 to 1."""
        cells = self.chosen.array.cells
        return sum(stage.macs for stage in self.stages) / (cells * self.chosen_cycles)

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
            "conversions": self.conversions,
            "planned_conversions": self.chosen_conversions,
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
                **({} if self.entry is None or self.entry.entries is None else {"entries": self.entry.entries}),
                "stages": [_stage_to_json(stage) for stage in self.stages],
            }
        else:
            entry["regions"] = _stage_to_json(self.stages[0])["regions"]
        plan = self.entry
        if plan is not None and plan.kind == PRUNED:
            entry["pruned"] = {
                "pruning": plan.pruning,
                "entries": plan.entries,
                "steering": plan.steering,
                "parameters": self.parameters,
            }
        if plan is not None and plan.kind == NARROWED:
            entry["channels"] = {"in": plan.in_channels, "out": plan.out_channels, "parameters": self.parameters}
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


def _totals(each: Sequence[dict[str, int]]) -> dict[str, int]:
    return {key: sum(counts[key] for counts in each) for key in each[0]}


@dataclass(frozen=True)
class NetworkCycles:
    """All convolutions of a network on an array. Fully connected layers count only where asked for, as in the literature."""

    model: str
    array: ArraySpec
    layers: tuple[LayerCycles, ...]

    @property
    def total(self) -> dict[str, int]:
        """Cycles per image of the whole network, by mapping."""
        return _totals([layer.cycles for layer in self.layers])

    @property
    def conversions(self) -> dict[str, int]:
        """Columns converted by ADCs per image of the whole network, by mapping."""
        return _totals([layer.conversions for layer in self.layers])

    @property
    def chosen_conversions(self) -> int:
        """Columns converted by ADCs per image of what the plan chose."""
        return sum(layer.chosen_conversions for layer in self.layers)

    @property
    def chosen_cycles(self) -> int:
        """Cycles per image of what the plan chose."""
        return sum(layer.chosen_cycles for layer in self.layers)

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
                "conversions": self.conversions,
                "macs": sum(layer.shape.macs for layer in self.layers),
                "parameters": sum(layer.shape.parameters for layer in seen),
                "planned_cycles": self.chosen_cycles,
                "planned_conversions": self.chosen_conversions,
                "planned_parameters": sum(layer.parameters for layer in seen),
                "lower_bound": self.lower_bound,
                "utilisation": self.utilisation,
                "array_cycles": self.array_cycles,
            },
        }


def network_cycles(
    network: Network,
    plan: Plan,
    methods: Sequence[str] = BASIC_METHODS,
    masks: Masks | None = None,
    linear: bool | None = None,
) -> NetworkCycles:
    """Map every convolution of `network` as `plan` says, and as each of `methods` would.

    Args:
        network: the network.
        plan: its plan; the array is the plan's.
        methods: dense mappings to compare with.
        masks: the weights that pattern-pruned layers keep, (m, C_in/G, kh, kw) booleans by layer; see `load_masks`. Layers whose
            support is in the plan need none.
        linear: whether fully connected layers count too; None: where the plan makes any of them low-rank.

    Raises:
        InputError: nothing is left to count; the array has bits per cell or DAC, and a layer of the plan no bits, or more than a
            row holds; or the mask of a pruned layer, or the support of a row-sparse one, is missing.
    """
    array = plan.array
    kinds = {layer.kind for layer in plan.layers}
    planned = {name: plan.layer(name) for name in weights(network)}
    layers = []
    for shape in counted_layers(network, plan, linear):
        entry = planned[shape.weight]
        mask = None if masks is None else masks.get(shape.weight)
        mappings: dict[str, Mapping | LowRankMapping] = {method: map_layer(shape, array, method) for method in methods}
        for kind in (kind for kind in COMPRESSED if kind in kinds):
            mappings |= COMPRESSED[kind](shape, array, entry, mask)
        chosen = planned_mapping(shape, array, entry, mask)
        steered = None
        if entry.steering == IDEAL:
            steered = map_steered(shape, array, planned_mask(shape, entry, mask), entry.mapping)
        counted = array_cycles(shape, array, entry, mask)
        layers.append(LayerCycles(shape, entry.groups, entry.rank, mappings, chosen, counted, entry, steered))
    return NetworkCycles(network.name, array, tuple(layers))
