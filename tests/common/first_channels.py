"""A kind of layer and a method from outside the package: a few small classes, and one registration.

`FirstChannels`, a layer that reads only the first of its input channels, is what a researcher would add. It
takes about eighty lines of code below and none in the package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments
from rankfold.cost.kinds import KindCost
from rankfold.errors import InputError
from rankfold.nn.plain import StandIn
from rankfold.plan import LayerKind, LayerPlan
from rankfold.plan.kinds import registered
from rankfold.plan.methods import Method, Setting, registered_method
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds import ChosenSupport, LayerStudy, WeightCandidates
from rankfold.report.kinds.kind import KindPicture, PanelWords
from rankfold.report.methods import RunMethod
from rankfold.surgery.convertible import check_convertible
from rankfold.surgery.kinds import KindSurgery, Part, Replacement
from rankfold.workload import ConvShape

HUE = ("#123456", "#654321")


@dataclass(frozen=True)
class FirstChannels(LayerKind):
    """A layer that reads only the first of its input channels."""

    name: ClassVar[str] = "first-channels"
    mappings: ClassVar[tuple[str, ...]] = ("im2col", "sdk", "vw-sdk")
    schema: ClassVar[Mapping[str, Any]] = {"channels": {"type": "integer", "minimum": 1}}

    channels: int

    def short(self) -> str:
        return f"first {self.channels}"

    def check(self, shape: ConvShape) -> None:
        if shape.groups > 1 or shape.is_linear or not 1 <= self.channels <= shape.in_channels:
            raise InputError(
                f"layer {shape.name}: channels (={self.channels}) must be of an ungrouped convolution's"
            )

    def holds(self, other: LayerKind) -> bool:
        return isinstance(other, FirstChannels) and other.channels <= self.channels


class FirstChannelsConv2d(nn.Module, StandIn):
    """Its module: a convolution of the channels that are read."""

    def __init__(self, conv: nn.Conv2d, channels: int) -> None:
        super().__init__()
        # (m, channels, kh, kw); all else is that of the convolution.
        window = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, 1, conv.bias is not None)
        self.conv = nn.Conv2d(channels, conv.out_channels, *window, conv.padding_mode)
        self.conv.weight = nn.Parameter(conv.weight.detach()[:, :channels].clone())
        self.conv.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[:, : self.conv.in_channels])


class FirstChannelsSurgery(KindSurgery):
    """How a layer is replaced, and what it then consists of."""

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        check_convertible(layer.name, module)

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        return FirstChannelsConv2d(cast(nn.Conv2d, module), cast(FirstChannels, layer.kind).channels)

    def replace(
        self, layer: LayerPlan, module: nn.Module, moments: PatchMoments | None, mask: np.ndarray | None
    ) -> Replacement:
        weight = cast(Tensor, module.weight).detach()
        lost = weight[:, cast(FirstChannels, layer.kind).channels :]
        return Replacement(self.build(layer, module), float(lost.norm() / weight.norm()))

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        return (Part(f"{layer.name}.conv"),)


class FirstChannelsCost(KindCost):
    """How it is laid on arrays: as a layer of fewer channels; `family` names its costs."""

    family = "first-channels"

    def shape(self, shape: ConvShape, kind: LayerKind) -> ConvShape:
        return replace(shape, in_channels=cast(FirstChannels, kind).channels)


class FirstChannelsCandidates(WeightCandidates):
    """What the planner may make of a layer."""

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        channels = slot.shape.in_channels // slot.shape.groups
        if support is None and channels > 1:
            yield replace(slot.entry, kind=FirstChannels(channels // 2), mapping="sdk")

    def replacement(self, kind: LayerKind, study: LayerStudy) -> np.ndarray:
        weight = study.weight.copy()
        weight[:, cast(FirstChannels, kind).channels :] = 0
        return weight


class FirstChannelsPicture(KindPicture):
    """What pictures and tables say of it, with a colour and a column of its own."""

    families = ("first few",)

    def method(self, kind: LayerKind) -> RunMethod:
        return RunMethod(HUE, "first channels")

    def panel_words(self, kind: LayerKind, shape: ConvShape) -> PanelWords:
        return PanelWords("First channels", f"{cast(FirstChannels, kind).channels} of {shape.in_channels}")


SHARE = Setting(
    "share",
    "s",
    float,
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    help="share of its input channels that a layer reads",
    example="0.5",
)


@dataclass(frozen=True)
class ReadFewer(Method):
    """One setting for a whole network: every layer reads a share of its channels."""

    name: ClassVar[str] = "read-fewer"
    title: ClassVar[str] = "reading fewer"
    settings: ClassVar[tuple[Setting, ...]] = (SHARE,)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (FirstChannels,)

    share: float

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        kept = max(1, round(self.share * shape.in_channels))
        return FirstChannels(kept), f"reads {kept} of {shape.in_channels} channels"


@contextmanager
def known() -> Iterator[None]:
    """The kind and the method are registered inside."""
    parts = {
        "cost": FirstChannelsCost(),
        "surgery": FirstChannelsSurgery(),
        "picture": FirstChannelsPicture(),
        "candidates": FirstChannelsCandidates(),
    }
    with registered(FirstChannels, **parts), registered_method(ReadFewer):
        yield
