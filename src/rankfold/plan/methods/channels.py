"""Whole channels less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rankfold.arguments import NUMBER, check_fields
from rankfold.errors import InputError
from rankfold.plan.kinds import ChannelLayer, LayerKind
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.setting import Setting
from rankfold.workload import ConvShape

RATIO = Setting(
    "ratio",
    "ratio",
    float,
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    help="share of the channels that channel pruning removes",
    example="0.5",
    sign="S",
)


@dataclass(frozen=True)
class ChannelPruning(Method):
    """Whole channels go.

    Which ones depends on the weights: its plan is made by `surgery.channels.channel_plan`.

    Attributes:
        ratio: share of the channels to remove, above 0 and below 1.
    """

    name: ClassVar[str] = "channel"
    title: ClassVar[str] = "channel pruning"
    help: ClassVar[str] = "fewer channels, with --ratio"
    settings: ClassVar[tuple[Setting, ...]] = (RATIO,)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (ChannelLayer,)
    maker: ClassVar[str] = "rankfold.surgery.channels:channel_plan"

    ratio: float

    def __post_init__(self) -> None:
        check_fields(self, ratio=NUMBER)
        if not 0 < self.ratio < 1:
            raise InputError(
                f"ratio (={self.ratio}) must be the share of channels to remove, above 0 and below 1"
            )

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """Refused: the shape alone does not say it."""
        raise InputError(
            "channel pruning looks at the network's weights; make its plan with "
            "rankfold.surgery.channel_plan(model, ...)"
        )
