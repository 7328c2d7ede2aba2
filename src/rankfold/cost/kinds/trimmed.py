"""Trimmed layers: whatever the convolution of the channels that are left becomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from rankfold.cost.kinds.kind import AnyMapping, KindCost, StoredShape, cost_of
from rankfold.mapping import ArraySpec
from rankfold.mapping.published import PublishedCount
from rankfold.plan.kinds import LayerKind, TrimmedLayer
from rankfold.plan.layer import LayerPlan
from rankfold.workload import ConvShape


class TrimmedCost(KindCost):
    """Counted as the smaller layer."""

    def shape(self, shape: ConvShape, kind: LayerKind) -> ConvShape:
        """With the channels that are left."""
        return cast(TrimmedLayer, kind).trimmed(shape)

    def mapping(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> AnyMapping:
        """That of the smaller layer."""
        inner = _inner(entry)
        return cost_of(inner.kind).mapping(self.shape(shape, entry.kind), array, inner, None)

    def matrices(self, shape: ConvShape, kind: LayerKind) -> tuple[StoredShape, ...]:
        """What the smaller layer stores."""
        inner = cast(TrimmedLayer, kind).inner
        return cost_of(inner).matrices(self.shape(shape, kind), inner)

    def has_published(self, shape: ConvShape, kind: LayerKind) -> bool:
        """Whether the smaller layer can be counted."""
        inner = cast(TrimmedLayer, kind).inner
        return cost_of(inner).has_published(self.shape(shape, kind), inner)

    def published(
        self,
        shape: ConvShape,
        array: ArraySpec,
        large: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> PublishedCount:
        """That of the smaller layer."""
        inner = _inner(entry)
        return cost_of(inner.kind).published(self.shape(shape, entry.kind), array, large, inner, None)

    def parameters(self, shape: ConvShape, kind: LayerKind, mapping: AnyMapping) -> int:
        """Those of the smaller layer."""
        inner = cast(TrimmedLayer, kind).inner
        return cost_of(inner).parameters(self.shape(shape, kind), inner, mapping)

    def row_circuits(self, kind: LayerKind) -> tuple[str, ...]:
        """Those of the smaller layer: the channels that are read are wired for good."""
        inner = cast(TrimmedLayer, kind).inner
        return cost_of(inner).row_circuits(inner)

    def input_signs(self, kind: LayerKind, signed: bool | None) -> tuple[bool | None, ...]:
        """Those of the smaller layer."""
        inner = cast(TrimmedLayer, kind).inner
        return cost_of(inner).input_signs(inner, signed)

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """The channels that are left, and what is said of the smaller layer."""
        trimmed = cast(TrimmedLayer, kind)
        sets = {"reads": trimmed.reads, "gives": trimmed.gives}
        content: dict[str, Any] = {side: text for side, text in sets.items() if text is not None}
        inner = cost_of(trimmed.inner).to_json(trimmed.inner, parameters, stages)
        return {"trimmed": {**content, "parameters": parameters}, **inner}


def _inner(entry: LayerPlan) -> LayerPlan:
    """The entry of the smaller layer; where it lacks a mapping that networks are compared under, its own."""
    inner = cast(TrimmedLayer, entry.kind).inner
    mapping = entry.mapping
    if not inner.can_lie(mapping):
        mapping = inner.mapping_for(mapping)
    return replace(entry, kind=inner, mapping=mapping)


PART = TrimmedCost()
