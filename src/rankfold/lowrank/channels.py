"""In which order a layer can do without its input channels, so that its outputs on data change least."""

from __future__ import annotations

import numpy as np

from rankfold.lowrank.elimination import Elimination
from rankfold.lowrank.metric import OutputMetric, counted
from rankfold.lowrank.support import ONE_BY_ONE


def channel_order(
    weight: np.ndarray,
    moments: np.ndarray,
    importance: np.ndarray,
    *,
    fewest: int = 1,
) -> tuple[int, ...]:
    """The input channels of a layer of one group, those first that it can do without least.

    Backward elimination: a step drops all columns of one channel, that whose loss costs least after the
    others have been refitted (`lowrank.elimination`). Costs and refits are exact, the order is greedy, as for
    single rows (`lowrank.rows`). Of n > 576 inputs so many channels go in one step as have (n/576)^2 columns,
    the cheapest ones.

    Args:
        weight: (m, C_in, kh, kw).
        moments: (n, n) E[x x^T] of its patches, with a ridge (`regression.with_ridge`).
        importance: (m, m) positive definite, what errors of outputs count together.
        fewest: channels that are left in any case, in no order.

    Raises:
        InputError: the moments are singular.
    """
    judged = counted(weight.astype(np.float64), OutputMetric.of(importance[None]))
    columns = Elimination(judged.reshape(len(weight), -1), moments)
    channels, positions = weight.shape[1], weight[0, 0].size
    own = np.arange(weight[0].size).reshape(channels, positions)  # the columns of each channel
    at_once = max(1, (weight[0].size // ONE_BY_ONE) ** 2 // positions)
    left, gone = np.arange(channels), []
    while len(left) > fewest:
        costs = columns.joint_costs(own[left])
        cheapest = np.argsort(costs, kind="stable")[: min(at_once, len(left) - fewest)]
        columns.drop(own[left[cheapest]].ravel())
        columns.tidy()
        gone += left[cheapest].tolist()
        left = np.delete(left, cheapest)
    return (*left.tolist(), *reversed(gone))
