"""Which kernel positions of each input channel to keep, so that a layer's output on data changes least."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.elimination import Elimination
from rankfold.lowrank.regression import RIDGE, Regression, check_moments, inverse, with_ridge
from rankfold.pruning.patterns import natural_patterns

ONE_BY_ONE = 576  # columns up to which one is dropped at a time, those of ResNet-20's largest layers


def nested_supports(
    weight: np.ndarray, conv_groups: int, second: np.ndarray | None, ridge: float = RIDGE
) -> dict[int, np.ndarray]:
    """Supports of every number of positions per input channel, each within the next larger one, free for each channel.

    Backward elimination: level by level, every input channel loses one position before any loses the next, always the one whose
    loss costs least after all other positions have been refitted. Costs and refits are exact; the order is greedy. In layers of
    n > 576 inputs of a group, (n/576)^2 channels lose a position in one step, those that it costs least one by one; the step's
    refit is exact still. So a layer of 4,608 inputs takes seconds.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G; their supports are chosen one by one.
        second: (G, n, n) as in `decompose_for_data`; None: positions of least weight are dropped.
        ridge: as in `decompose_for_data`.

    Returns:
        e -> (C_in, kh*kw) booleans with e in each row, for e from kh*kw to 1.

    Raises:
        InputError: the weight or the moments are not finite, or their shapes do not fit.
    """
    dense = _grouped(weight, conv_groups, second)
    positions = weight.shape[2] * weight.shape[3]
    if second is None:
        energy = np.square(dense).sum(axis=1).reshape(-1, positions)
        return {entries: natural_patterns(energy, entries) for entries in range(positions, 0, -1)}
    groups = [Elimination(block, with_ridge(moments, ridge)) for block, moments in zip(dense, second, strict=True)]
    return dict(free_levels(groups, positions))


def shared_supports(
    weight: np.ndarray, conv_groups: int, second: np.ndarray | None, ridge: float = RIDGE
) -> dict[int, np.ndarray]:
    """As `nested_supports`, with the same positions for all input channels of the layer, which save more rows under SDK.

    A step drops one kernel position of all input channels, the one whose loss costs least after the refit; exact costs and
    refits in a greedy order.
    """
    dense = _grouped(weight, conv_groups, second)
    positions = weight.shape[2] * weight.shape[3]
    channels = weight.shape[1] * conv_groups
    if second is None:
        order = np.square(dense).sum(axis=(0, 1)).reshape(-1, positions).sum(axis=0)[None]
        shared = {entries: natural_patterns(order, entries) for entries in range(positions, 0, -1)}
        return {entries: np.repeat(pattern, channels, axis=0) for entries, pattern in shared.items()}
    groups = [Elimination(block, with_ridge(moments, ridge)) for block, moments in zip(dense, second, strict=True)]
    return dict(shared_levels(groups, positions))


@dataclass(frozen=True)
class FittedSupport:
    """A support and the best weight on it.

    Attributes:
        support: (C_in, kh*kw) booleans.
        weight: (m, C_in/G, kh, kw), what `refit` gives, up to rounding.
    """

    support: np.ndarray
    weight: np.ndarray


def fitted_supports(
    weight: np.ndarray, conv_groups: int, second: np.ndarray, ridge: float = RIDGE
) -> tuple[dict[int, FittedSupport], dict[int, FittedSupport]]:
    """`nested_supports` and `shared_supports`, each with its refit, which eliminations know already.

    Arguments and errors as there, but the moments must be given.

    Returns:
        The free ones and the shared ones, each e -> support.
    """
    dense = _grouped(weight, conv_groups, second)
    positions = weight.shape[2] * weight.shape[3]
    moments = [with_ridge(one, ridge) for one in second]
    inverses = [inverse(one) for one in moments]

    def fitted(levels: Callable[[Sequence[Elimination], int], Iterator[tuple[int, np.ndarray]]]) -> dict[int, FittedSupport]:
        groups = [Elimination(*problem) for problem in zip(dense, moments, inverses, strict=True)]
        return {
            entries: FittedSupport(support, np.concatenate([group.weight for group in groups]).reshape(weight.shape))
            for entries, support in levels(groups, positions)
        }

    return fitted(free_levels), fitted(shared_levels)


def free_levels(groups: Sequence[Elimination], positions: int) -> Iterator[tuple[int, np.ndarray]]:
    """Supports (C_in, kh*kw) with e = kh*kw, then one fewer at a time, down to 1; see `nested_supports`.

    Whenever one is there, the eliminations of the convolution groups have come to it.
    """
    for level in zip(*(_free_levels_of_group(group, positions) for group in groups), strict=True):
        yield level[0][0], np.concatenate([kept for _, kept in level])


def _free_levels_of_group(columns: Elimination, positions: int) -> Iterator[tuple[int, np.ndarray]]:
    channels = len(columns.kept) // positions
    at_once = max(1, (channels * positions // ONE_BY_ONE) ** 2)
    yield positions, columns.kept.reshape(channels, positions)
    for entries in range(positions - 1, 0, -1):
        waiting = np.ones(channels, bool)
        while waiting.any():
            costs = columns.costs().reshape(channels, positions)
            cheapest = np.where(waiting, costs.min(axis=1), np.inf)
            chosen = np.argsort(cheapest, kind="stable")[: min(at_once, int(waiting.sum()))]
            columns.drop(chosen * positions + costs[chosen].argmin(axis=1))
            waiting[chosen] = False
        columns.tidy()
        yield entries, columns.kept.reshape(channels, positions)


def shared_levels(groups: Sequence[Elimination], positions: int) -> Iterator[tuple[int, np.ndarray]]:
    """As `free_levels`, for `shared_supports`."""
    columns = np.arange(len(groups[0].kept)).reshape(-1, positions)
    channels = len(columns) * len(groups)
    kept = np.ones(positions, bool)
    yield positions, np.tile(kept, (channels, 1))
    for entries in range(positions - 1, 0, -1):
        left = np.flatnonzero(kept)
        costs = [sum(group.joint_cost(columns[:, position]) for group in groups) for position in left]
        worst = left[int(np.argmin(costs))]
        kept[worst] = False
        for group in groups:
            group.drop(columns[:, worst])
            group.tidy()
        yield entries, np.tile(kept, (channels, 1))


def refit(
    weight: np.ndarray,
    conv_groups: int,
    second: np.ndarray | None,
    support: np.ndarray,
    cross: np.ndarray | None = None,
    ridge: float = RIDGE,
) -> np.ndarray:
    """The weight on a support that keeps the layer's output best, the exact least squares W S_:T S_TT^-1 of each group.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        second: (G, n, n) as in `decompose_for_data`; None: the weight is kept where the support is.
        support: (C_in, kh*kw) booleans, as many in a row as you like.
        cross: as in `decompose_for_data`.
        ridge: as in `decompose_for_data`.

    Returns:
        (m, C_in/G, kh, kw) in float64, zero outside the support.

    Raises:
        InputError: see `nested_supports`; or the support does not fit.
    """
    dense = _grouped(weight, conv_groups, second, cross)
    kept = columns_of(support, weight.shape, conv_groups)
    if second is None:
        return np.where(kept[:, None], dense, 0.0).reshape(weight.shape)
    found = np.zeros(dense.shape)
    for group, block in enumerate(dense):
        problem = Regression.of(block, second[group], None if cross is None else cross[group], ridge)
        found[group][:, kept[group]] = problem.target_on(np.flatnonzero(kept[group]))
    return found.reshape(weight.shape)


def columns_of(support: np.ndarray, shape: tuple[int, ...], conv_groups: int) -> np.ndarray:
    """A support (C_in, kh*kw) as the columns (G, n) of each group, for a weight of shape (m, C_in/G, kh, kw).

    Raises:
        InputError: it has another shape, or is not boolean.
    """
    wanted = conv_groups * shape[1], shape[2] * shape[3]
    if support.shape != wanted or support.dtype != bool:
        raise InputError(f"a support of shape {support.shape} and type {support.dtype} must be boolean and of shape {wanted}")
    return support.reshape(conv_groups, -1)


def _grouped(weight: np.ndarray, conv_groups: int, second: np.ndarray | None, cross: np.ndarray | None = None) -> np.ndarray:
    """The weight as (G, m/G, n), after checks."""
    if weight.ndim != 4 or len(weight) % conv_groups or not np.isfinite(weight).all():
        raise InputError(
            f"a weight of shape {weight.shape} has no support for {conv_groups} groups: it must be (m, C_in/G, kh, kw) and finite"
        )
    check_moments(weight.shape, conv_groups, second, cross)
    return weight.astype(np.float64).reshape(conv_groups, len(weight) // conv_groups, -1)
