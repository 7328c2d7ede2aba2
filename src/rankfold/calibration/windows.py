"""Calls of a convolution seen window by window: boxes of its inputs, and the gradients over their outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.backward import LayerRun
from rankfold.calibration.patches import Cut
from rankfold.nn.window import WindowConv2d
from rankfold.workload.shape import Pair


@dataclass(frozen=True)
class WindowView:
    """A convolution whose windows of (a, b) output pixels are the outputs of one matrix.

    Attributes:
        reader: says which box of inputs a window reads.
        window: (a, b).
        groups: G of the convolution.
    """

    reader: Cut
    window: Pair
    groups: int

    @classmethod
    def of(cls, conv: nn.Conv2d, window: Pair) -> WindowView:
        """The view of one convolution."""
        layer = WindowConv2d(conv, window)
        return cls(Cut(layer.matrix, layer.extended, layer.present), window, conv.groups)

    def run(self, run: LayerRun) -> LayerRun:
        """One call of the convolution, as a call of the matrix: a patch and a gradient for each window.

        Outputs beyond the plane, of windows that reach over its edge, are dropped: their gradient is zero.
        """
        return replace(run, layer=self.reader, gradient=self._by_window(run.gradient))

    def _by_window(self, gradient: Tensor) -> Tensor:
        """(B, m, OH, OW) as (B, m*a*b, windows down, windows across), ordered as `window_weight` is."""
        images, outputs, height, width = gradient.shape
        a, b = self.window
        whole = F.pad(gradient, (0, -width % b, 0, -height % a))
        down, across = whole.shape[2] // a, whole.shape[3] // b
        pixels = whole.reshape(images, self.groups, outputs // self.groups, down, a, across, b)
        # To (B, G, a, b, m/G, down, across): a pixel's outputs stay together.
        pixels = pixels.permute(0, 1, 4, 6, 2, 3, 5)
        return pixels.reshape(images, outputs * a * b, down, across)
