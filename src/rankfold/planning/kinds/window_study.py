"""`WindowStudy`: the matrix of one window of a layer, with the rows that it, or its factors, may keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rankfold.lowrank import FittedSupport
from rankfold.lowrank.blocks import Block
from rankfold.lowrank.data_aware import balanced
from rankfold.lowrank.metric import OutputMetric, counted, plain
from rankfold.lowrank.regression import RIDGE, Inverses, add_ridge_
from rankfold.lowrank.row_factors import RowFactors, low_rank_rows, refit_outputs
from rankfold.lowrank.rows import NestedRows, OutputMoments
from rankfold.mapping.window_matrix import window_weight
from rankfold.planning.exact.slots import LayerSlot
from rankfold.workload.shape import Pair

if TYPE_CHECKING:
    from rankfold.calibration.moments import PatchMoments
    from rankfold.calibration.sensitivity import LayerSensitivity


class WindowStudy:
    """One window of a layer; what several numbers of rows need is made once.

    Attributes:
        sensitivity: of the loss to the window's matrix.

    Args:
        slot: the layer.
        weight: (m, C_in/G, kh, kw) its dense weight.
        window: (a, b) output pixels.
        sensitivity: see above.
        moments: (G, n, n) of other candidates of the layer, with a ridge; those of the window may be the
            same, and are then kept once.
        inverses: of moments, which these candidates may have as well.
    """

    def __init__(
        self,
        slot: LayerSlot,
        weight: np.ndarray,
        window: Pair,
        sensitivity: LayerSensitivity,
        moments: np.ndarray,
        inverses: Inverses,
    ) -> None:
        self.sensitivity, self._of_others, self._inverses = sensitivity, moments, inverses
        self._slot, self._weight, self._window = slot, weight, window
        self._of_rank: dict[int, dict[int, RowFactors]] = {}

    @cached_property
    def copies(self) -> np.ndarray:
        """(m*a*b, C_in/G, ph, pw) the matrix as it starts, shifted copies of the kernel."""
        shape = self._slot.shape
        return window_weight(self._weight, shape.groups, shape.stride, shape.dilation, self._window)

    def fitted(self, rows: int) -> FittedSupport:
        """The inputs worth most, and the best matrix on them.

        Args:
            rows: a whole number of row tiles, k R, of each group, fewer than all.
        """
        return self._rows.fitted(rows)

    def factored(self, rank: int, rows: int | None) -> FittedSupport:
        """The inputs worth most to factors of a rank, and the product of the best, as surgery makes them.

        Args:
            rank: of each group.
            rows: a whole number of row tiles, k R, of each group, at least the rank; None: all.
        """
        found = self._row_factors(rank, rows)
        outputs = plain(found.outputs, self._metric)
        if self._moments.by_pixel:
            outputs = self._outputs_of_parts(found.rows)
        return FittedSupport.of(found.support, (outputs @ found.rows).reshape(self.copies.shape))

    def balanced_factors(self, rank: int, rows: int | None) -> tuple[np.ndarray, np.ndarray]:
        """(G, r, n) R and (G, m*a*b/G, r) L of `factored`, of equal scale, as surgery has them."""
        found = self._row_factors(rank, rows)
        left = plain(found.outputs, self._metric)
        outputs, right = np.empty_like(left), np.empty_like(found.rows)
        for group, own in enumerate(left):
            orthonormal, rest = np.linalg.qr(own)
            block = Block(orthonormal, rest @ found.rows[group])
            outputs[group], right[group] = balanced(block, np.any(block.rows != 0, axis=0))
        if self._moments.by_pixel:
            outputs = self._outputs_of_parts(right)
        return right, outputs

    def _row_factors(self, rank: int, rows: int | None) -> RowFactors:
        """As `factored` asks for them; those of all numbers of rows are found together."""
        if rank not in self._of_rank:
            step, inputs = self._slot.array.rows, self.copies[0].size
            budgets = [budget for budget in range(step, inputs, step) if budget >= rank]
            groups, second = self._slot.shape.groups, self._moments.second
            target = counted(self.copies, self._metric)
            self._of_rank[rank] = low_rank_rows(
                target,
                groups,
                rank,
                second,
                [*budgets, inputs],
                ridge=0.0,
                inverses=self._inverses,
                worth_most=self._worth_most,
            )
        return self._of_rank[rank][rows or self.copies[0].size]

    @property
    def _worth_most(self) -> Mapping[int, np.ndarray] | None:
        """The inputs (G, n) that are worth most to the matrix, by their number, as far as pairs judge it so.

        They do where all windows have all outputs, and errors of outputs count as they do for rows.
        """
        if self._metric is None or self._moments.by_pixel:
            return None
        return self._rows.supports

    def _outputs_of_parts(self, rows: np.ndarray) -> np.ndarray:
        """(G, m*a*b/G, r) L for R (G, r, n), each output fitted over the windows that have it."""
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.surgery.window_weight import output_moments

        groups = len(rows)
        reduce = rows.reshape(-1, *self.copies.shape[1:])
        parts = output_moments(self._moments, len(self.copies), groups)
        refitted = refit_outputs(self.copies, reduce, groups, parts, ridge=0.0)
        return refitted.reshape(groups, -1, rows.shape[1])

    @cached_property
    def _moments(self) -> PatchMoments:
        """Without means, as surgery makes the weights: a constant error is left to the bias of each pixel.

        With the ridge, so that nothing that uses them needs a copy.
        """
        moments = _ridged(self.sensitivity.weighed_moments.centred())
        if np.array_equal(moments.second, self._of_others):
            moments = replace(moments, second=self._of_others)
        return moments

    @cached_property
    def _metric(self) -> OutputMetric | None:
        """What errors of outputs cost the factors, as surgery counts it."""
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.surgery.window_weight import output_metric

        return output_metric(self._moments)

    @cached_property
    def _rows(self) -> NestedRows:
        """Of each number of row tiles: one elimination passes through all of them."""
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.surgery.window_weight import output_moments

        groups = self._slot.shape.groups
        parts = output_moments(self._moments, len(self.copies), groups)
        step = self._slot.array.rows
        return NestedRows(
            self.copies,
            groups,
            parts,
            range(step, self.copies[0].size, step),
            importance=self._importance(parts),
            ridge=0.0,
            inverses=self._inverses,
        )

    def _importance(self, parts: Sequence[OutputMoments]) -> np.ndarray:
        """(G, N m/G, N m/G) E[g g^T] over the windows that have the outputs, as surgery counts it."""
        from rankfold.calibration.importance import with_floor

        share = np.ones(len(self.copies))
        for part in parts:
            share[part.outputs] = part.share
        return with_floor(self.sensitivity.gradient, share)


def _ridged(moments: PatchMoments) -> PatchMoments:
    """The moments, which are nobody else's, with the ridge that choices of weights add to them."""
    for second in (moments.second, *(part.moments.second for part in moments.by_pixel)):
        for of_group in second:
            add_ridge_(of_group, RIDGE)
    return moments
