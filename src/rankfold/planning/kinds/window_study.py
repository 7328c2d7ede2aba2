"""`WindowStudy`: the matrix of one window of a layer, with the rows that it, or its factors, may keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rankfold.lowrank import FittedSupport, reconstruct
from rankfold.lowrank.row_factors import low_rank_rows
from rankfold.lowrank.rows import OutputMoments, nested_rows
from rankfold.mapping.window_matrix import window_shape, window_weight
from rankfold.plan import WindowLowRankLayer, text_to_support
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
    """

    def __init__(
        self, slot: LayerSlot, weight: np.ndarray, window: Pair, sensitivity: LayerSensitivity
    ) -> None:
        self.sensitivity = sensitivity
        self._slot, self._weight, self._window = slot, weight, window
        self._rows_of_factors: dict[int, dict[int, np.ndarray]] = {}

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
        return self._levels[rows]

    def rows_of_factors(self, rank: int) -> Mapping[int, np.ndarray]:
        """The inputs worth most to factors of a rank, (C_in, ph*pw) booleans.

        Returns:
            For every whole number of row tiles, k R, of each group that is at least the rank and not all.
        """
        if rank not in self._rows_of_factors:
            step, inputs = self._slot.array.rows, self.copies[0].size
            budgets = [rows for rows in range(step, inputs, step) if rows >= rank]
            groups, second = self._slot.shape.groups, self._moments.second
            self._rows_of_factors[rank] = low_rank_rows(self.copies, groups, rank, second, budgets)
        return self._rows_of_factors[rank]

    def factored(self, kind: WindowLowRankLayer) -> np.ndarray:
        """(m*a*b, C_in/G, ph, pw) the product of the best factors, as surgery makes them.

        Args:
            kind: a pair of this window, with the inputs that it reads where these are not all.
        """
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.surgery.window_weight import window_factors

        shape, support = self._slot.shape, None
        if kind.support is not None:
            support = text_to_support(kind.support, window_shape(shape, self._window))
        factors, _ = window_factors(self.copies, shape.groups, kind, self._moments, support)
        return reconstruct(factors, shape.groups, 1).reshape(self.copies.shape)

    @cached_property
    def _moments(self) -> PatchMoments:
        """Without means, as surgery makes the weights: a constant error is left to the bias of each pixel."""
        return self.sensitivity.moments.centred()

    @cached_property
    def _levels(self) -> dict[int, FittedSupport]:
        """Of each number of row tiles: one elimination passes through all of them."""
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.surgery.window_weight import output_moments

        groups = self._slot.shape.groups
        parts = output_moments(self._moments, len(self.copies), groups)
        step = self._slot.array.rows
        return nested_rows(
            self.copies,
            groups,
            parts,
            range(step, self.copies[0].size, step),
            importance=self._importance(parts),
        )

    def _importance(self, parts: Sequence[OutputMoments]) -> np.ndarray:
        """(G, N m/G, N m/G) E[g g^T] over the windows that have the outputs, as surgery counts it."""
        from rankfold.calibration.importance import with_floor

        share = np.ones(len(self.copies))
        for part in parts:
            share[part.outputs] = part.share
        return with_floor(self.sensitivity.gradient, share)
