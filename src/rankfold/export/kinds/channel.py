"""Layers that lost channels: smaller convolutions."""

from __future__ import annotations

from rankfold.cost.kinds import cost_of
from rankfold.export.kinds.kind import KindWorkload
from rankfold.plan.kinds import LayerKind
from rankfold.workload import ConvShape


class ChannelWorkload(KindWorkload):
    """The layer with the channels that are left."""

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """The shape that is counted too."""
        return (cost_of(kind).shape(shape, kind),)


PART = ChannelWorkload()
