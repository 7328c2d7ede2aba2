"""Grouped layers."""

from __future__ import annotations

from typing import cast

from rankfold.plan.kinds import GroupedLayer, LayerKind
from rankfold.plan.members import text_to_members
from rankfold.report.kinds.kind import Channels, KindPicture, PanelWords
from rankfold.report.methods import RunMethod
from rankfold.report.palette import INDIGO
from rankfold.workload import ConvShape

GROUPED = "grouped"  # the family


class GroupedPicture(KindPicture):
    """Named by their blocks; the diagonal that these make is in the picture of the mapping."""

    families = (GROUPED,)

    def method(self, kind: LayerKind) -> RunMethod:
        """`grouped convolutions, G = 4`."""
        return RunMethod(INDIGO, f"grouped convolutions, G = {cast(GroupedLayer, kind).blocks}")

    def panel_words(self, kind: LayerKind, shape: ConvShape) -> PanelWords:
        """The blocks, and how many channels each has."""
        blocks = cast(GroupedLayer, kind).blocks * shape.groups
        sizes = f"{shape.in_channels // blocks} input to {shape.m // blocks} output channels"
        return PanelWords("Grouped", f"{blocks} blocks, each of {sizes}")

    def channels(self, kind: LayerKind, shape: ConvShape) -> tuple[Channels, Channels]:
        """Those of the first block, then those of the next; unknown while the members are open."""
        grouped = cast(GroupedLayer, kind)
        if grouped.members is None:
            return None, None
        members = text_to_members(grouped.members, shape, grouped.blocks)
        return tuple(members.input_order.tolist()), tuple(members.output_order.tolist())

    def interest(self, kind: LayerKind) -> int:
        """Many blocks: their diagonal is what a picture shows."""
        return cast(GroupedLayer, kind).blocks


PART = GroupedPicture()
