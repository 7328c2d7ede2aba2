"""What a network computes between its arrays, as a list of plain steps that any language can follow."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from rankfold.errors import InputError, first_line
from rankfold.nn.quantised import QuantConv2d, QuantLayer

Step = dict[str, Any]


@torch.library.custom_op("rankfold::on_arrays", mutates_args=())
def on_arrays(x: Tensor, layer: str, out: list[int]) -> Tensor:
    """Stands for a layer while the network around it is written down; it is never run."""
    raise NotImplementedError("on_arrays is a mark in a graph, not a computation")


@on_arrays.register_fake
def _(x: Tensor, layer: str, out: list[int]) -> Tensor:
    return x.new_empty(out)


class _Mark(nn.Module):
    """Takes the place of a layer that runs on arrays."""

    def __init__(self, name: str, layer: QuantLayer) -> None:
        super().__init__()
        self.name = name
        self.conv = isinstance(layer, QuantConv2d)
        self.meta = layer if self.conv else None
        self.outputs = layer.weight.shape[0]

    def forward(self, input: Tensor) -> Tensor:
        if not self.conv:
            return on_arrays(input, self.name, [*input.shape[:-1], self.outputs])
        conv: Any = self.meta
        left, right, top, bottom = conv._reversed_padding_repeated_twice
        sizes = []
        for axis, padding in ((2, top + bottom), (3, left + right)):
            extent = (conv.kernel_size[axis - 2] - 1) * conv.dilation[axis - 2] + 1
            sizes.append((input.shape[axis] + padding - extent) // conv.stride[axis - 2] + 1)
        return on_arrays(input, f"{self.name}@{input.shape[2]}x{input.shape[3]}", [input.shape[0], self.outputs, *sizes])


@dataclass(frozen=True)
class Program:
    """The steps of a network, for one image.

    Attributes:
        input: name of the value that is the image, (1, C, H, W).
        steps: each with the name of its output, what it does, the names of its inputs, and numbers.
        output: name of the value that is the result.
        constants: arrays that steps name, float64.
    """

    input: str
    steps: tuple[Step, ...]
    output: str
    constants: dict[str, np.ndarray]


def write_program(model: nn.Module, layers: dict[str, QuantLayer], image: tuple[int, int, int]) -> Program:
    """Write down what `model` does with an image, with a step `layer` for each of `layers`.

    Args:
        model: the network, in any mode; evaluation is written.
        layers: its layers that run on arrays, by name.
        image: (C, H, W).

    Raises:
        InputError: the network cannot be exported, or has an operator that no step stands for; the message names it.
    """
    import copy

    marked = copy.deepcopy(model).double().eval()
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        marked.get_submodule(parent)._modules[child] = _Mark(name, layer)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            exported = torch.export.export(marked, (torch.zeros(1, *image, dtype=torch.float64),)).run_decompositions()
    except Exception as error:  # whatever the user's network makes torch raise
        raise InputError(f"torch cannot write the network down as a graph: {first_line(error)}") from error
    stored = {**exported.state_dict, **exported.constants}
    signature = exported.graph_signature
    inputs = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    return _Writer(stored, dict(inputs)).write(exported.graph)


class _Writer:
    """Turns a graph of torch's core operators into steps."""

    def __init__(self, stored: dict[str, Any], inputs: dict[str, str]) -> None:
        self.stored, self.inputs = stored, inputs
        self.constants: dict[str, np.ndarray] = {}
        self.renamed: dict[str, str] = {}

    def write(self, graph: fx.Graph) -> Program:
        steps, image, output = [], "", ""
        for node in graph.nodes:
            if node.op == "placeholder":
                if node.name not in self.inputs:
                    image = node.name
            elif node.op == "output":
                (result,) = node.args[0]
                output = self._name(result)
            else:
                step = self._step(node)
                if step is not None:
                    steps.append(step)
        return Program(image, tuple(steps), output, self.constants)

    def _name(self, node: Any) -> str:
        return self.renamed.get(node.name, node.name)

    def _array(self, node: Any) -> np.ndarray:
        value: np.ndarray = self.stored[self.inputs[node.name]].detach().cpu().double().numpy()
        return value

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name

    def _step(self, node: fx.Node) -> Step | None:
        kind = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        if node.target is operator.getitem:
            first, place = node.args
            if place != 0:
                raise InputError(f"operator {kind} of the network gives several values, which no step stands for")
            self.renamed[node.name] = self._name(first)
            return None
        make = WRITERS.get(kind.split(".")[0])
        made = None if make is None else make(self, node, list(node.args))
        if made is None:
            raise InputError(
                f"the network computes {kind.split('.')[0]} between its layers, which no step of an array image stands for; "
                f"known are {', '.join(sorted(WRITERS))}"
            )
        if isinstance(made, str):  # nothing is computed
            self.renamed[node.name] = made
            return None
        return {"output": node.name, **made}

    def operands(self, args: list[Any]) -> Step:
        """Two operands, either of which may be a number or a constant."""
        names = []
        for number, value in enumerate(args):
            if isinstance(value, fx.Node) and value.name in self.inputs:
                names.append(self._constant(value.name, self._array(value)))
            elif isinstance(value, fx.Node):
                names.append(self._name(value))
            else:
                names.append(self._constant(f"number_{len(self.constants)}_{number}", np.asarray(float(value))))
        return {"inputs": names}


