"""A low-rank pair on the array: both stages, each with its best window."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rankfold.errors import InputError
from rankfold.mapping.array import ArraySpec
from rankfold.mapping.layer import Mapping, map_layer
from rankfold.workload.shape import ConvShape

LOW_RANK_METHODS = ("im2col", "sdk")


@dataclass(frozen=True)
class LowRankMapping:
    """The two stages of W ~ L R_ on an array.

    Attributes:
        method: `im2col` or `sdk`.
        stage1: SDK(R_), a grouped convolution to G*g*r channels.
        stage2: I_N (x) L, a 1x1 convolution to m channels.
    """

    method: str
    stage1: Mapping
    stage2: Mapping

    @property
    def array(self) -> ArraySpec:
        """The array both stages are mapped on."""
        return self.stage1.array

    @property
    def cycles(self) -> int:
        """(window, tile) activations per image of both stages."""
        return self.stage1.cycles + self.stage2.cycles


def map_low_rank(shape: ConvShape, array: ArraySpec, groups: int, rank: int, method: str) -> LowRankMapping:
    """Map the low-rank pair that stands for a convolution.

    By Theorem 2 of Jeon et al. (2025), SDK(L R_) = (I_N (x) L) SDK(R_), so both stages can yield many pixels per cycle.

    Args:
        shape: the dense convolution.
        array: R x C.
        groups: g, low-rank groups in each group of the convolution.
        rank: r of each.
        method: `im2col` (both stages one pixel at a time) or `sdk` (the best window for each stage).

    Raises:
        InputError: unknown method, or groups that do not divide the input channels.
    """
    if method not in LOW_RANK_METHODS:
        raise InputError(f"mapping of a low-rank pair (={method}) must be one of {', '.join(LOW_RANK_METHODS)}")
    middle = shape.groups * groups * rank
    stage1 = replace(shape, out_channels=middle, groups=shape.groups * groups)
    stage2 = ConvShape(shape.name, middle, shape.m, (1, 1), shape.output, groups=shape.groups)
    window = "im2col" if method == "im2col" else "best"
    return LowRankMapping(method, map_layer(stage1, array, window), map_layer(stage2, array, window))
