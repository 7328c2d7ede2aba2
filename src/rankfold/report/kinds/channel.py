"""Layers that lost channels: smaller dense layers."""

from __future__ import annotations

from rankfold.plan.kinds import LayerKind
from rankfold.report.kinds.kind import DENSE, KindPicture
from rankfold.report.methods import RunMethod


class ChannelPicture(KindPicture):
    """They are drawn and counted as dense layers, with the channels that are left."""

    family = DENSE

    def method(self, kind: LayerKind) -> RunMethod:
        """Channels went, however many."""
        # How many are left differs from layer to layer, by one and the same setting.
        return RunMethod("channel", "channel pruning")


PART = ChannelPicture()
