"""Operators that take several elements together."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.models.onnx.operators.registry import Value, operator
from rankfold.models.onnx.operators.values import listed, places, tensor, whole

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _with_any(x: Tensor, axes: list[int], otherwise: float) -> Tensor:
    """x; where it has no element along axes, one that stands for none."""
    if x.numel():
        return x
    shape = list(x.shape)
    for axis in axes:
        shape[axis] = 1
    value = otherwise > 0 if x.dtype == torch.bool else otherwise
    return torch.full(shape, value, dtype=x.dtype, device=x.device)


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
    "ReduceMax": lambda x, axes, keep: _with_any(x, axes, -math.inf).amax(axes, keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMin": lambda x, axes, keep: _with_any(x, axes, math.inf).amin(axes, keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
}


def _reduction(name: str, function: Reduction) -> None:
    def reduced(
        x: Value,
        given: Value = None,
        *,
        axes: list[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Value:
        if name == "ReduceProd" and isinstance(x, list):
            product = math.prod(x)
            return [product] if keepdims else product
        values = tensor(x)
        chosen = listed(given) if given is not None else axes
        if not chosen:
            if noop_with_empty_axes:
                return values
            chosen = list(range(values.ndim))
        return function(values, places(chosen, values.ndim), bool(keepdims))

    operator(name)(reduced)


for _name, _function in _REDUCTIONS.items():
    _reduction(_name, _function)


def _extreme(name: str, function: Callable[..., Tensor]) -> None:
    def found(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        if not select_last_index:
            return function(x, axis, bool(keepdims))
        return x.shape[axis] - 1 - function(x.flip(axis), axis, bool(keepdims))

    operator(name)(found)


_extreme("ArgMax", torch.argmax)
_extreme("ArgMin", torch.argmin)


def _softmax(name: str, function: Callable[..., Tensor]) -> None:
    def shares(x: Tensor, *, axis: int | None = None, opset: int) -> Tensor:
        if opset >= 13:
            if axis is None:
                axis = -1
            return function(x, axis)
        # Before, all axes from this one on counted as one.
        first = 1 if axis is None else axis % x.ndim
        rows = x.reshape(math.prod(x.shape[:first]), -1)
        return function(rows, 1).reshape(x.shape)

    operator(name)(shares)


_softmax("Softmax", torch.softmax)
_softmax("LogSoftmax", torch.log_softmax)


@operator("Hardmax")
def hardmax(x: Tensor, *, axis: int | None = None, opset: int) -> Tensor:
    """1 at the largest element, 0 elsewhere."""
    if opset >= 13:
        place = -1 if axis is None else axis
        return torch.zeros_like(x).scatter(place, x.argmax(place, keepdim=True), 1.0)
    first = 1 if axis is None else axis % x.ndim
    rows = x.reshape(math.prod(x.shape[:first]), -1)
    return torch.zeros_like(rows).scatter(1, rows.argmax(1, keepdim=True), 1.0).reshape(x.shape)


@operator("CumSum")
def cumulative(x: Tensor, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Sums of all elements so far along an axis."""
    along = int(whole(axis))  # type: ignore[arg-type]  # one number
    values = x.flip(along) if reverse else x
    sums = values.cumsum(along, dtype=values.dtype)
    if exclusive:
        sums = sums - values
    return sums.flip(along) if reverse else sums


@operator("TopK")
def top(
    x: Tensor, count: Value = None, *, axis: int = -1, largest: int = 1, k: int | None = None, sorted: int = 1
) -> tuple[Tensor, Tensor]:
    """The largest or smallest so many, and their places."""
    wanted = listed(count)[0] if count is not None else k
    assert wanted is not None
    # Stable, as of equal elements the first is wanted.
    values, order = x.sort(dim=axis, descending=bool(largest), stable=True)
    return values.narrow(axis, 0, wanted), order.narrow(axis, 0, wanted)


@operator("GlobalAveragePool")
def global_average(x: Tensor) -> Tensor:
    """The mean of each channel."""
    return x.mean(list(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_largest(x: Tensor) -> Tensor:
    """The largest element of each channel."""
    return x.amax(list(range(2, x.ndim)), keepdim=True)


@operator("BatchNormalization")
def batch_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Tensor:
    """As in eval mode, by statistics that are computed; stored ones make a module.

    Raises:
        InputError: it is in training mode.
    """
    if training_mode:
        raise InputError("a BatchNormalization is in training mode; export the network in eval mode")
    return F.batch_norm(x, mean, variance, scale, bias, eps=epsilon)


@operator("InstanceNormalization")
def instance_norm(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Each channel of each sample by its own statistics."""
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@operator("GroupNormalization")
def group_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    opset: int,
) -> Tensor:
    """Groups of channels by their statistics; before opset 21 one scale for each group."""
    if opset < 21:
        each = x.shape[1] // num_groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@operator("LayerNormalization")
def layer_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """The last axes by their statistics; with the mean and the inverse deviation."""
    axes = list(range(axis % x.ndim, x.ndim))
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    inverse = (variance + epsilon).rsqrt()
    y = (x - mean) * inverse * scale
    return (y if bias is None else y + bias), mean, inverse


@operator("LpNormalization")
def lp_norm(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """By the norm along an axis; zeros stay."""
    size = x.norm(p, axis, keepdim=True)
    return torch.where(size == 0, torch.zeros_like(x), x / size)


@operator("MatMul")
def product(a: Tensor, b: Tensor) -> Tensor:
    """The product of matrices."""
    return torch.matmul(a, b)


@operator("Gemm")
def general_product(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha A B + beta C, each transposed where it says so."""
    left = a.T if transA else a
    right = b.T if transB else b
    y = alpha * (left @ right)
    return y if c is None else y + beta * c


@operator("Einsum")
def einsum(*values: Tensor, equation: str) -> Tensor:
    """Sums of products over named axes."""
    return torch.einsum(equation.replace(" ", ""), *values)
