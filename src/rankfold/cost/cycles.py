"""Cycles of a network on an array, layer by layer, under every mapping asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankfold.arguments import takes
from rankfold.cost.keys import CostKey
from rankfold.cost.kinds import KindCost, Mapped, cost_of
from rankfold.cost.layer_cycles import LayerCycles, by_text
from rankfold.cost.planned import (
    MASKS,
    Masks,
    array_cycles,
    bits_of,
    counted_layers,
    input_slices,
    planned_mapping,
)
from rankfold.mapping import ArraySpec, map_layer
from rankfold.notebooks import Shown, in_brackets
from rankfold.plan.kinds import kinds
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import PLAN, Plan, check_plan, weights
from rankfold.workload import ConvShape, Network
from rankfold.workload.network import NETWORK

BASIC_METHODS = ("im2col", "sdk", "vw-sdk")


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
        InputError: the plan is for another network, or images of another size; nothing is left to count; the
            array has bits per cell or DAC, and a layer of the plan no
            bits, or more than a row holds; or the mask of a pruned layer, or the support of a row-sparse one,
            is missing.
    """
    check_plan(plan, network)
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
        weight_bits, _ = bits_of(shape, entry)
        in_weights = array.in_weights(weight_bits)
        layer = _mapped_layer(shape, in_weights, entry, masks.get(shape.weight), methods, compared)
        placed = replace(
            layer,
            slices=input_slices(shape, array, entry),
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
    found = LayerCycles(
        shape,
        entry,
        mappings,
        planned_mapping(shape, array, entry, mask),
        steered=own.steered(shape, array, entry, mask),
    )
    return replace(found, slices=(1,) * len(found.executed.stages))


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
