"""Random transposed convolutions that torch takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from common.strategies import pairs
from rankfold.workload.sub_pixel import SubPixelForm


@dataclass(frozen=True)
class TransposedCase:
    """A transposed convolution and the size of its input, as torch says them."""

    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    output_padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def form(self) -> SubPixelForm:
        """How it lies over its input."""
        behind = [one - more for one, more in zip(self.padding, self.output_padding, strict=True)]
        return SubPixelForm.of(self.kernel, self.stride, self.dilation, self.padding, behind)

    def module(self) -> nn.ConvTranspose2d:
        """As a module of float64."""
        return nn.ConvTranspose2d(
            self.in_channels,
            self.out_channels,
            self.kernel,
            self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=self.groups,
            dilation=self.dilation,
        ).double()

    def run(self, x: Tensor, weight: Tensor, groups: int | None = None) -> Tensor:
        """The function of torch; in float64, so that whole numbers stay exact."""
        return F.conv_transpose2d(
            x.double(),
            weight.double(),
            None,
            self.stride,
            self.padding,
            self.output_padding,
            groups or self.groups,
            self.dilation,
        )


@st.composite
def transposed_cases(draw: Any, *, groups: tuple[int, ...] = (1, 1, 2)) -> TransposedCase:
    """Any of strides to 4, kernels to 5, dilations to 3, with an output of at least one pixel."""
    number = draw(st.sampled_from(groups))
    stride, dilation = draw(pairs(4)), draw(pairs(3))
    further = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    case = TransposedCase(
        number * draw(st.integers(1, 3)),
        number * draw(st.integers(1, 3)),
        draw(pairs(5)),
        draw(pairs(5)),
        stride,
        draw(pairs(3, 0)),
        (further[0], further[1]),
        dilation,
        number,
    )
    for axis, size in ((case.form.vertical, case.size[0]), (case.form.horizontal, case.size[1])):
        kept = axis.kept(size)
        assume(kept.stop > kept.start)
        assume(size + sum(min(more, 0) for more in axis.padding) > 0)
    return case
