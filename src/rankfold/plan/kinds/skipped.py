"""Layers that are skipped: each output channel is a constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rankfold.errors import InputError
from rankfold.plan.kinds.kind import LayerKind
from rankfold.workload import ConvShape


@dataclass(frozen=True)
class SkippedLayer(LayerKind):
    """A layer that stores nothing: what it gives is the mean of its outputs, whatever it reads.

    In a residual branch this makes the branch a constant. Layers before it whose outputs reach no other layer
    than this one compute for nothing, and are skipped as well where a plan says so.
    """

    name: ClassVar[str] = "skipped"
    mappings: ClassVar[tuple[str, ...]] = ("im2col",)
    made_for_data: ClassVar[bool] = True
    computes: ClassVar[bool] = False

    def check(self, shape: ConvShape) -> None:
        """Refuse a layer that cannot be replaced, and fully connected ones."""
        if shape.fixed:
            raise InputError(f"plan, layer {shape.name}: it cannot be skipped: {shape.fixed}; make it dense")
        if shape.is_linear:
            raise InputError(
                f"plan, layer {shape.name}: it cannot be skipped, as it is a fully connected layer; make it "
                "dense"
            )

    def holds(self, other: LayerKind) -> bool:
        """Whether `other` is skipped."""
        return self == other
