"""Low-rank pairs: two convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from rankfold.export.kinds.kind import KindWorkload
from rankfold.mapping import low_rank_stages
from rankfold.plan.kinds import LayerKind, LowRankLayer
from rankfold.workload import ConvShape


class LowRankWorkload(KindWorkload):
    """A grouped convolution to few channels and a 1x1 convolution, named as the modules of a pair are."""

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """Both stages; the first one with all its kernel positions."""
        pair = cast(LowRankLayer, kind)
        reduce, expand = low_rank_stages(shape, pair.groups, pair.rank)
        return _named(reduce, f"{shape.name}.reduce"), _named(expand, f"{shape.name}.expand")

    def unsaid(self, kind: LayerKind) -> tuple[str, str]:
        """That R_ keeps only some kernel positions."""
        entries = cast(LowRankLayer, kind).entries
        if entries is None:
            return "", ""
        return f"keeps {entries} positions of its kernels", " that keeps all"

    def supports(self, shape: ConvShape, kind: LayerKind) -> tuple[str, ...] | None:
        """Those of R_; L reads all outputs of R_."""
        pair = cast(LowRankLayer, kind)
        if pair.entries is None:
            return "", ""
        if pair.support is None:
            return None
        return pair.support, ""


def _named(shape: ConvShape, name: str) -> ConvShape:
    return replace(shape, name=name, weight=name)


PART = LowRankWorkload()
