"""Which inputs of a matrix to keep, of any channel and position, so that its output on data changes least."""

from __future__ import annotations

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.elimination import Elimination
from rankfold.lowrank.regression import RIDGE, check_moments, with_ridge
from rankfold.lowrank.support import ONE_BY_ONE, FittedSupport

TIDY = 16  # parts of the inputs, after each of which the inverse is made smaller


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

    Backward elimination as in `nested_supports`: always the input goes whose loss costs least after all that
    are left have been refitted. What one loss costs and the refits are exact, the order is greedy. Of n > 576
    inputs of a group, (n/576)^2 go in one step, the cheapest ones; the step's refit is exact still.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G; the inputs of each group are chosen by themselves.
        second: (G, n, n) E[x x^T] as in `decompose_for_data`; None: the inputs of most weight stay, and keep
            their weights.
        rows: of each group, 1 to n; n keeps everything.
        importance: (m,) positive, what the squared error of each output counts; None: all count alike. The
            refit itself does not depend on it, as every output has weights of its own.
        ridge: as in `decompose_for_data`.

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
    outputs, n = len(weight) // conv_groups, weight[0].size
    if not 1 <= rows <= n:
        raise InputError(f"rows (={rows}) must be from 1 to {n}, the inputs of an output")
    scale = _scale(importance, len(weight))
    scaled = weight.astype(np.float64).reshape(len(weight), n) * scale[:, None]
    kept = np.ones((conv_groups, n), bool)
    fitted = scaled.reshape(conv_groups, outputs, n).copy()
    for group in range(conv_groups):
        if second is None:
            energy = np.square(fitted[group]).sum(axis=0)
            kept[group] = _largest(energy, rows)
            fitted[group][:, ~kept[group]] = 0.0
            continue
        elimination = Elimination(fitted[group], with_ridge(second[group], ridge))
        _eliminate(elimination, rows)
        kept[group], fitted[group] = elimination.kept, elimination.weight
    plain = fitted.reshape(len(weight), n) / scale[:, None]
    channels = conv_groups * weight.shape[1]
    return FittedSupport(kept.reshape(channels, -1), plain.reshape(weight.shape))


def _scale(importance: np.ndarray | None, outputs: int) -> np.ndarray:
    """(m,) by which outputs are multiplied, so that their plain squared error is the one that counts."""
    if importance is None:
        return np.ones(outputs)
    if importance.shape != (outputs,) or not (np.isfinite(importance).all() and (importance > 0).all()):
        raise InputError(
            f"importance of shape {importance.shape} must be {outputs} positive finite numbers, one for each "
            "output"
        )
    return np.sqrt(importance / importance.mean())


def _largest(energy: np.ndarray, rows: int) -> np.ndarray:
    """(n,) booleans, the `rows` largest; of equal ones the first."""
    kept = np.zeros(len(energy), bool)
    kept[np.argsort(-energy, kind="stable")[:rows]] = True
    return kept


def _eliminate(columns: Elimination, rows: int) -> None:
    """Drop the cheapest inputs until `rows` are left."""
    left = n = len(columns.kept)
    at_once = max(1, (n // ONE_BY_ONE) ** 2)
    tidy_at = n
    while left > rows:
        number = min(at_once, left - rows)
        cheapest = np.argsort(columns.costs(), kind="stable")[:number]
        columns.drop(cheapest)
        left -= number
        if tidy_at - left >= max(1, n // TIDY):
            columns.tidy()
            tidy_at = left
    columns.tidy()
