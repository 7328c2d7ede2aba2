"""`ConvShape`: all that mapping and cost need to know of one convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from rankfold.errors import InputError

Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvShape:
    """The shape of one two-dimensional convolution.

    A fully connected layer is a 1x1 convolution, on a 1x1 input or, where it runs on every token or pixel, on a plane of these.

    Attributes:
        name: the layer's name in its network.
        in_channels: C_in.
        out_channels: C_out = m.
        kernel: (kh, kw).
        input: (H, W) of the feature map it reads, before padding.
        stride: (vertical, horizontal).
        padding: zeros added (top, bottom, left, right).
        dilation: (vertical, horizontal).
        groups: groups the convolution has in the network (not those of a low-rank decomposition).
        weight: name of the weight; two layers with the same weight share its parameters. Default: the layer's name.
        kind: `conv` or `linear`.
        fixed: why the layer can only stay as it is, in words; empty where it may be replaced.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: Pair
    input: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    weight: str = ""
    kind: str = "conv"
    fixed: str = ""

    def __post_init__(self) -> None:
        if not self.weight:
            object.__setattr__(self, "weight", self.name)
        for label, values in (
            ("in_channels", (self.in_channels,)), ("out_channels", (self.out_channels,)), ("kernel", self.kernel),
            ("input", self.input), ("stride", self.stride), ("dilation", self.dilation), ("groups", (self.groups,)),
        ):  # fmt: skip
            if any(not isinstance(value, int) or value < 1 for value in values):
                raise InputError(f"layer {self.name}: {label} (={_show(values)}) must be positive whole numbers")
        if any(not isinstance(value, int) or value < 0 for value in self.padding):
            raise InputError(f"layer {self.name}: padding (={_show(self.padding)}) must be whole numbers, 0 or more")
        for label, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise InputError(f"layer {self.name}: groups (={self.groups}) must divide {label} (={channels})")
        if min(self._plane(axis) for axis in (0, 1)) < 1:
            raise InputError(
                f"layer {self.name}: a kernel of {_show(self.kernel)} with dilation {_show(self.dilation)} does not fit "
                f"the padded input of {_show(self.padded_input)}"
            )

    def _plane(self, axis: int) -> int:
        return (self.padded_input[axis] - self.extent[axis]) // self.stride[axis] + 1

    # Kept once computed: a search over mappings asks for these many thousand times.
    @cached_property
    def padded_input(self) -> Pair:
        """(H, W) with the padding added."""
        top, bottom, left, right = self.padding
        return self.input[0] + top + bottom, self.input[1] + left + right

    @cached_property
    def extent(self) -> Pair:
        """Inputs that one kernel spans, (kh-1)*d + 1 and alike."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))  # type: ignore[return-value]

    @cached_property
    def output(self) -> Pair:
        """(OH, OW)."""
        return self._plane(0), self._plane(1)

    @property
    def is_linear(self) -> bool:
        """Whether it is a fully connected layer."""
        return self.kind == "linear"

    @property
    def m(self) -> int:
        """Rows of the matricised weight: C_out."""
        return self.out_channels

    @property
    def n(self) -> int:
        """Columns of the matricised weight of one group: C_in/groups * kh * kw."""
        return self.in_channels // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def parameters(self) -> int:
        """Weights of the layer, without bias."""
        return self.m * self.n

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, zero padding counted like any other input."""
        return self.parameters * math.prod(self.output)

    @cached_property
    def anonymous(self) -> ConvShape:
        """The same layer without its name and kind: equal for all layers that map alike."""
        return replace(self, name="", weight="-", kind="conv", fixed="")

    def without_padding(self) -> ConvShape:
        """The same layer with padding 0, as tables published without padding count it."""
        return replace(self, padding=(0, 0, 0, 0))


def same_padding(size: Pair, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1)) -> tuple[int, int, int, int]:
    """Padding (top, bottom, left, right) that gives ceil(H/stride) x ceil(W/stride) outputs, the odd zero below and right.

    The rule of TensorFlow's `SAME` and ONNX's `SAME_UPPER`; at stride 1 also PyTorch's `same`.
    """
    sides = []
    for length, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max((-(-length // s) - 1) * s + (k - 1) * d + 1 - length, 0)
        sides += [total // 2, total - total // 2]
    return sides[0], sides[1], sides[2], sides[3]


def _show(values: tuple[int, ...]) -> str:
    return "x".join(str(value) for value in values)


def is_count(text: str) -> bool:
    """Whether `text` is a whole number of at most nine digits."""
    return text.isascii() and text.isdigit() and len(text) <= 9


def parse_pair(text: str, what: str) -> Pair:
    """Read `3` as (3, 3) and `3x5` as (3, 5).

    Raises:
        InputError: anything else; the message calls the value `what`.
    """
    parts = text.strip().lower().split("x")
    if len(parts) in (1, 2) and all(is_count(part) for part in parts):
        return int(parts[0]), int(parts[-1])
    raise InputError(f"{what} (={text}) must be a size such as 3 or 3x5")
