"""The passes of a quantiser over memory, each compiled into one kernel for a GPU (`torch.compile`, Triton).

Eager torch takes six passes to quantise a tensor and ten for its gradients, which on a GPU are as many
kernels: most of all that a step of a small network has. Tensors are handed over as vectors, in the order of
memory, and numbers as tensors, so that a handful of kernels serves all layers and all bits. What is computed
is the same, by the same operations: quantised values and gradients of what is quantised to the last bit, sums
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor

_LARGE = 2**24  # elements: inductor then sums over some hundred blocks
_BACKEND: ContextVar[str | None] = ContextVar("fused_passes", default=None)


@contextmanager
def fused_passes(backend: str | None = "inductor") -> Iterator[None]:
    """Inside, quantisers run by compiled passes, their gradients too, which may be computed by other threads.

    Args:
        backend: of `torch.compile`; None: they run as they do elsewhere.
    """
    token = _BACKEND.set(backend)
    try:
        yield
    finally:
        _BACKEND.reset(token)


def fused_backend() -> str | None:
    """The backend where passes are to be compiled by themselves; None inside what is compiled as a whole."""
    if torch.compiler.is_compiling():
        return None
    return _BACKEND.get()


def quantised(x: Tensor, scale: Tensor, low: int, high: int, backend: str) -> Tensor:
    """clip(round(x / s), low, high) s, of the type and layout of the dense tensor x.

    Args:
        x: its elements fill a block of memory.
        scale: s, shape (), float32, positive.
        low: lowest level.
        high: highest level.
        backend: of `torch.compile`.
    """
    # The reciprocal is torch's own: that of Triton may differ in the last bit, and levels with it.
    y = _compiled(_quantised, backend)(_flat(x), scale, scale.reciprocal(), _bounds(low, high, x.device))
    return y.as_strided(x.shape, x.stride())


def gradients(
    x: Tensor, y: Tensor, dy: Tensor, scale: Tensor, low: int, high: int, *, backend: str
) -> tuple[Tensor, Tensor]:
    """inside dy, where low s < x < high s, of the layout of x, and sum dy (y - inside x).

    Args:
        x: dense, as `quantised` had it.
        y: what that gave.
        dy: the gradient of y.
        scale: s.
        low: lowest level.
        high: highest level.
        backend: of `torch.compile`.
    """
    # A place in memory means the same element in tensors of one layout alone.
    if dy.stride() != x.stride():
        dy = torch.empty_like(x, dtype=dy.dtype).copy_(dy)
    edges = _bounds(low, high, x.device) * scale
    if x.is_cuda:
        _seen_large(x.dtype, dy.dtype, x.device, backend)
    dx, total = _compiled(_gradients, backend)(_flat(x), _flat(y), _flat(dy), edges)
    return dx.as_strided(x.shape, x.stride()), total


def _quantised(x: Tensor, scale: Tensor, reciprocal: Tensor, bounds: Tensor) -> Tensor:
    levels = torch.clamp((x.float() * reciprocal).round(), bounds[0], bounds[1])
    return (levels * scale).to(x.dtype)


def _gradients(x: Tensor, y: Tensor, dy: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    values = x.float()
    inside = (values > edges[0]) & (values < edges[1])
    dx = torch.where(inside, dy, 0)
    error = y.float() - torch.where(inside, values, 0)
    return dx, (error * dy.float()).sum()


def _flat(x: Tensor) -> Tensor:
    """The elements of a dense tensor in the order of memory."""
    # Detached: what is compiled would otherwise be compiled again for each way that gradients are wanted.
    return x.detach().as_strided((x.numel(),), (1,))


@cache
def _bounds(low: int, high: int, device: torch.device) -> Tensor:
    """(2,) the lowest and the highest level."""
    return torch.tensor([float(low), float(high)], device=device)


@cache
def _seen_large(kind: torch.dtype, gradient: torch.dtype, device: torch.device, backend: str) -> None:
    """Let the gradients of tensors of these types be compiled for a large one, before any other is seen.

    Inductor compiles a sum once for all sizes, over as many blocks as suit the size that it sees first
    (`torch._inductor.choices`). That would be the classifier's, whose gradients come first: one block, of all
    that a GPU has. Not measured yet (tests/test_gpu.py shows images/s with and without).
    """
    x = torch.zeros(_LARGE, dtype=kind, device=device)
    dy = torch.zeros(_LARGE, dtype=gradient, device=device)
    _compiled(_gradients, backend)(x, x.clone(), dy, torch.zeros(2, device=device))


@cache
def _compiled(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(function, backend=backend, dynamic=True, fullgraph=True)
    return compiled
