"""Batch norm of channels-last tensors on processors, in two passes over memory where torch takes several."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rankfold.nn.kernels import Kernels, kernels

MOST_CHANNELS = 8192  # the kernels keep a few values of each on the stack


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
    without gradients, with parameters in float32.
    """
    parameters = (running_mean, running_var, weight, bias)
    fast = None
    if _fits(input, training) and all(part is None or _is_plain(part) for part in parameters):
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
    running = None
    if running_mean is not None and running_var is not None:
        running = running_mean, running_var
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


def _is_plain(part: Tensor) -> bool:
    """Whether a kernel can read a parameter or a statistic as it lies."""
    return Kernels.fits(part) and part.dtype == torch.float32 and part.is_contiguous()


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
