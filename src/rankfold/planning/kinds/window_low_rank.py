"""Low-rank pairs of a window's matrix: a single pixel or 2x2 pixels of layers that are wide for the array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from rankfold.mapping.window_low_rank import MAPPING, window_low_rank_cycles
from rankfold.mapping.window_matrix import window_cycles, window_shape
from rankfold.plan import LayerPlan, WindowLowRankLayer, support_to_text
from rankfold.plan.kinds import LayerKind
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.kind import ChosenSupport, KindCandidates, single_pixel
from rankfold.planning.kinds.stored import Stored, StoredPair
from rankfold.planning.kinds.study import LayerStudy
from rankfold.workload.shape import Pair

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity

SQUARE = (2, 2)  # of four pixels: the second stage costs no more a pixel than that of one
# Inputs of a square window above which it is no candidate: its rows are eliminated twice.
LARGEST_SQUARE = 1152


class WindowLowRankCandidates(KindCandidates):
    """Pairs of rank q = min(R, C) with |S| = k R inputs of each group, and with all.

    Up to that rank both stages take the fewest tiles, so that a smaller one costs as many cycles and arrays,
    and what it can be, this one can. Only pairs of fewer cycles than the window layer of the same window and
    inputs are asked for: that layer can be whatever such a pair is. With k row and c column tiles this means
    k + c < k c.
    """

    stages = 2
    on_supports = False

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """Each window by rising row tiles."""
        if support is not None:
            return
        for window in (*single_pixel(slot), *self.windows(slot)):
            yield from self._of_window(slot, window)

    def _of_window(self, slot: LayerSlot, window: Pair) -> Iterator[LayerPlan]:
        whole = window_shape(slot.shape, window)
        step = slot.array.rows
        rank = min(slot.array.rows, slot.array.columns)
        for rows in (*range(step, whole.n, step), None):
            full = min(whole.m // whole.groups, rows or whole.n)
            if rank >= full:
                continue  # it would be the window layer
            matrix = window_cycles(slot.shape, window, slot.array, rows)
            if window_low_rank_cycles(slot.shape, window, rank, slot.array, rows) < matrix:
                yield replace(slot.entry, kind=WindowLowRankLayer(window, rank, rows), mapping=MAPPING)

    def windows(self, slot: LayerSlot) -> tuple[Pair, ...]:
        """2x2 pixels where the outputs of one fill the columns and its box is not too large."""
        shape = slot.shape
        height, width = slot.plane
        wide = shape.m // shape.groups >= slot.array.columns
        if not wide or min(height, width) < max(SQUARE):
            return ()
        if window_shape(shape, SQUARE).n > LARGEST_SQUARE:
            return ()
        return (SQUARE,)

    def made_for(self, kind: LayerKind) -> tuple[Pair]:
        """Its own."""
        return (cast(WindowLowRankLayer, kind).window,)

    def settled(self, kind: LayerKind, study: LayerStudy) -> LayerKind:
        """With the rows that are worth most to factors of this rank."""
        pair = cast(WindowLowRankLayer, kind)
        if pair.rows is None:
            return pair
        found = study.window(pair.window).factored(pair.rank, pair.rows)
        return pair.with_support(support_to_text(found.support))

    def loss(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> float:
        """That of the change of the window's matrix to the product of the factors."""
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.calibration.sensitivity import predicted_loss

        pair = cast(WindowLowRankLayer, kind)
        problem = study.window(pair.window)
        return predicted_loss(
            problem.copies, problem.factored(pair.rank, pair.rows).weight, problem.sensitivity
        )

    def stored(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> tuple[Stored, ...]:
        """R and L of the window's matrix."""
        pair = cast(WindowLowRankLayer, kind)
        problem = study.window(pair.window)
        rows, outputs = problem.balanced_factors(pair.rank, pair.rows)
        known = study.to_rounding(pair.window)
        return (StoredPair(problem.copies, known, rows[:, None], outputs[:, None]),)


PART = WindowLowRankCandidates()
