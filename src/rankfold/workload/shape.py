"""`ConvShape`: all that mapping and cost need to know of one convolution."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any

from rankfold.arguments import TEXT, WHOLE, plain_numbers_, shown
from rankfold.errors import InputError

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]  # (top, bottom, left, right)
Image = tuple[int, int, int]  # (C, H, W)

# Far above any network that runs on arrays.
KINDS = ("conv", "linear")
LARGEST_CHANNELS = 1 << 20
LARGEST_KERNEL = 1 << 14  # positions
LARGEST_PLANE = 1 << 26  # positions of the padded input: 8192 x 8192
LARGEST_INPUTS = 1 << 22  # that one output is computed from


def checked_image(image: object) -> Image:
    """(C, H, W) of an image that a user gives, as a tuple.

    Raises:
        InputError: it is something else.
    """
    sizes: tuple[Any, ...] = ()
    if isinstance(image, (tuple, list)):
        sizes = tuple(image)
    whole = [WHOLE.fits(size) and size > 0 for size in sizes]
    if len(sizes) != 3 or not all(whole):
        given = str(image)
        if not sizes:
            given = shown(image)
        raise InputError(f"image (={given}) must be (C, H, W), three positive whole numbers")
    channels, height, width = (int(size) for size in sizes)
    # Before memory is asked for.
    for what, size, largest in (
        ("channels", channels, LARGEST_CHANNELS),
        ("positions", height * width, LARGEST_PLANE),
    ):
        if size > largest:
            raise InputError(f"image (={image}) has {size:,} {what}, and {largest:,} are the most")
    return channels, height, width


@dataclass(frozen=True)
class ConvShape:
    """The shape of one two-dimensional convolution.

    A fully connected layer is a 1x1 convolution, on a 1x1 input or, where it runs on every token or pixel, on
    a plane of these.

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
        weight: name of the weight; two layers with the same weight share its parameters. Default: the
            layer's name.
        kind: `conv` or `linear`.
        shares: the weight of another layer that is the very same parameter, so that it is stored once; empty
            where there is none. Each has a name and a place in plans of its own.
        fixed: why the layer can only stay as it is, in words; empty where it may be replaced.
        zeros: weights that are zero whatever is learnt, such as those of the sub-pixel convolution that a
            transposed one equals: cells without use.
    """

    # The order of torch's arguments, as far as they are told by place.
    name: str
    in_channels: int
    out_channels: int
    kernel: Pair
    input: Pair
    stride: Pair = (1, 1)
    _: KW_ONLY
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    weight: str = ""
    kind: str = "conv"
    fixed: str = ""
    shares: str = ""
    zeros: int = 0

    def __post_init__(self) -> None:
        for field in ("name", "weight", "kind", "fixed", "shares"):
            TEXT.check(f"ConvShape {field}", getattr(self, field))
        if self.kind not in KINDS:
            raise InputError(f"layer {self.name}: kind (={self.kind}) must be {' or '.join(KINDS)}")
        plain_numbers_(self)
        # Frozen; a default cannot depend on another field.
        if not self.weight:
            object.__setattr__(self, "weight", self.name)
        self._check_counts()
        self._check_sizes()
        self._check_groups()
        if not _are_at_least(0, (self.zeros,)) or self.zeros >= self.m * self.n:
            raise InputError(
                f"layer {self.name}: zeros (={self.zeros}) must be fewer than its {self.m * self.n} weights"
            )
        # Last: the output is only defined for counts that are right.
        if min(self.output) < 1:
            raise InputError(
                f"layer {self.name}: a kernel of {_show(self.kernel)} "
                f"with dilation {_show(self.dilation)} "
                f"does not fit the padded input of {_show(self.padded_input)}"
            )

    def _check_counts(self) -> None:
        counts = {
            "in_channels": (self.in_channels,),
            "out_channels": (self.out_channels,),
            "kernel": self.kernel,
            "input": self.input,
            "stride": self.stride,
            "dilation": self.dilation,
            "groups": (self.groups,),
        }
        for label in ("kernel", "input", "stride", "dilation"):
            _check_sequence(self.name, label, counts[label], 2, "a pair of numbers (vertical, horizontal)")
        _check_sequence(self.name, "padding", self.padding, 4, "four numbers (top, bottom, left, right)")
        for label, values in counts.items():
            if not _are_at_least(1, values):
                raise InputError(
                    f"layer {self.name}: {label} (={_show(values)}) must be positive whole numbers"
                )
        if not _are_at_least(0, self.padding):
            raise InputError(
                f"layer {self.name}: padding (={_show(self.padding)}) must be whole numbers, 0 or more"
            )

    def _check_sizes(self) -> None:
        # What files ask for is bounded: mappings are searched for in time and memory that grow with these.
        sizes = {
            "input channels": (self.in_channels, LARGEST_CHANNELS),
            "output channels": (self.out_channels, LARGEST_CHANNELS),
            "positions in its kernel": (math.prod(self.kernel), LARGEST_KERNEL),
            "positions in its padded input": (math.prod(self.padded_input), LARGEST_PLANE),
            "inputs for each output": (self.n, LARGEST_INPUTS),
        }
        for what, (size, largest) in sizes.items():
            if size > largest:
                raise InputError(f"layer {self.name} has {size:,} {what}, and {largest:,} are the most")

    def _check_groups(self) -> None:
        # Each group has its own inputs and makes its own outputs, as many as every other.
        channels_of = {"in_channels": self.in_channels, "out_channels": self.out_channels}
        for label, channels in channels_of.items():
            if channels % self.groups:
                raise InputError(
                    f"layer {self.name}: groups (={self.groups}) must divide {label} (={channels})"
                )

    # Kept once computed: a search over mappings asks for these many thousand times.
    @cached_property
    def padded_input(self) -> Pair:
        """(H, W) with the padding added."""
        height, width = self.input
        top, bottom, left, right = self.padding
        return height + top + bottom, width + left + right

    @cached_property
    def extent(self) -> Pair:
        """Inputs that one kernel spans, (kh-1)*d + 1 and alike."""
        vertical = spanned(self.kernel[0], self.dilation[0])
        horizontal = spanned(self.kernel[1], self.dilation[1])
        return vertical, horizontal

    @cached_property
    def output(self) -> Pair:
        """(OH, OW)."""
        return self._outputs_along(0), self._outputs_along(1)

    def _outputs_along(self, axis: int) -> int:
        # The first window lies at the edge; each further one needs a stride more of room.
        room = self.padded_input[axis] - self.extent[axis]
        return room // self.stride[axis] + 1

    @property
    def is_linear(self) -> bool:
        """Whether it is a fully connected layer."""
        return self.kind == "linear"

    @property
    def is_depthwise(self) -> bool:
        """Whether each output channel is computed from the input channel of its number, and nothing else."""
        return self.groups == self.in_channels == self.out_channels > 1

    @property
    def m(self) -> int:
        """Rows of the matricised weight: C_out."""
        return self.out_channels

    @property
    def n(self) -> int:
        """Columns of the matricised weight of one group: C_in/groups * kh * kw."""
        kernel_height, kernel_width = self.kernel
        return self.in_channels // self.groups * kernel_height * kernel_width

    @property
    def parameters(self) -> int:
        """Weights of the layer, without bias; zeros that no training changes are none."""
        return self.m * self.n - self.zeros

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, zero padding counted like any other input."""
        return self.parameters * math.prod(self.output)

    @property
    def stored(self) -> str:
        """The name of what is stored: two layers with the same one are stored once."""
        return self.shares or self.weight

    @cached_property
    def anonymous(self) -> ConvShape:
        """The same layer without its name and kind: equal for all layers that map alike."""
        # A weight is never empty: an empty one would become the name.
        return replace(
            self,
            name="",
            weight="-",
            kind="conv",
            fixed="",
            shares="",
        )

    def without_padding(self) -> ConvShape:
        """The same layer with padding 0, as tables published without padding count it."""
        return replace(self, padding=(0, 0, 0, 0))


