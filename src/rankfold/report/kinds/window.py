"""Window layers."""

from __future__ import annotations

from typing import cast

from rankfold.mapping.window_matrix import window_shape
from rankfold.plan.kinds import LayerKind, WindowLayer
from rankfold.report.kinds.kind import KindPicture, PanelWords
from rankfold.report.methods import RunMethod
from rankfold.report.palette import TEAL
from rankfold.workload import ConvShape

WINDOW = "window"  # the family


class WindowPicture(KindPicture):
    """Named as windows: their sizes and rows differ from layer to layer, also by one setting."""

    families = (WINDOW,)

    def method(self, kind: LayerKind) -> RunMethod:
        """`window layers`."""
        return RunMethod(TEAL, "window layers")

    def panel_words(self, kind: LayerKind, shape: ConvShape) -> PanelWords:
        """The window, and how many of its inputs are driven."""
        window = cast(WindowLayer, kind)
        inputs = window_shape(shape, window.window).n
        a, b = window.window
        rows = f"all {inputs} inputs"
        if window.rows is not None:
            rows = f"{window.rows} of {inputs} inputs"
            if window.support is None:
                rows += ", to be chosen on data"
        return PanelWords("Window layer", f"{a}x{b} output pixels from {rows}; every cell is a weight")

    def interest(self, kind: LayerKind) -> int:
        """Many pixels: their weights side by side are what a picture shows."""
        a, b = cast(WindowLayer, kind).window
        return a * b


PART = WindowPicture()
