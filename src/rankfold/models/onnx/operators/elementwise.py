"""Operators that compute each element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.models.onnx.operators.registry import Value, Whole, operator
from rankfold.models.onnx.operators.values import is_whole, listed, tensor, tensors

# By the numbers of `onnx.TensorProto`.
TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    # Networks of 16 bits are computed in float32, as all others.
    10: torch.float32,
    11: torch.float64,
    16: torch.float32,
}


def type_of(number: int) -> torch.dtype:
    """The type of this number in ONNX.

    Raises:
        InputError: torch has no such type.
    """
    if number not in TYPES:
        raise InputError(f"ONNX's type of values number {number} cannot be computed with here")
    return TYPES[number]


def _both(a: Value, b: Value, on_whole: Callable[[int, int], int]) -> Whole | None:
    """Whole numbers, computed in Python; None: one of both is a tensor."""
    if not (is_whole(a) and is_whole(b)):
        return None
    if isinstance(a, int) and isinstance(b, int):
        return on_whole(a, b)
    left, right = listed(a), listed(b)
    if len(left) == 1:
        left = left * len(right)
    if len(right) == 1:
        right = right * len(left)
    if len(left) != len(right):
        raise InputError(f"it has {len(left)} and {len(right)} numbers; export it again")
    return [on_whole(x, y) for x, y in zip(left, right, strict=True)]


def _arithmetic(
    name: str, on_whole: Callable[[int, int], int], on_tensors: Callable[[Tensor, Tensor], Tensor]
) -> None:
    def function(a: Value, b: Value) -> Value:
        known = _both(a, b, on_whole)
        if known is not None:
            return known
        return on_tensors(*tensors(a, b))

    operator(name)(function)


def _whole_quotient(a: int, b: int) -> int:
    if (a < 0) != (b < 0):
        return -(-a // b)
    return a // b


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point():
        return a / b
    # ONNX truncates towards zero, as C does.
    return torch.div(a, b, rounding_mode="trunc")


_arithmetic("Add", lambda a, b: a + b, torch.add)
_arithmetic("Sub", lambda a, b: a - b, torch.sub)
_arithmetic("Mul", lambda a, b: a * b, torch.mul)
_arithmetic("Div", _whole_quotient, _quotient)

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": F.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}


def _unary(name: str, function: Callable[[Tensor], Tensor]) -> None:
    operator(name)(lambda x: function(tensor(x)))


for _name, _function in _UNARY.items():
    _unary(_name, _function)

_COMPARED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "And": torch.logical_and,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
}


def _compared(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    operator(name)(lambda a, b: function(*tensors(a, b)))


for _name, _two in _COMPARED.items():
    _compared(_name, _two)


@operator("Identity")
def identity(x: Value) -> Value:
    """The same."""
    return x


@operator("Dropout")
def dropout(
    x: Value, ratio: Value = None, training: Value = None, *, outputs: int, seed: int = 0
) -> Value | tuple[Value, Value]:
    """The same: files are of networks that are used, not of their training; with a mask of what is kept.

    Raises:
        InputError: it asks to drop values all the same.
    """
    if training is not None and bool(tensor(training)):
        raise InputError("a Dropout drops values at random when the network is used; export it in eval mode")
    if outputs > 1:
        return x, torch.ones_like(tensor(x), dtype=torch.bool)
    return x


@operator("Cast")
def cast(x: Value, *, to: int, saturate: int = 1, round_mode: str = "up") -> Value:
    """Another type; whole numbers stay Python's where they stay whole."""
    wanted = type_of(to)
    if is_whole(x) and wanted in (torch.int32, torch.int64):
        return x
    return tensor(x).to(wanted)


@operator("CastLike")
def cast_like(x: Value, other: Value, *, saturate: int = 1, round_mode: str = "up") -> Value:
    """The type of another value."""
    if is_whole(other):
        return cast(x, to=7)
    return tensor(x).to(tensor(other).dtype)


@operator("Pow")
def power(x: Value, exponent: Value) -> Tensor:
    """x to the power of `exponent`, in the type of x."""
    base, other = tensors(x, exponent)
    return torch.pow(base, other).to(base.dtype)


@operator("Mod")
def modulo(a: Value, b: Value, *, fmod: int = 0) -> Value:
    """The rest, of the sign of the divisor, or with `fmod` of the dividend."""
    x, y = tensors(a, b)
    return torch.fmod(x, y) if fmod else torch.remainder(x, y)


