"""Backward elimination of a weight's columns with exact refit: the optimal brain surgeon for a layer's output.

Hassibi & Stork (1993), for the quadratic error of one layer as in Frantar & Alistarh, "Optimal Brain Compression" (2022), here
for columns that all outputs share. With S the moments on the columns still there, W their best weight and H = S^-1: dropping the
columns Q and refitting the others costs tr(W_Q H_QQ^-1 W_Q^T), and is done by W -= W_Q H_QQ^-1 H_Q: and H -= H_:Q H_QQ^-1 H_Q:.
"""

from __future__ import annotations

import numpy as np

from rankfold.lowrank.regression import inverse

DRIFT = 1e-6  # of the diagonal of S H from one, above which H is computed afresh


class Elimination:
    """The columns of one group that are left, their best weight, and the inverse of their moments.

    Columns are named by their index in the whole weight. `drop` is exact; `costs` are those of dropping one column alone.

    Args:
        weight: (m, n) best weight on all columns; not changed.
        moments: (n, n) second moments with a ridge, positive definite; not changed.
        inverted: their inverse where it is known already; not changed.

    Raises:
        InputError: the moments are singular.
    """

    def __init__(self, weight: np.ndarray, moments: np.ndarray, inverted: np.ndarray | None = None) -> None:
        self._moments = moments
        self._weight = weight.copy()
        self._inverse = inverse(moments) if inverted is None else inverted.copy()
        self._columns = np.arange(len(moments))  # of the rows and columns of _inverse
        self._place = np.arange(len(moments))  # the other way round
        self._there = np.ones(len(moments), bool)

    @property
    def kept(self) -> np.ndarray:
        """(n,) booleans, the columns that are left."""
        return self._there.copy()

    @property
    def weight(self) -> np.ndarray:
        """(m, n) the best weight on the columns that are left, zero elsewhere."""
        found = np.zeros((len(self._weight), len(self._there)))
        found[:, self._columns] = self._weight
        return found

    def costs(self) -> np.ndarray:
        """(n,) increase of tr(D S D^T) by dropping each column alone; infinite for those that are dropped."""
        found = np.full(len(self._there), np.inf)
        there = self._there[self._columns]
        power = np.einsum("mj,mj->j", self._weight, self._weight)[there]
        found[self._columns[there]] = power / np.diagonal(self._inverse)[there]
        return found

    def joint_cost(self, dropped: np.ndarray) -> float:
        """Increase of tr(D S D^T) by dropping these columns together."""
        where = self._place[dropped]
        lost = self._weight[:, where]
        return float(np.sum(np.linalg.solve(self._inverse[np.ix_(where, where)], lost.T) * lost.T))

    def drop(self, dropped: np.ndarray) -> None:
        """Drop columns and refit the others."""
        where = self._place[dropped]
        share = np.linalg.solve(self._inverse[np.ix_(where, where)], self._inverse[where])
        self._weight -= self._weight[:, where] @ share
        self._inverse -= self._inverse[:, where] @ share
        # Zero but for rounding, which later steps must not see.
        self._weight[:, where] = self._inverse[where] = self._inverse[:, where] = 0.0
        self._there[dropped] = False

    def tidy(self) -> None:
        """Forget the dropped columns, so that steps become cheaper, and compute the inverse afresh where it has drifted."""
        there = self._there[self._columns]
        self._columns = self._columns[there]
        self._place = np.cumsum(self._there) - 1
        self._weight = np.ascontiguousarray(self._weight[:, there])
        self._inverse = self._inverse[np.ix_(there, there)]
        moments = self._moments[np.ix_(self._columns, self._columns)]
        if np.abs(np.einsum("ij,ij->i", moments, self._inverse) - 1).max(initial=0.0) > DRIFT:
            self._inverse = inverse(moments)
