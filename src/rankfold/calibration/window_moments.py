"""Moments of a layer's own patches and of its windows: those of small ones are blocks of those of large ones.

A window of A x B output pixels holds windows of a x b side by side, (A/a) (B/b) of them, where a divides A
and b divides B. The box of each is a part of its box, so that the sum of their x x^T over all windows of a
plane is that of the large one's x x^T, of which each place gives a block:

    sum over small windows  x x^T  =  sum over places p  ( sum over large windows  X X^T )_{T_p T_p},

T_p the inputs of the box that belong to place p. Over the edge of a plane both read the same zeros, and a
place of which no pixel is on the plane holds no window. So it is for sums over all windows, not for samples
(see `MomentSums`): where only some large windows would be taken, small ones are gathered by themselves. The
patches of the layer itself are those of a window of one pixel, without what lies between dilated taps.

So one **hull**, a window that holds all others, may give the moments of all. It need not be asked for: 4 x 4
pixels hold 2 x 2, 1 x 4 and 4 x 1. Its n^2 products for each window are less work than those of all others
together where these are many and overlap much; it is gathered instead of them where that is so.

Windows of a part of the plane (`mapping.window_cover`) begin where it does, and are gathered by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import lcm, prod

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.moment_sums import MomentSums, PatchPart
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import LayerModule, patch_inputs
from rankfold.calibration.windows import WindowView
from rankfold.mapping.window_cover import AnyWindow, PlanePart
from rankfold.nn.window import WindowConv2d
from rankfold.workload.shape import Pair

PIXEL = (1, 1)
LARGEST_HULL = 2304  # inputs of a hull that is gathered though nobody asked for it


class WindowMoments:
    """The moments of a layer's patches, and of the boxes that its windows read, over all inputs shown.

    Attributes:
        layer: the layer.
        views: its windows on the whole plane, by (a, b).
        part_views: those on parts of it.

    Args:
        layer: see above.
        windows: (a, b) output pixels each, or a part of the plane; of a linear layer none.
    """

    def __init__(self, layer: LayerModule, windows: Iterable[AnyWindow] = ()) -> None:
        self.layer = layer
        self.views: dict[Pair, WindowView] = {}
        self.part_views: dict[PlanePart, WindowView] = {}
        for window in windows:
            assert isinstance(layer, nn.Conv2d)  # others have no plane
            if isinstance(window, PlanePart):
                self.part_views[window] = WindowView.of(layer, window)
            else:
                self.views[window] = WindowView.of(layer, window)
        self._holders = {window: self._holder(window) for window in self.views}
        self._holder_of_own = self._holder(PIXEL, itself=True)
        self._hull = self._new_hull()
        # Of runs of which all windows were taken, and of those of which a sample was.
        self._complete = {window: MomentSums() for window in self.views}
        self._sampled = {window: MomentSums() for window in self.views}
        self._own, self._of_hull = MomentSums(), MomentSums()
        self._of_parts = {part: MomentSums() for part in self.part_views}

    def add(self, inputs: Tensor) -> None:
        """Add one call of the layer, with inputs as it reads them."""
        for part, view in self.part_views.items():
            self._of_parts[part].add(view.reader, inputs)
        if self._hull is not None and self._hull_pays(self._hull, inputs):
            self._of_hull.add(self._hull.reader, inputs)
            return
        for window in self._gathered(inputs):
            view, sums = self.views[window], self._sampled
            if MomentSums.takes_all(view.reader, inputs):
                sums = self._complete
            sums[window].add(view.reader, inputs)
        if not self._gives(self._holder_of_own, inputs):
            self._own.add(self.layer, inputs)

    def own(self) -> MomentSums:
        """Of the layer's own patches."""
        found = [self._own]
        if self._holder_of_own is not None:
            holder = self.views[self._holder_of_own]
            found.append(self._complete[self._holder_of_own].of_parts(own_parts(holder.layer)).unnamed())
        if self._hull is not None:
            found.append(self._of_hull.of_parts(own_parts(self._hull.layer)).unnamed())
        return MomentSums.joined(found)

    def view(self, window: AnyWindow) -> WindowView:
        """One of the windows."""
        if isinstance(window, PlanePart):
            return self.part_views[window]
        return self.views[window]

    def moments(self, window: AnyWindow) -> PatchMoments:
        """Of one of the windows; there must have been inputs."""
        if isinstance(window, PlanePart):
            return self._of_parts[window].moments()
        small = self.views[window].layer
        found = [self._complete[window], self._sampled[window]]
        holder = self._holders[window]
        if holder is not None:
            found.append(self._complete[holder].of_parts(window_parts(self.views[holder].layer, small)))
        if self._hull is not None:
            found.append(self._of_hull.of_parts(window_parts(self._hull.layer, small)))
        return MomentSums.joined(found).moments()

    def forget(self) -> None:
        """Free the memory of all sums, when all moments that are needed were asked for."""
        self._own, self._of_hull = MomentSums(), MomentSums()
        for sums in (self._complete, self._sampled, self._of_parts):
            sums.clear()

    def _gathered(self, inputs: Tensor) -> list[Pair]:
        """The windows that no other one gives the moments of."""
        return [window for window in self.views if not self._gives(self._holders[window], inputs)]

    def _gives(self, holder: Pair | None, inputs: Tensor) -> bool:
        """Whether the blocks of a window will be taken: all windows of it are."""
        return holder is not None and MomentSums.takes_all(self.views[holder].reader, inputs)

    def _hull_pays(self, hull: WindowView, inputs: Tensor) -> bool:
        """Whether a window that holds all, and of which all would be taken, is less work than all others."""
        if not MomentSums.takes_all(hull.reader, inputs):
            return False
        work = sum(_work(self.views[window], inputs) for window in self._gathered(inputs))
        if not self._gives(self._holder_of_own, inputs):
            height, width = hull.layer.output_size(inputs)
            work += MomentSums.taken(self.layer, height * width) * patch_inputs(self.layer) ** 2
        return _work(hull, inputs) < work

    def _holder(self, window: Pair, *, itself: bool = False) -> Pair | None:
        """Of the windows that are in no other one that which holds this one and has the smallest box.

        Args:
            window: the one that is held.
            itself: whether the window may be its own holder.
        """
        holders = [other for other in self.views if _holds(other, window) and (itself or other != window)]
        largest = [one for one in holders if not any(_holds(other, one) for other in holders if other != one)]
        if not largest:
            return None
        return min(largest, key=lambda one: (np.prod(self.views[one].layer.box), one))

    def _new_hull(self) -> WindowView | None:
        """The smallest window that holds all; None where it is one of them, or is too large."""
        window = lcm(*(a for a, _ in self.views)), lcm(*(b for _, b in self.views))
        if not self.views or window in self.views:
            return None
        assert isinstance(self.layer, nn.Conv2d)  # it has windows
        # Before it is made: a common multiple may be far larger than any plane.
        if _box_inputs(self.layer, window) > LARGEST_HULL:
            return None
        return WindowView.of(self.layer, window)


