"""Skipped layers: no convolution."""

from __future__ import annotations

from rankfold.export.kinds.kind import KindWorkload
from rankfold.plan.kinds import LayerKind
from rankfold.workload import ConvShape


class SkippedWorkload(KindWorkload):
    """Nothing runs in its place."""

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """No convolution."""
        return ()


PART = SkippedWorkload()
