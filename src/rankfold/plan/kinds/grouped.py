"""Layers that become grouped convolutions, of blocks of channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rankfold.arguments import TEXT, plain_numbers_
from rankfold.errors import InputError
from rankfold.plan.kinds.kind import LayerKind
from rankfold.plan.members import PATTERN, shortest_members, text_to_members
from rankfold.workload import ConvShape


@dataclass(frozen=True)
class GroupedLayer(LayerKind):
    """Blocks of input and output channels, of which each output reads the inputs of its own block alone.

    Which channels belong together is free: on arrays their order is a matter of wiring.

    Attributes:
        blocks: in each group of the convolution, which are mostly one.
        members: the channels of each block (see `plan.members`); None: to be chosen on data.
    """

    name: ClassVar[str] = "grouped"
    made_for_data: ClassVar[bool] = True
    windows: ClassVar[int] = 1
    schema: ClassVar[Mapping[str, Any]] = {
        "blocks": {"type": "integer", "minimum": 2},
        "members": {"type": "string", "pattern": PATTERN},
    }

    blocks: int
    members: str | None = None

    def __post_init__(self) -> None:
        plain_numbers_(self)
        if type(self.blocks) is not int or self.blocks < 2:
            raise InputError(
                f"blocks (={self.blocks!r}) of a grouped layer must be a whole number, 2 or more"
            )
        TEXT.or_none.check("members", self.members)
        if self.members is not None:
            # One text for what is the same: plans are compared by it.
            object.__setattr__(self, "members", shortest_members(self.members))

    @property
    def shares_support(self) -> bool:
        """Always: which inputs the outputs of a block read is chosen on data."""
        return True

    @property
    def known_support(self) -> str | None:
        """The members."""
        return self.members

    def with_support(self, support: str) -> GroupedLayer:
        """The layer with these members."""
        return replace(self, members=support)

    def short(self) -> str:
        """`G4`."""
        return f"G{self.blocks}"

    def shape(self, shape: ConvShape) -> ConvShape:
        """The grouped convolution that a layer becomes, with its channels in the order of the blocks."""
        return replace(shape, groups=shape.groups * self.blocks)

    def check(self, shape: ConvShape) -> None:
        """Refuse a layer that cannot be replaced, or whose channels cannot be cut so."""
        if shape.fixed:
            raise InputError(f"plan, layer {shape.name}: it cannot be grouped: {shape.fixed}; make it dense")
        if shape.is_linear:
            raise InputError(
                f"plan, layer {shape.name}: blocks (={self.blocks}) are for convolutions; it is a fully "
                "connected layer"
            )
        channels, outputs = shape.in_channels // shape.groups, shape.m // shape.groups
        if math.gcd(channels, outputs) % self.blocks:
            raise InputError(
                f"plan, layer {shape.name}: blocks (={self.blocks}) must divide the {channels} input and "
                f"{outputs} output channels of a group"
            )
        if self.members is not None:
            text_to_members(self.members, shape, self.blocks)

    def holds(self, other: LayerKind) -> bool:
        """Whether `other` has the very same blocks, or as many where these are still to be chosen."""
        if not isinstance(other, GroupedLayer) or other.blocks != self.blocks:
            return False
        return self.members is None or self.members == other.members
