"""The weight of a grouped convolution in the place of a dense one, for what its inputs are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankfold.calibration.importance import with_floor
from rankfold.calibration.moments import PatchMoments
from rankfold.lowrank.grouped import choose_grouping, refit_grouped
from rankfold.lowrank.grouping import Grouping
from rankfold.surgery.supported_weight import best_target, errors


@dataclass(frozen=True)
class GroupedWeight:
    """A weight that is zero between blocks of channels.

    Attributes:
        weight: (m, C_in/G, kh, kw).
        grouping: the block of each channel.
        error: ||W - W'||_F / ||W||_F.
        output_error: ||(W - W') X||_F / ||W X||_F on calibration data X; None where nothing is known of them.
    """

    weight: np.ndarray
    grouping: Grouping
    error: float
    output_error: float | None


def grouped_weight(
    weight: np.ndarray,
    conv_groups: int,
    blocks: int,
    moments: PatchMoments | None = None,
    grouping: Grouping | None = None,
) -> GroupedWeight:
    """The weight of a grouped convolution that is nearest to the layer's output on data.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        blocks: in each of them.
        moments: of the layer's inputs, perhaps with what errors of outputs count; None: all inputs count
            alike.
        grouping: the blocks, where they are known; None: chosen here.

    Raises:
        InputError: see `lowrank.grouped.choose_grouping`.
    """
    second = None if moments is None else moments.second
    target = best_target(weight, conv_groups, moments)
    if grouping is None:
        counted = None
        if moments is not None and moments.importance is not None:
            counted = output_shares(moments.importance)
        grouping = choose_grouping(target, conv_groups, blocks, second, counted)
    found = refit_grouped(target, conv_groups, grouping, second)
    error, output_error = errors(weight, target, found, conv_groups, second)
    return GroupedWeight(found, grouping, error, output_error)


def output_shares(importance: np.ndarray) -> np.ndarray:
    """(m,) what errors of each output count, from E[g g^T] (G, m/G, m/G) of their gradients."""
    shares: np.ndarray = np.einsum("gii->gi", with_floor(importance)).reshape(-1)
    return shares
