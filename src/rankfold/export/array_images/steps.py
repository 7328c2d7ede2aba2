"""Operators of a torch graph as the steps of an array image; docs/arrays.md says what each step computes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, fx

from rankfold.errors import InputError

Step = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """The steps of a network, for one sample.

    Attributes:
        inputs: names of the values that the network is called with, in their order, (1, ...) each.
        steps: each with the name of its output, what it does, the names of its inputs, and numbers.
        output: name of the value that is the result.
        constants: arrays that steps name, float64.
    """

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    output: str
    constants: dict[str, np.ndarray]


class StepWriter:
    """Turns a graph of torch's core operators into steps.

    Args:
        stored: parameters, buffers and constants of the exported network, by name.
        inputs: from the name of an input of the graph to the name of what is stored for it.
    """

    def __init__(
        self,
        stored: Mapping[str, Any],
        inputs: Mapping[str, str],
    ) -> None:
        self._stored = stored
        self._inputs = inputs
        self._constants: dict[str, np.ndarray] = {}
        # Values that operators hand on unchanged, by the name of the value that they are.
        self._renamed: dict[str, str] = {}

    def write(self, graph: fx.Graph) -> Program:
        """All steps of a graph.

        Raises:
            InputError: an operator has no step; the message names it.
        """
        steps: list[Step] = []
        inputs: list[str] = []
        output = ""
        for node in graph.nodes:
            if node.op == "output":
                (result,) = node.args[0]
                output = self.name(result)
            elif node.op != "placeholder":
                steps += self._steps(node)
            elif node.name not in self._inputs and isinstance(node.meta.get("val"), Tensor):
                # All other placeholders stand for what is stored, or for numbers that were called with.
                inputs.append(node.name)
        return Program(tuple(inputs), tuple(steps), output, self._constants)

    def name(self, node: Any) -> str:
        """The name of a node's value."""
        return self._renamed.get(node.name, node.name)

    def array(self, node: Any) -> np.ndarray:
        """What is stored for an input of the graph, float64."""
        stored = self._stored[self._inputs[node.name]]
        value: np.ndarray = stored.detach().cpu().double().numpy()
        return value

    def constant(self, name: str, value: np.ndarray) -> str:
        """Keep an array under a name; the name."""
        self._constants[name] = value
        return name

    def operand(self, value: Any, place: int) -> str:
        """The name of an operand, which may be a number or a stored array."""
        if not isinstance(value, fx.Node):
            # The count makes the name unlike those of earlier steps.
            label = f"number_{len(self._constants)}_{place}"
            return self.constant(label, np.asarray(float(value)))
        if value.name in self._inputs:
            return self.constant(value.name, self.array(value))
        return self.name(value)

    def _steps(self, node: fx.Node) -> list[Step]:
        """The step of a node; none, where nothing is computed."""
        if node.target is operator.getitem:
            self._take_first(node)
            return []
        kind = _kind(node)
        write = WRITERS.get(kind)
        written = None
        if write is not None:
            written = write(self, node, list(node.args))
        if written is None:
            raise InputError(
                f"the network computes {kind} between its layers, which no step of an array image stands "
                f"for; known are {', '.join(sorted(WRITERS))}"
            )
        if isinstance(written, str):
            self._renamed[node.name] = written
            return []
        return [{"output": node.name, **written}]

    def _take_first(self, node: fx.Node) -> None:
        """Use the first of an operator's values.

        Batch norms and pools give more of them: statistics, and the places of the maxima.
        """
        values, place = node.args
        if place != 0:
            raise InputError(
                f"operator {_kind(node)} of the network gives several values, which no step stands for"
            )
        self._renamed[node.name] = self.name(values)


def _kind(node: fx.Node) -> str:
    """The name of a node's operator, such as `relu`."""
    full = node.target
    if not isinstance(full, str):
        full = getattr(full, "__name__", str(full))
    # The rest is the overload, such as `add.Tensor`.
    kind, _, _ = full.partition(".")
    return kind


# What a writer of a step gets: the writer of the program, the node, its arguments. It gives the step
# without its output; or the name of the value that the node hands on; or None where the step cannot say
# what the node does. Torch leaves arguments out at the end that have their default.
Arguments = list[Any]
WriteStep = Callable[[StepWriter, fx.Node, Arguments], Step | str | None]


def _layer(writer: StepWriter, node: fx.Node, args: Arguments) -> Step:
    x, layer = args[:2]
    return {
        "op": "layer",
        "inputs": [writer.name(x)],
        "layer": layer,
    }


def _batch_norm(writer: StepWriter, node: fx.Node, args: Arguments) -> Step:
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
    def write(writer: StepWriter, node: fx.Node, args: Arguments) -> Step:
        x = writer.name(args[0])
        return {"op": op, "inputs": [x]}

    return write


