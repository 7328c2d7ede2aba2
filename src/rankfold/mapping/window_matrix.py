"""The dense matrix of a window: its shape as a convolution, and the shifted copies that it starts from.

A window of a x b output pixels of a convolution with kernel (kh, kw), stride s and dilation d reads a box of

    ph = (a-1) s + (kh-1) d + 1        rows of its input, and as many columns pw for b,

and gives N m outputs, N = a b. All of these are linear in the box, so that one matrix W_win of N m rows and
C_in ph pw columns computes the window. Pixel (i, j) reads input (y, x) of the box with the kernel's tap
(u, v) if and only if y = i s + u d and x = j s + v d, so that

    W_win[(i, j, o), (c, i s + u d, j s + v d)] = W[o, c, u, v],        zero elsewhere:

shifted copies of one kernel, which SDK stores (Zhang et al., TCAD 2020). A convolution of kernel (ph, pw) and
stride (a s, b s) with these weights gives all windows of the plane, its N m channels being their pixels.
The zeros between the copies take cells like any weight: a window layer lets all of them be weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.array import ArraySpec
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import ConvShape, Pair


def window_fits(shape: ConvShape, window: Pair) -> bool:
    """Whether a window of (a, b) output pixels has a pixel and is no larger than the output plane."""
    return all(1 <= side <= size for side, size in zip(window, shape.output, strict=True))


def check_window(shape: ConvShape, window: Pair) -> None:
    """Refuse a window that a layer cannot have.

    Args:
        shape: the layer.
        window: (a, b) output pixels.

    Raises:
        InputError: the window is larger than the output plane, or has no pixel.
    """
    (a, b), (height, width) = window, shape.output
    if not window_fits(shape, window):
        raise InputError(
            f"layer {shape.name}: a window of {a}x{b} output pixels does not fit its plane of "
            f"{height}x{width}; give one of at most that size"
        )


def window_box(shape: ConvShape, window: Pair) -> Pair:
    """(ph, pw) inputs that a window of (a, b) output pixels reads of each channel."""
    height = (window[0] - 1) * shape.stride[0] + shape.extent[0]
    width = (window[1] - 1) * shape.stride[1] + shape.extent[1]
    return height, width


def window_shape(shape: ConvShape, window: Pair) -> ConvShape:
    """The convolution that computes all windows of a layer at once: N m outputs, kernel (ph, pw), stride
    (a s, b s).

    Where the window does not divide the plane, the last windows reach beyond it: zeros are added below and on
    the right until they fit, and the outputs beyond the plane are computed for nothing. That takes
    ceil(OH/a) * ceil(OW/b) windows, as many as windows that overlap would.

    Args:
        shape: the layer.
        window: (a, b) output pixels.

    Raises:
        InputError: see `check_window`.
    """
    check_window(shape, window)
    stride = window[0] * shape.stride[0], window[1] * shape.stride[1]
    missing = overhang(shape.output, shape.stride, window)
    top, bottom, left, right = shape.padding
    return replace(
        shape,
        out_channels=shape.m * window[0] * window[1],
        kernel=window_box(shape, window),
        stride=stride,
        padding=(top, bottom + missing[0], left, right + missing[1]),
        dilation=(1, 1),
    )


def overhang(output: Pair, stride: Pair, window: Pair) -> Pair:
    """Zeros (below, on the right) that the last windows read beyond a plane which the window does not divide.

    Args:
        output: (OH, OW) of the layer.
        stride: (vertical, horizontal) of the layer.
        window: (a, b) output pixels.
    """
    # So many pixels lack to whole windows, and each begins a stride after the one before.
    below = -output[0] % window[0] * stride[0]
    right = -output[1] % window[1] * stride[1]
    return below, right


def window_weight(
    weight: np.ndarray,
    groups: int,
    stride: Pair,
    dilation: Pair,
    window: Pair,
) -> np.ndarray:
    """The matrix of a window as it starts: shifted copies of the kernel.

    Args:
        weight: (m, C_in/G, kh, kw).
        groups: G of the layer.
        stride: (vertical, horizontal) of the layer.
        dilation: likewise.
        window: (a, b) output pixels.

    Returns:
        (m*a*b, C_in/G, ph, pw), a weight of `window_shape`. Within each group come the m/G outputs of the
        first pixel, then those of the next one, row by row, so that a copy of the kernel stays together.
    """
    outputs, channels, kh, kw = weight.shape
    a, b = window
    # From the first tap to behind the last one.
    height = (kh - 1) * dilation[0] + 1
    width = (kw - 1) * dilation[1] + 1
    box = (a - 1) * stride[0] + height, (b - 1) * stride[1] + width
    kernels = weight.reshape(groups, outputs // groups, channels, kh, kw)
    matrix = np.zeros((groups, a, b, outputs // groups, channels, *box), weight.dtype)
    for i in range(a):
        for j in range(b):
            top, left = i * stride[0], j * stride[1]
            rows = slice(top, top + height, dilation[0])
            columns = slice(left, left + width, dilation[1])
            matrix[:, i, j, ..., rows, columns] = kernels
    return matrix.reshape(outputs * a * b, channels, *box)


@dataclass(frozen=True)
class WindowMatrix:
    """Which layer a mapped matrix computes windows of.

    Attributes:
        layer: the convolution as it was.
        window: (a, b) output pixels.
    """

    layer: ConvShape
    window: Pair

    @property
    def pixel_of_output(self) -> np.ndarray:
        """(m*a*b,) the pixel of the window, row by row, that each output of the matrix is."""
        pixels = np.arange(self.window[0] * self.window[1])
        of_group = np.repeat(pixels, self.layer.m // self.layer.groups)
        return np.tile(of_group, self.layer.groups)

    @property
    def copies(self) -> np.ndarray:
        """(a*b, ph, pw) booleans: inputs of a channel that the copy of the kernel for each pixel reads."""
        kernel = np.ones((1, 1, *self.layer.kernel), bool)
        return window_weight(kernel, 1, self.layer.stride, self.layer.dilation, self.window)[:, 0]

    def copied(self, channels: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(a*b, rows) booleans: inputs, each (rows,), that the copy for each pixel reads."""
        return self.copies[:, y, x]

    @property
    def placed(self) -> Pair:
        """(a, b) places of a plane that the outputs of one window take."""
        return self.window

    @property
    def outputs(self) -> tuple[int, Pair]:
        """Channels and (height, width) of the plane that the outputs are put into."""
        return self.layer.m, self.layer.output


