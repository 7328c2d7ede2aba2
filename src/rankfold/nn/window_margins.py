"""`WindowMarginsConv2d`: a convolution whose plane is computed in parts, each by windows of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.mapping.window_cover import PlanePart, straight_cut
from rankfold.nn.plain import CONV_ATTRIBUTES, StandIn
from rankfold.nn.window import WindowConv2d
from rankfold.workload.shape import Pair


class PartOfPlane(WindowConv2d):
    """A rectangle of a convolution's output plane, by windows, as if it were a plane of its own.

    It reads what its outputs read, padding included; windows that reach beyond the rectangle read zeros
    there. Input (B, C_in, H, W), the layer's whole one; output (B, m, *part.size).

    Args:
        conv: the convolution; its weight is not read, see `copy_`.
        part: the rectangle and its windows.
    """

    def __init__(self, conv: nn.Conv2d, part: PlanePart) -> None:
        super().__init__(conv, part.window, pads=False)
        self.part = part

    @property
    def windows(self) -> int:
        """How many windows fill the rectangle."""
        (height, width), (a, b) = self.part.size, self.window
        return -(-height // a) * -(-width // b)

    def output_size(self, input: Tensor) -> Pair:
        """That of the rectangle, whatever the input."""
        return self.part.size

    def padded(self, input: Tensor) -> Tensor:
        """The input that the rectangle's outputs read, with what of it is padding."""
        top, _, left, _ = self._sides
        if self.padding_mode != "zeros":
            # Such padding repeats inputs, which may lie elsewhere.
            input = super().padded(input)
            top, left = 0, 0
        height, width = input.shape[-2:]
        rows, (above, below) = self._read(0, top, height)
        columns, (before, behind) = self._read(1, left, width)
        inside = input[..., rows, columns]
        if above or below or before or behind:
            inside = F.pad(inside, (before, behind, above, below))
        return inside

    def _read(self, axis: int, padding: int, size: int) -> tuple[slice, Pair]:
        """The inputs that the rectangle reads along an axis, of `size` behind so much padding, and how many
        zeros it reads before and behind them.
        """
        first = self.part.corner[axis] * self.stride[axis] - padding
        last = first + (self.part.size[axis] - 1) * self.stride[axis] + self.extent[axis]
        # All of it may be padding.
        before, behind = max(0, min(last, 0) - first), max(0, last - max(first, size))
        return slice(max(0, first), max(0, min(last, size))), (before, behind)

    def by_window(self, plane: Tensor) -> Tensor:
        """The rectangle of a plane (B, m, OH, OW) as the outputs (B, G, m*a*b/G, windows) of each window."""
        (top, left), (bottom, right) = self.part.corner, self.part.end
        return super().by_window(plane[:, :, top:bottom, left:right])


class WindowMarginsConv2d(nn.Module, StandIn):
    """A convolution whose output plane is computed in rectangles, each by windows of its own.

    Input (B, C_in, H, W), output (B, m, OH, OW), of the one size that the parts fill. The weights of
    different pixels are free of each other, as in `nn.window`.

    What code around a convolution may ask it for (`stride`, `padding`, `kernel_size`, `dilation`,
    `padding_mode`, `in_channels`, `out_channels`, `groups`) is that of the convolution.

    Attributes:
        parts: the rectangles, `PartOfPlane` each.

    Args:
        conv: the convolution to stand in for; its weight is not read, see `from_conv`.
        parts: rectangles that fill its plane and that straight cuts make.
    """

    def __init__(self, conv: nn.Conv2d, parts: Sequence[PlanePart]) -> None:
        super().__init__()
        for name in CONV_ATTRIBUTES:
            setattr(self, name, getattr(conv, name))
        self.parts = nn.ModuleList(PartOfPlane(conv, part) for part in parts)
        self.train(conv.training)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, parts: Sequence[PlanePart]) -> WindowMarginsConv2d:
        """A layer that computes what a convolution computes: its matrices hold shifted copies of the weight.

        Args:
            conv: the convolution, which is left as it is.
            parts: see above.
        """
        layer = cls(conv, parts)
        for part in layer.each:
            part.copy_(conv)
        return layer

    @property
    def each(self) -> list[PartOfPlane]:
        """The parts."""
        return [part for part in self.parts if isinstance(part, PartOfPlane)]

    @property
    def plane(self) -> Pair:
        """(OH, OW) that the parts fill."""
        ends = [part.part.end for part in self.each]
        return max(bottom for bottom, _ in ends), max(right for _, right in ends)

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has, for calls by keyword
        """Compute all parts, and join them.

        Raises:
            InputError: the input has another plane than the parts fill.
        """
        found = self.each[0].whole_size(input)
        if found != self.plane:
            raise InputError(
                f"a layer whose margins have matrices of their own computes {self.plane[0]}x{self.plane[1]} "
                f"outputs, and this input has {found[0]}x{found[1]}; give inputs of the size it was planned "
                "for, or plan window layers, which fit any plane"
            )
        return _joined([part.part for part in self.each], [part(input) for part in self.parts])

    def extra_repr(self) -> str:
        """Show the plane."""
        return f"plane={self.plane[0]}x{self.plane[1]}"


def _joined(parts: Sequence[PlanePart], outputs: Sequence[Tensor]) -> Tensor:
    """The outputs (B, m, *size) of rectangles side by side."""
    if len(parts) == 1:
        return outputs[0]
    cut = straight_cut(parts)
    assert cut is not None  # plans have others refused
    axis, *sides = cut
    joined = [_joined([parts[index] for index in side], [outputs[index] for index in side]) for side in sides]
    return torch.cat(joined, dim=2 + axis)
