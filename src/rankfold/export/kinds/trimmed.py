"""Trimmed layers: what the smaller layer is written as, under the name of its module."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from rankfold.export.kinds.kind import KindWorkload, executed, supports, unsaid
from rankfold.plan.kinds import LayerKind, TrimmedLayer
from rankfold.workload import ConvShape


class TrimmedWorkload(KindWorkload):
    """The convolution of the channels that are left."""

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """Those of the smaller layer."""
        trimmed = cast(TrimmedLayer, kind)
        name = f"{shape.name}.inner"
        return executed(replace(trimmed.trimmed(shape), name=name, weight=name), trimmed.inner)

    def unsaid(self, kind: LayerKind) -> tuple[str, str]:
        """As of the smaller layer."""
        return unsaid(cast(TrimmedLayer, kind).inner)

    def supports(self, shape: ConvShape, kind: LayerKind) -> tuple[str, ...] | None:
        """As of the smaller layer."""
        trimmed = cast(TrimmedLayer, kind)
        return supports(trimmed.trimmed(shape), trimmed.inner)


PART = TrimmedWorkload()