def _norm(writer: _Writer, node: fx.Node, args: list[Any]) -> Step:
    x, weight, bias, mean, variance, _, epsilon = args[:7]
    scale = 1 / np.sqrt(writer._array(variance) + epsilon)
    if weight is not None:
        scale = scale * writer._array(weight)
    shift = -writer._array(mean) * scale + (0.0 if bias is None else writer._array(bias))
    names = writer._constant(f"{node.name}_scale", scale), writer._constant(f"{node.name}_shift", shift)
    return {"op": "scale_channels", "inputs": [writer._name(x)], "scale": names[0], "shift": names[1]}


def _layer(writer: _Writer, node: fx.Node, args: list[Any]) -> Step:
    return {"op": "layer", "inputs": [writer._name(args[0])], "layer": args[1]}


def _unary(op: str) -> Callable[[_Writer, fx.Node, list[Any]], Step]:
    return lambda writer, node, args: {"op": op, "inputs": [writer._name(args[0])]}


def _binary(op: str) -> Callable[[_Writer, fx.Node, list[Any]], Step | None]:
    def write(writer: _Writer, node: fx.Node, args: list[Any]) -> Step | None:
        return None if node.kwargs.get("alpha", 1) != 1 else {"op": op, **writer.operands(args)}

    return write


def _slice(writer: _Writer, node: fx.Node, args: list[Any]) -> Step | str:
    x, axis, start, stop, step = args + [0, 0, None, 1][len(args) - 1 :]
    size = x.meta["val"].shape[axis]
    begin, end, stride = slice(start, stop, step).indices(size)
    if (begin, end, stride) == (0, size, 1):
        return writer._name(x)
    return {"op": "slice", "inputs": [writer._name(x)], "axis": axis, "start": begin, "stop": end, "step": stride}


def _pad(writer: _Writer, node: fx.Node, args: list[Any]) -> Step:
    ndim = args[0].meta["val"].ndim
    pairs = [[0, 0]] * (ndim - len(args[1]) // 2) + [list(args[1][i : i + 2]) for i in range(len(args[1]) - 2, -1, -2)]
    return {"op": "pad", "inputs": [writer._name(args[0])], "widths": pairs, "value": float(args[2]) if len(args) > 2 else 0.0}


def _mean(writer: _Writer, node: fx.Node, args: list[Any]) -> Step:
    keep = bool(args[2]) if len(args) > 2 else False
    return {"op": "mean", "inputs": [writer._name(args[0])], "axes": [int(axis) for axis in args[1]], "keep": keep}


def _pool(op: str) -> Callable[[_Writer, fx.Node, list[Any]], Step | None]:
    def write(writer: _Writer, node: fx.Node, args: list[Any]) -> Step | None:
        x, kernel, stride, padding = (args + [None] * 3)[:4]
        # Dilation, sizes rounded up, other divisors: no step says these.
        plain = all(list(more) in ([1], [1, 1]) if isinstance(more, (list, tuple)) else more is not True for more in args[4:])
        if not plain or (op == "average_pool" and padding and any(padding)):
            return None
        pairs = [list(value) * (2 // len(value)) for value in (kernel, stride or kernel, padding or [0])]
        return {"op": op, "inputs": [writer._name(x)], "kernel": pairs[0], "stride": pairs[1], "padding": pairs[2]}

    return write


def _view(writer: _Writer, node: fx.Node, args: list[Any]) -> Step | None:
    sizes = [int(size) for size in node.meta["val"].shape]
    if sizes[0] != 1:
        return None  # images would be mixed
    return {"op": "reshape", "inputs": [writer._name(args[0])], "sizes": sizes[1:]}


def _permute(writer: _Writer, node: fx.Node, args: list[Any]) -> Step:
    return {"op": "transpose", "inputs": [writer._name(args[0])], "axes": [int(axis) for axis in args[1]]}


def _concat(writer: _Writer, node: fx.Node, args: list[Any]) -> Step:
    return {"op": "concat", "inputs": [writer._name(x) for x in args[0]], "axis": int(args[1]) if len(args) > 1 else 0}


def _clip(writer: _Writer, node: fx.Node, args: list[Any]) -> Step:
    low, high = [*args[1:], -1.0, 1.0][:2] if len(args) < 3 else args[1:3]
    return {"op": "clip", "inputs": [writer._name(args[0])], "low": float(low), "high": float(high)}


def _same(writer: _Writer, node: fx.Node, args: list[Any]) -> str:
    return writer._name(args[0])


WRITERS: dict[str, Callable[[_Writer, fx.Node, list[Any]], Step | str | None]] = {
    "on_arrays": _layer,
    "_native_batch_norm_legit_no_training": _norm,
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
