"""The matrix of a window, or its factors, for what is known of its inputs: which of them it reads, and its
weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rankfold.calibration.importance import with_floor
from rankfold.calibration.moments import PatchMoments
from rankfold.lowrank import LowRankFactors, decompose, decompose_for_data, reconstruct, refit
from rankfold.lowrank.metric import OutputMetric, counted
from rankfold.lowrank.row_factors import refit_outputs, row_low_rank, uncounted
from rankfold.lowrank.rows import OutputMoments, fitted_rows, refit_parts
from rankfold.plan.kinds import WindowLowRankLayer
from rankfold.surgery.supported_weight import SupportedWeight, power, ratio

# Outputs of a window, of a group, up to which those of pairs count by importance: its root takes their cube.
LARGEST_METRIC = 2304


def window_matrix(
    copies: np.ndarray,
    conv_groups: int,
    rows: int,
    moments: PatchMoments | None = None,
    support: np.ndarray | None = None,
) -> SupportedWeight:
    """The weights of a window on so many of its inputs that are nearest to the layer's outputs on data.

    Where windows reach beyond the plane, each output counts over the windows that have it (`lowrank.rows`).

    Args:
        copies: (m*a*b, C_in/G, ph, pw) shifted copies of the kernel, which give the layer's outputs exactly.
        conv_groups: G.
        rows: inputs of each group to keep.
        moments: of the window's inputs; None: those of most weight are kept as they are.
        support: (C_in, ph*pw) booleans, where it is known; None: chosen here.

    Raises:
        InputError: see `lowrank.rows.nested_rows`.
    """
    if moments is None:
        if support is None:
            support = fitted_rows(copies, conv_groups, None, rows).support
        weight = refit(copies, conv_groups, None, support)
        return SupportedWeight(weight, support, lost_share(copies, weight, conv_groups, None), None)
    parts = output_moments(moments, len(copies), conv_groups)
    target = best_matrix(copies, conv_groups, moments)
    if support is None:
        importance = _importance(moments, parts)
        support = fitted_rows(target, conv_groups, parts, rows, importance=importance).support
    weight = refit_parts(target, conv_groups, parts, support)
    return SupportedWeight(
        weight,
        support,
        # The weights' own error is against the copies, whatever the target was.
        lost_share(copies, weight, conv_groups, None),
        # Relative to what the target gives, the dense outputs' part that these inputs can explain.
        lost_share(target, weight, conv_groups, parts),
    )


def window_factors(
    copies: np.ndarray,
    conv_groups: int,
    kind: WindowLowRankLayer,
    moments: PatchMoments | None = None,
    support: np.ndarray | None = None,
) -> tuple[LowRankFactors, np.ndarray]:
    """The factors of a window's matrix that are nearest to the layer's outputs on data, and its inputs.

    Inputs and both factors are made for the moments of all windows, and for what errors of outputs cost
    together where that is known (`lowrank.metric`). Where windows reach beyond the plane, L is fitted once
    more, each output over the windows that have it.

    Args:
        copies: as of `window_matrix`.
        conv_groups: G.
        kind: the rank, and how many inputs are driven.
        moments: of the window's inputs; None: the factors are the nearest to the matrix, on the inputs of
            most weight.
        support: (C_in, ph*pw) booleans, where it is known; None: chosen here.

    Returns:
        The factors, and the support.

    Raises:
        InputError: see `lowrank.row_factors.row_low_rank`.
    """
    if kind.rows is None:
        support = np.ones((conv_groups * copies.shape[1], copies[0, 0].size), bool)
    if moments is None:
        if support is None:
            assert kind.rows is not None
            support = fitted_rows(copies, conv_groups, None, kind.rows).support
        kept = refit(copies, conv_groups, None, support)
        factors = decompose(kept, conv_groups, 1, kind.rank)
        return _with_errors(factors, copies, conv_groups, None), support
    second, cross = moments.second, moments.cross
    metric = output_metric(moments)
    weighed = counted(copies, metric)
    if support is None:
        assert kind.rows is not None
        factors, support = row_low_rank(weighed, conv_groups, kind.rank, second, kind.rows, cross=cross)
    else:
        factors = decompose_for_data(weighed, conv_groups, 1, kind.rank, second, cross=cross, support=support)
    factors = uncounted(factors, metric)
    parts = output_moments(moments, len(copies), conv_groups)
    target = best_matrix(copies, conv_groups, moments)
    if moments.by_pixel:
        factors = replace(factors, expand=refit_outputs(target, factors.reduce, conv_groups, parts))
    return _with_errors(factors, copies, conv_groups, target, parts), support


def _with_errors(
    factors: LowRankFactors,
    copies: np.ndarray,
    conv_groups: int,
    target: np.ndarray | None,
    parts: list[OutputMoments] | None = None,
) -> LowRankFactors:
    """The factors with the errors of what they stand in for."""
    made = reconstruct(factors, conv_groups, 1)
    output_error = None
    if target is not None:
        output_error = lost_share(target, made, conv_groups, parts)
    return replace(factors, error=lost_share(copies, made, conv_groups, None), output_error=output_error)


def counts_by_importance(outputs: int) -> bool:
    """Whether errors of the outputs of a pair count by their importance, for so many of a group."""
    return outputs <= LARGEST_METRIC


def output_metric(moments: PatchMoments) -> OutputMetric | None:
    """What errors of the outputs of a pair cost, over all windows; None: all count alike."""
    if moments.importance is None or not counts_by_importance(moments.importance.shape[1]):
        return None
    return OutputMetric.of(with_floor(moments.importance))


def output_moments(moments: PatchMoments, outputs: int, conv_groups: int) -> list[OutputMoments]:
    """The moments of the windows that have each output."""
    if not moments.by_pixel:
        return [OutputMoments(np.ones(outputs, bool), moments.second)]
    return [
        OutputMoments(part.outputs(outputs, conv_groups), part.moments.second, part.share)
        for part in moments.by_pixel
    ]


def _importance(moments: PatchMoments, parts: list[OutputMoments]) -> np.ndarray | None:
    """(G, m'/G, m'/G) what errors of outputs count where they are."""
    if moments.importance is None:
        return None
    share = np.zeros(len(parts[0].outputs))
    for part in parts:
        share[part.outputs] = part.share
    return with_floor(moments.importance, share)


def best_matrix(copies: np.ndarray, conv_groups: int, moments: PatchMoments) -> np.ndarray:
    """The best matrix on all inputs: the copies, unless earlier layers have changed and inputs are others."""
    if moments.cross is None:
        return copies
    everything = np.ones((conv_groups * copies.shape[1], copies[0, 0].size), bool)  # (C_in, ph*pw)
    if not moments.by_pixel:
        return refit(copies, conv_groups, moments.second, everything, moments.cross)
    target = np.zeros(copies.shape)
    for part in moments.by_pixel:
        own = part.outputs(len(copies), conv_groups)
        known = part.moments
        target[own] = refit(copies[own], conv_groups, known.second, everything, known.cross)
    return target


def lost_share(
    wanted: np.ndarray, found: np.ndarray, conv_groups: int, parts: list[OutputMoments] | None
) -> float:
    """||(W - M) X||_F / ||W X||_F over the outputs that there are; ||W - M||_F / ||W||_F without moments."""
    if parts is None:
        return ratio(power(wanted - found, conv_groups), power(wanted, conv_groups))
    lost = whole = 0.0
    for part in parts:
        own = part.outputs
        lost += part.share * power((wanted - found)[own], conv_groups, part.second)
        whole += part.share * power(wanted[own], conv_groups, part.second)
    return ratio(lost, whole)
