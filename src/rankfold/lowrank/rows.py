"""Which inputs of a matrix to keep, of any channel and position, so that its output on data changes least.

What an error of the outputs costs may be a quadratic form of it: with the second-order importance P (m, m) of
a group's outputs, such as the mean E[g g^T] of the loss's gradients g over them, the cost of a weight M in
the place of W is

    tr(P D S D^T) = tr((A D) S (A D)^T),    D = W - M,    A^T A = P,

the plain squared error of A M in the place of A W (a Kronecker-factored curvature P (x) S; Martens & Grosse,
ICML 2015). All outputs share the columns T that are kept, and the least squares weight on them, W S_:T
S_TT^-1, is the best for every P: A only multiplies it from the left. So P decides which columns stay, and
nothing else: they are eliminated from A W, and the refit is that of W.

**Outputs that are not always there.** The last windows of a plane may reach beyond it, where some of their
outputs do not exist. What counts of output i is its error over the patches that have it, with moments S_i of
these alone. Outputs of the same patches have the same moments; such sets of outputs c share the columns T and
nothing else, so that the error is the sum of theirs,

    sum_c  s_c tr(P_c D_c S_c D_c^T),    s_c the share of all patches that have them,

each part of it is least for W_c S_c,:T S_c,TT^-1, and what dropping a column costs in all is the sum of what
it costs each, ||(A_c W_c)_j||^2 / (S_c,TT^-1)_jj: the elimination stays exact, with an inverse for each set.
(Two outputs of different sets would also count together, over the patches that have both, if P had entries
for the pair: these are left out.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.elimination import Elimination
from rankfold.lowrank.nested import NestedRefits
from rankfold.lowrank.regression import RIDGE, Inverses, check_moments, with_ridge
from rankfold.lowrank.support import ONE_BY_ONE, FittedSupport, refit

EVERY = slice(None)
TIDY = 16  # parts of the inputs, after each of which the inverse is made smaller
NEGATIVE = 1e-6  # of the largest eigenvalue of an importance: what is further below zero is no rounding


@dataclass(frozen=True)
class OutputMoments:
    """What some outputs of each group read.

    Attributes:
        outputs: (m,) booleans, as many in each group.
        second: (G, n, n) E[x x^T] over the patches that have these outputs.
        share: of all patches, those that have them; above 0.
    """

    outputs: np.ndarray
    second: np.ndarray
    share: float = 1.0


# Of all outputs at once, (G, n, n), or of sets of them, which together are all.
Moments = np.ndarray | Sequence[OutputMoments]


def fitted_rows(
    weight: np.ndarray,
    conv_groups: int,
    second: Moments | None,
    rows: int,
    *,
    importance: np.ndarray | None = None,
    ridge: float = RIDGE,
) -> FittedSupport:
    """Keep `rows` inputs of each group, chosen freely among its channels and positions, and refit the rest.

    `nested_rows` for a single number of rows; arguments and errors as there.
    """
    return nested_rows(weight, conv_groups, second, [rows], importance=importance, ridge=ridge)[rows]


def nested_rows(
    weight: np.ndarray,
    conv_groups: int,
    second: Moments | None,
    budgets: Sequence[int],
    *,
    importance: np.ndarray | None = None,
    ridge: float = RIDGE,
) -> dict[int, FittedSupport]:
    """Keep several numbers of inputs of each group, each within the next larger one, by one elimination.

    Backward elimination as in `nested_supports`: always the input goes whose loss costs least after all that
    are left have been refitted. What one loss costs and the refits are exact, the order is greedy. Of n > 576
    inputs of a group, (n/576)^2 go in one step, the cheapest ones; the step's refit is exact still. Each
    result is the same whatever other numbers are asked for, but for rounding of the weights.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G; the inputs of each group are chosen by themselves.
        second: (G, n, n) E[x x^T] as in `decompose_for_data`, or one for each set of outputs, see above;
            None: the inputs of most weight stay, and keep their weights.
        budgets: inputs of each group to keep, 1 to n each; n keeps everything.
        importance: (m,) positive, what the squared error of each output counts; or (G, m/G, m/G) positive
            semi-definite, what errors of outputs count together, see above; None: all count alike. The refit
            does not depend on it.
        ridge: as in `decompose_for_data`.

    Returns:
        Support and weight for each of `budgets`.

    Raises:
        InputError: the weight, the moments or the importance are not finite or do not fit each other, or
            there are not so many inputs.
    """
    rows = NestedRows(weight, conv_groups, second, budgets, importance=importance, ridge=ridge)
    found = {number: rows.fitted(number) for number in sorted(set(budgets))}
    return {number: found[number] for number in budgets}


class NestedRows:
    """What `nested_rows` finds, with weights that are made when they are asked for.

    Arguments and errors as there; `inverses` are those of moments that other choices have, None: moments are
    inverted here. Rising numbers of inputs take least time.

    Attributes:
        supports: (G, n) booleans, the inputs of each of `budgets`.
    """

    def __init__(
        self,
        weight: np.ndarray,
        conv_groups: int,
        second: Moments | None,
        budgets: Sequence[int],
        *,
        importance: np.ndarray | None = None,
        ridge: float = RIDGE,
        inverses: Inverses | None = None,
    ) -> None:
        _check(weight, conv_groups, budgets)
        n = weight[0].size
        self._weight, self._second, self._ridge = weight, second, ridge
        metric = _metric(importance, conv_groups, len(weight))
        self.supports = {rows: np.ones((conv_groups, n), bool) for rows in budgets}
        self._fewer = sorted(rows for rows in self.supports if rows < n)
        self._last: FittedSupport | None = None
        self._left: Iterator[FittedSupport] = iter(())
        if second is None:
            _drop_lightest(self.supports, _judged(weight, conv_groups, metric, EVERY))
            return
        known = inverses or Inverses()
        for group, columns in enumerate(_eliminations(weight, conv_groups, second, metric, ridge, known)):
            for rows, kept in eliminated(columns, budgets).items():
                self.supports[rows][group] = kept

    def support(self, rows: int) -> np.ndarray:
        """(C_in, kh*kw) booleans, for one of the numbers of inputs."""
        kept = self.supports[rows]
        return kept.reshape(len(kept) * self._weight.shape[1], -1)

    def fitted(self, rows: int) -> FittedSupport:
        """With the best weight on them."""
        n = self._weight[0].size
        # Without moments weights stay as they are, and so they do where all inputs are there.
        if self._second is None or rows == n:
            dense = self._weight.astype(np.float64)
            kept = self.supports[rows].reshape(-1, 1, *dense.shape[1:])
            by_group = dense.reshape(len(kept), -1, *dense.shape[1:])
            return FittedSupport.of(self.support(rows), np.where(kept, by_group, 0.0).reshape(dense.shape))
        # Each set's weight takes what the next smaller one's has already.
        if self._last is None or rows < _number(self._last):
            self._left = self._refits(self._second)
            self._last = next(self._left)
        while _number(self._last) < rows:
            self._last = next(self._left)
        if rows == self._fewer[-1]:
            self._left = iter(())  # nothing more is asked of the factorisations, which are large
        return self._last

    def _refits(self, second: Moments) -> Iterator[FittedSupport]:
        """By rising number of inputs, from one factorisation for each set of outputs and group."""
        groups = len(next(iter(self.supports.values())))
        dense = self._weight.astype(np.float64).reshape(groups, -1, self._weight[0].size)  # (G, m/G, n)
        refits = []
        for part in _parts(len(self._weight), second):
            inside = part.outputs.reshape(groups, -1)
            for group, own in enumerate(inside):
                sets = [self.supports[rows][group] for rows in self._fewer]
                moments = with_ridge(part.second[group], self._ridge)
                nested = NestedRefits.of(dense[group][own] @ moments, moments, sets)
                refits.append((group, own, nested.refits()))
        for rows in self._fewer:
            weight = np.zeros(dense.shape)
            for group, own, found in refits:
                _, refitted = next(found)
                weight[group][own] = refitted.placed(refitted.weight, dense.shape[2])
            yield FittedSupport.of(self.support(rows), weight.reshape(self._weight.shape))


def _number(fitted: FittedSupport) -> int:
    """Of inputs of each group."""
    return int(fitted.kept.shape[1])


def _check(weight: np.ndarray, conv_groups: int, budgets: Sequence[int]) -> None:
    """Refuse what is no weight of so many groups, and numbers of inputs that it has not."""
    fits = weight.ndim == 4 and len(weight) % conv_groups == 0
    if not fits or not np.isfinite(weight).all():
        raise InputError(
            f"a weight of shape {weight.shape} must be (m, C_in/G, kh, kw), finite, and of "
            f"{conv_groups} groups"
        )
    n = weight[0].size
    for rows in budgets:
        if not 1 <= rows <= n:
            raise InputError(f"rows (={rows}) must be from 1 to {n}, the inputs of an output")


def _parts(outputs: int, second: Moments) -> Sequence[OutputMoments]:
    """The sets of outputs; one of all where all have the same moments."""
    if isinstance(second, np.ndarray):
        return [OutputMoments(np.ones(outputs, bool), second)]
    return second


def refit_parts(
    weight: np.ndarray,
    conv_groups: int,
    second: Moments | None,
    support: np.ndarray,
    *,
    ridge: float = RIDGE,
) -> np.ndarray:
    """`refit`, of each set of outputs on moments of its own; arguments and errors as there."""
    if second is None or isinstance(second, np.ndarray):
        return refit(weight, conv_groups, second, support, ridge=ridge)
    refitted = np.zeros(weight.shape)
    for part in second:
        own = weight[part.outputs]
        refitted[part.outputs] = refit(own, conv_groups, part.second, support, ridge=ridge)
    return refitted


def _metric(importance: np.ndarray | None, groups: int, outputs: int) -> np.ndarray | None:
    """(G, m/G, m/G) P of each group; None: the unit matrix."""
    if importance is None:
        return None
    each = outputs // groups
    if importance.shape == (outputs,):
        if not (np.isfinite(importance).all() and (importance > 0).all()):
            raise InputError("importance must be positive and finite for every output")
        return importance.reshape(groups, each, 1) * np.eye(each)
    if importance.shape != (groups, each, each):
        raise InputError(
            f"importance of shape {importance.shape} must be one positive number for each of {outputs} "
            f"outputs, or a matrix for those of each group, {(groups, each, each)}"
        )
    for matrix in importance:
        if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T):
            raise InputError("importance must be a finite symmetric matrix for the outputs of each group")
        values = np.linalg.eigvalsh(matrix)
        if values[-1] <= 0 or values[0] < -NEGATIVE * values[-1]:
            raise InputError(
                f"importance must be positive semi-definite and not zero; its eigenvalues are {values[0]:g} "
                f"to {values[-1]:g}"
            )
    return importance


def _judged(
    weight: np.ndarray,
    groups: int,
    metric: np.ndarray | None,
    outputs: np.ndarray | slice,
) -> list[np.ndarray]:
    """A W of some outputs of each group, (m', n): their plain squared error is the one that counts."""
    inside = np.zeros(len(weight), bool)
    inside[outputs] = True
    judged = []
    for group, own in enumerate(inside.reshape(groups, -1)):
        block = weight.astype(np.float64).reshape(groups, len(own), -1)[group][own]
        if metric is not None:
            values, vectors = np.linalg.eigh(metric[group][np.ix_(own, own)])
            # A = L^1/2 V^T of P = V L V^T.
            block = np.sqrt(np.maximum(values, 0.0))[:, None] * (vectors.T @ block)
        judged.append(block)
    return judged


def _drop_lightest(supports: Mapping[int, np.ndarray], judged: Sequence[np.ndarray]) -> None:
    """Drop, from supports (G, n) of everything, all but the so many inputs of most weight."""
    for group, block in enumerate(judged):
        order = np.argsort(-np.square(block).sum(axis=0), kind="stable")
        for rows, support in supports.items():
            support[group, order[rows:]] = False


def _eliminations(
    weight: np.ndarray,
    groups: int,
    second: Moments,
    metric: np.ndarray | None,
    ridge: float,
    inverses: Inverses,
) -> Iterator[list[Elimination]]:
    """For each group the eliminations of its sets of outputs, of which no column is dropped yet."""
    parts = _parts(len(weight), second)
    if np.any(sum(part.outputs.astype(int) for part in parts) != 1):
        raise InputError("every output must belong to one set of moments")
    for part in parts:
        check_moments(weight.shape, groups, part.second, None)
    judged = [_judged(weight, groups, metric, part.outputs) for part in parts]
    for group in range(groups):
        columns = []
        for part, blocks in zip(parts, judged, strict=True):
            counted = np.sqrt(part.share) * blocks[group]
            moments = with_ridge(part.second[group], ridge)
            columns.append(Elimination(counted, moments, inverses.of(moments)))
        yield columns


def _cheapest(costs: np.ndarray, number: int) -> np.ndarray:
    """The indices of so many of the least costs, rising; of equal ones the first."""
    if number == 1:
        return np.array([np.argmin(costs)])  # most steps, and many times faster
    return np.argsort(costs, kind="stable")[:number]


def eliminated(columns: Sequence[Elimination], budgets: Iterable[int]) -> dict[int, np.ndarray]:
    """(n,) booleans for each budget: what is left when the cheapest inputs have been dropped one by one.

    Args:
        columns: the same ones for several sets of outputs, which lose them together.
        budgets: numbers of inputs.
    """
    left = n = len(columns[0].kept)
    at_once = max(1, (n // ONE_BY_ONE) ** 2)
    tidy_at = n
    found = {}
    waiting = sorted(set(budgets))  # the largest is reached first
    while waiting:
        costs = columns[0].costs()
        for part in columns[1:]:
            costs = costs + part.costs()
        order = _cheapest(costs, at_once)
        # More than one budget may lie within a step: its first losses alone lead there.
        while waiting and waiting[-1] >= left - at_once:
            kept = columns[0].kept
            kept[order[: left - waiting[-1]]] = False
            found[waiting.pop()] = kept
        if not waiting:
            break
        for part in columns:
            part.drop(order)
        left -= at_once
        if tidy_at - left >= max(1, n // TIDY):
            for part in columns:
                part.tidy()
            tidy_at = left
    return found
