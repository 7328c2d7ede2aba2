"""Layers whose outputs share a support: pruned layers whose plan may know the weights that they keep."""

from __future__ import annotations

from typing import cast

import numpy as np

from rankfold.cost.kinds.kind import StoredShape, needs_support
from rankfold.cost.kinds.pattern import PatternCost
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, Mapping, map_layer
from rankfold.mapping.names import windows_named
from rankfold.plan.kinds import LayerKind, SupportLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.support import mask_to_support, support_to_mask, text_to_support
from rankfold.workload import ConvShape


class SupportCost(PatternCost):
    """The mask is that of the support in the plan, or the one that was saved with the weights."""

    def mapping(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapping:
        """Under a window all outputs drive the rows of the positions that they share."""
        if not windows_named(entry.mapping):
            return super().mapping(shape, array, entry, mask)
        kept = self.mask(shape, entry.kind, mask)
        return map_layer(shape, array, entry.mapping, mask_to_support(kept, shape.groups))

    def matrices(self, shape: ConvShape, kind: LayerKind) -> tuple[StoredShape, ...]:
        """One matrix, of the inputs that the support drives."""
        chosen = cast(SupportLayer, kind)
        if chosen.support is None:
            return ()
        return (StoredShape(shape, text_to_support(chosen.support, shape)),)

    def mask(self, shape: ConvShape, kind: LayerKind, mask: np.ndarray | None) -> np.ndarray:
        """(m, C_in/G, kh, kw) booleans."""
        chosen = cast(SupportLayer, kind)
        # Supports are chosen on data: a plan has them once a run has filled them in.
        if chosen.support is not None:
            return support_to_mask(
                text_to_support(chosen.support, shape), shape.m, shape.groups, shape.kernel
            )
        if mask is None:
            raise InputError(needs_support(shape, chosen.entries))
        return mask


PART = SupportCost()
