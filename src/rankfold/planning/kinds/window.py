"""Window layers: windows that fill the columns of an array, and parts of these, with k row tiles each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from rankfold.mapping.window_matrix import pixels_in_a_row, window_shape
from rankfold.plan import LayerPlan, WindowLayer, support_to_text
from rankfold.plan.kinds import LayerKind
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.kind import ChosenSupport, KindCandidates, single_pixel
from rankfold.planning.kinds.stored import Stored, StoredWeight
from rankfold.planning.kinds.study import PIXEL, LayerStudy
from rankfold.workload.shape import Pair

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity

# Inputs of a window above which it is no candidate, unless it is a single pixel: its moments are gathered for
# itself, and its rows eliminated one by one.
LARGEST_WINDOW = 2304
MAPPING = "im2col"  # the matrix lies on the array as it is


class WindowCandidates(KindCandidates):
    """Every window with |S| = k R inputs of each group, and with all."""

    on_supports = False

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """Each window by rising row tiles; a single pixel of all inputs is the layer as it is."""
        if support is not None:
            return
        for window in (*single_pixel(slot), *self.windows(slot)):
            inputs = window_shape(slot.shape, window).n
            for rows in range(slot.array.rows, inputs, slot.array.rows):
                kind = WindowLayer(window, rows)
                yield replace(slot.entry, kind=kind, mapping=MAPPING)
            if window != PIXEL:
                yield replace(slot.entry, kind=WindowLayer(window), mapping=MAPPING)

    def windows(self, slot: LayerSlot) -> tuple[Pair, ...]:
        """Those of several pixels."""
        return candidate_windows(slot)

    def made_for(self, kind: LayerKind) -> tuple[Pair]:
        """Its own."""
        return (cast(WindowLayer, kind).window,)

    def settled(self, kind: LayerKind, study: LayerStudy) -> LayerKind:
        """With the rows that are worth most."""
        layer = cast(WindowLayer, kind)
        if layer.rows is None:
            return layer
        fitted = study.window(layer.window).fitted(layer.rows)
        return layer.with_support(support_to_text(fitted.support))

    def loss(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> float:
        """That of the change of the window's matrix; all inputs keep it as it is."""
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.calibration.sensitivity import predicted_loss

        layer = cast(WindowLayer, kind)
        if layer.rows is None:
            return 0.0
        problem = study.window(layer.window)
        return predicted_loss(problem.copies, problem.fitted(layer.rows).weight, problem.sensitivity)

    def stored(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> tuple[Stored, ...]:
        """The window's matrix."""
        layer = cast(WindowLayer, kind)
        problem = study.window(layer.window)
        matrix = problem.copies
        if layer.rows is not None:
            matrix = problem.fitted(layer.rows).weight
        return (StoredWeight(problem.copies, study.to_rounding(layer.window), matrix),)


def candidate_windows(slot: LayerSlot) -> tuple[Pair, ...]:
    """Windows of several pixels: those that fill the columns, and their divisors.

    A window (a, b) fills them if its N m/G outputs of each group are at most C, and no longer with one more
    row or column of pixels, for which there may also be no place in the plane. Windows of more than 2,304
    inputs are left out. Where each pixel reads one of its own, as with 1x1 kernels, all windows of as many
    pixels read as many inputs, and one of them does.

    Args:
        slot: the layer.
    """
    height, width = slot.plane
    pixels = pixels_in_a_row(slot.shape, slot.array)
    windows: set[Pair] = set()
    for a in range(1, min(height, pixels) + 1):
        b = min(width, pixels // a)
        # One more row would still fit: that window is the filling one.
        if a < height and (a + 1) * b <= pixels:
            continue
        windows.update((part, other) for part in _divisors(a) for other in _divisors(b))
    windows.discard(PIXEL)
    if slot.shape.kernel == slot.shape.stride == PIXEL:
        windows = _fewest_of_each_size(windows, slot.plane)
    found = [one for one in windows if window_shape(slot.shape, one).n <= LARGEST_WINDOW]
    # The largest first, and square ones before long ones: they read the fewest inputs.
    return tuple(sorted(found, key=lambda one: (-one[0] * one[1], abs(one[0] - one[1]), one)))


def _fewest_of_each_size(windows: Iterable[Pair], plane: Pair) -> set[Pair]:
    """Of the windows of as many pixels the one that covers the plane in fewest, the squarest of those."""
    found: dict[int, tuple[int, int, Pair]] = {}
    for window in windows:
        covering = -(-plane[0] // window[0]) * -(-plane[1] // window[1])
        rank = covering, abs(window[0] - window[1]), window
        size = window[0] * window[1]
        found[size] = min(rank, found.get(size, rank))
    return {window for _, _, window in found.values()}


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


PART = WindowCandidates()
