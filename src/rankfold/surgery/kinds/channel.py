"""Layers that lose channels, with all that reads them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.surgery.channels import narrow_, select_channels_
from rankfold.surgery.convertible import check_convertible
from rankfold.surgery.kinds.kind import KindSurgery, Masks


class ChannelSurgery(KindSurgery):
    """The network's own modules, with fewer channels."""

    resizes_others = True

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a convolution with behaviour of its own."""
        if isinstance(module, nn.Conv2d):
            check_convertible(layer.name, module)

    def choose_(self, model: nn.Module, plan: Plan, layers: Sequence[LayerPlan]) -> Masks:
        """Keep the most important channels."""
        select_channels_(model, plan)
        return {}

    def resize_(self, model: nn.Module, plan: Plan) -> None:
        """Keep as many channels as the plan says, the first ones."""
        narrow_(model, plan)


PART = ChannelSurgery()
