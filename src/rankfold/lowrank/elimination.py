"""Backward elimination of a weight's columns with exact refit: optimal brain surgeon for a layer's output.

Hassibi & Stork (1993), for the quadratic error of one layer as in Frantar & Alistarh, "Optimal Brain
Compression" (2022), here for columns that all outputs share.

Let A be the columns still there, S (|A|, |A|) their moments, W (m, |A|) the best weight on them, and H =
S^-1. As W is the best, a change X of it adds tr(X S X^T) to the error (see `regression`). Dropping the
columns Q means X_Q = -W_Q. The least such change has X S = 0 on all other columns, so that X S = L E_Q^T with
some L (m, |Q|) and the columns E_Q of the unit matrix, and

    X = L H_Q:,   X_Q = L H_QQ = -W_Q,   so   X = -W_Q H_QQ^-1 H_Q:,

and it costs tr(L H_QQ L^T) = tr(W_Q H_QQ^-1 W_Q^T): for a single column j, ||W_j||^2 / H_jj. The moments of
the columns R that are left have the inverse H_RR - H_RQ H_QQ^-1 H_QR, the Schur complement. Nothing is
approximated: W stays the best weight on the columns that are there, H the inverse of their moments.

**Changes are collected.** A step changes all of H by a product of few columns. With H_QQ = L L^T (Cholesky)
and Z = L^-1 H_Q:, that is Z^T Z, and the weight changes by A^T Z with A = L^-1 W_Q^T. Writing so many numbers
for so few products is what takes long. But the next step reads little of H: its diagonal, for the costs, and
the rows Q. So the Z and A of several steps are kept, (b, n) and (b, m), with H - Z^T Z the inverse and W -
A^T Z the weight as they are by now, and are multiplied out at once. Diagonal and squares ||W_j||^2 follow
step by step:

    H_jj - Z_j^T Z_j,        ||W_j - A^T Z_j||^2 = ||W_j||^2 - 2 Z_j^T (A W_j) + Z_j^T (A A^T) Z_j.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import dgemm, dtrsm

from rankfold.lowrank.regression import factor, inverse

DRIFT = 1e-6  # of the diagonal of S H from one, above which H is computed afresh
# Columns whose changes are kept before they are multiplied out: at least so many, or a part of all, about as
# many as are dropped until those that are left are tidied up.
COLLECTED, COLLECTED_PART = 32, 16
TOGETHER = 64  # rows of a matrix that are copied or looked at together


class Elimination:
    """The columns of one group that are left, their best weight, and the inverse of their moments.

    Columns are named by their index in the whole weight. `drop` is exact; `costs` are those of dropping one
    column alone.

    Args:
        weight: (m, n) best weight on all columns; not changed.
        moments: (n, n) second moments with a ridge, positive definite; not changed.
        inverted: their inverse where it is known already; not changed.

    Raises:
        InputError: the moments are singular.
    """

    def __init__(
        self,
        weight: np.ndarray,
        moments: np.ndarray,
        inverted: np.ndarray | None = None,
    ) -> None:
        n = len(moments)
        self._moments = moments
        self._weight = weight.copy()
        if inverted is None:
            self._inverse = inverse(moments)
        else:
            self._inverse = np.array(inverted, order="C")  # a copy
        self._columns = np.arange(n)  # of the rows and columns of _inverse
        self._place = np.arange(n)  # the other way round
        self._there = np.ones(n, bool)
        self._count = 0  # b, columns whose changes are collected
        self._begin()

    @property
    def kept(self) -> np.ndarray:
        """(n,) booleans, the columns that are left."""
        return self._there.copy()

    @property
    def kept_weight(self) -> np.ndarray:
        """(m, |A|) the best weight on the columns that are left, in their order."""
        self._multiply_out()
        there = self._there[self._columns]
        return self._weight[:, there]  # a copy

    def costs(self) -> np.ndarray:
        """(n,) increase of tr(D S D^T) by dropping each column alone; infinite for those that are dropped."""
        there = self._there[self._columns]  # those dropped since `tidy` are zero
        costs = np.full(len(self._there), np.inf)
        costs[self._columns[there]] = self._squares[there] / self._diagonal[there]
        return costs

    def joint_cost(self, dropped: np.ndarray) -> float:
        """Increase of tr(D S D^T) by dropping these columns together."""
        return float(self.joint_costs(dropped[None])[0])

    def joint_costs(self, dropped: np.ndarray) -> np.ndarray:
        """(S,) increase of tr(D S D^T) by dropping each of S sets of as many columns, (S, q), alone."""
        self._multiply_out()
        where = self._place[dropped]  # (S, q)
        inner = self._inverse[where[:, :, None], where[:, None, :]]  # (S, q, q) H_QQ
        lost = self._weight.T[where]  # (S, q, m) W_Q^T
        solved = np.linalg.solve(inner, lost)  # H_QQ^-1 W_Q^T
        costs: np.ndarray = np.einsum("sqm,sqm->s", solved, lost)
        return costs

    def drop(self, dropped: np.ndarray) -> None:
        """Drop columns and refit the others."""
        where = self._place[dropped]
        new = slice(self._count, self._count + len(where))
        if new.stop > len(self._share):
            self._multiply_out(len(where))
            new = slice(0, len(where))
        share, lost = self._share[: new.start], self._lost[: new.start]  # (b, n) Z, (b, m) A
        rows = self._inverse[where] - share[:, where].T @ share  # (q, n) H_Q:
        # What is dropped is zero but for rounding, which later steps must not see.
        rows *= self._alive
        lower = factor(rows[:, where])  # L of H_QQ
        # L^-1 H_Q: in place, turned as BLAS has columns in a row.
        solved = dtrsm(1.0, lower, rows.T, side=1, lower=1, trans_a=1, overwrite_b=1).T  # (q, n) Z of Q
        weights = self._weight[:, where] - lost.T @ share[:, where]  # (m, q) W_Q
        taken = dtrsm(1.0, lower, weights, side=1, lower=1, trans_a=1).T  # (q, m) A of Q
        products = taken @ self._weight - (taken @ lost.T) @ share  # (q, n) A W
        self._squares -= np.einsum("qj,qj->j", solved, 2 * products - (taken @ taken.T) @ solved)
        self._diagonal -= np.einsum("qj,qj->j", solved, solved)
        self._share[new], self._lost[new] = solved, taken
        self._count = new.stop
        self._there[dropped] = False
        self._alive[where] = 0.0

    def tidy(self) -> None:
        """Forget the dropped columns, so that steps become cheaper, and mend an inverse that has drifted."""
        self._apply()
        there = np.flatnonzero(self._there[self._columns])
        self._columns = self._columns[there]
        self._place = np.cumsum(self._there) - 1
        self._weight = np.ascontiguousarray(self._weight[:, there])
        self._inverse = packed(self._inverse, there)
        if self._drift() > DRIFT:
            self._inverse = inverse(self._moments[np.ix_(self._columns, self._columns)])
        self._begin()

    def _drift(self) -> float:
        """How far the diagonal of S H, which is one but for rounding, is from one."""
        drift = 0.0
        for start in range(0, len(self._columns), TOGETHER):
            rows = slice(start, start + TOGETHER)
            # Taken one way, then the other: faster than both at once.
            moments = self._moments[self._columns[rows]].take(self._columns, axis=1)
            diagonal = np.einsum("ij,ij->i", moments, self._inverse[rows])
            drift = max(drift, float(np.abs(diagonal - 1).max()))
        return drift

    def _begin(self, room: int = 0) -> None:
        """With no changes collected yet, and room for those of so many columns at least."""
        self._squares = np.einsum("mj,mj->j", self._weight, self._weight)  # ||W_j||^2
        self._diagonal = np.diagonal(self._inverse).copy()  # H_jj
        self._alive = self._there[self._columns].astype(float)  # 0 for those dropped since `tidy`
        self._make_room(room)

    def _make_room(self, columns: int) -> None:
        outputs, n = self._weight.shape
        room = max(columns, COLLECTED, n // COLLECTED_PART)
        self._share = np.zeros((room, n))  # Z
        self._lost = np.zeros((room, outputs))  # A
        self._count = 0

    def _multiply_out(self, room: int = 0) -> None:
        """Bring weight and inverse to what they are by now, and make room for so many columns."""
        if self._count:
            self._apply()
            self._begin(room)
        elif room > len(self._share):
            self._make_room(room)

    def _apply(self) -> None:
        """Bring weight and inverse to what they are by now; `_begin` is to follow."""
        if not self._count:
            return
        share = self._share[: self._count]
        self._weight -= self._lost[: self._count].T @ share
        # H - Z^T Z in place, without another matrix of its size: transposed, as BLAS has columns in a row.
        turned = dgemm(-1.0, share.T, share.T, 1.0, self._inverse.T, trans_b=1, overwrite_c=1)
        self._inverse = turned.T
        gone = ~self._there[self._columns]
        self._weight[:, gone] = 0.0
        self._inverse[gone] = 0.0
        self._inverse[:, gone] = 0.0


def packed(matrix: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The rows and columns `kept`, rising indices, of a square matrix, written over its beginning.

    No memory for another matrix is needed. Row i of the result ends before row kept[i] + 1 of the matrix
    begins, as i <= kept[i] and no row becomes longer: what is read later is still there.
    """
    number = len(kept)
    packed = matrix.reshape(-1)[: number * number].reshape(number, number)
    for start in range(0, number, TOGETHER):
        rows = kept[start : start + TOGETHER]
        # Taken one way, then the other: faster than both at once, and copied before it is written.
        packed[start : start + TOGETHER] = matrix[rows].take(kept, axis=1)
    return packed
