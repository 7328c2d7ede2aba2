"""`PresentConv2d`: what became of a convolution, seen as a convolution again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rankfold.mapping.window_cover import AnyWindow
from rankfold.nn.plain import CONV_ATTRIBUTES


class PresentConv2d(nn.Conv2d):
    """A convolution by its attributes, which computes what the module in it computes.

    Calibration looks at convolutions: at what they read, at the gradients over what they give, and at
    attributes that say which patches those belong to. All three are those of any module that stands in for
    one, however it computes, quantised or not.

    Attributes:
        module: what computes.
        matrices: of its windows, as it has them now, by (a, b) or part of the plane; of a module that
            computes what a convolution computes there are none.

    Args:
        module: with the attributes of the convolution that it stands in for.
        kernel: the convolution that computes the same; None: none does, and `weight` is of no meaning.
        matrices: see above.
    """

    def __init__(
        self, module: nn.Module, kernel: nn.Conv2d | None, matrices: Mapping[AnyWindow, Tensor] | None = None
    ) -> None:
        attributes = {name: getattr(module, name) for name in CONV_ATTRIBUTES}
        super().__init__(**attributes, bias=False, device="meta")
        like = next(module.parameters())
        self.weight = nn.Parameter(torch.zeros(self.weight.shape, device=like.device, dtype=like.dtype))
        if kernel is not None:
            self.weight, self.bias = kernel.weight, kernel.bias
        self.module = module
        self.matrices = dict(matrices or {})
        self.train(module.training)

    def forward(self, input: Tensor) -> Tensor:
        """What the module computes."""
        y: Tensor = self.module(input)
        return y
