"""Truncated and grouped SVD of a convolution's weight, in float64, with the error of every layer."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.gram import is_large, lost_by_gram, truncate_by_gram
from rankfold.workload.shape import ConvShape

WHOLE = re.compile(r"[0-9]{1,9}")
FRACTION = re.compile(r"[0-9]{1,9}/[0-9]{1,9}|[0-9]?\.[0-9]{1,9}")
DECOMPOSITIONS = ("svd", "data", "sequential")
ROUNDINGS = ("nearest", "compensated")  # of weights to levels; the latter is in `lowrank.rounding`
ZERO_DENOMINATOR = re.compile(r"/0+$")


@dataclass(frozen=True)
class LowRankFactors:
    """The two factors of one convolution, W ~ L R_, as the weights of two convolutions.

    With G the groups the convolution itself has (1 for most), g the low-rank groups and r the rank of each:

    Attributes:
        reduce: R_ as the weight of a convolution with G*g groups, (G*g*r, C_in/(G*g), kh, kw).
        expand: L as the weight of a 1x1 convolution with G groups, (m, g*r, 1, 1).
        error: ||W - L R_||_F / ||W||_F.
        plain_error: the same at equal r with g = 1, by SVD. Theorem 1 of Jeon et al. (2025): `error <=
            plain_error` for a grouped SVD.
        output_error: ||(W - L R_) X||_F / ||W X||_F on calibration data X, where the factors were made for
            them.
    """

    reduce: np.ndarray
    expand: np.ndarray
    error: float
    plain_error: float
    output_error: float | None = None


def full_rank(shape: ConvShape, groups: int) -> int:
    """The largest useful rank of one block: min(m/G, C_in/(G*g) * kh * kw).

    Raises:
        InputError: `groups` does not divide the input channels of a group of the layer.
    """
    channels = shape.in_channels // shape.groups
    if groups < 1 or channels % groups:
        divisors = []
        for number in range(1, channels + 1):
            if channels % number == 0:
                divisors.append(str(number))
        raise InputError(
            f"layer {shape.name}: groups (={groups}) must divide its {channels} input channels; "
            f"use one of {', '.join(divisors)}"
        )
    return min(shape.m // shape.groups, shape.n // groups)


def check_rank(
    shape: ConvShape,
    groups: int,
    rank: int,
) -> None:
    """Refuse a (g, r) that the layer cannot have.

    Raises:
        InputError: groups do not divide the channels, or the rank is below 1 or above full rank.
    """
    limit = full_rank(shape, groups)
    if not 1 <= rank <= limit:
        raise InputError(
            f"layer {shape.name}: rank (={rank}) must lie between 1 and {limit}, "
            f"the full rank with {groups} groups"
        )


@dataclass(frozen=True)
class RankRule:
    """A rank given as a number, or as a fraction of a layer's output channels, of each of its groups.

    Attributes:
        value: the number, or the fraction.
        relative: whether it is a fraction.
    """

    value: Fraction
    relative: bool

    @classmethod
    def parse(cls, text: str) -> RankRule:
        """Read `4` as rank 4 and `1/8` or `0.125` as an eighth of the output channels.

        Raises:
            InputError: not a positive whole number and not a fraction below one.
        """
        plain = text.strip()
        relative = not WHOLE.fullmatch(plain)
        is_fraction = FRACTION.fullmatch(plain) and not ZERO_DENOMINATOR.search(plain)
        value = Fraction(0)
        if is_fraction or not relative:
            value = Fraction(plain)
        # A fraction of one or more is refused, as it would read like a rank: is 4/2 rank 2, or twice the
        # outputs?
        if value <= 0 or (relative and value >= 1):
            raise InputError(
                f"rank (={text}) must be a whole number such as 4 "
                "or a fraction of the output channels such as 1/8"
            )
        return cls(value, relative)

    def rank(self, shape: ConvShape) -> int:
        """The rank it means for `shape`.

        Raises:
            InputError: the fraction of the output channels is not a whole number.
        """
        if not self.relative:
            return int(self.value)
        outputs = shape.m // shape.groups
        rank = self.value * outputs
        if rank.denominator != 1:
            raise InputError(
                f"layer {shape.name}: rank {self.value} of {outputs} output channels is not a whole number; "
                "give a number or another fraction, or fit=True for the next lower one"
            )
        return int(rank)


def decompose(
    weight: np.ndarray,
    conv_groups: int,
    groups: int,
    rank: int,
) -> LowRankFactors:
    """Decompose a convolution's weight by (grouped) truncated SVD, the best in Frobenius norm.

    That it is the best is the theorem of Eckart & Young (1936). The singular values are shared evenly, L = U
    sqrt(S) and R_ = sqrt(S) V^T, so that under gradient descent both factors see gradients of the same size.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        groups: g, blocks of input channels in each of the G groups.
        rank: r, rank of each block.

    Raises:
        InputError: the weight is not finite, or groups or rank do not fit its shape.
    """
    check_weight(weight, conv_groups, groups, rank)
    m, channels, kh, kw = weight.shape
    n = channels * kh * kw
    by_group = weight.astype(np.float64).reshape(
        conv_groups,
        m // conv_groups,
        groups,
        n // groups,
    )
    # (G, m/G, g, n/g) -> (G, g, m/G, n/g): columns are grouped by input channel, so a block is a slice of
    # them.
    blocks = by_group.swapaxes(1, 2)
    left, right, error = _truncate(blocks, rank)
    error_of_one = error
    if groups > 1:
        error_of_one = plain_error(weight, conv_groups, rank)
    return LowRankFactors(
        reduce=right.reshape(
            conv_groups * groups * rank,
            channels // groups,
            kh,
            kw,
        ),
        # (G, g, m/G, r) -> (G, m/G, g, r): L = [L_1 ... L_g]
        expand=left.swapaxes(1, 2).reshape(m, groups * rank, 1, 1),
        error=error,
        plain_error=error_of_one,
    )


def plain_error(
    weight: np.ndarray,
    conv_groups: int,
    rank: int,
) -> float:
    """||W - L R_||_F / ||W||_F by SVD of a given rank with one low-rank group.

    Args:
        weight: (m, C_in/G, kh, kw).
        conv_groups: G.
        rank: r.
    """
    outputs = len(weight) // conv_groups
    dense = weight.astype(np.float64).reshape(conv_groups, outputs, -1)
    if is_large(dense):
        lost = lost_by_gram(dense, rank)
        if lost is not None:
            return lost
    values = np.linalg.svd(dense, compute_uv=False)  # (G, min(m/G, n))
    return _lost(values, rank)


def check_weight(
    weight: np.ndarray,
    conv_groups: int,
    groups: int,
    rank: int,
) -> None:
    """Refuse a weight that is not (m, C_in/G, kh, kw) and finite, or cannot have these groups and this rank.

    Raises:
        InputError: one of these.
    """
    if weight.ndim != 4 or not np.isfinite(weight).all():
        raise InputError(
            f"a weight of shape {weight.shape} cannot be decomposed: "
            "it must be (m, C_in/G, kh, kw) and finite"
        )
    m, channels, kh, kw = weight.shape
    shape = ConvShape(
        "weight",
        channels * conv_groups,
        m,
        (kh, kw),
        (kh, kw),
        groups=conv_groups,
    )
    check_rank(shape, groups, rank)


def reconstruct(
    factors: LowRankFactors,
    conv_groups: int,
    groups: int,
) -> np.ndarray:
    """The dense weight (m, C_in/G, kh, kw) that the two factors stand for."""
    m = len(factors.expand)
    rows, per_group, kh, kw = factors.reduce.shape
    rank = rows // (conv_groups * groups)
    expand = factors.expand.reshape(
        conv_groups,
        m // conv_groups,
        groups,
        rank,
    )
    left = expand.swapaxes(1, 2)  # (G, g, m/G, r)
    right = factors.reduce.reshape(
        conv_groups,
        groups,
        rank,
        per_group * kh * kw,
    )
    blocks = left @ right  # (G, g, m/G, n/g)
    by_output = blocks.swapaxes(1, 2)  # (G, m/G, g, n/g)
    return by_output.reshape(m, groups * per_group, kh, kw)


def _truncate(blocks: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Balanced factors (..., m, r) and (..., r, n) of every block, and the relative error over all blocks."""
    if is_large(blocks):
        by_gram = truncate_by_gram(blocks, rank)
        if by_gram is not None:
            return by_gram
    # (..., m, k), (..., k), (..., k, n)
    u, s, vt = np.linalg.svd(blocks, full_matrices=False)
    root = np.sqrt(s[..., :rank])  # (..., r)
    left = u[..., :rank] * root[..., None, :]
    right = root[..., :, None] * vt[..., :rank, :]
    return left, right, _lost(s, rank)


def _lost(values: np.ndarray, rank: int) -> float:
    """The relative error of omitting the singular values (..., k) from `rank` on."""
    largest = float(values.max())
    if largest == 0:
        return 0.0
    scaled = values / largest  # squares of very small weights would vanish
    lost = np.sum(scaled[..., rank:] ** 2)
    whole = np.sum(scaled**2)
    return math.sqrt(float(lost / whole))
