"""Layers that lost channels: smaller dense layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from rankfold.cost.kinds.kind import DenseCost
from rankfold.plan.kinds import ChannelLayer, LayerKind
from rankfold.workload import ConvShape

FAMILY = "channel"


class ChannelCost(DenseCost):
    """As dense layers, with the channels that are left."""

    family = FAMILY

    def shape(self, shape: ConvShape, kind: LayerKind) -> ConvShape:
        """With the channels that are left."""
        kept = cast(ChannelLayer, kind)
        groups = shape.groups
        if shape.groups == shape.in_channels > 1:
            groups = kept.in_channels  # a depthwise convolution keeps as many groups as channels
        return replace(shape, in_channels=kept.in_channels, out_channels=kept.out_channels, groups=groups)

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """The channels that are left."""
        kept = cast(ChannelLayer, kind)
        content = {"in": kept.in_channels, "out": kept.out_channels, "parameters": parameters}
        return {"regions": stages[0]["regions"], "channels": content}


PART = ChannelCost()
