"""A low-rank pair of a window's matrix: two dense matrices, run once for each window.

The matrix W_win (N m x |S|) of a window of N = a b pixels (see `window_matrix`) becomes L R of rank q:

    z[window] = R x[window, S],   R: q x |S|        y[window] = L z[window],   L: N m x q.

A pair W ~ L' R' of the kernel, of rank r, is the case q = N r in which R holds shifted copies of R' and L is
I_N (x) L' (Jeon et al., DATE 2025, Theorem 2). Here no cell of R or L is bound to be a copy or a zero. While
an array has q rows, stage 2 takes ceil(N m/C) activations a window, the least that any layer needs: the
blocks off the diagonal of I_N (x) L' cost nothing then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from rankfold.mapping.array import ArraySpec
from rankfold.mapping.layer import map_layer
from rankfold.mapping.low_rank import LowRankMapping
from rankfold.mapping.window_matrix import WindowMatrix, fewest_cycles, matrix_cycles, window_shape
from rankfold.workload.shape import ConvShape, Pair

MAPPING = "im2col"  # of both stages: the windows are the layer's own


def window_low_rank_stages(shape: ConvShape, window: Pair, rank: int) -> tuple[ConvShape, ConvShape]:
    """The convolutions of the two stages.

    Args:
        shape: the layer, with G groups.
        window: (a, b) output pixels.
        rank: q, of each group's matrix.

    Returns:
        The convolution of the window's box to G*q values a window, and the 1x1 convolution of these to m*a*b
        outputs, both with G groups.

    Raises:
        InputError: see `mapping.window_matrix.check_window`.
    """
    whole = window_shape(shape, window)
    middle = shape.groups * rank
    first = replace(whole, out_channels=middle)
    second = ConvShape(shape.name, middle, whole.m, (1, 1), whole.output, groups=shape.groups)
    return first, second


@dataclass(frozen=True)
class _OfPair(WindowMatrix):
    """A matrix of such a pair.

    Attributes:
        rank: q, of each group.
    """

    rank: int

    @property
    def pixel_of_value(self) -> np.ndarray:
        """(G*q,) the pixel of the window that each value would serve if all pixels had as many of their own,
        as those of a pair of the kernel have.
        """
        pixels = self.window[0] * self.window[1]
        of_group = np.arange(self.rank) * pixels // self.rank
        return np.tile(of_group, self.layer.groups)


@dataclass(frozen=True)
class WindowValues(_OfPair):
    """R, the first matrix, whose outputs are values of a window."""

    @property
    def pixel_of_output(self) -> np.ndarray:
        """`pixel_of_value`."""
        return self.pixel_of_value

    @property
    def placed(self) -> Pair:
        """One place of the plane of windows."""
        return 1, 1

    @property
    def outputs(self) -> tuple[int, Pair]:
        """G*q values of each window."""
        return self.layer.groups * self.rank, window_shape(self.layer, self.window).output


@dataclass(frozen=True)
class WindowOutputs(_OfPair):
    """L, the second matrix, whose inputs are values of a window."""

    def copied(self, channels: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(a*b, rows) booleans: values that I_N (x) L' would have for each pixel."""
        pixels = np.arange(self.window[0] * self.window[1])
        return self.pixel_of_value[channels] == pixels[:, None]


def map_window_low_rank(
    shape: ConvShape,
    array: ArraySpec,
    window: Pair,
    rank: int,
    support: np.ndarray | None = None,
) -> LowRankMapping:
    """Both matrices on arrays, each run once for each window of the plane.

    Args:
        shape: the layer.
        array: R x C, columns counted in weights.
        window: (a, b) output pixels.
        rank: q, of each group's matrix.
        support: (C_in, ph*pw) booleans, the inputs of a window that are driven; None: all.

    Raises:
        InputError: the window or the support do not fit the layer.
    """
    first, second = window_low_rank_stages(shape, window, rank)
    values = map_layer(first, array, MAPPING, support)
    outputs = map_layer(second, array, MAPPING)
    return LowRankMapping(
        MAPPING,
        replace(values, matrix=WindowValues(shape, window, rank)),
        replace(outputs, matrix=WindowOutputs(shape, window, rank)),
    )


def window_low_rank_cycles(
    shape: ConvShape,
    window: Pair,
    rank: int,
    array: ArraySpec,
    rows: int | None = None,
) -> int:
    """Cycles of both stages, found without their tiles.

    Without groups windows * (ceil(rows/R) * ceil(q/C) + ceil(q/R) * ceil(N m/C)).

    Args:
        shape: the layer.
        window: (a, b) output pixels.
        rank: q, of each group's matrix.
        array: R x C, columns counted in weights.
        rows: inputs of each group that are driven; None, or more than there are: all.
    """
    whole = window_shape(shape, window)
    driven = whole.n
    if rows is not None:
        driven = min(rows, whole.n)
    first = matrix_cycles(whole, driven, whole.groups * rank, array)
    return first + matrix_cycles(whole, rank, whole.m, array)


def window_rank(window: Pair, rank: Fraction) -> int:
    """q of a pair of rank r for each output pixel: N r, rounded down, at least 1."""
    return max(1, int(window[0] * window[1] * rank))


def cheapest_window(
    runs: Sequence[ConvShape],
    array: ArraySpec,
    rank: Fraction,
    row_tiles: int | None,
) -> Pair:
    """The window whose pair, of rank r for each output pixel, computes a layer in the fewest cycles.

    All windows with N r <= R are tried, whose second stages have one row tile, and a single pixel.

    Args:
        runs: the layer, on every plane that it runs on.
        array: R x C, columns counted in weights.
        rank: r, see `window_rank`.
        row_tiles: k, tiles of R inputs that are driven; None: all inputs.

    Returns:
        (a, b); see `mapping.window_matrix.fewest_cycles`.
    """
    rows = None
    if row_tiles is not None:
        rows = row_tiles * array.rows

    def cycles(run: ConvShape, window: Pair) -> int:
        return window_low_rank_cycles(run, window, window_rank(window, rank), array, rows)

    return fewest_cycles(runs, int(array.rows / rank), cycles)
