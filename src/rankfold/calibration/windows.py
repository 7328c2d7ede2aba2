"""Calls of a convolution seen window by window: boxes of its inputs, and the gradients over their outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from rankfold.calibration.backward import LayerRun
from rankfold.calibration.patches import Cut
from rankfold.mapping.window_cover import AnyWindow, PlanePart
from rankfold.nn.window import WindowConv2d
from rankfold.nn.window_margins import PartOfPlane


@dataclass(frozen=True)
class WindowView:
    """A convolution whose windows of (a, b) output pixels, on its plane or a part of it, are the outputs of
    one matrix.

    Attributes:
        layer: computes the windows; its weights do not matter.
        reader: says which box of inputs a window reads.
    """

    layer: WindowConv2d
    reader: Cut

    @classmethod
    def of(cls, conv: nn.Conv2d, window: AnyWindow) -> WindowView:
        """The view of one convolution."""
        if isinstance(window, PlanePart):
            layer: WindowConv2d = PartOfPlane(conv, window)
        else:
            layer = WindowConv2d(conv, window)
        return cls(layer, Cut(layer.matrix, layer.extended, layer.present))

    def run(self, run: LayerRun) -> LayerRun:
        """One call of the convolution, as a call of the matrix: a patch and a gradient for each window.

        Outputs beyond the plane or the part, of windows that reach over its edge, are dropped: their gradient
        is zero.
        """
        by_window = self.layer.by_window(run.gradient)  # (B, G, m*a*b/G, windows)
        return replace(run, layer=self.reader, gradient=by_window.flatten(1, 2))
