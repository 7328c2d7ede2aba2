"""The matrix of a window for what is known of its inputs: which of them it reads, and its weights."""

from __future__ import annotations

import numpy as np

from rankfold.calibration.moments import PatchMoments
from rankfold.lowrank import refit
from rankfold.lowrank.rows import OutputMoments, fitted_rows, refit_parts
from rankfold.surgery.supported_weight import SupportedWeight, power, ratio


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
        return SupportedWeight(weight, support, _lost(copies, weight, conv_groups, None), None)
    parts = _parts(moments, len(copies), conv_groups)
    target = _target(copies, conv_groups, moments)
    if support is None:
        support = fitted_rows(target, conv_groups, parts, rows).support
    weight = refit_parts(target, conv_groups, parts, support)
    return SupportedWeight(
        weight,
        support,
        # The weights' own error is against the copies, whatever the target was.
        _lost(copies, weight, conv_groups, None),
        # Relative to what the target gives, the dense outputs' part that these inputs can explain.
        _lost(target, weight, conv_groups, parts),
    )


def _parts(moments: PatchMoments, outputs: int, conv_groups: int) -> list[OutputMoments]:
    """The moments of the windows that have each output."""
    if not moments.by_pixel:
        return [OutputMoments(np.ones(outputs, bool), moments.second)]
    return [
        OutputMoments(part.outputs(outputs, conv_groups), part.moments.second, part.share)
        for part in moments.by_pixel
    ]


def _target(copies: np.ndarray, conv_groups: int, moments: PatchMoments) -> np.ndarray:
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


def _lost(
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
