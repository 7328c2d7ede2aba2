"""Layers of which only some channels are read, and only some computed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rankfold.arguments import TEXT
from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan.channels import (
    CHANNELS,
    channels_in,
    reaches_beyond,
    shortest_text,
    text_to_channels,
)
from rankfold.plan.kinds.dense import DenseLayer
from rankfold.plan.kinds.kind import LayerKind
from rankfold.plan.kinds.window import OfWindows, WindowLayer
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair


@dataclass(frozen=True)
class TrimmedLayer(OfWindows):
    """A layer that reads some of its input channels and gives some of its output channels.

    The others are not read; those that are not computed are constants, their means. Of a depthwise
    convolution both are the same channels. What is left is a smaller convolution, laid out like any dense
    one, or whole windows of it whose weights are all free. So a tile can hold whole channels (VWC-SDK), and
    the columns of a tile more pixels.

    Attributes:
        reads: the input channels, a hexadecimal number whose lowest bit is the first one; None: all.
        gives: likewise, the output channels.
        window: (a, b) output pixels, where it is computed window by window (see `WindowLayer`); None: it
            stays a convolution.
        rows: inputs of a window that are driven, of the channels that are read; None: all.
        support: these inputs, positions of each channel that is read; None: to be chosen on data, unless all
            are driven.
    """

    name: ClassVar[str] = "trimmed"
    mappings: ClassVar[tuple[str, ...]] = MAPPINGS
    windows: ClassVar[int] = 1
    made_for_data: ClassVar[bool] = True
    # Of a convolution that it stays it would be true; False is certain of windows, too.
    one_kernel: ClassVar[bool] = False
    schema: ClassVar[Mapping[str, Any]] = {
        "reads": {"type": "string", "pattern": f"^{CHANNELS}$"},
        "gives": {"type": "string", "pattern": f"^{CHANNELS}$"},
        **WindowLayer.schema,
    }

    reads: str | None = None
    gives: str | None = None
    window: Pair | None = None
    rows: int | None = None
    support: str | None = None

    def __post_init__(self) -> None:
        if self.reads is None and self.gives is None:
            raise InputError("a trimmed layer needs the channels that it reads, or those that it gives")
        for side, text in (("reads", self.reads), ("gives", self.gives)):
            TEXT.or_none.check(side, text)
            if text is None:
                continue
            if not re.fullmatch(CHANNELS, text) or not channels_in(text):
                raise InputError(
                    f"{side} (={text}) must be a hexadecimal number of one channel or more, such as ff03"
                )
            # One text for what is the same: plans are compared by it.
            object.__setattr__(self, side, shortest_text(text))
        if self.window is None and self.rows is not None:
            raise InputError("only trimmed layers with a window have rows")
        if self.rows is None and self.support is not None:
            raise InputError("only trimmed layers with rows have a support")
        if self.window is not None:
            WindowLayer(self.window, self.rows, self.support)  # refuses what none has

    @property
    def inner(self) -> LayerKind:
        """What the convolution of the channels that are left becomes."""
        if self.window is None:
            return DenseLayer()
        return WindowLayer(self.window, self.rows, self.support)

    def trimmed(self, shape: ConvShape) -> ConvShape:
        """The convolution of the channels that are left."""
        reads = int(text_to_channels(self.reads, shape.in_channels).sum())
        gives = int(text_to_channels(self.gives, shape.m).sum())
        groups = reads if shape.is_depthwise else shape.groups
        return replace(shape, in_channels=reads, out_channels=gives, groups=groups)

    def can_lie(self, mapping: str) -> bool:
        """By any name; windows of its own lie as they are under each."""
        return mapping in self.mappings or self.inner.can_lie(mapping)

    def mapping_for(self, wanted: str) -> str:
        """As what the smaller convolution becomes."""
        return self.inner.mapping_for(wanted)

    def short(self) -> str:
        """`c10>8`, numbers of channels with a blank for all, and the window: `c>8 w2x4 r64`."""
        words = f"c{_number_of(self.reads)}>{_number_of(self.gives)}"
        if self.window is not None:
            words += f" {self.inner.short()}"
        return words

    def check(self, shape: ConvShape) -> None:
        """Refuse a layer that cannot be replaced, or has no such channels, window or inputs."""
        if shape.fixed:
            raise InputError(f"plan, layer {shape.name}: it cannot be trimmed: {shape.fixed}; make it dense")
        self.check_channels(shape)
        self.inner.check(self.trimmed(shape))

    def check_channels(self, shape: ConvShape) -> None:
        """Refuse a layer that is no convolution of one group or depthwise, and channels that it has not.

        Raises:
            InputError: it is neither, or has none of them, or others on both sides of a depthwise one.
        """
        if shape.is_linear or (shape.groups > 1 and not shape.is_depthwise):
            what = "a fully connected layer" if shape.is_linear else f"a convolution of {shape.groups} groups"
            raise InputError(
                f"plan, layer {shape.name}: only convolutions of one group and depthwise ones are trimmed; "
                f"it is {what}"
            )
        if shape.is_depthwise and (self.reads != self.gives or self.window is not None):
            raise InputError(
                f"plan, layer {shape.name}: a depthwise convolution reads and gives the same channels, "
                "without a window; name them as reads and as gives"
            )
        sides = (("reads", self.reads, shape.in_channels), ("gives", self.gives, shape.m))
        for side, text, count in sides:
            if text is not None and reaches_beyond(text, count):
                raise InputError(
                    f"plan, layer {shape.name}: {side} (={text}) names channels beyond the {count} that it "
                    "has"
                )

    def worse_than_dense(self, runs: Sequence[ConvShape], array: ArraySpec, mapping: str) -> str:
        """Why the smaller convolution saves nothing."""
        return self.inner.worse_than_dense([self.trimmed(run) for run in runs], array, mapping)

    def holds(self, other: LayerKind) -> bool:
        """Whether `other` has the same channels, and what is left of this layer holds what is left of it."""
        if not isinstance(other, TrimmedLayer):
            return False
        alike = (self.reads, self.gives) == (other.reads, other.gives)
        return alike and (self.window is not None or other.window is None) and self.inner.holds(other.inner)


def _number_of(channels: str | None) -> str:
    """How many channels a set has, as texts say it; a blank for all."""
    return "" if channels is None else str(channels_in(channels))
