"""`Footprint`: which inputs the output pixels of a window read, counted for many windows at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping.input_counts import inputs_of_line, inputs_of_pattern, reach
from rankfold.workload.shape import ConvShape, Pair

Array = np.ndarray
ArrayPair = tuple[np.ndarray, np.ndarray]


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
        height, width = shape.kernel
        wanted = (shape.in_channels, height * width)
        if support.shape != wanted or support.dtype != np.bool_:
            raise InputError(
                f"layer {shape.name}: support (={support.dtype} {support.shape}) must be boolean, "
                f"(C_in, kh*kw) = {wanted}"
            )
        if not support.any():
            raise InputError(
                f"layer {shape.name}: support must keep at least one kernel position; drop the layer instead"
            )
        # One footprint for one meaning: a support that keeps all is none.
        if support.all():
            return cls(shape)
        return cls(shape, support.astype(np.uint8).tobytes())

    @property
    def group_inputs(self) -> int:
        """Input channels of each group, C_in/G."""
        return self.shape.in_channels // self.shape.groups

    @property
    def group_outputs(self) -> int:
        """Output channels of each group, m/G."""
        return self.shape.m // self.shape.groups

    @cached_property
    def support(self) -> Array:
        """(C_in, kh, kw) booleans: the kernel positions that any output uses."""
        size = (self.shape.in_channels, *self.shape.kernel)
        if self.mask is None:
            return np.ones(size, bool)
        bits = np.frombuffer(self.mask, np.uint8)
        return bits.reshape(size).astype(bool)

    @cached_property
    def patterns(self) -> Array:
        """(P, kh, kw) booleans: the distinct supports of an input channel."""
        if self.mask is None:
            return np.ones((1, *self.shape.kernel), bool)
        patterns, _ = _patterns(self._reader)
        return patterns

    @cached_property
    def pattern_of(self) -> Array:
        """(G, C_in/G) which of the patterns each input channel of each group has."""
        size = (self.shape.groups, self.group_inputs)
        if self.mask is None:
            return np.zeros(size, int)
        _, pattern_of = _patterns(self._reader)
        return pattern_of.reshape(size)

    @cached_property
    def kept(self) -> int:
        """Kernel positions in use, summed over the input channels."""
        if self.mask is not None:
            return int(self.support.sum())
        height, width = self.shape.kernel
        return self.shape.in_channels * height * width

    @property
    def macs(self) -> int:
        """Multiply-accumulates with the weights that the support keeps, for one image."""
        height, width = self.shape.output
        return self.kept * self.group_outputs * height * width

    @cached_property
    def apart(self) -> tuple[bool, bool]:
        """Whether neighbouring output pixels read no input in common, vertically and horizontally."""
        shape = self.shape
        down, right = shape.stride
        tall, wide = shape.extent
        return down >= tall, right >= wide

    @property
    def spacing(self) -> Pair:
        """Pixels this far apart share inputs, those between them do not: d / gcd(s, d), 1 without dilation.

        Pixels i and j share inputs where (i - j)*s is a multiple of d, and so where i - j is one of d /
        gcd(s, d).
        """
        shape = self.shape
        spacing = [1, 1]
        for axis in (0, 1):
            stride = shape.stride[axis]
            dilation = shape.dilation[axis]
            if shape.kernel[axis] > 1:
                spacing[axis] = dilation // math.gcd(stride, dilation)
        return spacing[0], spacing[1]

    def spaced(self, outputs: Pair | None = None) -> Footprint:
        """The convolution that yields every `spacing`-th output pixel: of dilation 1 where that is not 1.

        A dilated convolution is as many interleaved convolutions as its spacing, none of which reads the
        others' inputs. Every q-th pixel, q = d / gcd(s, d), is q*s inputs after the one before, a multiple of
        d: of the inputs that are d apart, it skips q*s / d.

        Args:
            outputs: how many output pixels; None: as many as the first of the interleaved convolutions
                yields.
        """
        shape = self.shape
        spacing = self.spacing
        if outputs is None:
            height = -(-shape.output[0] // spacing[0])
            width = -(-shape.output[1] // spacing[1])
            outputs = height, width
        size = [0, 0]
        strides = [1, 1]
        dilations = [1, 1]
        for axis in (0, 1):
            stride = shape.stride[axis]
            dilation = shape.dilation[axis]
            if spacing[axis] > 1:
                stride = stride * spacing[axis] // dilation
                dilation = 1
            # From the first tap of the first pixel to the last tap of the last pixel.
            last_pixel = (outputs[axis] - 1) * stride
            last_tap = (shape.kernel[axis] - 1) * dilation
            size[axis] = last_pixel + last_tap + 1
            strides[axis] = stride
            dilations[axis] = dilation
        dense = replace(
            shape,
            input=(size[0], size[1]),
            stride=(strides[0], strides[1]),
            padding=(0, 0, 0, 0),
            dilation=(dilations[0], dilations[1]),
        )
        return Footprint(dense, self.mask)

    def joined(self, a: Array, b: Array) -> ArrayPair:
        """The part of an a x b window whose pixels share inputs: 1 for a (or b) where pixels read apart."""
        if self.apart[0]:
            a = np.ones_like(a)
        if self.apart[1]:
            b = np.ones_like(b)
        return a, b

    def histogram(self, channels: Pair) -> Array:
        """(G', P) channels of each pattern in `channels` of each group; G' is 1 if all groups are alike."""
        start, stop = channels
        if self.mask is None:
            return np.array([[stop - start]])
        own = self.pattern_of[:, start:stop]  # (G, c)
        groups, patterns = len(own), len(self.patterns)
        # Patterns of other groups count as others.
        numbers = own + np.arange(0, groups * patterns, patterns)[:, None]
        histogram = np.bincount(numbers.ravel(), minlength=groups * patterns).reshape(groups, patterns)
        if (histogram == histogram[0]).all():
            return histogram[:1]
        return histogram

    def inputs(self, a: Array, b: Array) -> Array:
        """(P, W) inputs of one channel that W windows of a x b pixels read, by pattern."""
        if self.mask is None:
            # Without a support the inputs under a window are a product of lines.
            tall, wide = self._lines
            down = tall[a]  # (W,)
            across = wide[b]  # (W,)
            return (down * across)[None]
        return _inputs(self._reader, a.tobytes(), b.tobytes())

    def last_inputs(
        self,
        a: Array,
        b: Array,
        last: Array,
    ) -> Array:
        """(P, W) inputs of one channel that the last `last` pixels (row-major) of each a x b window read."""
        if self.mask is None:
            # Whole rows of pixels, and the end of the row above them, which adds what these do not read yet.
            tall, wide = self._lines
            rows = last // b  # (W,)
            rest = last % b  # (W,)
            more_rows = np.minimum(rows + 1, a)
            by_rows = tall[rows] * wide[b]
            new = tall[more_rows] - tall[rows]
            by_rest = new * wide[rest]
            return (by_rows + by_rest)[None]
        by_window = []
        for height, width, pixels in zip(a.tolist(), b.tolist(), last.tolist(), strict=True):
            by_window.append(_last_inputs(self._reader, (height, width), pixels))
        return np.stack(by_window, axis=1)

    def read_by(self, pixels: Array, window: Pair) -> Array:
        """(P, ph, pw) booleans: inputs under `window` that `pixels` (row-major) of it read, by pattern."""
        shape = self.shape
        down, right = shape.stride
        height, width = window
        tall = (height - 1) * down + shape.extent[0]
        wide = (width - 1) * right + shape.extent[1]
        read = np.zeros((len(self.patterns), tall, wide), bool)
        # (pixels,) the input under the first tap of each
        y = pixels // width * down
        x = pixels % width * right
        for pattern, ky, kx in np.argwhere(self.patterns).tolist():
            below = ky * shape.dilation[0]
            beside = kx * shape.dilation[1]
            read[pattern, y + below, x + beside] = True
        return read

    def position(
        self,
        channel: Array,
        read: ArrayPair,
        pixel: ArrayPair,
    ) -> Array:
        """The kernel position (row-major) by which an output pixel reads an input, -1 where it does not.

        Input (y, x) meets output (v, u) by ((y - v*s)/d, (x - u*s)/d). The arguments broadcast.

        Args:
            channel: input channels.
            read: (y, x) of the inputs under the window.
            pixel: (v, u) of the output pixels in the window.
        """
        shape = self.shape
        position: Array = np.zeros((), int)
        there: Array = np.ones((), bool)
        # Axis by axis: which tap falls on the input, and whether one does.
        for axis in (0, 1):
            taps = shape.kernel[axis]
            dilation = shape.dilation[axis]
            start = pixel[axis] * shape.stride[axis]
            distance = read[axis] - start
            tap = distance // dilation
            within = (tap >= 0) & (tap < taps)
            there = there & within & (tap * dilation == distance)
            position = position * taps + tap
        if self.mask is not None:
            kept = self.support.reshape(shape.in_channels, -1)  # (C_in, kh*kw)
            index = np.where(there, position, 0)
            there = there & kept[channel, index]
        return np.where(there, position, -1)

    @cached_property
    def _reader(self) -> Footprint:
        """A convolution of one output that reads the same inputs: pairs on one support differ in outputs."""
        return Footprint(_one_output(self.shape), self.mask)

    @cached_property
    def _lines(self) -> ArrayPair:
        """`_line` of both axes."""
        return self._line(0), self._line(1)

    def _line(self, axis: int) -> Array:
        """Inputs along one axis by outputs, with all taps; see `inputs_of_line`."""
        shape = self.shape
        return inputs_of_line(
            tuple(range(shape.kernel[axis])),
            shape.stride[axis],
            shape.dilation[axis],
            shape.output[axis],
        )

    def pattern_inputs(
        self,
        pattern: Array,
        a: Array,
        b: Array,
    ) -> Array:
        """As `inputs`, for one pattern (kh, kw)."""
        shape = self.shape
        bit_of_tap = 1 << np.arange(shape.kernel[1])
        taps_of_rows = tuple((pattern @ bit_of_tap).tolist())  # kh numbers
        tall = reach(int(a.max()), shape.output[0])
        wide = reach(int(b.max()), shape.output[1])
        table = inputs_of_pattern(
            taps_of_rows,
            shape.stride,
            shape.dilation,
            (tall, wide),
        )
        return table[a, b]


@lru_cache(maxsize=4096)
def _one_output(shape: ConvShape) -> ConvShape:
    """The convolution with one output in all."""
    return replace(shape, out_channels=1, groups=1, kind="conv", zeros=0)


@lru_cache(maxsize=64)
def _patterns(reader: Footprint) -> ArrayPair:
    """(P, kh, kw) the distinct supports of an input channel, and (C_in,) which of them each one has."""
    patterns, pattern_of = np.unique(reader.support, axis=0, return_inverse=True)
    patterns.setflags(write=False)
    return patterns, pattern_of.reshape(-1)


@lru_cache(maxsize=64)
def _inputs(reader: Footprint, a: bytes, b: bytes) -> Array:
    """(P, W) `Footprint.inputs` under a support, for sides as bytes."""
    tall, wide = np.frombuffer(a, int), np.frombuffer(b, int)
    counts = np.stack([reader.pattern_inputs(pattern, tall, wide) for pattern in reader.patterns])
    counts.setflags(write=False)
    return counts


@lru_cache(maxsize=4096)
def _last_inputs(reader: Footprint, window: Pair, last: int) -> Array:
    """(P,) `Footprint.last_inputs` of one window."""
    pixels = window[0] * window[1]
    read = reader.read_by(np.arange(pixels - last, pixels), window)
    counts: Array = read.sum(axis=(1, 2))
    counts.setflags(write=False)
    return counts
