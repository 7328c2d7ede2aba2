"""Layers that keep only some kernel positions: the layer, with its positions where a file has a place."""

from __future__ import annotations

from typing import cast

from rankfold.export.kinds.kind import KindWorkload
from rankfold.plan.kinds import LayerKind, SupportLayer
from rankfold.workload import ConvShape


class SupportWorkload(KindWorkload):
    """The layer itself."""

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """Its own shape."""
        return (shape,)

    def unsaid(self, kind: LayerKind) -> tuple[str, str]:
        """That it keeps only some kernel positions."""
        return f"keeps {cast(SupportLayer, kind).entries} positions of its kernels", " that keeps all"

    def supports(self, shape: ConvShape, kind: LayerKind) -> tuple[str, ...] | None:
        """The positions that it keeps."""
        support = cast(SupportLayer, kind).support
        if support is None:
            return None
        return (support,)


PART = SupportWorkload()
