"""Grouped layers."""

from __future__ import annotations

from typing import cast

from rankfold.plan.kinds import GroupedLayer, LayerKind
from rankfold.report.kinds.kind import KindPicture, PanelWords
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

    def interest(self, kind: LayerKind) -> int:
        """Many blocks: their diagonal is what a picture shows."""
        return cast(GroupedLayer, kind).blocks


PART = GroupedPicture()