def _binary(op: str) -> WriteStep:
    def write(writer: StepWriter, node: fx.Node, args: Arguments) -> Step | None:
        # A sum x + alpha * y is two steps.
        if node.kwargs.get("alpha", 1) != 1:
            return None
        names = [writer.operand(value, place) for place, value in enumerate(args)]
        return {"op": op, "inputs": names}

    return write


def _slice(writer: StepWriter, node: fx.Node, args: Arguments) -> Step | str:
    x, axis, start, stop, step = _with_defaults(args, None, 0, 0, None, 1)
    size = x.meta["val"].shape[axis]
    # Torch gives ends beyond the size, and counts from the end.
    begin, end, stride = slice(start, stop, step).indices(size)
    if (begin, end, stride) == (0, size, 1):
        return writer.name(x)
    return {
        "op": "slice",
        "inputs": [writer.name(x)],
        "axis": axis,
        "start": begin,
        "stop": end,
        "step": stride,
    }


def _pad(writer: StepWriter, node: fx.Node, args: Arguments) -> Step:
    x, given, value = _with_defaults(args, None, None, 0.0)
    # Torch gives (before, after) of the last axis first, and nothing of the first axes.
    widths: list[list[int]] = []
    for place in range(0, len(given), 2):
        pair = [given[place], given[place + 1]]
        widths.insert(0, pair)
    untouched = x.meta["val"].ndim - len(widths)
    return {
        "op": "pad",
        "inputs": [writer.name(x)],
        "widths": [[0, 0]] * untouched + widths,
        "value": float(value),
    }


def _mean(writer: StepWriter, node: fx.Node, args: Arguments) -> Step:
    x, axes, keep = _with_defaults(args, None, None, False)
    return {
        "op": "mean",
        "inputs": [writer.name(x)],
        "axes": [int(axis) for axis in axes],
        "keep": bool(keep),
    }


def _pool(op: str) -> WriteStep:
    def write(writer: StepWriter, node: fx.Node, args: Arguments) -> Step | None:
        x, kernel, stride, padding = _with_defaults(args[:4], None, None, None, None)
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


def _is_default(value: Any) -> bool:
    """Whether an option of a pool changes nothing: a dilation of one, or anything but True."""
    if isinstance(value, (list, tuple)):
        return list(value) in ([1], [1, 1])
    return value is not True


def _pair(values: Any) -> list[int]:
    """(vertical, horizontal) of one number for both, or of two."""
    return list(values) * (2 // len(values))


def _view(writer: StepWriter, node: fx.Node, args: Arguments) -> Step | None:
    sizes = [int(size) for size in node.meta["val"].shape]
    # The first axis must stay that of images, which would be mixed otherwise.
    if sizes[0] != 1:
        return None
    return {
        "op": "reshape",
        "inputs": [writer.name(args[0])],
        "sizes": sizes[1:],
    }


def _permute(writer: StepWriter, node: fx.Node, args: Arguments) -> Step:
    x, axes = args[:2]
    return {
        "op": "transpose",
        "inputs": [writer.name(x)],
        "axes": [int(axis) for axis in axes],
    }


def _concat(writer: StepWriter, node: fx.Node, args: Arguments) -> Step:
    parts, axis = _with_defaults(args, None, 0)
    return {
        "op": "concat",
        "inputs": [writer.name(part) for part in parts],
        "axis": int(axis),
    }


def _clip(writer: StepWriter, node: fx.Node, args: Arguments) -> Step:
    x, low, high = _with_defaults(args, None, -1.0, 1.0)
    return {
        "op": "clip",
        "inputs": [writer.name(x)],
        "low": float(low),
        "high": float(high),
    }


def _same(writer: StepWriter, node: fx.Node, args: Arguments) -> str:
    return writer.name(args[0])


def _with_defaults(args: Arguments, *defaults: Any) -> Arguments:
    """The arguments, with the defaults of those that were left out."""
    return [*args, *defaults[len(args) :]]


WRITERS: dict[str, WriteStep] = {
    "on_arrays": _layer,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "relu": _unary("relu"),
    "sigmoid": _unary("sigmoid"),
    "hardtanh": _clip,
    "add": _binary("add"),
    "mul": _binary("multiply"),
    "slice": _slice,
    "constant_pad_nd": _pad,
    "mean": _mean,
    "max_pool2d_with_indices": _pool("max_pool"),
    "avg_pool2d": _pool("average_pool"),
    "view": _view,
    "permute": _permute,
    "cat": _concat,
    "clone": _same,
    "alias": _same,
}
