"""Moments of several windows of one layer: those of small ones are blocks of those of large ones.

A window of A x B output pixels holds windows of a x b side by side, (A/a) (B/b) of them, where a divides A
and b divides B. The box of each is a part of its box, so that the sum of their x x^T over all windows of a
plane is that of the large one's x x^T, of which each place gives a block:

    sum over small windows  x x^T  =  sum over places p  ( sum over large windows  X X^T )_{T_p T_p},

T_p the inputs of the box that belong to place p. Over the edge of a plane both read the same zeros, and a
place of which no pixel is on the plane holds no window. So it is for sums over all windows, not for samples
(see `MomentSums`): where only some large windows would be taken, small ones are gathered by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from rankfold.calibration.moments import MomentSums, PatchMoments, PatchPart
from rankfold.calibration.windows import WindowView
from rankfold.nn.window import WindowConv2d
from rankfold.workload.shape import Pair


class WindowMoments:
    """The moments of the boxes that windows of a layer read, over all inputs that it is shown.

    Attributes:
        views: the windows, by (a, b).
    """

    def __init__(self, views: Mapping[Pair, WindowView]) -> None:
        self.views = dict(views)
        self._holders = {window: self._holder(window) for window in self.views}
        # Of runs of which all windows were taken, and of those of which a sample was.
        self._complete = {window: MomentSums() for window in self.views}
        self._sampled = {window: MomentSums() for window in self.views}

    def add(self, inputs: Tensor) -> None:
        """Add one call of the layer, with inputs (B, C_in, H, W)."""
        for window, view in self.views.items():
            holder = self._holders[window]
            if holder is not None and MomentSums.takes_all(self.views[holder].reader, inputs):
                continue  # its blocks will be taken
            sums = self._sampled
            if MomentSums.takes_all(view.reader, inputs):
                sums = self._complete
            sums[window].add(view.reader, inputs)

    def moments(self, window: Pair) -> PatchMoments:
        """Of one of the windows; there must have been inputs."""
        found = [self._complete[window], self._sampled[window]]
        holder = self._holders[window]
        if holder is not None:
            parts = window_parts(self.views[holder].layer, self.views[window].layer)
            found.append(self._complete[holder].of_parts(parts))
        return MomentSums.joined(found).moments()

    def _holder(self, window: Pair) -> Pair | None:
        """Of the windows that are in no other one that which holds this one and has the smallest box."""
        holders = [other for other in self.views if _holds(other, window)]
        largest = [one for one in holders if not any(_holds(other, one) for other in holders)]
        if not largest:
            return None
        return min(largest, key=lambda one: (np.prod(self.views[one].layer.box), one))


def window_parts(large: WindowConv2d, small: WindowConv2d) -> list[PatchPart]:
    """The places that a window has in one of a multiple of its size: pixels, and inputs of the box.

    Args:
        large: the convolution by windows of A x B pixels.
        small: the same one by windows of a x b.
    """
    (height, width), (a, b) = large.window, small.window
    box, part = large.box, small.box
    pixels = np.arange(height * width).reshape(height, width)
    inputs = np.arange(large.in_channels // large.groups * box[0] * box[1]).reshape(-1, *box)
    places = []
    for i in range(0, height, a):
        for j in range(0, width, b):
            top, left = i * large.stride[0], j * large.stride[1]
            inside = inputs[:, top : top + part[0], left : left + part[1]]
            places.append(PatchPart(pixels[i : i + a, j : j + b].reshape(-1), inside.reshape(-1)))
    return places


def _holds(large: Pair, small: Pair) -> bool:
    return large != small and large[0] % small[0] == 0 and large[1] % small[1] == 0
