"""Cycles of a network on an array, layer by layer, under every mapping asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np

from rankfold.arguments import takes
from rankfold.cost.keys import CostKey
from rankfold.cost.kinds import AnyMapping, KindCost, Mapped, cost_of
from rankfold.cost.planned import MASKS, Masks, array_cycles, bits_of, counted_layers, drives, planned_mapping
from rankfold.mapping import ArraySpec, Mapping, Region, map_layer
from rankfold.mapping.parts import PartsMapping
from rankfold.notebooks import Shown, in_brackets
from rankfold.plan.kinds import kinds
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import PLAN, Plan, weights
from rankfold.workload import ConvShape, Network
from rankfold.workload.network import NETWORK

BASIC_METHODS = ("im2col", "sdk", "vw-sdk")


@dataclass(frozen=True)
class LayerCycles:
    """One convolution on the array.

    Attributes:
        shape: the convolution.
        entry: what the plan says of it.
        mappings: the mappings to compare. Dense ones; and for each family of kinds in the plan those of its
            layers,
            of which a layer of another family counts under the mapping of that name that it has. Low-rank
            pairs have `shared` too: both stages with one window, so that stage 1 feeds stage 2 without a
            buffer. Of pattern-pruned layers the family `pruned` skips a row where nothing in a tile needs it,
            `ideal` steers inputs to each column for nothing.
        chosen: the mapping that the plan chose, as executed.
        array_cycles: activations of the arrays with the cells, DACs and driven rows of `ArraySpec`: weights
            spread over columns, inputs and rows over cycles; None where it names none of them. `cycles`
            counts one activation for a whole vector, as papers do.
        steered: the mapping with ideal steering, where the plan assumes it; `chosen` is what an array without
            it executes.
        slices: slices of the inputs, each of which every tile is activated with: 1 where an activation takes
            a whole vector.
        columns_per_weight: physical columns of a weight: 1 where columns are counted in weights.
    """

    shape: ConvShape
    entry: LayerPlan
    mappings: Mapped
    chosen: AnyMapping
    _: KW_ONLY
    array_cycles: int | None = None
    steered: Mapping | None = None
    slices: int = 1
    columns_per_weight: int = 1

    @property
    def cycles(self) -> dict[CostKey, int]:
        """Per image, by mapping."""
        return {key: mapping.cycles for key, mapping in self.mappings.items()}

    @property
    def conversions(self) -> dict[CostKey, int]:
        """Columns converted by ADCs per image, by mapping; one for a column and a whole vector, as cycles
        count.
        """
        return {key: mapping.conversions for key, mapping in self.mappings.items()}

    @property
    def arrays(self) -> int:
        """Stored tiles of what the plan chose, each on an array of its own."""
        return sum(stage.tile_count for stage in self.executed.stages)

    @property
    def reads(self) -> int:
        """Activations of arrays per image of what the plan chose: with each slice of the inputs, and each
        turn of the rows.
        """
        return sum(drives(stage, stage.array) for stage in self.executed.stages) * self.slices

    @property
    def executed(self) -> AnyMapping:
        """The mapping that the plan chose, with the steering that it assumes."""
        # An ideally steered mapping counts and does not run, so it stands beside the one that does.
        if self.steered is not None:
            return self.steered
        return self.chosen

    @property
    def chosen_cycles(self) -> int:
        """Cycles of what the plan chose, with the steering that it assumes."""
        return self.executed.cycles

    @property
    def chosen_conversions(self) -> int:
        """Columns converted by ADCs for what the plan chose, with the steering that it assumes."""
        return self.executed.conversions

    @property
    def stages(self) -> tuple[Mapping, ...]:
        """The stored matrices: one, two for a low-rank pair, or one for each part of a plane."""
        return self.chosen.stages

    @property
    def main_stage(self) -> Mapping | None:
        """The matrix whose window and tiles are told of the layer; see `main_stage`."""
        return main_stage(self.chosen)

    @property
    def parameters(self) -> int:
        """Weights as stored, without bias."""
        return cost_of(self.entry.kind).parameters(self.shape, self.entry.kind, self.chosen)

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates over cells * cycles of what is executed, 0 to 1."""
        # The stages without steering: steering moves weights together and leaves their number.
        cells = self.chosen.array.cells
        # A layer that takes no cycles uses no cells.
        return sum(stage.macs for stage in self.stages) / (cells * max(self.chosen_cycles, 1))

    @property
    def lower_bound(self) -> int:
        """Cycles that no mapping of what is executed can beat."""
        return sum(stage.lower_bound for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """The layer's entry in the `--json` output."""
        shape = self.shape
        window, tiles = window_and_tiles(self.main_stage)
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
            "cycles": by_text(self.cycles),
            "conversions": by_text(self.conversions),
            "planned_conversions": self.chosen_conversions,
            "method": self.chosen.method,
            "window": window,
            "tiles": tiles,
            "lower_bound": self.lower_bound,
            "utilisation": self.utilisation,
            "array_cycles": self.array_cycles,
        }
        kind = self.entry.kind
        stages = [_stage_to_json(stage) for stage in self.stages]
        # What only layers of some kinds have is told by the kind itself.
        entry.update(cost_of(kind).to_json(kind, self.parameters, stages))
        return entry


