"""`LearnedStep`: quantises a tensor forwards, and passes gradients backwards to it and to its step size.

Learned step size quantisation (LSQ): Esser et al. 2020, arXiv 1902.08153.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rankfold.nn.fused import fused_backend, gradients, quantised
from rankfold.nn.kernels import Kernels, kernels

# A step that the optimiser pushes to zero or below acts as this one. Its reciprocal is finite in float32,
# every input but zero then saturates, and the step's gradient, which is passed on unchanged, can bring it
# back.
SMALLEST_STEP = 1e-12

FACTOR = 2.0  # by which an update may shrink or widen a step

# Elements that the CPU path handles at a time, so that its float32 scratch stays in the second-level cache.
TILE = 1 << 18


def arithmetic_type(x: Tensor) -> torch.dtype:
    """What to compute in: half types have too few digits to tell the levels of eight bits apart."""
    if x.dtype == torch.float64:
        return torch.float64
    return torch.float32


def bounded_step(after: Tensor, before: Tensor) -> Tensor:
    """What is left of an update of steps: each at most `FACTOR` times shorter or longer than before.

    Steps learn at the rate of the weights. That of 8-bit weights may be a few thousandths, less than what
    momentum can move it by in one update. Once it has fallen below zero the weights are as good as gone, and
    batch norm behind them makes their gradient so large that the next update ends the network. Updates of a
    few per cent, the usual ones, are left as they are.

    Args:
        after: steps after the update, of any shape.
        before: the same steps before it.
    """
    positive = before.clamp(min=SMALLEST_STEP)
    return after.clamp(positive / FACTOR, positive * FACTOR)


def step_within(step: Tensor, weight: Tensor, high: int) -> Tensor:
    """The step, or max |w| / high where it is longer: then the outermost levels of a weight stand empty.

    A step that long rounds more coarsely and reaches no weight that a shorter one would cut off, but its
    gradient hardly tells: a first convolution of 8 bits was seen to end training with the 23 innermost of
    its 255 levels. The network that is trained around them is as accurate, until cells are programmed with
    noise: that is a share of the range of a cell, and the weights are ten times smaller against it.

    Args:
        step: s, shape ().
        weight: w, any shape; where all of it is zero the step stays.
        high: the highest level, positive.
    """
    widest = weight.detach().abs().max().float() / high
    return torch.where(widest > 0, torch.minimum(step, widest), step)


def to_levels_(x: Tensor, reciprocal: Tensor, low: int, high: int) -> Tensor:
    """Turn x into its levels in place. The one definition of rounding: every path and `integers` use it."""
    return x.mul_(reciprocal).round_().clamp_(low, high)


class LearnedStep(torch.autograd.Function):
    """Forward and backward of `Quantiser` in one pass over memory each, or as few as eager operations allow.

    Symbols: x the input, q = clip(round(x / s), low, high) its level, y = q s the output, all of one shape;
    inside = 1 where low < x / s < high, else 0; dy the gradient of y. Eq. 3 of the paper reads

        dy/ds = q - inside x / s                        (inside: round(x / s) - x / s; outside: low or high)

    and straight through, dx = inside dy. The step's gradient is then, summed over all elements,

        sum dy (q - inside x / s) = (sum dy q s - sum (inside dy) x) / s = (<dy, y> - <dx, x>) / s

    which is exact, as y = q s by definition: two dot products, no temporary of full size, and nothing to save
    but x, which the layer before keeps anyhow, and y, which the convolution keeps.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int, gain: float) -> Tensor:
        """y, of the type and, where its elements fill a block, the layout of x.

        Args:
            ctx: of autograd.
            x: any shape.
            step: s before it is bounded, shape ().
            low: lowest level.
            high: highest level.
            gain: what the gradient of the step is multiplied by.
        """
        # In float32, whatever type the network's parameters were turned into.
        scale = step.float().clamp(min=SMALLEST_STEP)
        ctx.backend = None
        if arithmetic_type(x) == torch.float32:
            ctx.backend = fused_backend()
        if ctx.backend is not None:
            x = _dense(x)
            y = quantised(x, scale, low, high, ctx.backend)
        elif _in_tiles(x):
            x = _dense(x)
            fast = _kernels_for(x)
            if fast is None:
                y = _forward_in_tiles(x, scale, low, high)
            else:
                y = fast.quantise(x, scale.item(), scale.reciprocal().item(), low, high)
        else:
            values = x.to(arithmetic_type(x), copy=True)
            to_levels_(values, scale.reciprocal(), low, high).mul_(scale)
            y = values.to(x.dtype)
        ctx.save_for_backward(x, y, scale)
        ctx.low, ctx.high = low, high
        ctx.gain = gain
        ctx.step_dtype = step.dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """The gradients of x and of the step, each None where it is not wanted."""
        x, y, scale = ctx.saved_tensors
        wants_x, wants_step, *_ = ctx.needs_input_grad
        dx: Tensor | None
        total: Tensor | None
        if ctx.backend is not None:
            dx, total = gradients(x, y, dy, scale, ctx.low, ctx.high, backend=ctx.backend)
        elif _in_tiles(x):
            dx, total = _backward_on_processor(
                x,
                y,
                dy,
                scale,
                ctx.low,
                ctx.high,
                wants_x=wants_x,
                wants_step=wants_step,
            )
        else:
            # The step stays a tensor: to read it would make a GPU wait.
            dx, total = _backward_at_once(
                x,
                y,
                dy,
                ctx.low * scale,
                ctx.high * scale,
                wants_x=wants_x,
                wants_step=wants_step,
            )
        if total is None:
            return dx, None, None, None, None
        step = total / scale * ctx.gain
        return dx, step.to(ctx.step_dtype), None, None, None


