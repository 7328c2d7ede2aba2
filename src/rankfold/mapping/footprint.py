"""`Footprint`: which inputs the output pixels of a window read, counted for many windows at once."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from rankfold.errors import InputError
from rankfold.workload.shape import ConvShape, Pair

Array = np.ndarray


@dataclass(frozen=True)
class Footprint:
    """The inputs that a convolution reads, with or without a kernel support.

    Attributes:
        shape: the convolution.
        mask: the support as bytes, C_in * kh * kw of 0 or 1; None: every kernel position is used.
    """

    shape: ConvShape
    mask: bytes | None = None

    @classmethod
    def of(cls, shape: ConvShape, support: Array | None) -> Footprint:
        """Check a support and take it in.

        Args:
            shape: the convolution.
            support: (C_in, kh*kw) booleans, or None.

        Raises:
            InputError: the support has another shape, is not boolean, or keeps no position at all.
        """
        if support is None:
            return cls(shape)
        wanted = (shape.in_channels, shape.kernel[0] * shape.kernel[1])
        if support.shape != wanted or support.dtype != np.bool_:
            raise InputError(
                f"layer {shape.name}: support (={support.dtype} {support.shape}) must be boolean, (C_in, kh*kw) = {wanted}"
            )
        if not support.any():
            raise InputError(f"layer {shape.name}: support must keep at least one kernel position; drop the layer instead")
        return cls(shape, None if support.all() else support.astype(np.uint8).tobytes())

    @cached_property
    def support(self) -> Array:
        """(C_in, kh, kw) booleans: the kernel positions that any output uses."""
        full = (self.shape.in_channels, *self.shape.kernel)
        return np.ones(full, bool) if self.mask is None else np.frombuffer(self.mask, np.uint8).reshape(full).astype(bool)

    @cached_property
    def patterns(self) -> Array:
        """(P, kh, kw) booleans: the distinct supports of an input channel."""
        if self.mask is None:
            return np.ones((1, *self.shape.kernel), bool)
        return np.unique(self.support, axis=0)

    @cached_property
    def pattern_of(self) -> Array:
        """(G, C_in/G) which of the patterns each input channel of each group has."""
        grid = (self.shape.groups, self.shape.in_channels // self.shape.groups)
        if self.mask is None:
            return np.zeros(grid, int)
        return np.unique(self.support, axis=0, return_inverse=True)[1].reshape(grid)

    @cached_property
    def kept(self) -> int:
        """Kernel positions in use, summed over the input channels."""
        shape = self.shape
        return shape.in_channels * shape.kernel[0] * shape.kernel[1] if self.mask is None else int(self.support.sum())

    @property
    def macs(self) -> int:
        """Multiply-accumulates with the weights that the support keeps, for one image."""
        shape = self.shape
        return self.kept * (shape.m // shape.groups) * shape.output[0] * shape.output[1]

    @cached_property
    def apart(self) -> tuple[bool, bool]:
        """Whether neighbouring output pixels read no input in common, vertically and horizontally."""
        shape = self.shape
        return shape.stride[0] >= shape.extent[0], shape.stride[1] >= shape.extent[1]

    @property
    def spacing(self) -> Pair:
        """Pixels this far apart share inputs, those between them do not: d / gcd(s, d), more than 1 only with dilation."""
        shape = self.shape
        down, right = (
            d // math.gcd(s, d) if k > 1 else 1 for k, s, d in zip(shape.kernel, shape.stride, shape.dilation, strict=True)
        )
        return down, right

    def spaced(self, outputs: Pair | None = None) -> Footprint:
        """The convolution that yields every `spacing`-th output pixel: of dilation 1 where that is not 1.

        A dilated convolution is as many interleaved convolutions as its spacing, none of which reads the others' inputs.

        Args:
            outputs: how many output pixels; None: as many as the first of the interleaved convolutions yields.
        """
        shape = self.shape
        if outputs is None:
            height, width = (-(-size // q) for size, q in zip(shape.output, self.spacing, strict=True))
            outputs = height, width
        axes = zip(self.spacing, shape.stride, shape.dilation, strict=True)
        steps = [(s, d) if q == 1 else (s * q // d, 1) for q, s, d in axes]
        size = [(n - 1) * s + (k - 1) * d + 1 for n, k, (s, d) in zip(outputs, shape.kernel, steps, strict=True)]
        (down, dilation), (right, dilation_right) = steps
        return Footprint(
            replace(
                shape, input=(size[0], size[1]), stride=(down, right), padding=(0, 0, 0, 0), dilation=(dilation, dilation_right)
            ),
            self.mask,
        )

    def joined(self, a: Array, b: Array) -> tuple[Array, Array]:
        """The part of an a x b window whose pixels share inputs: 1 instead of a (or b) where pixels read apart."""
        return np.ones_like(a) if self.apart[0] else a, np.ones_like(b) if self.apart[1] else b

    def histogram(self, channels: Pair) -> Array:
        """(G', P) channels of each pattern in `channels` of each group; one row if all groups are alike, else G rows."""
        start, stop = channels
        if self.mask is None:
            return np.array([[stop - start]])
        part = self.pattern_of[:, start:stop]
        counts = np.stack([np.bincount(row, minlength=len(self.patterns)) for row in part])
        return counts[:1] if (counts == counts[0]).all() else counts

    def inputs(self, a: Array, b: Array) -> Array:
        """(P, W) inputs of one channel that W windows of a x b pixels read, by pattern."""
        if self.mask is None:
            return (self._line(0, None)[a] * self._line(1, None)[b])[None]
        return np.stack([self._pattern_inputs(pattern, a, b) for pattern in self.patterns])

    def last_inputs(self, a: Array, b: Array, last: Array) -> Array:
        """(P, W) inputs of one channel that the last `last` pixels (in row-major order) of each a x b window read."""
        if self.mask is None:
            tall, wide = self._line(0, None), self._line(1, None)
            rows, rest = last // b, last % b
            above = np.minimum(rows + 1, a)
            return (tall[rows] * wide[b] + (tall[above] - tall[rows]) * wide[rest])[None]
        found = np.zeros((len(self.patterns), len(a)), int)
        for i, (height, width, pixels) in enumerate(zip(a.tolist(), b.tolist(), last.tolist(), strict=True)):
            used = self.read_by(np.arange(height * width - pixels, height * width), (height, width))
            found[:, i] = used.sum(axis=(1, 2))
        return found

    def read_by(self, pixels: Array, window: Pair) -> Array:
        """(P, ph, pw) booleans: inputs under `window` that `pixels` (row-major numbers in it) read, by pattern."""
        shape = self.shape
        size = tuple((n - 1) * s + e for n, s, e in zip(window, shape.stride, shape.extent, strict=True))
        used = np.zeros((len(self.patterns), *size), bool)
        y, x = pixels // window[1] * shape.stride[0], pixels % window[1] * shape.stride[1]
        for pattern, ky, kx in np.argwhere(self.patterns).tolist():
            used[pattern, y + ky * shape.dilation[0], x + kx * shape.dilation[1]] = True
        return used

    def position(self, channel: Array, read: tuple[Array, Array], pixel: tuple[Array, Array]) -> Array:
        """The kernel position (row-major) by which an output pixel reads an input, -1 where it does not.

        Input (y, x) meets output (v, u) by ((y - v*s)/d, (x - u*s)/d). The arguments broadcast.

        Args:
            channel: input channels.
            read: (y, x) of the inputs under the window.
            pixel: (v, u) of the output pixels in the window.
        """
        shape = self.shape
        found: Array = np.zeros((), int)
        there: Array = np.ones((), bool)
        for axis in (0, 1):
            distance = read[axis] - pixel[axis] * shape.stride[axis]
            tap = distance // shape.dilation[axis]
            there = there & (tap >= 0) & (tap < shape.kernel[axis]) & (tap * shape.dilation[axis] == distance)
            found = found * shape.kernel[axis] + tap
        if self.mask is not None:
            kept = self.support.reshape(shape.in_channels, -1)
            there = there & kept[channel, np.where(there, found, 0)]
        return np.where(there, found, -1)

    def _line(self, axis: int, taps: tuple[int, ...] | None) -> Array:
        shape = self.shape
        taps = tuple(range(shape.kernel[axis])) if taps is None else taps
        return _inputs_of_line(taps, shape.stride[axis], shape.dilation[axis], shape.output[axis])

    def _pattern_inputs(self, pattern: Array, a: Array, b: Array) -> Array:
        """As `inputs`, for one pattern."""
        shape = self.shape
        taps = tuple((pattern @ (1 << np.arange(shape.kernel[1]))).tolist())
        tall, wide = (_reach(int(side.max()), most) for side, most in zip((a, b), shape.output, strict=True))
        return _inputs_of_pattern(taps, shape.stride, shape.dilation, (tall, wide))[a, b]


def _reach(side: int, most: int) -> int:
    """Up to which size inputs are counted where `side` is wanted: few different ones, so that they are counted once."""
    return min(most, max(64, 1 << (side - 1).bit_length()))


@lru_cache(maxsize=2048)
def _inputs_of_pattern(taps_of: tuple[int, ...], stride: Pair, dilation: Pair, outputs: Pair) -> Array:
    """(tallest+1, widest+1) inputs of one channel that windows of up to `outputs` pixels read with one pattern.

    An input row is read with the horizontal taps of all kernel rows that fall on it. So the input rows of a window of
    height a are counted by their set of taps, and each set's count over the widths is looked up. Layers have few patterns, and
    supports of one layer, or pairs on one support, ask for the same ones again.

    Args:
        taps_of: for each kernel row its taps, as a number.
        stride: vertical and horizontal.
        dilation: vertical and horizontal.
        outputs: (tallest, widest).
    """
    tallest, widest = outputs
    extent = (len(taps_of) - 1) * dilation[0] + 1
    rows = np.zeros((tallest - 1) * stride[0] + extent, int)
    table = np.zeros((tallest + 1, widest + 1), int)
    bits = max(taps_of).bit_length()
    for height in range(1, tallest + 1):
        start = (height - 1) * stride[0]
        rows[start : start + extent : dilation[0]] |= taps_of
        for tap, count in Counter(rows.tolist()).items():
            if tap:
                across = tuple(i for i in range(bits) if tap >> i & 1)
                table[height] += count * _inputs_of_line(across, stride[1], dilation[1], widest)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=4096)
def _inputs_of_line(taps: tuple[int, ...], stride: int, dilation: int, outputs: int) -> Array:
    """(outputs+1,) inputs along one axis that 0, 1, ... neighbouring outputs read with the given kernel taps."""
    if not taps:
        return np.zeros(outputs + 1, int)
    reads = np.arange(outputs)[:, None] * stride + np.array(taps) * dilation
    _, first = np.unique(reads, return_index=True)
    new = np.bincount(first // len(taps), minlength=outputs)
    line = np.concatenate(([0], np.cumsum(new)))
    line.setflags(write=False)
    return line
