"""Layers that lost channels: smaller dense layers."""

from __future__ import annotations

from rankfold.plan.kinds import LayerKind
from rankfold.report.kinds.kind import DENSE, KindPicture
from rankfold.report.methods import RunMethod
from rankfold.report.palette import BROWN


class ChannelPicture(KindPicture):
    """They are drawn and counted as dense layers, with the channels that are left."""

    families = (DENSE,)

    def method(self, kind: LayerKind) -> RunMethod:
        """Channels went, however many."""
        # How many are left differs from layer to layer, by one and the same setting.
        return RunMethod(BROWN, "channel pruning")


PART = ChannelPicture()
