"""A low-rank pair on the array: each stage with its best window, or both with the same one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.layer import map_layer, map_one_window, map_with_window
from rankfold.mapping.mapping import Mapping
from rankfold.mapping.names import window_name, windows_named
from rankfold.mapping.windows import Block, Windows
from rankfold.notebooks import Shown, in_brackets
from rankfold.workload.shape import ConvShape

LOW_RANK_METHODS = ("im2col", "sdk", "best")


@dataclass(frozen=True)
class LowRankMapping(Shown):
    """The two stages of W ~ L R_ on an array.

    Attributes:
        method: `im2col`, `sdk`, `best`, or two windows such as `4x8+2x2`.
        stage1: SDK(R_), a grouped convolution to G*g*r channels.
        stage2: I_N (x) L, a 1x1 convolution to m channels.
    """

    method: str
    stage1: Mapping
    stage2: Mapping

    def __repr__(self) -> str:
        words = f"of {self.stage1.shape.name}: {self.method} on {self.array}"
        return in_brackets("LowRankMapping", f"{words}, {self.cycles:,} cycles")

    @property
    def array(self) -> ArraySpec:
        """The array both stages are mapped on."""
        return self.stage1.array

    @property
    def stages(self) -> tuple[Mapping, ...]:
        """The stored matrices, in the order in which they run."""
        return self.stage1, self.stage2

    @property
    def cycles(self) -> int:
        """(window, tile) activations per image of both stages."""
        return self.stage1.cycles + self.stage2.cycles

    @property
    def conversions(self) -> int:
        """Columns converted by ADCs per image of both stages."""
        return self.stage1.conversions + self.stage2.conversions

    @cached_property
    def shared(self) -> LowRankMapping:
        """Both stages with the one window best for the pair: stage 1's outputs feed stage 2 without a buffer.

        Method `im2col` shares the single pixel already.
        """
        if self.method == "im2col":
            return self
        # The support itself, also where stage 1 stores zeros for what it drops.
        support = self.stage1.support
        first = Footprint.of(self.stage1.shape, support)
        second = Footprint(self.stage2.shape)
        windows = Windows.minimal(first, self.array)
        same = Windows(
            second,
            self.array,
            windows.a,
            windows.b,
        )
        # (W,) each
        first_tiles = windows.tiles(Block.whole(first))
        second_tiles = same.tiles(Block.whole(second))
        cycles = windows.positions * (first_tiles + second_tiles)
        window = windows.window(int(cycles.argmin()))
        return LowRankMapping(
            self.method,
            map_with_window(
                self.stage1.shape,
                self.array,
                window,
                support,
            ),
            map_with_window(self.stage2.shape, self.array, window),
        )


@lru_cache(maxsize=8192)
def low_rank_stages(
    shape: ConvShape,
    groups: int,
    rank: int,
) -> tuple[ConvShape, ConvShape]:
    """The convolutions of the two stages.

    Args:
        shape: the dense convolution, with G groups of its own.
        groups: g, low-rank groups in each of them.
        rank: r of each low-rank group.

    Returns:
        The convolution C_in -> G*g*r with G*g groups, and the 1x1 convolution G*g*r -> m with G groups.

    Raises:
        InputError: g does not divide the input channels of a group, or r is below 1.
    """
    channels = shape.in_channels // shape.groups
    if groups < 1 or channels % groups:
        raise InputError(
            f"layer {shape.name}: groups (={groups}) must divide its {channels} input channels per group"
        )
    if rank < 1:
        raise InputError(f"layer {shape.name}: rank (={rank}) must be 1 or more")
    # Each block of input channels has r rows of R_ of its own, and L joins all blocks of a group.
    blocks = shape.groups * groups
    middle = blocks * rank
    first = replace(
        shape,
        out_channels=middle,
        groups=blocks,
        kind="conv",
    )
    second = ConvShape(
        shape.name,
        middle,
        shape.m,
        (1, 1),
        shape.output,
        groups=shape.groups,
    )
    return first, second


def map_low_rank(
    shape: ConvShape,
    array: ArraySpec,
    groups: int,
    rank: int,
    method: str,
    support: np.ndarray | None = None,
) -> LowRankMapping:
    """Map the low-rank pair that stands for a convolution.

    By Theorem 2 of Jeon et al. (2025), SDK(L R_) = (I_N (x) L) SDK(R_), so both stages can yield many pixels
    per cycle.

    Args:
        shape: the dense convolution.
        array: R x C.
        groups: g, low-rank groups in each group of the convolution.
        rank: r of each.
        method: `im2col` (both stages one pixel at a time), `sdk` (one window for each stage, the best for
            it), `best` (each stage as `map_layer` maps it with `best`), or a window for each stage, such as
            `4x8+2x2`.
        support: (C_in, kh*kw) booleans, the kernel positions that R_ uses; None: all. As in `map_layer`, a
            support never costs cycles.

    Raises:
        InputError: unknown method, groups or rank that do not fit the layer, or a support that does not.
    """
    windows = windows_named(method)
    if method not in LOW_RANK_METHODS and len(windows) != 2:
        raise InputError(
            f"mapping of a low-rank pair (={method}) must be one of {', '.join(LOW_RANK_METHODS)}, or two "
            "windows such as 4x8+2x2"
        )
    first, second = low_rank_stages(shape, groups, rank)
    if windows:
        return LowRankMapping(
            method,
            map_layer(first, array, window_name(windows[:1]), support),
            map_layer(second, array, window_name(windows[1:])),
        )
    if method == "sdk":
        return LowRankMapping(
            method,
            map_one_window(first, array, support),
            map_one_window(second, array),
        )
    return LowRankMapping(
        method,
        map_layer(first, array, method, support),
        map_layer(second, array, method),
    )