def window_cycles(shape: ConvShape, window: Pair, array: ArraySpec, rows: int | None = None) -> int:
    """Cycles of a layer whose windows are computed by one matrix each: ceil(OH/a) * ceil(OW/b) * tiles.

    Without groups a matrix has ceil(rows/R) * ceil(N m/C) tiles; the blocks of groups share arrays.

    Args:
        shape: the layer.
        window: (a, b) output pixels.
        array: R x C, columns counted in weights.
        rows: inputs of each group that are driven; None, or more than there are: all.
    """
    whole = window_shape(shape, window)
    driven = whole.n
    if rows is not None:
        driven = min(rows, whole.n)
    return matrix_cycles(whole, driven, whole.m, array)


def matrix_cycles(whole: ConvShape, inputs: int, outputs: int, array: ArraySpec) -> int:
    """Cycles of one dense matrix, or of one for each group, that is run once for each window of a plane.

    Args:
        whole: the convolution whose output pixels are the windows, with the groups.
        inputs: rows of each group's matrix.
        outputs: columns of all groups' matrices together.
        array: R x C, columns counted in weights.
    """
    height, width = whole.output
    return height * width * _matrix_tiles(whole.groups, inputs, outputs, array)


@lru_cache(maxsize=1 << 14)
def _matrix_tiles(groups: int, inputs: int, outputs: int, array: ArraySpec) -> int:
    """The tiles of one dense matrix, or of one for each group, see `matrix_cycles`."""
    # Tiles are cut row by row, so that it makes no difference which inputs of a group these are: they are
    # counted as so many channels of a single pixel.
    plain = ConvShape(
        "", in_channels=groups * inputs, out_channels=outputs, kernel=(1, 1), input=(1, 1), groups=groups
    )
    footprint = Footprint(plain)
    return int(Windows.single(footprint, array, (1, 1)).tiles(Block.whole(footprint))[0])


def filling_window(runs: Sequence[ConvShape], array: ArraySpec, row_tiles: int) -> Pair:
    """The window whose matrix of so many row tiles computes a layer in the fewest cycles.

    All windows are tried whose outputs, of each group, fit one row of the array, N m/G <= C, and a single
    pixel; with the rows of k tiles, or with all inputs where these are fewer. Windows of several column tiles
    may need fewer cycles for k row tiles, where single pixels leave columns idle; but at as many cycles they
    drive a smaller share of their inputs (3x3 and 1x1 kernels; see docs/windows.md), so that they are left
    to those who ask for them.

    Args:
        runs: the layer, on every plane that it runs on.
        array: R x C, columns counted in weights.
        row_tiles: k.

    Returns:
        (a, b); see `fewest_cycles`.
    """

    def cycles(run: ConvShape, window: Pair) -> int:
        return window_cycles(run, window, array, row_tiles * array.rows)

    return fewest_cycles(runs, pixels_in_a_row(runs[0], array), cycles)


def pixels_in_a_row(shape: ConvShape, array: ArraySpec) -> int:
    """Pixels of the largest window whose outputs, of each group, fit one row of the array: N m/G <= C.

    Groups read inputs of their own, so that the matrices of two groups never share a row that both drive:
    with k R inputs each takes whole row tiles, of which the outputs of one group alone are read.

    Args:
        shape: the layer.
        array: R x C, columns counted in weights.

    Returns:
        C // (m/G); 0 where not even those of a single pixel fit.
    """
    return array.columns // (shape.m // shape.groups)


def fewest_cycles(
    runs: Sequence[ConvShape],
    pixels: int,
    cycles: Callable[[ConvShape, Pair], int],
) -> Pair:
    """The window with which all runs of a layer together need the fewest cycles.

    Of windows that need as many, the one that reads the fewest inputs is taken, as so many rows say most of a
    small box; then the one with the fewest weights, then the widest.

    Args:
        runs: the layer, on every plane that it runs on.
        pixels: of the largest window; a single pixel is always tried.
        cycles: of one run with windows (a, b).

    Returns:
        (a, b), which fits every plane.
    """
    height = min(run.output[0] for run in runs)
    width = min(run.output[1] for run in runs)
    most = max(1, pixels)
    judged = []
    for a in range(1, min(height, most) + 1):
        for b in range(1, min(width, most // a) + 1):
            needed = sum(cycles(run, (a, b)) for run in runs)
            inputs = window_shape(runs[0], (a, b)).n
            judged.append(((needed, inputs, a * b, a), (a, b)))
    _, window = min(judged)
    return window
