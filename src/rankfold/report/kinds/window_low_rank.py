"""Low-rank pairs of a window's matrix."""

from __future__ import annotations

from typing import cast

from rankfold.plan.kinds import LayerKind, WindowLowRankLayer
from rankfold.report.kinds.kind import KindPicture, PanelWords
from rankfold.report.kinds.window import PART as WINDOW
from rankfold.report.methods import RunMethod
from rankfold.report.palette import CRIMSON
from rankfold.workload import ConvShape

WINDOW_LOW_RANK = "window low-rank"  # the family


class WindowLowRankPicture(KindPicture):
    """Named as such: windows, ranks and rows differ from layer to layer, also by one setting."""

    families = (WINDOW_LOW_RANK,)

    def method(self, kind: LayerKind) -> RunMethod:
        """`window low-rank`."""
        return RunMethod(CRIMSON, "window low-rank")

    def panel_words(self, kind: LayerKind, shape: ConvShape) -> PanelWords:
        """The window, how many of its inputs are driven, and its rank."""
        pair = cast(WindowLowRankLayer, kind)
        window = WINDOW.panel_words(pair.window_layer, shape)
        return PanelWords("Window low-rank", f"rank {pair.rank}, {window.meaning}")

    def interest(self, kind: LayerKind) -> int:
        """Many pixels, as of window layers."""
        return WINDOW.interest(cast(WindowLowRankLayer, kind).window_layer)


PART = WindowLowRankPicture()