def main_stage(mapping: AnyMapping) -> Mapping | None:
    """The first matrix of a layer; of a plane in parts that of most cycles; None: it has no matrix."""
    if isinstance(mapping, PartsMapping):
        return max(mapping.stages, key=lambda stage: stage.cycles)
    return next(iter(mapping.stages), None)


def window_and_tiles(stage: Mapping | None) -> tuple[list[int] | None, list[int] | None]:
    """Window and tiles of a matrix, as JSON has them; None of none."""
    if stage is None:
        return None, None
    return list(stage.window), [stage.row_tiles, stage.column_tiles]


def by_text(counts: dict[CostKey, int]) -> dict[str, int]:
    """Counts by the documented names of `--json`, such as `low-rank-sdk`."""
    return {str(key): count for key, count in counts.items()}


def _stage_to_json(stage: Mapping) -> dict[str, Any]:
    return {
        "window": list(stage.window),
        "tiles": [stage.row_tiles, stage.column_tiles],
        "cycles": stage.cycles,
        "regions": [_region_to_json(region) for region in stage.regions],
    }


def _region_to_json(region: Region) -> dict[str, Any]:
    phase = None
    if region.phase is not None:
        phase = list(region.phase)
    return {
        "channels": list(region.block.channels),
        "outputs": list(region.block.outputs),
        "origin": list(region.origin),
        "size": list(region.size),
        "phase": phase,
        "window": list(region.window),
        "windows_at_once": region.slots,
        "tiles": region.tile_count,
        "cycles": region.cycles,
    }


def _totals(each: Sequence[dict[CostKey, int]]) -> dict[CostKey, int]:
    # Every layer has the same keys, so the first one has those of the network.
    return {key: sum(counts[key] for counts in each) for key in each[0]}


