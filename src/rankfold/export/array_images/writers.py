"""A step for each operator of torch that networks compute between their layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from rankfold.export.array_images.transformers import attention, gelu, layer_norm, softmax
from rankfold.export.array_images.writer import (
    Arguments,
    ProgramWriter,
    Step,
    WriteStep,
    is_of_images,
    part_name,
    with_defaults,
)


def _layer(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step:
    x, layer = args[:2]
    return {
        "op": "layer",
        "inputs": [writer.name(x)],
        "layer": layer,
    }


def _batch_norm(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step:
    """weight * (x - mean) / sqrt(variance + epsilon) + bias, as x * scale + shift."""
    x, weight, bias, mean, variance, _, epsilon = args[:7]
    scale = 1 / np.sqrt(writer.array(variance) + epsilon)  # (C,)
    if weight is not None:
        scale = scale * writer.array(weight)
    shift = -writer.array(mean) * scale
    if bias is not None:
        shift = shift + writer.array(bias)
    return {
        "op": "scale_channels",
        "inputs": [writer.name(x)],
        "scale": writer.constant(f"{node.name}_scale", scale),
        "shift": writer.constant(f"{node.name}_shift", shift),
    }


def _unary(op: str) -> WriteStep:
    def write(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step:
        x = writer.name(args[0])
        return {"op": op, "inputs": [x]}

    return write


def _binary(op: str) -> WriteStep:
    def write(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
        # A sum x + alpha * y is two steps, and a quotient that is rounded as well.
        if node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("rounding_mode") is not None:
            return None
        names = [writer.operand(value, place) for place, value in enumerate(args)]
        return {"op": op, "inputs": names}

    return write


def _slice(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | str | None:
    x, axis, start, stop, step = with_defaults(args, None, 0, 0, None, 1)
    size = x.meta["val"].shape[axis]
    # Torch gives ends beyond the size, and counts from the end.
    begin, end, stride = slice(start, stop, step).indices(size)
    if (begin, end, stride) == (0, size, 1):
        return writer.name(x)
    if is_of_images(x, axis):
        return None
    return {
        "op": "slice",
        "inputs": [writer.name(x)],
        "axis": axis,
        "start": begin,
        "stop": end,
        "step": stride,
    }


def _pad(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    x, given, value = with_defaults(args, None, None, 0.0)
    # Negative widths cut, which is no padding.
    if any(width < 0 for width in given):
        return None
    # Torch gives (before, after) of the last axis first, and nothing of the first axes.
    widths: list[list[int]] = []
    for place in range(0, len(given), 2):
        pair = [given[place], given[place + 1]]
        widths.insert(0, pair)
    untouched = x.meta["val"].ndim - len(widths)
    # Padded images would be images more.
    if not untouched and any(widths[0]):
        return None
    return {
        "op": "pad",
        "inputs": [writer.name(x)],
        "widths": [[0, 0]] * untouched + widths,
        "value": float(value),
    }


def _mean(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    x, axes, keep = with_defaults(args, None, None, False)
    # Without axes it is of all, that of the images among them.
    if not axes or any(is_of_images(x, axis) for axis in axes):
        return None
    return {
        "op": "mean",
        "inputs": [writer.name(x)],
        "axes": [int(axis) for axis in axes],
        "keep": bool(keep),
    }


def _pool(op: str) -> WriteStep:
    def write(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
        x, kernel, stride, padding = with_defaults(args[:4], None, None, None, None)
        # Dilation, sizes rounded up, other divisors: no step says these.
        if not all(_is_default(more) for more in args[4:]):
            return None
        # The zeros around the plane would be part of the mean.
        if op == "average_pool" and padding and any(padding):
            return None
        return {
            "op": op,
            "inputs": [writer.name(x)],
            "kernel": _pair(kernel),
            "stride": _pair(stride or kernel),
            "padding": _pair(padding or [0]),
        }

    return write


def _adaptive_pool(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    """Means of blocks of a plane, where these are all of one size."""
    x = args[0]
    plane, means = x.meta["val"].shape[-2:], node.meta["val"].shape[-2:]
    # Blocks of several sizes overlap, or leave some pixels to fewer of them.
    if any(size % count for size, count in zip(plane, means, strict=True)):
        return None
    kernel = [size // count for size, count in zip(plane, means, strict=True)]
    return {
        "op": "average_pool",
        "inputs": [writer.name(x)],
        "kernel": kernel,
        "stride": kernel,
        "padding": [0, 0],
    }


def _is_default(value: Any) -> bool:
    """Whether an option of a pool changes nothing: a dilation of one, no divisor, or False."""
    if isinstance(value, (list, tuple)):
        return list(value) in ([1], [1, 1])
    return value is None or value is False


def _pair(values: Any) -> list[int]:
    """(vertical, horizontal) of one number for both, or of two."""
    return list(values) * (2 // len(values))


def _permute(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    x, axes = args[:2]
    # Images stay the first axis.
    if axes[0] != 0:
        return None
    return {
        "op": "transpose",
        "inputs": [writer.name(x)],
        "axes": [int(axis) for axis in axes],
    }


def _concat(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    parts, axis = with_defaults(args, None, 0)
    if is_of_images(node, axis):
        return None
    return {
        "op": "concat",
        "inputs": [writer.name(part) for part in parts],
        "axis": int(axis),
    }


def _clip(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step:
    x, low, high = with_defaults(args, None, -1.0, 1.0)
    return {
        "op": "clip",
        "inputs": [writer.name(x)],
        "low": float(low),
        "high": float(high),
    }


def _clamp(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    x, low, high = with_defaults(args, None, None, None)
    # A limit that is computed, or a parameter, is no number of a step.
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        return None
    step: Step = {"op": "clip", "inputs": [writer.name(x)], "low": None, "high": None}
    for label, limit in (("low", low), ("high", high)):
        if limit is not None:
            step[label] = float(limit)
    return step


def _select(writer: ProgramWriter, node: fx.Node, args: Arguments) -> list[Step] | None:
    """One place of an axis, as a slice whose axis is dropped."""
    x, axis, place = args
    size = x.meta["val"].shape[axis]
    first = place % size
    if is_of_images(x, axis):
        return None
    axis = axis % x.meta["val"].ndim
    slice_ = part_name(node, "slice")
    return [
        {
            "output": slice_,
            "op": "slice",
            "inputs": [writer.name(x)],
            "axis": axis,
            "start": first,
            "stop": first + 1,
            "step": 1,
        },
        {"output": node.name, **_reshaped(slice_, node)},
    ]


def _take(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    """Places of an axis, in an order of their own."""
    x, axis, places = args
    axis = axis % x.meta["val"].ndim
    # Images stay as they are; places that are computed are no numbers that a step could have.
    if is_of_images(x, axis) or not writer.is_constant(places):
        return None
    chosen = [int(place) for place in writer.array(places)]
    return {"op": "take", "inputs": [writer.name(x)], "axis": axis, "places": chosen}


def _index(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    """Places of one axis, as padding by reflected, repeated or wrapped pixels takes them."""
    x, given = args[:2]
    axes = [axis for axis, places in enumerate(given) if places is not None]
    if len(axes) != 1 or is_of_images(x, axes[0]):
        return None
    (axis,) = axes
    places = given[axis]
    if (
        not writer.is_constant(places)
        or places.meta["val"].ndim != 1
        or places.meta["val"].dtype == torch.bool
    ):
        return None
    # Torch counts negative ones from the end.
    chosen = [int(place) % x.meta["val"].shape[axis] for place in writer.array(places)]
    return {"op": "take", "inputs": [writer.name(x)], "axis": axis, "places": chosen}


def _roll(writer: ProgramWriter, node: fx.Node, args: Arguments) -> list[Step] | None:
    """Axis after axis: the last places in front of all others."""
    x, shifts, axes = with_defaults(args, None, None, [])
    if not axes or any(is_of_images(x, axis) for axis in axes):
        return None
    steps: list[Step] = []
    value = writer.name(x)
    for number, (shift, axis) in enumerate(zip(shifts, axes, strict=True)):
        size = x.meta["val"].shape[axis]
        cut = -shift % size
        names = [part_name(node, f"{part}{number}") for part in ("last", "first", "rolled")]
        last, first, rolled = names
        for output, (start, stop) in ((last, (cut, size)), (first, (0, cut))):
            place = {"axis": int(axis), "start": start, "stop": stop, "step": 1}
            steps.append({"output": output, "op": "slice", "inputs": [value], **place})
        steps.append({"output": rolled, "op": "concat", "inputs": [last, first], "axis": int(axis)})
        value = rolled
    steps[-1]["output"] = node.name
    return steps


def _reshape(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step:
    return _reshaped(writer.name(args[0]), node)


def _reshaped(name: str, node: fx.Node) -> Step:
    """A value in the sizes of a node."""
    sizes = [int(size) for size in node.meta["val"].shape]
    return {"op": "reshape", "inputs": [name], "sizes": sizes[1:]}


def _expand(writer: ProgramWriter, node: fx.Node, args: Arguments) -> str | None:
    # For one image nothing is repeated; the reader repeats what is the same for all images.
    if args[0].meta["val"].shape != node.meta["val"].shape:
        return None
    return writer.name(args[0])


def _as_strided(writer: ProgramWriter, node: fx.Node, args: Arguments) -> str | None:
    # Another note of how the same numbers lie in memory; anything else would need them one by one.
    x, sizes, strides = args[:3]
    value = x.meta["val"]
    for size, stride, own in zip(sizes, strides, value.stride(), strict=False):
        if size != 1 and stride != own:
            return None
    if list(sizes) != list(value.shape) or len(args) > 3:
        return None
    return writer.name(x)


def _same(writer: ProgramWriter, node: fx.Node, args: Arguments) -> str:
    return writer.name(args[0])


def _copied(writer: ProgramWriter, node: fx.Node, args: Arguments) -> str | None:
    """A copy, as older torch has it where a type is asked for that the values have already."""
    if args[0].meta["val"].dtype != node.meta["val"].dtype:
        return None
    return writer.name(args[0])


WRITERS: dict[str, WriteStep] = {
    "on_arrays": _layer,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "relu": _unary("relu"),
    "sigmoid": _unary("sigmoid"),
    "hardtanh": _clip,
    "clamp": _clamp,
    "add": _binary("add"),
    "sub": _binary("subtract"),
    "mul": _binary("multiply"),
    "div": _binary("divide"),
    "matmul": _binary("matmul"),
    "scaled_dot_product_attention": attention,
    "_softmax": softmax,
    "native_layer_norm": layer_norm,
    "gelu": gelu,
    "tanh": _unary("tanh"),
    "slice": _slice,
    "constant_pad_nd": _pad,
    "mean": _mean,
    "max_pool2d_with_indices": _pool("max_pool"),
    "avg_pool2d": _pool("average_pool"),
    "_adaptive_avg_pool2d": _adaptive_pool,
    "view": _reshape,
    "unsqueeze": _reshape,
    "squeeze": _reshape,
    "select": _select,
    "roll": _roll,
    "index": _index,
    "index_select": _take,
    "expand": _expand,
    "permute": _permute,
    "cat": _concat,
    "clone": _same,
    "_to_copy": _copied,
    "alias": _same,
    "as_strided": _as_strided,
}
