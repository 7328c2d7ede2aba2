"""Convolutions of bfloat16 steps on processors, by the compiled kernels where they take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rankfold.nn.convolution_kernels import (
    KERNELS,
    MOST_CHANNELS,
    STRIDES,
    TILE,
    ConvolutionKernels,
    Window,
    convolution_kernels,
)
from rankfold.nn.kernels import is_image_like
from rankfold.nn.rectified import asked

TYPES = (torch.float32, torch.bfloat16)


def convolution(given: Mapping[str, Any]) -> Tensor | None:
    """`torch.conv2d` of these arguments under bfloat16 autocast; None where the kernels do not take them.

    They take batches on the CPU that lie channels last, of an even number of outputs in a row, kernels of 3x3
    with a padding of 1 and of 1x1 without, strides of 1 and 2, and channels and outputs in sixteens. Products
    are bfloat16 and sums float32, as autocast has them; gradients of float32 weights are not rounded. Without
    gradients, what is asked for (`nn.rectified`) is done with the sums before they are rounded.

    Args:
        given: by name: input, weight, bias, stride, padding, dilation, groups; all but two may be missing.
    """
    x, weight, bias = given["input"], given["weight"], given.get("bias")
    window = _window(given)
    if window is None or not _fits(x, weight, bias, window):
        return None
    kernels = convolution_kernels()
    if kernels is None:
        return None
    # As the kernels read them; where they are so already nothing is copied, and gradients pass through.
    x = x.to(torch.bfloat16)
    weight = weight.float().contiguous(memory_format=torch.channels_last)
    if bias is not None:
        bias = bias.float().contiguous()
    if not torch.is_grad_enabled():
        return kernels.forward(x, weight, bias, window, **_finish(x, weight, window))
    y: Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, window
    )
    return y


def _window(given: Mapping[str, Any]) -> Window | None:
    """Kernel and stride of a convolution, None of one that the kernels do not know."""
    weight = given["weight"]
    if not isinstance(weight, Tensor) or weight.ndim != 4:
        return None
    size, width = weight.shape[2:]
    stride = given.get("stride", 1)
    if isinstance(stride, Sequence) and len(set(stride)) == 1:
        stride = stride[0]
    if size != width or size not in KERNELS or stride not in STRIDES or given.get("groups", 1) != 1:
        return None
    if not _all(given.get("padding", 0), size // 2) or not _all(given.get("dilation", 1), 1):
        return None
    return Window(size, stride)


def _all(setting: Any, value: int) -> bool:
    """Whether a setting of a convolution, a number or one for each side, is this one."""
    if isinstance(setting, str):
        return False
    sides = setting if isinstance(setting, Sequence) else (setting,)
    return set(sides) == {value}


def _fits(x: Any, weight: Tensor, bias: Any, window: Window) -> bool:
    """Whether tensors are plain ones on the CPU of types and sizes that the kernels take."""
    if torch.compiler.is_compiling():
        return False
    for part in (x, weight) if bias is None else (x, weight, bias):
        if type(part) not in (Tensor, torch.nn.Parameter) or part.device.type != "cpu":
            return False
        if part.dtype not in TYPES:
            return False
    outputs, channels = weight.shape[:2]
    if x.ndim != 4 or x.shape[1] != channels or x.numel() == 0 or window.out(x.shape[3]) % 2:
        return False
    if bias is not None and bias.shape != weight.shape[:1]:
        return False
    if not all(0 < count <= MOST_CHANNELS and count % TILE == 0 for count in (channels, outputs)):
        return False
    return x.is_contiguous(memory_format=torch.channels_last)


def _finish(x: Tensor, weight: Tensor, window: Window) -> dict[str, Any]:
    """What the kernels are to do with the results, if it is asked for and they can."""
    wanted = asked()
    shape = (x.shape[0], weight.shape[0], window.out(x.shape[2]), window.out(x.shape[3]))
    if wanted.done or not is_image_like(wanted.added, shape, x.dtype):
        return {}
    wanted.done = True
    return {"added": wanted.added, "rectify": True}


class _Convolution(torch.autograd.Function):
    """A convolution, and its gradients; see `convolutions.c` for how they are computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, window: Window) -> Tensor:
        """y, bfloat16 and channels last."""
        ctx.save_for_backward(x, weight)
        ctx.window = window
        return _there().forward(x, weight, bias, window)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias, each None where it is not wanted."""
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        dy = dy.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        dx = dw = db = None
        if wants_x:
            dx = _there().inputs(dy, weight, x.shape, ctx.window)
        if wants_weight:
            dw = _there().weights(x, dy, weight, ctx.window)
        if wants_bias:
            db = dy.sum((0, 2, 3), dtype=torch.float32)
        return dx, dw, db, None


def _there() -> ConvolutionKernels:
    kernels = convolution_kernels()
    assert kernels is not None  # the caller has asked
    return kernels