def same_padding(
    size: Pair,
    kernel: Pair,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
) -> Sides:
    """Padding that gives ceil(H/stride) x ceil(W/stride) outputs, the odd zero below and right.

    The rule of TensorFlow's `SAME` and ONNX's `SAME_UPPER`; at stride 1 also PyTorch's `same`.

    Args:
        size: (H, W) of the input.
        kernel: (kh, kw).
        stride: (vertical, horizontal).
        dilation: (vertical, horizontal).

    Returns:
        (top, bottom, left, right).
    """
    sides: list[int] = []
    for axis in (0, 1):
        outputs = -(-size[axis] // stride[axis])  # rounded up
        # The windows begin a stride apart; behind the beginning of the last one, it has to fit as well.
        last_begins = (outputs - 1) * stride[axis]
        needed = last_begins + spanned(kernel[axis], dilation[axis])
        # Of a stride that is longer than the kernel some inputs may be left over.
        zeros = max(needed - size[axis], 0)
        before = zeros // 2
        sides += [before, zeros - before]
    top, bottom, left, right = sides
    return top, bottom, left, right


def spanned(kernel: int, dilation: int) -> int:
    """Inputs from the first to the last one that a kernel reads along one axis."""
    return (kernel - 1) * dilation + 1


def is_count(text: str) -> bool:
    """Whether `text` is a whole number of at most nine digits."""
    # Longer ones would pass for sizes, and make arithmetic on them slow; other digits than 0 to 9 are
    # digits to Python.
    return text.isascii() and text.isdigit() and len(text) <= 9


def parse_pair(text: str, what: str) -> Pair:
    """Read `3` as (3, 3) and `3x5` as (3, 5).

    Raises:
        InputError: anything else; the message calls the value `what`.
    """
    parts = text.strip().lower().split("x")
    whole = all(is_count(part) for part in parts)
    if not whole or len(parts) > 2:
        raise InputError(f"{what} (={text}) must be a size such as 3 or 3x5")
    return int(parts[0]), int(parts[-1])


def _check_sequence(layer: str, label: str, values: object, length: int, wanted: str) -> None:
    if not isinstance(values, (tuple, list)):
        raise InputError(f"layer {layer}: {label} must be {wanted}, not {shown(values)}")
    if len(values) != length:
        raise InputError(f"layer {layer}: {label} (={_show(values)}) must be {wanted}")


def _are_at_least(least: int, values: Iterable[int]) -> bool:
    """Whether all are whole numbers, none of them below `least`."""
    return all((type(value) is int or WHOLE.fits(value)) and value >= least for value in values)


def _show(values: Iterable[int]) -> str:
    return "x".join(str(value) for value in values)
