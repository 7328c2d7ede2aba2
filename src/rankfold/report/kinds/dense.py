"""Layers that stay as they are."""

from __future__ import annotations

from rankfold.plan.kinds import LayerKind
from rankfold.report.kinds.kind import DENSE, KindPicture
from rankfold.report.methods import RunMethod


class DensePicture(KindPicture):
    """The mapping says it all."""

    families = (DENSE,)

    def method(self, kind: LayerKind) -> RunMethod | None:
        """Nothing was done."""
        return None


PART = DensePicture()
