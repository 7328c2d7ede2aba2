"""Pattern-pruned layers: rows that nothing in a tile needs are skipped, or inputs are steered to every
column.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from rankfold.cost.keys import CostKey
from rankfold.cost.kinds.kind import KindCost, Mapped
from rankfold.errors import InputError
from rankfold.mapping import PRUNED_METHODS, ArraySpec, Mapping, map_pruned, map_steered, steered_cycles
from rankfold.mapping.published import PublishedCount, published_count, published_window
from rankfold.plan.kinds import IDEAL, LayerKind, PatternLayer
from rankfold.plan.layer import LayerPlan
from rankfold.workload import ConvShape

PRUNED, STEERED = "pruned", "ideal"  # families of costs: rows skipped, inputs steered for nothing
# `best` would be `sdk` again: with steering both search for one window (see `map_steered`).
STEERED_METHODS = ("im2col", "sdk")


class PatternCost(KindCost):
    """Layers of which some weights are kept. They are laid out without steering, since no array could hold
    them otherwise.
    """

    # Which rows are skipped, and so what a mapping needs, is known with the weights only.
    own_mapping = "sdk"
    family = PRUNED
    compared = PRUNED_METHODS

    def mask(self, shape: ConvShape, kind: LayerKind, mask: np.ndarray | None) -> np.ndarray:
        """(m, C_in/G, kh, kw) booleans: the weights that the layer keeps.

        Raises:
            InputError: they are not known.
        """
        if mask is None:
            # The plan says how many weights of a kernel stay, not which: the mask is kept with the weights.
            raise InputError(
                f"layer {shape.name} is pattern-pruned: counting its cycles needs its mask, which is saved "
                "with the weights"
            )
        return mask

    def mapping(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapping:
        """Rows without a weight in a tile are skipped."""
        return map_pruned(shape, array, self.mask(shape, entry.kind, mask), entry.mapping)

    def published(
        self,
        shape: ConvShape,
        array: ArraySpec,
        large: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> PublishedCount:
        """By the published formula: rows that no output needs under any shift are skipped."""
        kept = self.mask(shape, entry.kind, mask)
        return published_count(shape, array, published_window(shape, large), kept)

    def steered(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapping | None:
        """With ideal steering, if the plan says so."""
        if cast(PatternLayer, entry.kind).steering != IDEAL:
            return None
        return map_steered(shape, array, self.mask(shape, entry.kind, mask), entry.mapping)

    def steered_cycles(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> int | None:
        """With ideal steering, if the plan says so."""
        if cast(PatternLayer, entry.kind).steering != IDEAL:
            return None
        return steered_cycles(shape, array, self.mask(shape, entry.kind, mask), entry.mapping)

    def row_circuits(self, kind: LayerKind) -> tuple[str, ...]:
        """A multiplexer for each row that is driven."""
        return ("rows",)

    def comparisons(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapped:
        """Under each of its mappings, without steering and with."""
        # All keys first, as every layer of a network must have the same ones; then its own under steering.
        mapped = self.comparisons_of_other(shape, array, entry, mask)
        kept = self.mask(shape, entry.kind, mask)
        for method in STEERED_METHODS:
            mapped[CostKey(STEERED, method)] = map_steered(shape, array, kept, method)
        return mapped

    def comparisons_of_other(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapped:
        """The layer under the mapping of the same name; steering changes nothing about it."""
        mapped = super().comparisons_of_other(shape, array, entry, mask)
        for method in STEERED_METHODS:
            mapped[CostKey(STEERED, method)] = mapped[CostKey(PRUNED, method)]
        return mapped

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """Which weights are kept, and how rows are counted."""
        pruned = cast(PatternLayer, kind)
        content = {
            "pruning": pruned.variant,
            "entries": pruned.entries,
            "steering": pruned.steering,
            "parameters": parameters,
        }
        return {"regions": stages[0]["regions"], "pruned": content}


PART = PatternCost()
