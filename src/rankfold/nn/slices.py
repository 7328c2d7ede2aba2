"""Slices whose gradient lies in memory like the tensor that was sliced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def sliced(x: Tensor, index: Any) -> Tensor:
    """`x[index]`, not to be written to; for images that lie channels last the gradient does, too.

    That of torch lies channels first. Sums with it, and all that follows them down to the first layer, then
    run over two layouts at once. Where the gradient is taken care of, the result is no view of x.
    """
    if _is_sliced_in_steps(x, index):
        y: Tensor = _Slice.apply(x, index)  # type: ignore[no-untyped-call]
        return y
    return x[index]


def _is_sliced_in_steps(x: Tensor, index: Any) -> bool:
    if torch.compiler.is_compiling() or x.ndim != 4 or not x.requires_grad:
        return False
    if not isinstance(index, tuple) or not all(isinstance(part, slice) for part in index):
        return False
    if all(part == slice(None) for part in index):
        return False
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class _Slice(torch.autograd.Function):
    """x[index] for an index of slices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: tuple[slice, ...]) -> Tensor:
        ctx.index, ctx.shape = index, x.shape
        # Not a view: autograd refuses those of functions of one's own where they are changed in place.
        return x[index].contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        layout = torch.channels_last
        dx = torch.empty(ctx.shape, dtype=dy.dtype, device=dy.device, memory_format=layout).zero_()
        dx[ctx.index] = dy
        return dx, None
