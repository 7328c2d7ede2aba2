"""The weights of a layer on some of its input channels, for some of its outputs.

A weight W of all inputs, whose outputs on data shall be kept by one M of the inputs T alone, and that may use
only some of these in the end: with x the inputs, S their second moments and W_T = W S_:T S_TT^-1 the best
weight on T,

    E||(W x - M x_T||^2 = E||W x - W_T x_T||^2 + E||(W_T - M) x_T||^2,

as the first error is uncorrelated with all of x_T. So what is best within T is found from W_T and the moments
of x_T, as if the layer had never had other inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankfold.calibration.importance import with_floor
from rankfold.calibration.moments import PatchMoments
from rankfold.lowrank import FittedSupport
from rankfold.lowrank.regression import RIDGE
from rankfold.lowrank.rows import fitted_rows, nested_rows, refit_parts
from rankfold.surgery.window_weight import best_matrix, output_moments


@dataclass(frozen=True)
class TrimmedProblem:
    """The matrix of a layer, or of its windows, of the channels that are left.

    Attributes:
        matrix: (m'*a*b, c', ph, pw) the best one on the channels that are read; see above.
        moments: of these channels; None: nothing is known of them.
    """

    matrix: np.ndarray
    moments: PatchMoments | None

    @classmethod
    def of(
        cls,
        copies: np.ndarray,
        moments: PatchMoments | None,
        reads: np.ndarray,
        computes: np.ndarray,
        *,
        groups: int = 1,
        ridge: float = RIDGE,
    ) -> TrimmedProblem:
        """That of a layer of one group, or of a depthwise one.

        Args:
            copies: (m*a*b, C_in/G, ph, pw) what gives the layer's outputs, pixel by pixel, from all channels.
            moments: of what it reads.
            reads: (C_in/G,) booleans: of a depthwise layer the one input of each output.
            computes: (m,) booleans.
            groups: G.
            ridge: as in `lowrank.decompose_for_data`.

        Raises:
            InputError: the weights or the moments are not finite, or do not fit each other.
        """
        own = np.tile(computes, len(copies) // len(computes))
        computed = copies[own]
        if moments is None:
            return cls(computed[:, reads], None)
        if groups > 1:
            # No output can make up for what another one's input would have told.
            return cls(best_matrix(copies, groups, moments)[own], None)
        target = best_matrix(computed, 1, moments)
        parts = output_moments(moments, len(computed), 1)
        if not reads.all():
            positions = copies.shape[2] * copies.shape[3]
            kept = np.repeat(reads[:, None], positions, axis=1)
            target = refit_parts(target, 1, parts, kept, ridge=ridge)
        columns = np.repeat(reads, copies.shape[2] * copies.shape[3])
        return cls(target[:, reads], _restricted(moments, columns, own))

    def fitted(self, rows: int | None, support: np.ndarray | None = None) -> FittedSupport:
        """The inputs worth most, and the best matrix on them.

        Args:
            rows: how many; None: all.
            support: (c', ph*pw) booleans, where they are known.
        """
        everything = np.ones((self.matrix.shape[1], self.matrix[0, 0].size), bool)
        if rows is None:
            return FittedSupport.of(everything, self.matrix)
        if support is None:
            return self.levels([rows])[rows]
        if self.moments is None:
            return FittedSupport.of(
                support, np.where(support.reshape(self.matrix.shape[1:]), self.matrix, 0.0)
            )
        parts = output_moments(self.moments, len(self.matrix), 1)
        return FittedSupport.of(support, refit_parts(self.matrix, 1, parts, support))

    def levels(self, budgets: Sequence[int]) -> dict[int, FittedSupport]:
        """`fitted` for several numbers of rows, from one elimination."""
        if self.moments is None:
            return {rows: fitted_rows(self.matrix, 1, None, rows) for rows in budgets}
        parts = output_moments(self.moments, len(self.matrix), 1)
        importance = None
        if self.moments.importance is not None:
            share = np.ones(len(self.matrix))
            for part in parts:
                share[part.outputs] = part.share
            importance = with_floor(self.moments.importance, share)
        return nested_rows(self.matrix, 1, parts, budgets, importance=importance)


def placed(matrix: np.ndarray, reads: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(m*a*b, C_in/G, ph, pw) a matrix of the channels that are left, with zeros for all others.

    Args:
        matrix: (m'*a*b, c', ph, pw).
        reads: (C_in/G,) booleans.
        own: (m*a*b,) booleans, the outputs that it computes.
    """
    whole = np.zeros((len(own), len(reads), *matrix.shape[2:]))
    whole[np.ix_(own, reads)] = matrix
    return whole


def _restricted(moments: PatchMoments, columns: np.ndarray, outputs: np.ndarray) -> PatchMoments:
    """The moments of some inputs of a patch, and what errors of some outputs count.

    What earlier layers changed (`cross`) is in the target already.
    """
    importance = moments.importance
    if importance is not None:
        importance = importance[:, outputs][:, :, outputs]
    by_pixel = tuple(
        replace(part, moments=_restricted(part.moments, columns, outputs)) for part in moments.by_pixel
    )
    second = moments.second[:, columns][:, :, columns]
    return PatchMoments(second, moments.mean[:, columns], by_pixel=by_pixel, importance=importance)
