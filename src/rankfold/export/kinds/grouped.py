"""Grouped layers: grouped convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from rankfold.export.kinds.kind import KindWorkload
from rankfold.plan.kinds import GroupedLayer, LayerKind
from rankfold.workload import ConvShape


class GroupedWorkload(KindWorkload):
    """The convolution of the blocks, named as the module is."""

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """The layer with a group for each block; in which order it reads its channels changes no shape."""
        name = f"{shape.name}.conv"
        return (replace(cast(GroupedLayer, kind).shape(shape), name=name, weight=name),)


PART = GroupedWorkload()
