"""Batch norm of channels-last tensors on processors, in two passes over memory where torch takes several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rankfold.nn.kernels import Kernels, Rounding, is_image_like, kernels
from rankfold.nn.learned_step import SMALLEST_STEP
from rankfold.nn.rectified import Asked

MOST_CHANNELS = 4096  # the kernels keep up to fourteen floats of each on the stack


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
    asked: Asked | None = None,
) -> Tensor:
    """As `torch.nn.functional.batch_norm`, by the compiled kernels where they take the input.

    They take float32 and bfloat16 images (B, C, H, W) that lie channels last, in training, or in evaluation
    without gradients, with parameters in float32. All else, wrong arguments too, is torch's. What is `asked`
    for is done, too, unless that is done already; torch leaves out to quantise the result.
    """
    wanted = asked if asked is not None and not asked.done else None
    added = None if wanted is None else wanted.added
    running = None
    if running_mean is not None and running_var is not None:
        running = running_mean, running_var
    fast = None
    # Statistics are both there, or both not, which evaluation cannot do without.
    complete = running is not None or (training and running_mean is running_var)
    parts = (running_mean, running_var, weight, bias)
    if (
        complete
        and _fits(input, training)
        and _are_plain(input, parts)
        and is_image_like(added, input.shape, input.dtype)
    ):
        fast = kernels()
    if fast is None:
        plain = F.batch_norm(input, *parts, training=training, momentum=momentum, eps=eps)
        if wanted is None:
            return plain
        wanted.done = True
        if added is not None:
            plain = plain + added
        return F.relu_(plain)
    settings: dict[str, Any] = {"running": running, "momentum": momentum, "eps": eps}
    settings["rectify"] = wanted is not None
    step, gain = None, 1.0
    if wanted is not None:
        wanted.done = True
        if wanted.rounding is not None:
            wanted.rounded = True
            step, gain = wanted.rounding.step, wanted.rounding.ready_(input)
            settings["rounding"] = _rounding(step, wanted.rounding.low, wanted.rounding.high)
    if not training:
        return fast.norm(input, weight, bias, training=False, added=added, **settings)[0]
    y: Tensor = _Norm.apply(  # type: ignore[no-untyped-call]
        settings, gain, input, weight, bias, added, step
    )
    return y


def _rounding(step: Tensor, low: int, high: int) -> Rounding:
    """What the kernels want to know of a quantiser, as `LearnedStep` tells them."""
    scale = step.detach().float().clamp(min=SMALLEST_STEP)
    return Rounding(scale.item(), scale.reciprocal().item(), low, high)


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
        settings: dict[str, Any],
        gain: float,
        x: Tensor,
        *parts: Tensor | None,
    ) -> Tensor:
        """y, of the type and layout of x; the running statistics are changed in place.

        Args:
            ctx: of autograd.
            settings: arguments of `Kernels.norm`.
            gain: what the gradient of the step is multiplied by.
            x: what is normalised.
            parts: weight, bias, what is added, and the step of the quantiser.
        """
        weight, bias, added, step = parts
        fast = kernels()
        assert fast is not None  # the caller has asked
        y, saved = fast.norm(x, weight, bias, training=True, added=added, **settings)
        # y is saved where it is not told by x alone where it is zero.
        whole = y if added is not None and settings["rectify"] else None
        ctx.save_for_backward(x, weight, bias, saved, whole)
        ctx.rectified = settings["rectify"] and whole is None
        ctx.rounding, ctx.gain = settings.get("rounding"), gain
        ctx.step_dtype = None if step is None else step.dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight, bias, what was added, and the step of the quantiser."""
        fast = kernels()
        assert fast is not None  # as forwards
        x, weight, bias, saved, whole = ctx.saved_tensors
        _, _, wants_x, wants_weight, wants_bias, wants_added, wants_step = ctx.needs_input_grad
        dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
        if whole is not None:
            dy = torch.ops.aten.threshold_backward(dy, whole, 0)
        dx, dw, db, total = fast.norm_backward(
            x, dy, weight, bias, saved, wants_x=wants_x, rectified=ctx.rectified, rounding=ctx.rounding
        )
        step = None
        if wants_step:
            by_rounding = torch.tensor(total, dtype=torch.float32, device="cpu")
            step = (by_rounding / ctx.rounding.step * ctx.gain).to(ctx.step_dtype)
        return (
            None,
            None,
            dx,
            dw if wants_weight else None,
            db if wants_bias else None,
            dy if wants_added else None,
            step,
        )
