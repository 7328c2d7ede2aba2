"""Grouped layers: mapped as any grouped convolution is, a diagonal of blocks in each window."""

from __future__ import annotations

from typing import Any, cast

from rankfold.cost.kinds.kind import KindCost
from rankfold.plan.kinds import GroupedLayer, LayerKind
from rankfold.workload import ConvShape

FAMILY = "grouped"


class GroupedCost(KindCost):
    """The convolution with more groups; the order of its channels is wiring, which costs nothing."""

    family = FAMILY

    def shape(self, shape: ConvShape, kind: LayerKind) -> ConvShape:
        """With a group for each block."""
        return cast(GroupedLayer, kind).shape(shape)

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """The blocks, and the weights that are left."""
        content = {"blocks": cast(GroupedLayer, kind).blocks, "parameters": parameters}
        return {"grouped": content, **super().to_json(kind, parameters, stages)}


PART = GroupedCost()
