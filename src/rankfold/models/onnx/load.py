"""`load_onnx`: an ONNX file as a torch network, to be planned, compressed, trained and written again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from rankfold.errors import InputError
from rankfold.models.onnx.arrays import as_tensor
from rankfold.models.onnx.casts import with_plain_casts
from rankfold.models.onnx.equalisation import equalise_channels_
from rankfold.models.onnx.graph import OnnxGraph, Step
from rankfold.models.onnx.layers import Layer, layer_of
from rankfold.models.onnx.module_names import ModuleNames
from rankfold.models.onnx.operators import OPERATORS
from rankfold.nn.sub_pixel import replace_transposed_
from rankfold.workload.onnx.attributes import attributes
from rankfold.workload.onnx.file import DEFAULT_DOMAINS, OnnxFile, describe
from rankfold.workload.onnx.layers import analyse_onnx
from rankfold.workload.onnx.names import layer_name
from rankfold.workload.onnx.other_sizes import with_open_batch
from rankfold.workload.onnx.sizes import Known
from rankfold.workload.shape import ConvShape
from rankfold.workload.sub_pixel import PART, is_replaced

# Inputs whose constants are known to exporters as attributes are: place -> attribute. Of `Resize` those of
# opset 11 and later; before, its scales are the second input.
BOUND = {
    "Clip": {1: "min", 2: "max"},
    "Pad": {2: "value"},
    "Resize": {2: "scales"},
    "Upsample": {1: "scales"},
}
OLD_RESIZE = {1: "scales"}
# Not read in any way that is computed here: regions of `Resize`.
IGNORED = {"Resize": (1,)}


def load_onnx(path: str | Path, image: Sequence[int] | None = None) -> nn.Module:
    """The network of an ONNX file of opset 7 or later, in eval mode.

    It computes what the file says. Convolutions and products with stored matrices are modules of the names
    that `read_onnx` gives them, so that plans for the file are plans for it; transposed convolutions are
    sub-pixel ones (`nn.sub_pixel.SubPixelConv2d`). Convolutions whose channels are of very different sizes
    have weights of one size, and a factor for each channel behind (`equalisation.equalise_channels_`).

    Args:
        path: the file, whose weights may lie beside it.
        image: (C, H, W), or other sizes of an input without its batch, see `read_onnx`.

    Returns:
        An `OnnxGraph`: called with the file's inputs, by position or by name,
        it gives its output, or a tuple of several.

    Raises:
        InputError: the file cannot be read (see `read_onnx`), or has operators that are not computed here,
            which the message names.
        MissingDependencyError: onnx is not installed.
    """
    source = analyse_onnx(path, image)
    names = {layer.node.output[0]: _module_name(layer.shape) for layer in source.layers}
    made = graph_of(source.file, source.sizes.known, names)
    equalise_channels_(made)
    replace_transposed_(made)
    return made


def _module_name(shape: ConvShape) -> str:
    """The name of the module of a layer, before transposed convolutions are replaced."""
    if is_replaced(shape):
        return shape.weight.removesuffix(PART)
    return shape.weight


def graph_of(file: OnnxFile, known: Known, names: Mapping[str, str]) -> OnnxGraph:
    """The network of a file that is opened.

    Args:
        file: the file.
        known: sizes of its values.
        names: of layers, by the first output of their nodes; others are called after their weights or
            nodes.

    Raises:
        InputError: it has operators that are not computed here.
    """
    return _Builder(with_open_batch(with_plain_casts(file), known), known, names).graph()


class _Builder:
    """Puts a network together, node by node; see `graph_of`."""

    def __init__(self, file: OnnxFile, known: Known, names: Mapping[str, str]) -> None:
        self._file, self._known, self._names = file, known, names
        self._module_names = ModuleNames(names.values())
        self._used: dict[str, nn.Module] = {}  # the first module of each layer
        self._paths: dict[tuple[object, ...], str] = {}  # of each use of a weight
        self._steps: list[Step] = []
        self._modules: dict[str, nn.Module] = {}
        self._numbers: dict[str, int | list[int]] = {}
        self._tensors: dict[str, Tensor] = {}

    def graph(self) -> OnnxGraph:
        """The network."""
        file = self._file
        nodes = self._needed()
        _check_known(file, nodes)
        for node in nodes:
            self._add(node)
        outputs = [value.name for value in file.model.graph.output]
        for name in outputs:
            self._keep(name)
        made = OnnxGraph(
            {value.name: _batch_of(value) for value in file.inputs},
            outputs,
            self._steps,
            numbers=self._numbers,
            tensors=self._tensors,
        )
        for name, module in self._modules.items():
            _place_(made, name, module)
        return made.eval()

    def _needed(self) -> list[Any]:
        """The nodes that are computed in every run and lead to an output."""
        wanted = {value.name for value in self._file.model.graph.output}
        found = []
        for node in reversed(self._file.model.graph.node):
            if wanted.isdisjoint(node.output) or self._file.constants.issuperset(node.output):
                continue
            wanted.update(node.input)
            found.append(node)
        return found[::-1]

    def _add(self, node: Any) -> None:
        """The steps of one node."""
        options = {name: _plain(value) for name, value in attributes(node).items()}
        words = describe(node)
        try:
            layer = layer_of(self._file, self._known, node, options)
            if layer is None:
                self._add_function(node, options)
                return
        except InputError as error:
            raise InputError(f"{self._file.path}: {words}: {error}") from None
        name = self._module(node, layer, options)
        given, made = node.input[0], node.output[0]
        if layer.before is not None:
            padded = f"{made} before"
            self._steps.append(Step(words, layer.before, (given,), (padded,)))
            given = padded
        if layer.behind is None:
            self._steps.append(Step(words, name, (given,), (made,)))
            return
        whole = f"{made} whole"
        self._steps.append(Step(words, name, (given,), (whole,)))
        self._steps.append(Step(words, layer.behind, (whole,), (made,)))

    def _add_function(self, node: Any, options: dict[str, Any]) -> None:
        """The step of a node that is no module."""
        inputs = list(node.input)
        for place, attribute in self._bound(node.op_type).items():
            if place < len(inputs) and inputs[place] in self._file.constants and inputs[place]:
                value = self._file.array(inputs[place])
                if value.size:
                    # Some exporters write single numbers as lists of one.
                    alone = value.size == 1 and node.op_type in ("Clip", "Pad")
                    options[attribute] = value.item() if alone else value.tolist()
                inputs[place] = ""
        for place in IGNORED.get(node.op_type, ()) if self._file.opset >= 11 else ():
            if place < len(inputs):
                inputs[place] = ""
        for name in inputs:
            self._keep(name)
        function = OPERATORS[node.op_type]
        keywords = _keywords(function, node, options, self._file.opset)
        self._steps.append(
            Step(describe(node), partial(function, **keywords), tuple(inputs), tuple(node.output))
        )

    def _bound(self, operator: str) -> dict[int, str]:
        if operator == "Resize" and self._file.opset < 11:
            return OLD_RESIZE
        return BOUND.get(operator, {})

    def _keep(self, name: str) -> None:
        """Have the value of a constant at hand."""
        if name not in self._file.constants or name in self._numbers or name in self._tensors:
            return
        value = self._file.array(name)
        if value.dtype == np.int64 and value.ndim < 2:
            self._numbers[name] = value.tolist()
        else:
            self._tensors[name] = as_tensor(value)

    def _module(self, node: Any, layer: Layer, options: dict[str, Any]) -> str:
        """The path of the module of a node; nodes that use one weight alike share it."""
        root = self._file.root(node.input[1])
        # All that the module is made of: kernels that are said are those of the weight.
        use = (node.op_type, *node.input[1:], *sorted((name, str(value)) for name, value in options.items()))
        if use in self._paths:
            return self._paths[use]
        known = self._names.get(node.output[0])
        if known is not None and known not in self._used:
            path = self._module_names.of_layer(known)
            self._used[known] = layer.module
        else:
            path = self._module_names.further(known or layer_name(node, root))
            # The same weight in another use: one Parameter of both, so that both stay alike.
            if known is not None and self._used[known].weight.shape == layer.module.weight.shape:
                layer.module.weight = self._used[known].weight
        self._paths[use] = path
        self._modules[path] = layer.module
        return path


def _batch_of(value: Any) -> int | None:
    """The samples of a batch of an input; None: the file leaves them open."""
    sizes = value.type.tensor_type.shape.dim
    return int(sizes[0].dim_value) or None if sizes else None


def _place_(graph: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module into the graph under its path."""
    *steps, last = path.split(".")
    parent = graph
    for step in steps:
        if step not in parent._modules:
            parent.add_module(step, nn.Module())
        parent = parent.get_submodule(step)
    parent.add_module(last, module)


