"""`Quantiser`: rounds a tensor to a few integer levels times a step size that is learned with the network.

Learned step size quantisation (LSQ): Esser et al. 2020, arXiv 1902.08153.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rankfold.errors import InputError

MINIMUM_BITS, MAXIMUM_BITS = 1, 8

# A step that the optimiser pushes to zero or below acts as this one. Its reciprocal is finite in float32, every
# input but zero then saturates, and the step's gradient, which is passed on unchanged, can bring it back.
SMALLEST_STEP = 1e-12

# Elements that the CPU path handles at a time, so that its float32 scratch stays in the second-level cache.
_TILE = 1 << 18


def check_bits(name: str, bits: int) -> None:
    """Refuse a number of bits that has no quantiser.

    Raises:
        InputError: `bits` is not an integer from 1 to 8; the message calls it `name`.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not MINIMUM_BITS <= bits <= MAXIMUM_BITS:
        raise InputError(f"{name} (={bits}) must be an integer from {MINIMUM_BITS} to {MAXIMUM_BITS} bits")


class Quantiser(nn.Module):
    """y = s * clip(round(x / s), low, high) with one learned step s for the whole tensor (Esser et al. 2020, eq. 1-2).

    Signed levels are -2^(b-1) .. 2^(b-1)-1, unsigned ones 0 .. 2^b-1; halves round to even. The gradient of x passes
    straight through where low < x/s < high and is zero elsewhere; that of s is eq. 3, scaled by
    1 / sqrt(N * high) (section 2.2), N being the elements of a weight, or of one sample of a batch.

    The result has the dtype and the memory layout of x; the arithmetic is in float32 whatever x is, and so is the
    step, which keeps fewer than two dimensions so that no weight decay pulls on it. `forward(x)` equals
    `integers(x) * scale` exactly in float32.

    A new quantiser has no step: call `fit_`, or load a state; until then `forward` refuses to run.

    Args:
        bits: b, from 1 to 8; signed levels need 2, see `BinaryQuantiser`.
        signed: whether negative values have levels.
        batched: whether the first dimension of x counts samples (an activation) or not (a weight).
        device: where the step lives.

    Raises:
        InputError: `bits` is out of range.
    """

    def __init__(self, bits: int, signed: bool, batched: bool = False, device: torch.device | None = None) -> None:
        super().__init__()
        check_bits("bits", bits)
        if bits == 1 and signed and type(self) is Quantiser:
            raise InputError("bits (=1) must be 2 or more with a sign; `BinaryQuantiser` has the levels -1 and +1")
        self.bits, self.signed, self.batched = bits, signed, batched
        self.low = -(1 << bits - 1) if signed else 0
        self.high = (1 << bits - 1) - 1 if signed else (1 << bits) - 1
        self.bypass = False
        self.fitted = False
        # NaN marks a step that was never set, also in a saved state.
        self.step = nn.Parameter(torch.full((), math.nan, dtype=torch.float32, device=device))

    @property
    def scale(self) -> Tensor:
        """The step in use, shape (), float32, positive: `step`, or `SMALLEST_STEP` where `step` has wandered below it."""
        return self.step.detach().float().clamp(min=SMALLEST_STEP)

    def forward(self, x: Tensor) -> Tensor:
        """Quantise x of any shape; the same shape, dtype and layout.

        Raises:
            InputError: the step was never set.
        """
        if self.bypass:
            return x
        self._check_fitted()
        samples = max(1, x.shape[0]) if self.batched else 1
        gain = 1 / math.sqrt(max(1, x.numel() // samples) * self.high)
        return self._rounded(x, gain)

    def _rounded(self, x: Tensor, gain: float) -> Tensor:
        """x quantised, with the step's gradient times `gain`."""
        y: Tensor = _LearnedStep.apply(x, self.step, self.low, self.high, gain)  # type: ignore[no-untyped-call]
        return y

    def _best_step(self, values: Tensor) -> float:
        """The step of the least squared error on values (n,)."""
        return _least_squares_step(values, self.low, self.high)

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        """The level of every element of x, an int32 tensor of the same shape within [low, high].

        Raises:
            InputError: the step was never set.
        """
        return self.levels(x).to(torch.int32)

    @torch.no_grad()
    def levels(self, x: Tensor) -> Tensor:
        """As `integers`, of a floating type that holds them exactly: float64 for such an x, else float32."""
        self._check_fitted()
        return _to_levels_(x.to(_arithmetic(x), copy=True), self.scale.reciprocal(), self.low, self.high)

    @torch.no_grad()
    def fit_(self, sample: Tensor) -> None:
        """Set the step that minimises the mean squared error on `sample`, of any shape.

        The paper starts from 2 mean|x| / sqrt(high). For Gaussian weights at 4 bits that step is 1.8 times too large and
        gives 2.5 times the squared error (at 8 bits 18 times); for rectified Gaussian activations it happens to fit at
        4 bits and gives 1.6 times the error at 2 bits and 8 times at 8 bits. A search takes milliseconds and is right
        for every width and distribution.

        Raises:
            InputError: the sample is empty or holds a value that is not finite.
        """
        values = sample.detach().flatten().float()
        if values.numel() == 0:
            raise InputError("a step size cannot be fitted to an empty sample; pass at least one value")
        if not bool(values.isfinite().all()):
            raise InputError("a step size cannot be fitted to values that are not finite; check the weights and the data for NaN")
        with torch.no_grad():
            self.step.fill_(self._best_step(values))
        self.fitted = True

    def extra_repr(self) -> str:
        """Show the bits and the levels."""
        return f"bits={self.bits}, levels={self.low}..{self.high}"

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise InputError("a quantiser has no step size yet; call calibrate_(model, batches) or load a state first")

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.fitted = not self.step.is_meta and bool(self.step.isfinite())


def _least_squares_step(values: Tensor, low: int, high: int) -> float:
    """The step with the least squared error on `values` (n,), by a coarse and then a fine geometric search."""
    largest = max(float(values.max()) / high, float(values.min()) / low if low else 0.0)
    if largest < SMALLEST_STEP:
        return 1.0  # nothing but zeros (or values without levels): any step represents them equally
    scratch = torch.empty_like(values)

    def error(step: float) -> float:
        torch.mul(values, 1 / step, out=scratch)
        scratch.round_().clamp_(low, high).mul_(step).sub_(values)
        return float(torch.dot(scratch, scratch))

    # A bell shape is best cut near its end at 8 bits and far inside at 2; 1/32 of the range leaves room for heavy tails.
    coarse = [largest * 32 ** (-i / 48) for i in range(49)]
    best = min(coarse, key=error)
    fine = [best * 32 ** (i / 48 / 8) for i in range(-8, 9)]
    return float(max(min(fine, key=error), SMALLEST_STEP))


def _arithmetic(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _to_levels_(x: Tensor, reciprocal: Tensor, low: int, high: int) -> Tensor:
    """Turn x into its levels in place. The one definition of rounding: every path and `integers` use it."""
    return x.mul_(reciprocal).round_().clamp_(low, high)


def _in_tiles(x: Tensor) -> bool:
    """Whether to work tile by tile: on a CPU, where each whole-tensor pass would go through main memory.

    A GPU would only pay more kernel launches, and a compiler fuses the whole-tensor formulas by itself.
    """
    return not torch.compiler.is_compiling() and x.device.type == "cpu"


def _dense(x: Tensor) -> Tensor:
    """x itself where its elements fill a block of memory, in either layout; else a contiguous copy."""
    if x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        return x
    return x.contiguous()


def _tiles(x: Tensor) -> tuple[Tensor, ...]:
    """One-dimensional views of the dense tensor x in memory order, so that tensors of equal strides match up."""
    return torch.split(x.as_strided((x.numel(),), (1,)), _TILE)


class _LearnedStep(torch.autograd.Function):
    """Forward and backward of `Quantiser` in as few passes over memory as eager operations allow.

    With q the level and y = q s the output, eq. 3 reads dy/ds = q - [inside] x/s. As the gradient of x is
    dx = [inside] dy, the step's gradient is (<dy, y> - <dx, x>) / s: two dot products, no full-size temporary, and
    nothing to save but x, which the layer before keeps anyhow, and y, which the convolution keeps.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int, gain: float) -> Tensor:
        scale = step.float().clamp(min=SMALLEST_STEP)
        reciprocal = scale.reciprocal()
        if _in_tiles(x):
            x = _dense(x)
            y = torch.empty_like(x)
            exact = x.dtype == _arithmetic(x)
            scratch = torch.empty(min(_TILE, x.numel()), dtype=_arithmetic(x))
            for source, target in zip(_tiles(x), _tiles(y), strict=True):
                work = target if exact else scratch[: len(source)]
                _to_levels_(work.copy_(source), reciprocal, low, high).mul_(scale)
                if not exact:
                    target.copy_(work)
        else:
            y = _to_levels_(x.to(_arithmetic(x), copy=True), reciprocal, low, high).mul_(scale).to(x.dtype)
        ctx.save_for_backward(x, y, scale)
        ctx.low, ctx.high, ctx.gain, ctx.step_dtype = low, high, gain, step.dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, y, scale = ctx.saved_tensors
        wants_x, wants_step = ctx.needs_input_grad[:2]
        if _in_tiles(x):
            dx, total = _backward_in_tiles(x, y, dy, ctx.low * scale.item(), ctx.high * scale.item(), wants_x, wants_step)
        else:
            inside = (x > ctx.low * scale) & (x < ctx.high * scale)
            dx = dy.masked_fill(~inside, 0) if wants_x else None
            error = y.to(_arithmetic(x)) - x.masked_fill(~inside, 0)
            total = (error * dy).sum() if wants_step else None
        step = (total / scale * ctx.gain).to(ctx.step_dtype) if total is not None else None
        return dx, step, None, None, None


def _backward_in_tiles(
    x: Tensor, y: Tensor, dy: Tensor, bottom: float, top: float, wants_x: bool, wants_step: bool
) -> tuple[Tensor | None, Tensor | None]:
    """dx and <dy, y> - <dx, x>, each None where it is not wanted; inside means bottom < x < top."""
    if dy.stride() != x.stride():
        dy = torch.empty_like(x).copy_(dy)
    dx = torch.empty_like(x) if wants_x else None
    total = torch.zeros((), dtype=_arithmetic(x))
    exact = x.dtype == total.dtype
    # Two scratch tiles and no more: the larger the working set, the more of it falls out of the cache.
    first, second = torch.empty(2, min(_TILE, x.numel()), dtype=total.dtype)
    for x_tile, y_tile, dy_tile, dx_tile in zip(_tiles(x), _tiles(y), _tiles(dy), _tiles(x if dx is None else dx), strict=True):
        gradient = dy_tile if exact else first[: len(dy_tile)].copy_(dy_tile)
        if wants_step:
            total += torch.dot(gradient, y_tile if exact else second[: len(y_tile)].copy_(y_tile))
        value = x_tile if exact else second[: len(x_tile)].copy_(x_tile)
        masked = dx_tile if exact and wants_x else first[: len(dy_tile)]
        # The backward of hard tanh is the straight-through mask: one vectorised pass, no stored mask.
        torch.ops.aten.hardtanh_backward.grad_input(gradient, value, bottom, top, grad_input=masked)
        if wants_step:
            total -= torch.dot(masked, value)
        if wants_x and not exact:
            dx_tile.copy_(masked)
    return dx, total if wants_step else None
