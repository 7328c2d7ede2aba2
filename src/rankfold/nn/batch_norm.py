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
    without gradients. Statistics are exact to float32: sums of deviations from the first pixel, in float64.
    """
    fast = None
    if _fits(input, training):
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
    channels = input.shape[1]
    if weight is None:
        weight = torch.ones(channels)
    if bias is None:
        bias = torch.zeros(channels)
    if not training:
        assert running_mean is not None and running_var is not None  # torch's module has them in evaluation
        factor = weight.double() / (running_var.double() + eps).sqrt()
        constant = (bias - running_mean * factor).float()
        return fast.channel_map(input, factor.float(), None, constant, constant)
    with torch.no_grad():
        mean, variance = _statistics(fast, input)
        if running_mean is not None and running_var is not None:
            pixels = input.numel() // channels
            unbiased = variance * (pixels / (pixels - 1))
            running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
            running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum)
        deviation = (variance + eps).sqrt()
    y: Tensor = _Norm.apply(input, weight, bias, mean, deviation)  # type: ignore[no-untyped-call]
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


def _statistics(fast: Kernels, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, (C,) float64."""
    # Deviations from some value of the channel: squares of values far from zero would lose the variance.
    start = x[0, :, 0, 0].float().contiguous()
    pixels = x.numel() // x.shape[1]
    first, second = fast.channel_sums(x, x, start, start) / pixels
    variance = (second - first.square()).clamp(min=0)
    return start + first, variance


class _Norm(torch.autograd.Function):
    """y = w (x - m) / d + b for the mean m and the deviation d of x, with their gradients.

    With P pixels, S = sum dy and T = sum dy (x - m) for each channel (Ioffe & Szegedy 2015, section 3):

        db = S,    dw = T / d,    dx = w / d (dy - S / P - (x - m) T / (d^2 P))

    so that dx is a factor of dy, a factor of x and a constant by channel.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """y, of the type and layout of x (B, C, H, W); the rest is (C,), mean and deviation in float64."""
        fast = kernels()
        assert fast is not None  # the caller has asked
        factor = weight / deviation
        constant = (bias - mean * factor).float()
        ctx.save_for_backward(x, weight, mean, deviation)
        return fast.channel_map(x, factor.float(), None, constant, constant)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias."""
        fast = kernels()
        assert fast is not None  # as forwards
        x, weight, mean, deviation = ctx.saved_tensors
        dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
        nothing = torch.zeros(x.shape[1])
        pixels = x.numel() // x.shape[1]
        total, product = fast.channel_sums(dy, x, nothing, mean.float())
        # The kernel has taken off the rounded mean, by which the product is out.
        product = product - total * (mean - mean.float())
        dx = None
        if ctx.needs_input_grad[0]:
            of_dy = weight / deviation
            of_x = -of_dy * product / (deviation.square() * pixels)
            constant = -of_dy * total / pixels - of_x * mean
            dx = fast.channel_map(dy, of_dy.float(), x, of_x.float(), constant.float())
        dw = (product / deviation).to(weight.dtype)
        return dx, dw, total.to(weight.dtype), None, None
