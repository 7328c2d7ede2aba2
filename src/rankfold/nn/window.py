"""Convolutions that compute whole windows of their output plane: `WindowConv2d`, with one dense matrix, and
what stand-ins of this sort have in common, `Windowed`.
"""

from __future__ import annotations

from abc import abstractmethod
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.mapping.window_matrix import overhang, window_weight
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.plain import StandIn
from rankfold.nn.random_state import random_state_kept
from rankfold.workload.padding import padding_sides
from rankfold.workload.shape import Pair, Sides, spanned


class Windowed(nn.Module, StandIn):
    """A convolution that computes a window of a x b output pixels at a time: where its windows lie.

    What reads the windows is a convolution of kernel (ph, pw), the `box`, and stride (a*s, b*s), whatever it
    makes of them. In the end the m*a*b outputs of each window, in the order of
    `mapping.window_matrix.window_weight`, are put where they belong, and those beyond the plane are cut off.
    Input (B, C_in, H, W), output (B, m, OH, OW).

    The weights of different pixels are free of each other, so that no convolution of the layer's own kernel
    computes the same: there is no dense layer to go back to.

    What code around a convolution may ask it for (`stride`, `padding`, `kernel_size`, `dilation`,
    `padding_mode`, `in_channels`, `out_channels`, `groups`) is that of the convolution.

    Args:
        conv: the convolution to stand in for; its weight is not read.
        window: (a, b); a plane that it does not divide is covered by windows that reach beyond it.
        pads: whether the convolution that reads the windows pads zeros itself, where opposite sides have as
            many; False: it finds all padding in its input.
    """

    def __init__(self, conv: nn.Conv2d, window: Pair, *, pads: bool = True) -> None:
        super().__init__()
        self.window = window
        self.in_channels, self.out_channels, self.groups = conv.in_channels, conv.out_channels, conv.groups
        self.kernel_size = _pair(conv.kernel_size)
        self.stride, self.dilation = _pair(conv.stride), _pair(conv.dilation)
        self.padding, self.padding_mode = conv.padding, conv.padding_mode
        self._sides, self._inner = _paddings(conv, pads)

    # Abstract, which type checkers see to; without the metaclass of abstract classes (see `StandIn`).
    @property
    @abstractmethod
    def weight(self) -> Tensor:
        """(m*a*b, C_in/G, ph, pw), the matrix of a window."""

    @property
    @abstractmethod
    def bias(self) -> Tensor | None:
        """(m*a*b,), those of each pixel of a window."""

    @property
    def box(self) -> Pair:
        """(ph, pw) inputs of a channel that a window reads."""
        (a, b), (height, width) = self.window, self.extent
        return (a - 1) * self.stride[0] + height, (b - 1) * self.stride[1] + width

    @property
    def extent(self) -> Pair:
        """Inputs of a channel that one output pixel spans."""
        height = spanned(self.kernel_size[0], self.dilation[0])
        return height, spanned(self.kernel_size[1], self.dilation[1])

    def reader(self, outputs: int, *, bias: bool, like: Tensor) -> MaskedConv2d:
        """A convolution that reads all windows, with weights of no meaning; it leaves torch's random state.

        Args:
            outputs: of each window.
            bias: whether it has one.
            like: a tensor of its device and type.
        """
        a, b = self.window
        with random_state_kept(like.device):
            return MaskedConv2d(
                self.in_channels,
                outputs,
                self.box,
                (a * self.stride[0], b * self.stride[1]),
                padding=self._inner,
                groups=self.groups,
                bias=bias,
                device=like.device,
                dtype=like.dtype,
            )

    @torch.no_grad()
    def set_bias_(self, bias: Tensor | None) -> None:
        """Give every pixel the biases (m,) of a convolution, zeros where it has none."""
        own = self.bias
        assert own is not None  # made so
        own.zero_()
        if bias is not None:
            pixels = self.window[0] * self.window[1]
            by_group = bias.reshape(self.groups, 1, -1).expand(-1, pixels, -1)  # (G, a*b, m/G)
            own.copy_(by_group.reshape(-1))

    @property
    def channels(self) -> np.ndarray:
        """(m*a*b,) the output channel of each output of `matrix`."""
        pixels = self.window[0] * self.window[1]
        of_groups = np.arange(self.out_channels).reshape(self.groups, 1, -1)  # (G, 1, m/G)
        return np.repeat(of_groups, pixels, axis=1).reshape(-1)

    def output_size(self, input: Tensor) -> Pair:
        """(OH, OW) for an input (..., H, W): the plane that the windows cover."""
        return self.whole_size(input)

    def whole_size(self, input: Tensor) -> Pair:
        """(OH, OW) of the convolution for an input (..., H, W)."""
        top, bottom, left, right = self._sides
        down, across = self._inner
        height = input.shape[-2] + top + bottom + 2 * down
        width = input.shape[-1] + left + right + 2 * across
        return self._outputs(height, 0), self._outputs(width, 1)

    def extended(self, input: Tensor) -> Tensor:
        """The input with what `matrix` does not pad itself.

        Those are paddings of other values than zeros, or not alike on opposite sides; and zeros below and on
        the right for windows that reach beyond the plane.
        """
        size = self.output_size(input)
        input = self.padded(input)
        below, right = overhang(size, self.stride, self.window)
        if below or right:
            input = F.pad(input, (0, right, 0, below))
        return input

    def padded(self, input: Tensor) -> Tensor:
        """The input with the padding that `matrix` does not do itself."""
        if not any(self._sides):
            return input
        top, bottom, left, right = self._sides
        mode: str = self.padding_mode
        # torch's name in a convolution and in F.pad.
        if mode == "zeros":
            mode = "constant"
        return F.pad(input, (left, right, top, bottom), mode=mode)

    def present(self, input: Tensor) -> list[tuple[np.ndarray, Tensor]]:
        """Which pixels windows have that lie on the plane of an input (..., H, W).

        Returns:
            (a*b,) booleans, the pixels, and the indices of the windows that have just these, row by row.
        """
        down, across = (_present(*axis) for axis in zip(self.output_size(input), self.window, strict=True))
        columns = sum(len(windows) for _, windows in across)
        parts = []
        for (rows, windows_down), (pixels, windows_across) in product(down, across):
            positions = windows_down[:, None] * columns + windows_across
            parts.append((np.outer(rows, pixels).reshape(-1), torch.from_numpy(positions.reshape(-1))))
        return parts

    def placed(self, outputs: Tensor, size: Pair) -> Tensor:
        """The outputs (B, m*a*b, windows down, windows across) of `matrix` as a plane (B, m, *size).

        It lies in memory as they do, channels first or last.
        """
        images, _, down, across = outputs.shape
        a, b = self.window
        # With channels last, as training has them, runs of m/G values move together.
        pixels = outputs.permute(0, 2, 3, 1)  # (B, down, across, m*a*b)
        pixels = pixels.reshape(images, down, across, self.groups, a, b, self.out_channels // self.groups)
        # To (B, down, a, across, b, G, m/G): rows of windows next to their rows of pixels.
        pixels = pixels.permute(0, 1, 4, 2, 5, 3, 6)
        plane = pixels.reshape(images, down * a, across * b, self.out_channels)
        # Cut before the channels go back to their place, so that gradients lie like the plane.
        plane = plane[:, : size[0], : size[1]].permute(0, 3, 1, 2)
        # Channels first stays so: networks may take views of it, as they can of a convolution's outputs.
        if outputs.is_contiguous():
            return plane.contiguous()
        return plane

    def by_window(self, plane: Tensor) -> Tensor:
        """A plane (B, m, OH, OW) as the outputs (B, G, m*a*b/G, windows) of each window; zeros beyond it."""
        images, _, height, width = plane.shape
        a, b = self.window
        plane = F.pad(plane, (0, -width % b, 0, -height % a))
        down, across = plane.shape[2] // a, plane.shape[3] // b
        pixels = plane.reshape(images, self.groups, self.out_channels // self.groups, down, a, across, b)
        # To (B, G, a, b, m/G, down, across).
        pixels = pixels.permute(0, 1, 4, 6, 2, 3, 5)
        return pixels.reshape(images, self.groups, -1, down * across)

    def extra_repr(self) -> str:
        """Show the window."""
        return f"window={self.window[0]}x{self.window[1]}"

    def _outputs(self, inputs: int, axis: int) -> int:
        """Output pixels along an axis of so many padded inputs."""
        return (inputs - self.extent[axis]) // self.stride[axis] + 1


class WindowConv2d(Windowed):
    """A window of a x b output pixels at a time, each from any of the window's inputs.

    `matrix` is a convolution whose m*a*b outputs are the pixels of a window. It is masked: what its mask
    drops from all outputs are rows that arrays do not drive. Each pixel has biases of its own, (m*a*b,) in
    all, which digital adders add. `weight` and `bias` are those of the matrix.

    Args:
        conv: the convolution to stand in for; its weight is not read, see `from_conv`.
        window: (a, b); a plane that it does not divide is covered by windows that reach beyond it.
        pads: see `Windowed`.
    """

    def __init__(self, conv: nn.Conv2d, window: Pair, *, pads: bool = True) -> None:
        super().__init__(conv, window, pads=pads)
        outputs = conv.out_channels * window[0] * window[1]
        self.matrix = self.reader(outputs, bias=True, like=conv.weight)
        self.train(conv.training)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, window: Pair) -> WindowConv2d:
        """A layer that computes what a convolution computes: its matrix holds shifted copies of the weight.

        Args:
            conv: the convolution, which is left as it is.
            window: (a, b).
        """
        layer = cls(conv, window)
        layer.copy_(conv)
        return layer

    @torch.no_grad()
    def copy_(self, conv: nn.Conv2d) -> None:
        """Compute what a convolution computes, with shifted copies of its weight and with its bias."""
        weight = conv.weight.detach().cpu().double().numpy()
        copies = window_weight(weight, self.groups, self.stride, self.dilation, self.window)
        self.matrix.weight.copy_(torch.from_numpy(copies))
        self.set_bias_(conv.bias)

    @property
    def weight(self) -> Tensor:
        """(m*a*b, C_in/G, ph, pw), the matrix of a window."""
        return self.matrix.weight

    @property
    def bias(self) -> Tensor | None:
        """(m*a*b,), those of each pixel of a window."""
        return self.matrix.bias

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has, for calls by keyword
        """Compute all windows, and put their outputs in place."""
        return self.placed(self.matrix(self.extended(input)), self.output_size(input))


def _present(size: int, pixels: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Along an axis of so many outputs, in windows of so many: which of these exist, (pixels,) booleans, in
    which windows, their indices.
    """
    whole, rest = divmod(size, pixels)
    parts = []
    if whole:
        parts.append((np.ones(pixels, bool), np.arange(whole)))
    if rest:
        parts.append((np.arange(pixels) < rest, np.array([whole])))
    return parts


def _pair(values: tuple[int, ...]) -> Pair:
    first, second = values
    return first, second


def _paddings(conv: nn.Conv2d, pads: bool) -> tuple[Sides, Pair]:
    """What is padded before a convolution (top, bottom, left, right), and by it (vertical, horizontal), where
    it pads.
    """
    left, right, top, bottom = padding_sides(conv)
    if pads and conv.padding_mode == "zeros" and top == bottom and left == right:
        return (0, 0, 0, 0), (top, left)
    return (top, bottom, left, right), (0, 0)
