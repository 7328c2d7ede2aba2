"""Skipped layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankfold.errors import InputError
from rankfold.plan.kinds import LayerKind
from rankfold.plan.layer import LayerPlan
from rankfold.report.kinds.kind import KindPicture
from rankfold.report.methods import RunMethod
from rankfold.report.palette import GREY
from rankfold.workload import ConvShape

if TYPE_CHECKING:
    import numpy as np

    from rankfold.mapping import ArraySpec
    from rankfold.report.arrays.panel import Panel

SKIPPED = "skipped"  # the family


class SkippedPicture(KindPicture):
    """There is nothing to draw."""

    families = (SKIPPED,)

    def method(self, kind: LayerKind) -> RunMethod:
        """`skipped layers`."""
        return RunMethod(GREY, "skipped layers")

    def panels(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> tuple[Panel, ...]:
        """None can be.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"layer {shape.name} is skipped, so that no array holds anything of it; draw another one"
        )

    def interest(self, kind: LayerKind) -> int:
        """Pages draw any other layer rather."""
        return -1


PART = SkippedPicture()
