"""The matrix of a window, or its factors, for what is known of its inputs: which of them it reads, and its
weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankfold.calibration.importance import with_floor
from rankfold.calibration.moments import PatchMoments
from rankfold.lowrank import LowRankFactors, decompose, decompose_for_data, reconstruct, refit
from rankfold.lowrank.metric import OutputMetric, counted
from rankfold.lowrank.row_factors import refit_outputs, row_low_rank, uncounted
from rankfold.lowrank.rows import OutputMoments, fitted_rows, refit_parts
from rankfold.plan.kinds import WindowLowRankLayer
from rankfold.surgery.supported_weight import power, ratio

# Outputs of a window, of a group, up to which those of pairs count by importance: its root takes their cube.
LARGEST_METRIC = 2304


@dataclass(frozen=True)
class LostPower:
    """What a matrix in the place of another one loses.

    Attributes:
        lost: ||(W - M) X||_F^2, or ||W - M||_F^2 where nothing is known of X.
        whole: ||W X||_F^2, or ||W||_F^2.
    """

    lost: float
    whole: float

    @property
    def share(self) -> float:
        """The relative error."""
        return ratio(self.lost, self.whole)

    def __add__(self, other: LostPower) -> LostPower:
        """That of two matrices, each for outputs of its own."""
        return LostPower(self.lost + other.lost, self.whole + other.whole)

    def times(self, number: int) -> LostPower:
        """That of as many windows."""
        return LostPower(number * self.lost, number * self.whole)


@dataclass(frozen=True)
class FittedWindow:
    """The matrix of a window on some of its inputs.

    Attributes:
        weight: (m*a*b, C_in/G, ph, pw), zero outside the support.
        support: (C_in, ph*pw) booleans.
        lost: of the weights.
        lost_outputs: of a window's outputs on calibration data; None where nothing is known of them.
    """

    weight: np.ndarray
    support: np.ndarray
    lost: LostPower
    lost_outputs: LostPower | None


def window_matrix(
    copies: np.ndarray,
    conv_groups: int,
    rows: int | None,
    moments: PatchMoments | None = None,
    support: np.ndarray | None = None,
) -> FittedWindow:
    """The weights of a window on so many of its inputs that are nearest to the layer's outputs on data.

    Where windows reach beyond the plane, each output counts over the windows that have it (`lowrank.rows`).

    Args:
        copies: (m*a*b, C_in/G, ph, pw) shifted copies of the kernel, which give the layer's outputs exactly.
        conv_groups: G.
        rows: inputs of each group to keep; None: all, with the copies as they are.
        moments: of the window's inputs; None: those of most weight are kept as they are.
        support: (C_in, ph*pw) booleans, where it is known; None: chosen here.

    Raises:
        InputError: see `lowrank.rows.nested_rows`.
    """
    parts = None
    if moments is not None:
        parts = output_moments(moments, len(copies), conv_groups)
    if rows is None:
        nothing = lost_power(copies, copies, conv_groups, None)
        of_outputs = None if parts is None else lost_power(copies, copies, conv_groups, parts)
        return FittedWindow(copies, _everything(copies, conv_groups), nothing, of_outputs)
    if moments is None or parts is None:
        if support is None:
            support = fitted_rows(copies, conv_groups, None, rows).support
        weight = refit(copies, conv_groups, None, support)
        return FittedWindow(weight, support, lost_power(copies, weight, conv_groups, None), None)
    target = best_matrix(copies, conv_groups, moments)
    if support is None:
        importance = _importance(moments, parts)
        support = fitted_rows(target, conv_groups, parts, rows, importance=importance).support
    weight = refit_parts(target, conv_groups, parts, support)
    return FittedWindow(
        weight,
        support,
        # The weights' own error is against the copies, whatever the target was.
        lost_power(copies, weight, conv_groups, None),
        # Relative to what the target gives, the dense outputs' part that these inputs can explain.
        lost_power(target, weight, conv_groups, parts),
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
        support = _everything(copies, conv_groups)
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
    everything = _everything(copies, conv_groups)
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
    return lost_power(wanted, found, conv_groups, parts).share


def lost_power(
    wanted: np.ndarray, found: np.ndarray, conv_groups: int, parts: list[OutputMoments] | None
) -> LostPower:
    """What M loses in the place of W, of the weights, or of the outputs that there are on data."""
    if parts is None:
        return LostPower(power(wanted - found, conv_groups), power(wanted, conv_groups))
    lost = whole = 0.0
    for part in parts:
        own = part.outputs
        lost += part.share * power((wanted - found)[own], conv_groups, part.second)
        whole += part.share * power(wanted[own], conv_groups, part.second)
    return LostPower(lost, whole)


def _everything(copies: np.ndarray, conv_groups: int) -> np.ndarray:
    """(C_in, ph*pw) booleans, all inputs of a window."""
    return np.ones((conv_groups * copies.shape[1], copies[0, 0].size), bool)
