"""Batch norm of channels-last tensors on processors, in two passes over memory where torch takes several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rankfold.nn.kernels import Kernels, kernels

MOST_CHANNELS = 4096  # the kernels keep up to nine floats of each on the stack


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As `torch.nn.functional.batch_norm`, by the compiled kernels where they take the input.

    They take float32 and bfloat16 images (B, C, H, W) that lie channels last, in training, or in evaluation
    without gradients, with parameters in float32. All else, wrong arguments too, is torch's.
    """
    running = None
    if running_mean is not None and running_var is not None:
        running = running_mean, running_var
    fast = None
    # Statistics are both there, or both not, which evaluation cannot do without.
    complete = running is not None or (training and running_mean is running_var)
    if complete and _fits(input, training) and _are_plain(input, (running_mean, running_var, weight, bias)):
        fast = kernels()
    if fast is None:
        return F.batch_norm(
            input,
            running_mean,
            running_var,
            weight,
            bias,
            training=training,
            momentum=momentum,
            eps=eps,
        )
    if not training:
        return fast.norm(input, weight, bias, running, momentum=momentum, eps=eps, training=False)[0]
    y: Tensor = _Norm.apply(  # type: ignore[no-untyped-call]
        input,
        weight,
        bias,
        running,
        (momentum, eps),
    )
    return y


def _fits(x: Tensor, training: bool) -> bool:
    """Whether the kernels take a batch; what torch refuses, such as a single pixel, is left to it."""
    if torch.compiler.is_compiling() or not Kernels.fits(x) or x.ndim != 4:
        return False
    if not 0 < x.shape[1] <= MOST_CHANNELS or x.numel() <= x.shape[1]:
        return False
    if not x.is_contiguous(memory_format=torch.channels_last):
        return False
    return training or not torch.is_grad_enabled()


def _are_plain(x: Tensor, parts: Iterable[Tensor | None]) -> bool:
    """Whether a kernel can read parameters and statistics as they lie, one number for each channel of x."""
    for part in parts:
        if part is None:
            continue
        if not Kernels.fits(part) or part.dtype != torch.float32:
            return False
        if part.shape != x.shape[1:2] or not part.is_contiguous():
            return False
    return True


class _Norm(torch.autograd.Function):
    """Batch norm in training, with its gradients; see `kernels.c` for the formulas."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running: tuple[Tensor, Tensor] | None,
        settings: tuple[float, float],
    ) -> Tensor:
        """y, of the type and layout of x; the running statistics are changed in place."""
        fast = kernels()
        assert fast is not None  # the caller has asked
        momentum, eps = settings
        y, saved = fast.norm(x, weight, bias, running, momentum=momentum, eps=eps, training=True)
        ctx.save_for_backward(x, weight, saved)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias."""
        fast = kernels()
        assert fast is not None  # as forwards
        x, weight, saved = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
        dx, dw, db = fast.norm_backward(x, dy, weight, saved, wants_x=wants_x)
        return dx, dw if wants_weight else None, db if wants_bias else None, None, None
