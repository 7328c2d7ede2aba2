"""Batch norm of channels-last tensors on processors, in two passes over memory where torch takes several."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rankfold.nn.kernels import Kernels, kernels

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
    rectify: bool = False,
    added: Tensor | None = None,
) -> Tensor:
    """As `torch.nn.functional.batch_norm`, by the compiled kernels where they take the input.

    They take float32 and bfloat16 images (B, C, H, W) that lie channels last, in training, or in evaluation
    without gradients, with parameters in float32. All else, wrong arguments too, is torch's. What is `added`,
    of the shape of the input, is added to that, and with `rectify` the result is `torch.relu` of the sum.
    """
    running = None
    if running_mean is not None and running_var is not None:
        running = running_mean, running_var
    fast = None
    # Statistics are both there, or both not, which evaluation cannot do without.
    complete = running is not None or (training and running_mean is running_var)
    parts = (running_mean, running_var, weight, bias)
    if complete and _fits(input, training) and _are_plain(input, parts) and _are_alike(input, added):
        fast = kernels()
    if fast is None:
        plain = F.batch_norm(input, *parts, training=training, momentum=momentum, eps=eps)
        if added is not None:
            plain = plain + added
        return F.relu_(plain) if rectify else plain
    settings: dict[str, Any] = {"running": running, "momentum": momentum, "eps": eps, "rectify": rectify}
    if not training:
        return fast.norm(input, weight, bias, training=False, added=added, **settings)[0]
    y: Tensor = _Norm.apply(input, weight, bias, added, settings)  # type: ignore[no-untyped-call]
    return y


@dataclass
class _Asked:
    """That somebody wants the batch norm that comes next rectified, and whether it was.

    Attributes:
        added: to it, before.
        done: whether that is done.
    """

    added: Tensor | None
    done: bool = False


_ASKED: ContextVar[_Asked | None] = ContextVar("_ASKED", default=None)


def rectified_norm(norm: nn.Module, x: Tensor, added: Tensor | None = None) -> Tensor:
    """`torch.relu(norm(x) + added)`, one operation where batch norm runs by the kernels and nothing looks on.

    Args:
        norm: any module; those other than a plain `nn.BatchNorm2d` without hooks are called as they are.
        x: its input.
        added: of the shape of its output; None: nothing is.
    """
    asked = _Asked(added)
    if torch.compiler.is_compiling() or not _unseen(norm):
        y: Tensor = norm(x)
    else:
        token = _ASKED.set(asked)
        try:
            y = norm(x)
        finally:
            _ASKED.reset(token)
    if asked.done:
        return y
    return F.relu_(y if added is None else y + added)


def what_is_asked() -> dict[str, Any]:
    """`rectify` and `added` of the batch norm that is to be computed now, which its caller then does."""
    asked = _ASKED.get()
    if asked is None or asked.done:
        return {}
    asked.done = True
    return {"rectify": True, "added": asked.added}


def _unseen(norm: nn.Module) -> bool:
    """Whether a module is batch norm and nothing else, and no hook gets its output."""
    if type(norm) is not nn.BatchNorm2d or "forward" in vars(norm):
        return False
    return not (norm._forward_hooks or norm._backward_hooks or norm._backward_pre_hooks or _global_hooks())


def _global_hooks() -> bool:
    found = torch.nn.modules.module
    return bool(
        found._global_forward_hooks or found._global_backward_hooks or found._global_backward_pre_hooks
    )


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


def _are_alike(x: Tensor, added: Tensor | None) -> bool:
    """Whether a kernel can read two images, if there is a second one, in the same order."""
    return added is None or (
        Kernels.fits(added)
        and (added.dtype, added.shape) == (x.dtype, x.shape)
        and added.is_contiguous(memory_format=torch.channels_last)
    )


class _Norm(torch.autograd.Function):
    """Batch norm in training, with its gradients; see `kernels.c` for the formulas."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        added: Tensor | None,
        settings: dict[str, Any],
    ) -> Tensor:
        """y, of the type and layout of x; the running statistics are changed in place."""
        fast = kernels()
        assert fast is not None  # the caller has asked
        y, saved = fast.norm(x, weight, bias, training=True, added=added, **settings)
        # y is saved where it is not told by x alone where it is zero.
        whole = y if added is not None and settings["rectify"] else None
        ctx.save_for_backward(x, weight, bias, saved, whole)
        ctx.rectified = settings["rectify"] and whole is None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight, bias and what was added."""
        fast = kernels()
        assert fast is not None  # as forwards
        x, weight, bias, saved, whole = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, wants_added, *_ = ctx.needs_input_grad
        dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
        if whole is not None:
            dy = torch.ops.aten.threshold_backward(dy, whole, 0)
        dx, dw, db = fast.norm_backward(x, dy, weight, bias, saved, wants_x=wants_x, rectified=ctx.rectified)
        return (
            dx,
            dw if wants_weight else None,
            db if wants_bias else None,
            dy if wants_added else None,
            None,
        )
