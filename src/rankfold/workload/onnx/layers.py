"""Networks given as ONNX files: their convolutions and fully connected layers, without any framework."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.workload.network import Network, Untouched
from rankfold.workload.onnx.file import OnnxFile, describe, open_onnx
from rankfold.workload.onnx.names import layer_name
from rankfold.workload.onnx.shapes import Image, Sizes, infer_sizes, where_inference_stops
from rankfold.workload.shape import ConvShape, same_padding

# Operator -> the place of its data and of its weight among its inputs. All others with a weight are left alone.
CONVOLUTIONS = {"Conv": (0, 1), "FusedConv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}
PRODUCTS = {"Gemm": (0, 1), "MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3), "QGemm": (0, 3)}
REPLACEABLE = ("Conv", "Gemm", "MatMul")
RECURRENT = ("LSTM", "GRU", "RNN")
# Operators that read a table or a constant and multiply nothing by a matrix.
LOOKUPS = ("Gather", "GatherND", "GatherElements", "EmbedLayerNormalization")
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Where", "PRelu", "Max", "Min", "Equal", "Less", "Greater", "And", "Or")
SHAPING = (
    "Concat", "Reshape", "Transpose", "Slice", "Expand", "Tile", "Pad", "Identity", "Cast", "Split", "Squeeze", "Unsqueeze",
    "Flatten", "ScatterND", "ScatterElements", "QuantizeLinear", "DequantizeLinear", "Resize", "GridSample",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class OnnxLayer:
    """One layer of an ONNX graph.

    Attributes:
        shape: its shape, with its name in the network.
        node: the node that runs it (`onnx.NodeProto`).
        weight: the value that the node reads as its weight.
    """

    shape: ConvShape
    node: Any
    weight: str


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """An ONNX file with everything that is known of it.

    Attributes:
        file: the file.
        sizes: of all its values.
        layers: in the order of the graph.
        untouched: other nodes that carry weights.
    """

    file: OnnxFile
    sizes: Sizes
    layers: tuple[OnnxLayer, ...]
    untouched: tuple[Untouched, ...]

    @property
    def network(self) -> Network:
        """The network, as all other steps know it."""
        shapes = tuple(layer.shape for layer in self.layers)
        return Network(str(self.file.path), self.sizes.image, shapes, self.untouched, self.file.parameters)


def read_onnx(path: str | Path, image: Image | None = None) -> Network:
    """Read a network from an ONNX file of opset 11 or later.

    Convolutions and products with a constant matrix become layers, also those of quantised (QDQ or integer) models; a layer is
    called after its weight (`block.conv` for `block.conv.weight`), or after its node. Batches of open size count as one image.

    Args:
        path: the file, whose weights may lie beside it.
        image: (C, H, W), where the file leaves the size of its images open.

    Raises:
        InputError: the file is missing, broken or older, lacks weights, leaves sizes open, or has a node at which shape
            inference stops before a layer; the message names the input or node.
        MissingDependencyError: onnx is not installed.
    """
    return analyse_onnx(path, image).network


def analyse_onnx(path: str | Path, image: Image | None = None) -> OnnxNetwork:
    """As `read_onnx`, with the nodes and weights behind every layer."""
    file = open_onnx(path)
    sizes = infer_sizes(file, image)
    layers: list[OnnxLayer] = []
    untouched: list[Untouched] = []
    taken: dict[str, str] = {}  # name -> the weight it stands for
    runs: Counter[str] = Counter()
    for node in file.model.graph.node:
        weights = [name for name in node.input if name in file.constants and len(sizes.known.get(name, ())) > 1]
        if not weights or all(output in file.constants for output in node.output):
            untouched.extend(_nested(node))
            continue
        found = _layer(file, sizes, node)
        if isinstance(found, OnnxLayer):
            root = file.root(found.weight)
            name = layer_name(node, root)
            if taken.setdefault(name, root) != root:  # two weights of one name: the node's own name tells them apart
                name = f"{name}.{node.name or node.output[0]}"
                taken[name] = root
            runs[name] += 1
            label = name if runs[name] == 1 else f"{name}#{runs[name]}"
            layers.append(replace(found, shape=replace(found.shape, name=label, weight=name)))
        elif found is not None:
            untouched.append(found)
    if not layers:
        raise InputError(f"{path} has no Conv, Gemm or MatMul with a constant weight, so there is nothing to map")
    return OnnxNetwork(file, sizes, tuple(layers), tuple(untouched))


def _layer(file: OnnxFile, sizes: Sizes, node: Any) -> OnnxLayer | Untouched | None:
    """What a node with a constant of two or more dimensions is."""
    kind = node.op_type
    if kind in CONVOLUTIONS:
        data, weight = (node.input[place] for place in CONVOLUTIONS[kind])
        if weight not in file.constants:
            return None
        dims = sizes.known[weight]
        if len(dims) != 4:
            return _left_alone(file, sizes, node, weight, f"a {len(dims) - 2}-d convolution")
        shape = _convolution(_need(file, sizes, node, data), dims, _attributes(node), node)
        return OnnxLayer(replace(shape, fixed=_fixed(node)), node, weight)
    if kind in PRODUCTS:
        return _product(file, sizes, node)
    if kind in LOOKUPS:
        table = node.input[0]
        if table not in file.constants or len(sizes.known.get(table, ())) < 2:
            return None
        parameters = math.prod(sizes.known[table])
        return Untouched(layer_name(node, file.root(table)), f"a lookup table ({kind}) is left alone", 0, parameters)
    if kind in ELEMENTWISE or kind in SHAPING:
        return None
    weight = max(
        (name for name in node.input if name in file.constants and name in sizes.known), key=lambda n: math.prod(sizes.known[n])
    )
    return _left_alone(file, sizes, node, weight, _article(kind))


def _product(file: OnnxFile, sizes: Sizes, node: Any) -> OnnxLayer | Untouched | None:
    data, weight = (node.input[place] for place in PRODUCTS[node.op_type])
    options = _attributes(node)
    left = weight not in file.constants  # the constant matrix stands on the left
    if left:
        data, weight = weight, data
    dims = sizes.known[weight]
    if len(dims) != 2 or (left and (options.get("transA") or node.op_type not in ("Gemm", "MatMul"))):
        return _left_alone(file, sizes, node, weight, f"a {node.op_type} with a constant of {_show(dims)}")
    x = _need(file, sizes, node, data)
    if left:
        outputs, inputs = dims
    else:
        inputs, outputs = dims[::-1] if options.get("transB") else dims
    places = max(1, math.prod(x) // inputs // sizes.batch)
    plane = (x[1], x[2]) if len(x) == 4 and places == x[1] * x[2] and not left else (places, 1)
    fixed = "a product with its constant on the left" if left else _fixed(node)
    if not fixed and (options.get("transA") or options.get("alpha", 1.0) != 1.0):
        fixed = "a Gemm that scales or turns round its input"
    return OnnxLayer(ConvShape("-", inputs, outputs, (1, 1), plane, kind="linear", fixed=fixed), node, weight)


def _convolution(x: tuple[int, ...], dims: tuple[int, ...], options: Mapping[str, Any], node: Any) -> ConvShape:
    kernel, plane = (dims[2], dims[3]), (x[2], x[3])
    stride, dilation = (tuple(options.get(key) or (1, 1)) for key in ("strides", "dilations"))
    groups = options.get("group", 1)
    automatic = options.get("auto_pad", b"NOTSET").decode()
    top, left, bottom, right = options.get("pads") or (0, 0, 0, 0)
    if automatic == "VALID":
        top = left = bottom = right = 0
    elif automatic.startswith("SAME"):
        top, bottom, left, right = same_padding(plane, kernel, stride, dilation)
        if automatic == "SAME_LOWER":  # the odd zero goes above and to the left
            top, bottom, left, right = bottom, top, right, left
    name = node.name or node.output[0]
    if dims[1] * groups != x[1]:
        raise InputError(
            f"{describe(node)} reads {x[1]} channels, and its weight of {_show(dims)} in {groups} groups takes "
            f"{dims[1] * groups}; pass its real --input"
        )
    return ConvShape(name, x[1], dims[0], kernel, plane, stride, (top, bottom, left, right), dilation, groups)


def _fixed(node: Any) -> str:
    if node.op_type in REPLACEABLE and node.domain in ("", "ai.onnx"):
        return ""
    return f"{_article(node.op_type)}, whose weight is quantised or fused already"


def _left_alone(file: OnnxFile, sizes: Sizes, node: Any, weight: str, what: str) -> Untouched:
    """A node that carries a weight and is not mapped, with its multiply-accumulates where they follow from its sizes."""
    parameters = math.prod(sizes.known[weight])
    x, y = (sizes.known.get(names[0]) if names else None for names in (node.input, node.output))
    macs = None
    if node.op_type == "ConvTranspose" and x is not None:
        macs = parameters * math.prod(x[2:])  # every input meets the whole kernel
    elif node.op_type in CONVOLUTIONS and y is not None:
        macs = parameters * math.prod(y[2:])
    elif node.op_type in PRODUCTS and y is not None:
        macs = math.prod(y) * sizes.known[weight][-2] // sizes.batch
    elif node.op_type in RECURRENT and x is not None:
        parameters = sum(math.prod(sizes.known[name]) for name in node.input[1:3])
        macs = parameters * x[0]
    return Untouched(layer_name(node, file.root(weight)), f"{what} is left alone", macs, parameters)


def _nested(node: Any) -> Iterator[Untouched]:
    """Layers inside the branches of an If or the body of a Loop: how often they run depends on values."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                if inner.op_type in CONVOLUTIONS or inner.op_type in PRODUCTS:
                    sizes = [tuple(t.dims) for t in graph.initializer if t.name in inner.input]
                    parameters = max(map(math.prod, sizes), default=0)
                    name = inner.name or inner.output[0]
                    yield Untouched(name, f"{_article(inner.op_type)} inside {describe(node)} is left alone", None, parameters)
                yield from _nested(inner)


def _need(file: OnnxFile, sizes: Sizes, node: Any, data: str) -> tuple[int, ...]:
    """The sizes of a layer's input."""
    if data not in sizes.known:
        culprit = where_inference_stops(file, sizes.known, data)
        raise InputError(
            f"{file.path}: shape inference stops at {culprit}, whose output has no known size, so {describe(node)} cannot be "
            "mapped; replace that operator, or export the part after it on its own"
        )
    return sizes.known[data]


def _attributes(node: Any) -> dict[str, Any]:
    from rankfold.workload.onnx.file import import_onnx

    helper = import_onnx().helper
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIO' or (kind in RECURRENT and kind != 'GRU') else 'a'} {kind}"


def _show(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
