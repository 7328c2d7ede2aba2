"""Layers that lose channels, with all that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

from rankfold.errors import InputError
from rankfold.plan.kinds import ChannelLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.surgery.channels import channels_of, narrow_, select_channels_
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

    def check_made(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse other numbers of channels."""
        kind = cast(ChannelLayer, layer.kind)
        found = channels_of(module)
        if found != (kind.in_channels, kind.out_channels):
            raise InputError(
                f"layer {layer.name} of the network has {found[0]} input and {found[1]} output channels, the "
                f"plan says {kind.in_channels} and {kind.out_channels}; give the plan that it follows"
            )


PART = ChannelSurgery()