def _kernels_for(x: Tensor) -> Kernels | None:
    """The compiled kernels, where there are any and they take x."""
    if not Kernels.fits(x):
        return None
    return kernels()


def _backward_on_processor(
    x: Tensor,
    y: Tensor,
    dy: Tensor,
    scale: Tensor,
    low: int,
    high: int,
    *,
    wants_x: bool,
    wants_step: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """dx and sum dy (y - inside x), each None where it is not wanted, in one pass or tile by tile."""
    # A place in memory means the same element in tensors of one layout alone.
    if dy.stride() != x.stride():
        dy = torch.empty_like(x).copy_(dy)
    # On a CPU reading the step costs nothing, and what follows takes numbers.
    s = scale.item()
    fast = _kernels_for(x)
    if fast is None or dy.dtype != x.dtype:
        return _backward_in_tiles(x, y, dy, low * s, high * s, wants_x=wants_x, wants_step=wants_step)
    dx, total = fast.quantise_backward(x, dy, s, scale.reciprocal().item(), low, high, wants_x=wants_x)
    if not wants_step:
        return dx, None
    return dx, torch.tensor(total, dtype=torch.float32, device="cpu")


def _forward_in_tiles(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """y of the dense tensor x, of its type and layout."""
    reciprocal = scale.reciprocal()
    y = torch.empty_like(x)
    # Where the output is of the type that is computed in, it is itself the place to compute.
    exact = x.dtype == arithmetic_type(x)
    size = min(TILE, x.numel())
    scratch = torch.empty(size, dtype=arithmetic_type(x), device=x.device)
    for source, target in zip(_tiles(x), _tiles(y), strict=True):
        work = target
        if not exact:
            work = scratch[: len(source)]
        work.copy_(source)
        to_levels_(work, reciprocal, low, high).mul_(scale)
        if not exact:
            target.copy_(work)
    return y


def _read(tile: Tensor, scratch: Tensor) -> Tensor:
    """The values of a tile in the type of `scratch`: the tile itself, or a copy that is made there."""
    if tile.dtype == scratch.dtype:
        return tile
    return scratch[: len(tile)].copy_(tile)


def _backward_at_once(
    x: Tensor,
    y: Tensor,
    dy: Tensor,
    bottom: Tensor,
    top: Tensor,
    *,
    wants_x: bool,
    wants_step: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """dx and sum dy (y - inside x), each None where it is not wanted; inside means bottom < x < top."""
    # A half type would round the bounds, too.
    values = x.to(arithmetic_type(x))
    inside = (values > bottom) & (values < top)
    outside = ~inside
    dx = None
    if wants_x:
        dx = dy.masked_fill(outside, 0)
    total = None
    if wants_step:
        kept = values.masked_fill(outside, 0)
        # The same sum, element by element, which a compiler can fuse into one pass.
        error = y.to(arithmetic_type(x)) - kept
        total = (error * dy).sum()
    return dx, total


def _backward_in_tiles(
    x: Tensor,
    y: Tensor,
    dy: Tensor,
    bottom: float,
    top: float,
    *,
    wants_x: bool,
    wants_step: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """dx and <dy, y> - <dx, x>, each None where it is not wanted; inside means bottom < x < top.

    x, y and dy have one dense layout.
    """
    dx = None
    dx_tiles = _tiles(x)  # of x, where there is no dx, only to count along with the others
    if wants_x:
        dx = torch.empty_like(x)
        dx_tiles = _tiles(dx)
    total = torch.zeros((), dtype=arithmetic_type(x), device=x.device)
    exact = x.dtype == total.dtype
    # Two scratch tiles and no more: the larger the working set, the more of it falls out of the cache.
    size = min(TILE, x.numel())
    first, second = torch.empty(2, size, dtype=total.dtype, device=x.device)
    tiles = zip(_tiles(x), _tiles(y), _tiles(dy), dx_tiles, strict=True)
    for x_tile, y_tile, dy_tile, dx_tile in tiles:
        gradient = _read(dy_tile, first)
        if wants_step:
            total += torch.dot(gradient, _read(y_tile, second))
        value = _read(x_tile, second)
        masked = first[: len(x_tile)]
        if exact and wants_x:
            masked = dx_tile
        # The backward of hard tanh is the straight-through mask: one vectorised pass, no stored mask.
        torch.ops.aten.hardtanh_backward.grad_input(
            gradient,
            value,
            bottom,
            top,
            grad_input=masked,
        )
        if wants_step:
            total -= torch.dot(masked, value)
        if wants_x and not exact:
            dx_tile.copy_(masked)
    if not wants_step:
        return dx, None
    return dx, total


def _in_tiles(x: Tensor) -> bool:
    """Whether to work tile by tile: on a CPU, where each whole-tensor pass would go through main memory.

    A GPU would only pay more kernel launches, and a compiler fuses the whole-tensor formulas by itself.
    """
    if torch.compiler.is_compiling():
        return False
    return x.device.type == "cpu"


def _dense(x: Tensor) -> Tensor:
    """x itself where its elements fill a block of memory, in either layout; else a contiguous copy."""
    if x.is_contiguous():
        return x
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


def _tiles(x: Tensor) -> tuple[Tensor, ...]:
    """One-dimensional views of the dense tensor x in memory order: tensors of equal strides match up."""
    flat = x.as_strided((x.numel(),), (1,))
    return torch.split(flat, TILE)
