"""`BinaryQuantiser`: one bit with a sign, {-s, +s}."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rankfold.nn.learned_step import SMALLEST_STEP, arithmetic_type
from rankfold.nn.quantisers import Quantiser


class BinaryQuantiser(Quantiser):
    """y = s * sign(x), with sign(0) = +1 and one learned step s for the whole tensor.

    Two's complement of one bit has the levels -1 and 0, which no network can use; the levels of binary
    networks are -1 and +1. The gradient of x passes straight through (DoReFa-Net, Zhou et al. 2016, eq. 7-8).
    DoReFa's scale E|x| is what `fit_` finds, as it minimises the squared error (XNOR-Net, Rastegari et al.
    2016, section 3.1); here it is then learned like every other step, with LSQ's gradient scale.

    Args:
        batched: whether the first dimension of x counts samples (an activation) or not (a weight).
        device: where the step lives.
    """

    def __init__(self, batched: bool = False, device: torch.device | None = None) -> None:
        super().__init__(1, signed=True, batched=batched, device=device)
        self.low, self.high = -1, 1  # a range of levels, of which zero is none

    def _rounded(self, x: Tensor, gain: float) -> Tensor:
        y: Tensor = _ScaledSign.apply(x, self.step, gain)  # type: ignore[no-untyped-call]
        return y

    def _best_step(self, values: Tensor) -> float:
        # sum (x - s sign x)^2 is least at s = E|x|: its derivative in s is -2 sum (|x| - s).
        mean = float(values.abs().mean())
        return max(mean, SMALLEST_STEP)

    def reach_(self, weight: Tensor) -> None:
        """Nothing is to be done: every weight is at one of the two levels, whatever the step."""

    def shorten_(self, weight: Tensor) -> None:
        """As `reach_`."""

    @torch.no_grad()
    def levels(self, x: Tensor) -> Tensor:
        """-1 or +1 for every element of x, of the same shape.

        Raises:
            InputError: the step was never set.
        """
        self._check_fitted()
        signs = torch.where(x < 0, -1.0, 1.0)
        return signs.to(arithmetic_type(x))


class _ScaledSign(torch.autograd.Function):
    """y = s sign(x): dx = dy straight through, ds = sum sign(x) dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, gain: float) -> Tensor:
        negative = x < 0  # all that the backward needs: a byte an element
        ctx.save_for_backward(negative)
        ctx.gain = gain
        scale = step.clamp(min=SMALLEST_STEP).to(x.dtype)
        return torch.where(negative, -scale, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        (negative,) = ctx.saved_tensors
        signed = torch.where(negative, -dy, dy)
        # Summed in float32, as the step is; half types would lose most of so many terms.
        step = signed.sum(dtype=torch.float32) * ctx.gain
        return dy, step, None
