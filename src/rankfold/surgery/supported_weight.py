"""Layers whose outputs share a support: positions and weights for what is known of the layer's inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rankfold.calibration.moments import PatchMoments
from rankfold.lowrank import LowRankFactors, decompose_for_data, nested_supports, refit, row_sparse

Array = np.ndarray
# From a weight, G and second moments (None: all inputs count alike) to (C_in, kh*kw) booleans.
ChooseSupport = Callable[[Array, int, Array | None], Array]


@dataclass(frozen=True)
class SupportedWeight:
    """A weight that keeps the same positions in all outputs.

    Attributes:
        weight: (m, C_in/G, kh, kw), zero outside the support.
        support: (C_in, kh*kw) booleans.
        error: ||W - W'||_F / ||W||_F.
        output_error: ||(W - W') X||_F / ||W X||_F on calibration data X; None where nothing is known of them.
    """

    weight: Array
    support: Array
    error: float
    output_error: float | None


def supported_weight(
    weight: Array,
    conv_groups: int,
    choose: ChooseSupport,
    moments: PatchMoments | None = None,
    support: Array | None = None,
) -> SupportedWeight:
    """The weight on a support that is nearest to the layer's output on data.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        choose: finds the support, from (weight, G, second moments or None).
        moments: of the layer's inputs; None: all inputs count alike, so that the nearest weight is found.
        support: (C_in, kh*kw) booleans, where it is known; None: chosen here.

    Raises:
        InputError: the weight or the moments are not finite, or do not fit each other.
    """
    second = None if moments is None else moments.second
    target = best_target(weight, conv_groups, moments)
    if support is None:
        support = choose(target, conv_groups, second)
    found = refit(target, conv_groups, second, support)
    error, output_error = errors(weight, target, found, conv_groups, second)
    return SupportedWeight(found, support, error, output_error)


def best_target(weight: Array, conv_groups: int, moments: PatchMoments | None) -> Array:
    """(m, C_in/G, kh, kw) what a weight without bounds would be: the dense one, or, where earlier layers have
    changed, the one that is best on the inputs as they now are.
    """
    if moments is None or moments.cross is None:
        return weight
    everything = np.ones((conv_groups * weight.shape[1], weight[0, 0].size), bool)  # (C_in, kh*kw)
    return refit(weight, conv_groups, moments.second, everything, moments.cross)


def errors(
    weight: Array, target: Array, found: Array, conv_groups: int, second: Array | None
) -> tuple[float, float | None]:
    """The relative errors of a weight, and of the layer's output where its inputs are known.

    Args:
        weight: (m, C_in/G, kh, kw) of the dense layer.
        target: what it was made for, see `best_target`.
        found: the one in its place.
        conv_groups: G.
        second: (G, n, n) of the inputs; None: not known.
    """
    output_error = None
    if second is not None:
        # Relative to what the target gives, which is the dense output's part that these inputs can explain.
        lost = power(target - found, conv_groups, second)
        output_error = ratio(lost, power(target, conv_groups, second))
    # The weight's own error is against the dense one, whatever the target was.
    missing = power(weight - found, conv_groups)
    return ratio(missing, power(weight, conv_groups)), output_error


def positions_of_channels(entries: int) -> ChooseSupport:
    """Chooses e positions of each input channel."""

    def choose(weight: Array, conv_groups: int, second: Array | None) -> Array:
        # Levels are nested, so the one of e positions comes out of a search down from all of them.
        return nested_supports(weight, conv_groups, second)[entries]

    return choose


def row_sparse_factors(
    weight: Array,
    size: tuple[int, int, int],
    entries: int,
    moments: PatchMoments | None = None,
    support: Array | None = None,
) -> tuple[LowRankFactors, Array]:
    """Factors of which R_ keeps e positions of each input channel, and these, (C_in, kh*kw) booleans.

    Args:
        weight: (m, C_in/G, kh, kw).
        size: (G, g, r).
        entries: e.
        moments: of the layer's inputs; None: all inputs count alike.
        support: the positions; None: chosen together with the factors.

    Raises:
        InputError: the weight or the moments are not finite, or groups or rank do not fit.
    """
    conv_groups, groups, rank = size
    if moments is None:
        n = weight[0].size
        # E[x x^T] = I, (G, n, n): what is nearest to the output is then nearest to the weight.
        second, cross = np.tile(np.eye(n), (conv_groups, 1, 1)), None
    else:
        second, cross = moments.second, moments.cross
    if support is None:
        factors, support = row_sparse(weight, conv_groups, groups, rank, second, entries, cross=cross)
    else:
        factors = decompose_for_data(weight, conv_groups, groups, rank, second, cross=cross, support=support)
    if moments is None:
        # On data that were made up it would say nothing.
        factors = replace(factors, output_error=None)
    return factors, support


def power(weight: Array, conv_groups: int, second: Array | None = None) -> float:
    """tr(A S A^T), or ||A||_F^2."""
    blocks = weight.astype(np.float64).reshape(conv_groups, len(weight) // conv_groups, -1)  # (G, m/G, n)
    weighted = blocks
    if second is not None:
        weighted = blocks @ second
    # Rounding may leave a tiny negative sum, of which no root could be taken.
    return max(float(np.sum(weighted * blocks)), 0.0)


def ratio(part: float, whole: float) -> float:
    """sqrt(part / whole)."""
    if whole <= 0:
        # A weight of zeros is kept without error.
        return 0.0
    return math.sqrt(part / whole)
