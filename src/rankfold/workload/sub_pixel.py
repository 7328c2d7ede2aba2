"""Transposed convolutions as the sub-pixel convolutions that they equal: one matrix, one input vector.

Along one axis a transposed convolution of kernel k, stride s and dilation d, of which p outputs are cut off
in front and e behind (e = p - output padding), is

    y[q - p] = sum over t of w[t] x[i],   q = s i + d t.

Write q = s b + r, with the block b and the phase 0 <= r < s. Tap t meets the phase r = d t mod s alone, and
there it reads x[b - j] with j = floor(d t / s), since i = (q - d t) / s = b - (d t - r) / s. So all s phases
of block b read the same inputs x[b - J .. b], J = floor(d (k - 1) / s): an ordinary convolution of stride 1,
whose s outputs for each output channel are the phases and are interleaved afterwards (Shi et al., CVPR 2016,
and "Is the deconvolution layer the same as a convolutional layer?", arXiv 1609.07009). Its kernel has J + 1
positions, ceil(k / s) where d = 1; where s divides d only every (d/s)-th of them is used, which is a
dilation. The taps are k of its weights: the others are zero whatever the layer's weights are.

Blocks floor(p / s) to floor((last q) / s) have outputs that are kept. The padding is what these blocks read
beyond the input, below zero where they read less than all of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rankfold.errors import InputError
from rankfold.workload.shape import ConvShape, Pair

TRANSPOSED = "is a transposed convolution, mapped as the sub-pixel convolution it equals"
REMEDY = " (surgery.replace_transposed_ puts that in its place)"


# What the plain convolution is called inside of the module that replaces a transposed one.
PART = ".conv"


def why_fixed(dimensions: int) -> str:
    """Why a transposed convolution can only stay as it is, and what helps where it is a module of two
    dimensions.
    """
    if dimensions == 2:
        return TRANSPOSED + REMEDY
    return TRANSPOSED


def is_replaced(shape: ConvShape) -> bool:
    """Whether a layer is a transposed convolution that a module with a plain one can stand in for."""
    return shape.fixed == why_fixed(2)


@dataclass(frozen=True, kw_only=True)
class TransposedAxis:
    """One axis of a transposed convolution, and of the convolution that it equals.

    Attributes:
        kernel: k.
        stride: s.
        dilation: d.
        front: p, outputs that are cut off in front; below zero where some are added that are the bias alone.
        behind: e, the same behind: the padding less the output padding.
    """

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    front: int = 0
    behind: int = 0

    @property
    def _reach(self) -> int:
        """d (k - 1): outputs from that of the first tap to that of the last one, less one."""
        return self.dilation * (self.kernel - 1)

    @property
    def spacing(self) -> int:
        """The dilation of the convolution."""
        if self.dilation % self.stride:
            return 1
        return self.dilation // self.stride

    @property
    def positions(self) -> int:
        """Positions of the convolution's kernel."""
        return self._reach // self.stride // self.spacing + 1

    @property
    def padding(self) -> Pair:
        """Zeros before and behind the input; below zero where inputs are not read."""
        before = self._reach // self.stride - self.front // self.stride
        return before, (self._reach - self.behind) // self.stride

    def taps(self) -> list[Pair]:
        """For each tap of the transposed kernel its phase, and its position in the convolution's kernel."""
        found = []
        for tap in range(self.kernel):
            back, phase = divmod(self.dilation * tap, self.stride)
            found.append((phase, self.positions - 1 - back // self.spacing))
        return found

    def kept(self, size: int) -> slice:
        """The outputs of an input of that many elements, among the interleaved ones."""
        first = self.front % self.stride
        outputs = (size - 1) * self.stride + self._reach + 1 - self.front - self.behind
        return slice(first, first + outputs)

    def giving(self, size: int, outputs: int) -> TransposedAxis:
        """The same axis with the output padding that gives so many outputs of an input of `size`.

        Raises:
            ValueError: there is none, as torch says it.
        """
        behind = (size - 1) * self.stride + self._reach + 1 - self.front - outputs
        if not 0 <= self.front - behind < max(self.stride, self.dilation):
            raise ValueError(f"an input of {size} cannot give an output of {outputs}")
        return replace(self, behind=behind)


@dataclass(frozen=True)
class SubPixelForm:
    """A two-dimensional transposed convolution as a convolution and the interleaving of its outputs.

    Attributes:
        vertical: its vertical axis.
        horizontal: its horizontal axis.
    """

    vertical: TransposedAxis
    horizontal: TransposedAxis

    @classmethod
    def of(
        cls,
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        front: Sequence[int],
        behind: Sequence[int],
    ) -> SubPixelForm:
        """The form of sizes for each axis; those of a 1-d layer make one of height 1."""
        axes = []
        for k, s, d, p, e in zip(kernel, stride, dilation, front, behind, strict=True):
            axes.append(TransposedAxis(kernel=k, stride=s, dilation=d, front=p, behind=e))
        if len(axes) == 1:
            axes.insert(0, TransposedAxis())
        vertical, horizontal = axes
        return cls(vertical, horizontal)

    @property
    def stride(self) -> Pair:
        """(s_h, s_w): phases along each axis."""
        return self.vertical.stride, self.horizontal.stride

    @property
    def phases(self) -> int:
        """Outputs of the convolution for each output channel."""
        return math.prod(self.stride)

    @property
    def kernel(self) -> Pair:
        """Of the convolution."""
        return self.vertical.positions, self.horizontal.positions

    @property
    def dilation(self) -> Pair:
        """Of the convolution."""
        return self.vertical.spacing, self.horizontal.spacing

    @property
    def transposed_kernel(self) -> Pair:
        """(kh, kw) of the transposed convolution."""
        return self.vertical.kernel, self.horizontal.kernel

    def giving(self, size: Pair, output: Sequence[int]) -> SubPixelForm:
        """The same with the output padding that gives (..., OH, OW) of an input of (H, W).

        Raises:
            ValueError: there is none.
        """
        height, width = output[-2:]
        return SubPixelForm(self.vertical.giving(size[0], height), self.horizontal.giving(size[1], width))

    def shape(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        size: Pair,
        *,
        groups: int = 1,
        weight: str = "",
        fixed: str = TRANSPOSED,
    ) -> ConvShape:
        """The convolution, whose weights that are zero are counted as such.

        Args:
            name: of the layer.
            in_channels: C_in.
            out_channels: of the transposed convolution; the convolution has s_h s_w times as many.
            size: (H, W) of its input.
            groups: of both.
            weight: name of the weight, see `ConvShape`.
            fixed: why the layer can only stay as it is.

        Raises:
            InputError: no output is left, or the sizes are none of a layer.
        """
        read: list[int] = []
        zeros: list[int] = []
        for axis, inputs in zip((self.vertical, self.horizontal), size, strict=True):
            kept = axis.kept(inputs)
            if kept.stop <= kept.start:
                raise InputError(f"layer {name}: its padding leaves no output of an input of {inputs}")
            # Inputs that no kept output reads are no inputs.
            read.append(inputs + sum(min(more, 0) for more in axis.padding))
            zeros += [max(more, 0) for more in axis.padding]
        top, bottom, left, right = zeros
        unused = self.phases * math.prod(self.kernel) - math.prod(self.transposed_kernel)
        return ConvShape(
            name,
            in_channels,
            out_channels * self.phases,
            self.kernel,
            (read[0], read[1]),
            padding=(top, bottom, left, right),
            dilation=self.dilation,
            groups=groups,
            weight=weight,
            fixed=fixed,
            zeros=in_channels // groups * out_channels * unused,
        )
