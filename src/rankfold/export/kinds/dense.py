"""A layer that stays as it is."""

from __future__ import annotations

from rankfold.export.kinds.kind import KindWorkload
from rankfold.plan.kinds import LayerKind
from rankfold.workload import ConvShape


class DenseWorkload(KindWorkload):
    """The layer itself."""

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """Its own shape."""
        return (shape,)


PART = DenseWorkload()
