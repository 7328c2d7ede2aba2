"""Layers that lose whole channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rankfold.errors import InputError
from rankfold.plan.kinds.kind import LayerKind
from rankfold.workload import ConvShape


@dataclass(frozen=True)
class ChannelLayer(LayerKind):
    """A layer with fewer channels.

    Attributes:
        in_channels: input channels that it keeps.
        out_channels: output channels that it keeps.
    """

    name: ClassVar[str] = "channel-pruned"
    schema: ClassVar[Mapping[str, Any]] = {
        "in_channels": {"type": "integer", "minimum": 1},
        "out_channels": {"type": "integer", "minimum": 1},
    }

    in_channels: int
    out_channels: int

    def short(self) -> str:
        """`c16>8`: the channels that it keeps."""
        return f"c{self.in_channels}>{self.out_channels}"

    def check(self, shape: ConvShape) -> None:
        """Refuse more channels than the layer has."""
        # Whether the numbers fit those of the layers around is seen in the network: `surgery.channels`.
        for what, kept, there in (
            ("in_channels", self.in_channels, shape.in_channels),
            ("out_channels", self.out_channels, shape.out_channels),
        ):
            if kept > there:
                raise InputError(
                    f"plan, layer {shape.name}: {what} (={kept}) must be at most the {there} that it has"
                )