def _box_inputs(layer: nn.Conv2d, window: Pair) -> int:
    """Inputs of each group in the box that a window of a layer reads."""
    inputs = layer.in_channels // layer.groups
    for axis, pixels in enumerate(window):
        extent = (layer.kernel_size[axis] - 1) * layer.dilation[axis] + 1
        inputs *= (pixels - 1) * layer.stride[axis] + extent
    return inputs


def window_parts(large: WindowConv2d, small: WindowConv2d) -> list[PatchPart]:
    """The places that a window has in one of a multiple of its size: pixels, and inputs of the box.

    Args:
        large: the convolution by windows of A x B pixels.
        small: the same one by windows of a x b.
    """
    return _places(large, small.window, small.box, (1, 1))


def own_parts(large: WindowConv2d) -> list[PatchPart]:
    """The places that the patches of the convolution itself have in its windows of A x B pixels."""
    kernel, dilation = large.kernel_size, large.dilation
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    return _places(large, PIXEL, (extent[0], extent[1]), dilation)


def _places(large: WindowConv2d, window: Pair, box: Pair, step: Pair) -> list[PatchPart]:
    """Of windows whose inputs lie so far apart in their box."""
    (height, width), (a, b) = large.window, window
    pixels = np.arange(height * width).reshape(height, width)
    inputs = np.arange(large.in_channels // large.groups * prod(large.box)).reshape(-1, *large.box)
    places = []
    for i in range(0, height, a):
        for j in range(0, width, b):
            top, left = i * large.stride[0], j * large.stride[1]
            inside = inputs[:, top : top + box[0] : step[0], left : left + box[1] : step[1]]
            places.append(PatchPart(pixels[i : i + a, j : j + b].reshape(-1), inside.reshape(-1)))
    return places


def _holds(large: Pair, small: Pair) -> bool:
    return large[0] % small[0] == 0 and large[1] % small[1] == 0


def _work(view: WindowView, inputs: Tensor) -> int:
    """Products for the windows of an image that are taken, of one group."""
    inputs_of_box = patch_inputs(view.reader)
    windows = sum(MomentSums.taken(view.reader, len(found)) for _, found in view.layer.present(inputs))
    return windows * inputs_of_box**2
