"""Skipped layers: they cost nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankfold.cost.kinds.kind import AnyMapping, KindCost
from rankfold.mapping import ArraySpec
from rankfold.mapping.nothing import NothingMapped
from rankfold.mapping.published import PublishedCount
from rankfold.plan.kinds import LayerKind
from rankfold.plan.layer import LayerPlan
from rankfold.workload import ConvShape


class SkippedCost(KindCost):
    """No arrays, no activations, no weights; a digital adder adds the constants, as it adds biases."""

    own_mapping = "im2col"

    def mapping(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> AnyMapping:
        """Nothing."""
        return NothingMapped(entry.mapping, array)

    def published(
        self,
        shape: ConvShape,
        array: ArraySpec,
        large: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> PublishedCount:
        """Nothing, of a window of one pixel."""
        return PublishedCount((1, 1), 0, 0)

    def row_circuits(self, kind: LayerKind) -> tuple[str, ...]:
        """None, of no matrix."""
        return ()

    def parameters(self, shape: ConvShape, kind: LayerKind, mapping: AnyMapping) -> int:
        """None."""
        return 0

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """That it has no regions."""
        return {"regions": []}


PART = SkippedCost()
