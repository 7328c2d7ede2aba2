"""Low-rank pairs of a window's matrix: two convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from rankfold.export.kinds.kind import KindWorkload
from rankfold.export.kinds.window import PART as WINDOW
from rankfold.mapping.window_low_rank import window_low_rank_stages
from rankfold.plan.kinds import LayerKind, WindowLowRankLayer
from rankfold.workload import ConvShape


class WindowLowRankWorkload(KindWorkload):
    """The convolution of the window's box and the 1x1 convolution, named as the modules are."""

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """Both stages; the first one with all its rows."""
        pair = cast(WindowLowRankLayer, kind)
        stages = window_low_rank_stages(shape, pair.window, pair.rank)
        names = f"{shape.name}.reduce", f"{shape.name}.expand"
        return tuple(
            replace(stage, name=name, weight=name) for stage, name in zip(stages, names, strict=True)
        )

    def unsaid(self, kind: LayerKind) -> tuple[str, str]:
        """That only some inputs are driven."""
        return WINDOW.unsaid(cast(WindowLowRankLayer, kind).window_layer)

    def supports(self, shape: ConvShape, kind: LayerKind) -> tuple[str, ...] | None:
        """The inputs of the first stage that are driven; the second one reads all values."""
        driven = WINDOW.supports(shape, cast(WindowLowRankLayer, kind).window_layer)
        if driven is None:
            return None
        return *driven, ""


PART = WindowLowRankWorkload()