def _check_known(file: OnnxFile, nodes: Sequence[Any]) -> None:
    """Refuse operators that nobody can compute here, all of them at once."""
    missing: Counter[str] = Counter()
    for node in nodes:
        if node.domain not in DEFAULT_DOMAINS:
            missing[f"{node.domain}.{node.op_type}"] += 1
        elif node.op_type not in OPERATORS:
            missing[node.op_type] += 1
    if missing:
        words = ", ".join(f"{name} ({count})" for name, count in sorted(missing.items()))
        raise InputError(
            f"{file.path} has operators that cannot be computed by torch here: {words}; export the network "
            "without them, such as without what follows its last layer"
        )


def _keywords(function: Any, node: Any, options: dict[str, Any], opset: int) -> dict[str, Any]:
    """The attributes of a node as the keywords of its function.

    Raises:
        InputError: it has one that would be ignored.
    """
    taken = signature(function).parameters
    keywords = dict(options)
    if "opset" in taken:
        keywords["opset"] = opset
    if "outputs" in taken:
        keywords["outputs"] = len([name for name in node.output if name])
    if node.op_type == "Split":
        keywords["outputs"] = len(node.output)
    anything = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values())
    for name in keywords:
        known = name in taken and taken[name].kind is Parameter.KEYWORD_ONLY
        if not (known or anything):
            raise InputError(f"it has the attribute {name}, which is not known here")
    return keywords


def _plain(value: Any) -> Any:
    """An attribute as Python and torch have it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if hasattr(value, "data_type"):  # a stored tensor
        from rankfold.workload.onnx.file import import_onnx

        return as_tensor(import_onnx().numpy_helper.to_array(value))
    if isinstance(value, (list, tuple)):
        return list(value)
    return value