@dataclass(frozen=True)
class NetworkCycles(Shown):
    """All convolutions of a network on an array. Fully connected layers count only where asked for, as in the
    literature.
    """

    model: str
    array: ArraySpec
    layers: tuple[LayerCycles, ...]

    def __repr__(self) -> str:
        words = f"of {self.model} on {self.array} arrays: {self.chosen_cycles:,} cycles per image"
        return in_brackets("NetworkCycles", words)

    @property
    def total(self) -> dict[CostKey, int]:
        """Cycles per image of the whole network, by mapping."""
        return _totals([layer.cycles for layer in self.layers])

    @property
    def conversions(self) -> dict[CostKey, int]:
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
    def reads(self) -> int:
        """Activations of arrays per image of what the plan chose, with each slice and turn."""
        return sum(layer.reads for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates over cells * cycles of the whole network, 0 to 1."""
        work = 0
        for layer in self.layers:
            for stage in layer.stages:
                work += stage.macs
        return work / (self.array.cells * max(self.chosen_cycles, 1))

    @property
    def lower_bound(self) -> int:
        """Cycles that no mapping of what is executed can beat."""
        return sum(layer.lower_bound for layer in self.layers)

    @property
    def array_cycles(self) -> int | None:
        """Activations per image of arrays with the given cells, DACs and driven rows; None where the array
        names none of them.
        """
        # All layers have a number or none has one: it depends on the array that they share.
        counted = [layer.array_cycles for layer in self.layers if layer.array_cycles is not None]
        if not counted:
            return None
        return sum(counted)

    def to_json(self) -> dict[str, Any]:
        """The stable interface of `rankfold map --json`."""
        # A weight that runs several times is stored once; its cycles and MACs count each time.
        seen = {layer.shape.stored: layer for layer in self.layers}.values()
        return {
            "model": self.model,
            "array": [self.array.rows, self.array.columns],
            "layers": [layer.to_json() for layer in self.layers],
            "total": {
                "cycles": by_text(self.total),
                "conversions": by_text(self.conversions),
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


@takes(network=NETWORK, plan=PLAN, masks=MASKS.or_none)
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
        masks: the weights that pattern-pruned layers keep, (m, C_in/G, kh, kw) booleans by layer; see
            `load_masks`. Layers whose
            support is in the plan need none. None: those of the plan, which `quantise_` and `load_` give it.
        linear: whether fully connected layers count too; None: where the plan makes any of them low-rank.

    Raises:
        InputError: nothing is left to count; the array has bits per cell or DAC, and a layer of the plan no
            bits, or more than a row holds; or the mask of a pruned layer, or the support of a row-sparse one,
            is missing.
    """
    array = plan.array
    if masks is None:
        masks = plan.masks
    # By weight: several layers may run one weight, and the plan has one entry for it.
    planned = {name: plan.layer(name) for name in weights(network)}
    compared = _families(plan)
    layers = []
    for shape in counted_layers(network, plan, linear):
        entry = planned[shape.weight]
        mask = masks.get(shape.weight)
        layer = _mapped_layer(shape, array, entry, mask, methods, compared)
        layers.append(replace(layer, array_cycles=array_cycles(shape, array, entry, mask)))
    return NetworkCycles(network.name, array, tuple(layers))


def placed_cycles(
    network: Network,
    plan: Plan,
    methods: Sequence[str] = BASIC_METHODS,
    masks: Masks | None = None,
    linear: bool | None = None,
) -> NetworkCycles:
    """As `network_cycles`, on the arrays as they are built: weights spread over cells, inputs over slices.

    Every layer is mapped onto `array.in_weights(its bits)`, so that its tiles are arrays, and each of its
    cycles is an activation with one slice of the inputs, `slices` of which take a whole vector.

    Args:
        network: the network.
        plan: its plan, whose array has bits per cell and DAC, and whose layers have bits (see
            `energy.precise_plan`).
        methods: as `network_cycles`.
        masks: as `network_cycles`.
        linear: as `network_cycles`.

    Raises:
        InputError: as `network_cycles`.
    """
    array = plan.array
    if masks is None:
        masks = plan.masks
    planned = {name: plan.layer(name) for name in weights(network)}
    compared = _families(plan)
    layers = []
    for shape in counted_layers(network, plan, linear):
        entry = planned[shape.weight]
        weight_bits, input_bits = bits_of(shape, entry)
        in_weights = array.in_weights(weight_bits)
        layer = _mapped_layer(shape, in_weights, entry, masks.get(shape.weight), methods, compared)
        placed = replace(
            layer,
            slices=array.cycles_per_vector(input_bits),
            columns_per_weight=array.columns_per_weight(weight_bits),
        )
        layers.append(placed)
    return NetworkCycles(network.name, array, tuple(layers))


def _mapped_layer(
    shape: ConvShape,
    array: ArraySpec,
    entry: LayerPlan,
    mask: np.ndarray | None,
    methods: Sequence[str],
    compared: dict[str, KindCost],
) -> LayerCycles:
    """A layer under the mapping that its plan chose and all that it is compared with."""
    mappings: Mapped = {CostKey.dense(method): map_layer(shape, array, method) for method in methods}
    own = cost_of(entry.kind)
    for family, cost in compared.items():
        # The layer under its own mappings, or standing in where the family is another layer's.
        if own.family == family:
            mappings |= own.comparisons(shape, array, entry, mask)
        else:
            mappings |= cost.comparisons_of_other(shape, array, entry, mask)
    return LayerCycles(
        shape,
        entry,
        mappings,
        planned_mapping(shape, array, entry, mask),
        steered=own.steered(shape, array, entry, mask),
    )


def _families(plan: Plan) -> dict[str, KindCost]:
    """The families of kinds in the plan that are compared in ways of their own, in the order of
    registration.
    """
    # In the order of registration and not of layers: two plans then have their columns in one order.
    there = {type(layer.kind) for layer in plan.layers}
    families: dict[str, KindCost] = {}
    for kind in kinds():
        if kind in there and cost_of(kind).family:
            # Kinds of one family are compared alike, so the first speaks for all.
            families.setdefault(cost_of(kind).family, cost_of(kind))
    return families
