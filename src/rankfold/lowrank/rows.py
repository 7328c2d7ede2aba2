"""Which inputs of a matrix to keep, of any channel and position, so that its output on data changes least.

What an error of the outputs costs may be a quadratic form of it: with the second-order importance P (m, m) of
a group's outputs, such as the mean E[g g^T] of the loss's gradients g over them, the cost of a weight M in
the place of W is

    tr(P D S D^T) = tr((A D) S (A D)^T),    D = W - M,    A^T A = P,

the plain squared error of A M in the place of A W (a Kronecker-factored curvature P (x) S; Martens & Grosse,
ICML 2015). All outputs share the columns T that are kept, and the least squares weight on them, W S_:T
S_TT^-1, is the best for every P: A only multiplies it from the left. So P decides which columns stay, and
nothing else: they are eliminated from A W, and the refit is that of W.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.elimination import Elimination
from rankfold.lowrank.regression import RIDGE, check_moments, with_ridge
from rankfold.lowrank.support import ONE_BY_ONE, FittedSupport, refit

TIDY = 16  # parts of the inputs, after each of which the inverse is made smaller
NEGATIVE = 1e-6  # of the largest eigenvalue of an importance: what is further below zero is no rounding


def fitted_rows(
    weight: np.ndarray,
    conv_groups: int,
    second: np.ndarray | None,
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
    second: np.ndarray | None,
    budgets: Sequence[int],
    *,
    importance: np.ndarray | None = None,
    ridge: float = RIDGE,
) -> dict[int, FittedSupport]:
    """Keep several numbers of inputs of each group, each within the next larger one, by one elimination.

    Backward elimination as in `nested_supports`: always the input goes whose loss costs least after all that
    are left have been refitted. What one loss costs and the refits are exact, the order is greedy. Of n > 576
    inputs of a group, (n/576)^2 go in one step, the cheapest ones; the step's refit is exact still. Each
    result is the same whatever other numbers are asked for.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G; the inputs of each group are chosen by themselves.
        second: (G, n, n) E[x x^T] as in `decompose_for_data`; None: the inputs of most weight stay, and keep
            their weights.
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
    fits = weight.ndim == 4 and len(weight) % conv_groups == 0
    if not fits or not np.isfinite(weight).all():
        raise InputError(
            f"a weight of shape {weight.shape} must be (m, C_in/G, kh, kw), finite, and of "
            f"{conv_groups} groups"
        )
    check_moments(weight.shape, conv_groups, second, None)
    n = weight[0].size
    for rows in budgets:
        if not 1 <= rows <= n:
            raise InputError(f"rows (={rows}) must be from 1 to {n}, the inputs of an output")
    judged = _judged(weight.astype(np.float64).reshape(conv_groups, -1, n), importance)
    supports = {rows: np.ones((conv_groups, n), bool) for rows in budgets}
    for group, outputs in enumerate(judged):
        if second is None:
            order = np.argsort(-np.square(outputs).sum(axis=0), kind="stable")
            for rows, support in supports.items():
                support[group, order[rows:]] = False
            continue
        elimination = Elimination(outputs, with_ridge(second[group], ridge))
        for rows, kept in _eliminated(elimination, supports).items():
            supports[rows][group] = kept
    found = {}
    for rows, support in supports.items():
        support = support.reshape(conv_groups * weight.shape[1], -1)
        found[rows] = FittedSupport(support, refit(weight, conv_groups, second, support, ridge=ridge))
    return found


def _judged(weight: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """A W of each group's weight W, (G, m/G, n), so that their plain squared error is the one that counts."""
    groups, outputs, _ = weight.shape
    if importance is None:
        return weight
    if importance.shape == (groups * outputs,):
        if not (np.isfinite(importance).all() and (importance > 0).all()):
            raise InputError("importance must be positive and finite for every output")
        # Costs are compared with each other only, so that their scale is free.
        return weight * np.sqrt(importance / importance.mean()).reshape(groups, outputs, 1)
    if importance.shape != (groups, outputs, outputs):
        raise InputError(
            f"importance of shape {importance.shape} must be one positive number for each of "
            f"{groups * outputs} outputs, or a matrix for those of each group, {(groups, outputs, outputs)}"
        )
    return np.stack([_root(of_group) for of_group in importance]) @ weight


def _root(importance: np.ndarray) -> np.ndarray:
    """(m, m) A with A^T A = P / trace(P) * m, for a positive semi-definite P (m, m)."""
    if not np.isfinite(importance).all() or not np.allclose(importance, importance.T):
        raise InputError("importance must be a finite symmetric matrix for the outputs of each group")
    values, vectors = np.linalg.eigh(importance)
    if values[-1] <= 0 or values[0] < -NEGATIVE * values[-1]:
        raise InputError(
            f"importance must be positive semi-definite and not zero; its eigenvalues are {values[0]:g} to "
            f"{values[-1]:g}"
        )
    scaled = np.maximum(values, 0.0) / values.mean()
    root: np.ndarray = np.sqrt(scaled)[:, None] * vectors.T
    return root


def _eliminated(columns: Elimination, budgets: Iterable[int]) -> dict[int, np.ndarray]:
    """(n,) booleans for each budget: what is left when the cheapest inputs have been dropped one by one."""
    left = n = len(columns.kept)
    at_once = max(1, (n // ONE_BY_ONE) ** 2)
    tidy_at = n
    found = {}
    waiting = sorted(budgets)  # the largest is reached first
    while waiting:
        # More than one budget may lie within a step: its first losses alone lead there.
        order = np.argsort(columns.costs(), kind="stable")[:at_once]
        while waiting and waiting[-1] >= left - at_once:
            kept = columns.kept
            kept[order[: left - waiting[-1]]] = False
            found[waiting.pop()] = kept
        if not waiting:
            break
        columns.drop(order)
        left -= at_once
        if tidy_at - left >= max(1, n // TIDY):
            columns.tidy()
            tidy_at = left
    return found