@operator("Where")
def where(condition: Value, a: Value, b: Value) -> Tensor:
    """a where the condition holds, else b."""
    chosen, x, y = tensors(condition, a, b)
    return torch.where(chosen, x, y)


@operator("Clip")
def clip(
    x: Value, low: Value = None, high: Value = None, *, min: float | None = None, max: float | None = None
) -> Tensor:
    """Within bounds, which are attributes before opset 11."""
    values = tensor(x)
    least = min if low is None else tensor(low, values)
    most = max if high is None else tensor(high, values)
    if least is not None:
        values = values.clamp(min=least)
    return values if most is None else values.clamp(max=most)


@operator("Max")
def largest(*values: Value) -> Tensor:
    """The largest of several."""
    return reduce(torch.maximum, tensors(*values))


@operator("Min")
def smallest(*values: Value) -> Tensor:
    """The smallest of several."""
    return reduce(torch.minimum, tensors(*values))


@operator("Sum")
def total(*values: Value) -> Tensor:
    """The sum of several."""
    return reduce(torch.add, tensors(*values))


@operator("Mean")
def mean(*values: Value) -> Tensor:
    """The mean of several."""
    return total(*values) / len(values)


@operator("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """x, below zero times `alpha`."""
    return F.leaky_relu(x, alpha)


@operator("PRelu")
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """x, below zero times a slope."""
    return torch.where(x < 0, x * slope, x)


@operator("Elu")
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x, below zero alpha (e^x - 1)."""
    return F.elu(x, alpha)


@operator("Celu")
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x, below zero alpha (e^(x / alpha) - 1)."""
    return F.celu(x, alpha)


@operator("Selu")
def selu(
    x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Tensor:
    """gamma x, below zero gamma alpha (e^x - 1)."""
    return gamma * torch.where(x > 0, x, alpha * (torch.exp(x) - 1))


@operator("ThresholdedRelu")
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x where it is above `alpha`, else zero."""
    return torch.where(x > alpha, x, torch.zeros_like(x))


@operator("HardSigmoid")
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """alpha x + beta, between 0 and 1."""
    return (alpha * x + beta).clamp(0, 1)


@operator("Gelu")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """x times the share of a normal distribution that is below it."""
    return F.gelu(x, approximate=approximate)


@operator("Shrink")
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """x nearer to zero by `bias`, and zero within `lambd`."""
    kept = torch.where(x < -lambd, x + bias, x - bias)
    return torch.where(x.abs() > lambd, kept, torch.zeros_like(x))


@operator("IsNaN")
def is_nan(x: Tensor) -> Tensor:
    """Whether it is no number."""
    return torch.isnan(x)


@operator("IsInf")
def is_infinite(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Whether it is infinite, of the signs that are looked for."""
    found = torch.zeros_like(x, dtype=torch.bool)
    if detect_negative:
        found = found | (x == -math.inf)
    return found | (x == math.inf) if detect_positive else found


@operator("QuantizeLinear")
def quantise(
    x: Tensor,
    scale: Tensor,
    zero: Value = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
    precision: int = 0,
) -> Tensor:
    """The levels of x, uint8 where nothing else is said."""
    _check_scales(block_size)
    scale = _along(scale, x, axis)
    kind = type_of(output_dtype) if output_dtype else torch.uint8
    shift = torch.zeros((), dtype=kind) if zero is None else tensor(zero, x)
    bounds = torch.iinfo(shift.dtype)
    levels = torch.round(x / scale) + _along(shift, x, axis)
    return levels.clamp(bounds.min, bounds.max).to(shift.dtype)


@operator("DequantizeLinear")
def dequantise(
    x: Tensor,
    scale: Tensor,
    zero: Value = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """The values of levels."""
    _check_scales(block_size)
    values = x.to(scale.dtype)
    if zero is not None:
        values = values - _along(tensor(zero, x), x, axis)
    return values * _along(scale, x, axis)


def _check_scales(block_size: int) -> None:
    """Refuse scales for blocks of values.

    Raises:
        InputError: there are.
    """
    if block_size:
        raise InputError(
            "a quantiser has a scale for each block of values, which is not read; quantise by channel"
        )


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """One number for each place along an axis of x, to be spread over the others."""
    if values.ndim == 0 or values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.ndim
    shape[axis] = -1
    return values.reshape(shape)
