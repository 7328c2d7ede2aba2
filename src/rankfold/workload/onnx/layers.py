"""Networks given as ONNX files: their convolutions and fully connected layers, without any framework."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.workload.network import Network, Untouched
from rankfold.workload.onnx.file import DEFAULT_DOMAINS, OnnxFile, describe, import_onnx, open_onnx
from rankfold.workload.onnx.names import layer_name
from rankfold.workload.onnx.shapes import Dims, Sizes, infer_sizes, where_inference_stops
from rankfold.workload.shape import ConvShape, Image, Pair, Sides, same_padding

# Operator -> the place of its data and of its weight among its inputs. All others with a weight are left
# alone.
CONVOLUTIONS = {
    "Conv": (0, 1),
    "FusedConv": (0, 1),
    "ConvInteger": (0, 1),
    "QLinearConv": (0, 3),
}
PRODUCTS = {
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3),
}
REPLACEABLE = ("Conv", "Gemm", "MatMul")
RECURRENT = ("LSTM", "GRU", "RNN")
# Operators that read a table or a constant and multiply nothing by a matrix.
LOOKUPS = ("Gather", "GatherND", "GatherElements", "EmbedLayerNormalization")
ELEMENTWISE = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Where",
    "PRelu",
    "Max",
    "Min",
    "Equal",
    "Less",
    "Greater",
    "And",
    "Or",
)
SHAPING = (
    "Concat",
    "Reshape",
    "Transpose",
    "Slice",
    "Expand",
    "Tile",
    "Pad",
    "Identity",
    "Cast",
    "Split",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "ScatterND",
    "ScatterElements",
    "QuantizeLinear",
    "DequantizeLinear",
    "Resize",
    "GridSample",
)


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
        return Network(
            str(self.file.path),
            self.sizes.image,
            layers=tuple(layer.shape for layer in self.layers),
            untouched=self.untouched,
            parameters=self.file.parameters,
        )


def read_onnx(path: str | Path, image: Image | None = None) -> Network:
    """Read a network from an ONNX file of opset 11 or later.

    Convolutions and products with a constant matrix become layers, also those of quantised (QDQ or integer)
    models; a layer is called after its weight (`block.conv` for `block.conv.weight`), or after its node.
    Batches of open size count as one image.

    Args:
        path: the file, whose weights may lie beside it.
        image: (C, H, W), where the file leaves the size of its images open.

    Raises:
        InputError: the file is missing, broken or older, lacks weights, leaves sizes open, or has a node at
            which shape inference stops before a layer; the message names the input or node.
        MissingDependencyError: onnx is not installed.
    """
    return analyse_onnx(path, image).network


def analyse_onnx(path: str | Path, image: Image | None = None) -> OnnxNetwork:
    """As `read_onnx`, with the nodes and weights behind every layer."""
    file = open_onnx(path)
    reader = _Reader(file, infer_sizes(file, image))
    for node in file.model.graph.node:
        reader.read(node)
    if not reader.layers:
        raise InputError(
            f"{path} has no Conv, Gemm or MatMul with a constant weight, so there is nothing to map"
        )
    return OnnxNetwork(
        file,
        reader.sizes,
        layers=tuple(reader.layers),
        untouched=tuple(reader.untouched),
    )


class _Reader:
    """Collects the layers of a graph, node by node.

    Attributes:
        file: the file.
        sizes: of all its values.
        layers: those found so far.
        untouched: other nodes that carry weights.
    """

    def __init__(self, file: OnnxFile, sizes: Sizes) -> None:
        self.file = file
        self.sizes = sizes
        self.layers: list[OnnxLayer] = []
        self.untouched: list[Untouched] = []
        self._weight_of: dict[str, str] = {}  # name of a layer -> the stored tensor that it stands for
        self._runs: Counter[str] = Counter()

    def read(self, node: Any) -> None:
        """Add what a node is to the layers, or to what is left untouched."""
        constant = self.file.constants.issuperset(node.output)
        weighty = any(self._is_matrix(name) for name in node.input)
        if constant or not weighty:
            # It may still run layers of its own.
            self.untouched.extend(_nested(node))
            return
        layer = self._layer(node)
        if isinstance(layer, OnnxLayer):
            self.layers.append(self._named(layer))
        elif layer is not None:
            self.untouched.append(layer)

    def _is_matrix(self, value: str) -> bool:
        """Whether a value is a constant of two or more dimensions."""
        if value not in self.file.constants:
            return False
        return len(self.sizes.known.get(value, ())) > 1

    def _named(self, layer: OnnxLayer) -> OnnxLayer:
        """The layer under a name that no layer of another weight has, with #2 behind it the second time."""
        node = layer.node
        # What the exporter named after the layer is the stored tensor, not what a quantiser makes of it.
        root = self.file.root(layer.weight)
        name = layer_name(node, root)
        if self._weight_of.setdefault(name, root) != root:
            # Two weights of one name: the node's own name tells them apart.
            name = f"{name}.{node.name or node.output[0]}"
            self._weight_of[name] = root
        self._runs[name] += 1
        label = name
        if self._runs[name] > 1:
            label = f"{name}#{self._runs[name]}"
        return replace(layer, shape=replace(layer.shape, name=label, weight=name))

    def _layer(self, node: Any) -> OnnxLayer | Untouched | None:
        """What a node with a constant of two or more dimensions is; None: it multiplies nothing by it."""
        operator = node.op_type
        if operator in CONVOLUTIONS:
            return self._convolution(node)
        if operator in PRODUCTS:
            return self._product(node)
        if operator in LOOKUPS:
            return self._lookup(node)
        if operator in ELEMENTWISE or operator in SHAPING:
            return None
        weights = []
        for name in node.input:
            if name in self.file.constants and name in self.sizes.known:
                weights.append(name)
        largest = max(weights, key=self._count)
        return self._left_alone(node, largest, _article(operator))

    def _count(self, value: str) -> int:
        return math.prod(self.sizes.known[value])

    def _convolution(self, node: Any) -> OnnxLayer | Untouched | None:
        data, weight = _operands(node, *CONVOLUTIONS[node.op_type])
        if weight not in self.file.constants:
            return None  # the constant of two dimensions is another input
        dims = self.sizes.known[weight]
        if len(dims) != 4:
            return self._left_alone(node, weight, f"a {len(dims) - 2}-d convolution")
        x = self._need(node, data)
        return OnnxLayer(_conv_shape(node, x, dims), node, weight)

    def _product(self, node: Any) -> OnnxLayer | Untouched | None:
        data, weight = _operands(node, *PRODUCTS[node.op_type])
        on_left = weight not in self.file.constants
        # What multiplies the data may stand on either side of them.
        if on_left:
            data, weight = weight, data
        if weight not in self.file.constants:
            return None  # two computed factors; the constant is what a Gemm adds to their product
        options = _attributes(node)
        dims = self.sizes.known[weight]
        turned = on_left and not _is_plain_product(node, options)
        # Of several matrices at once, each input meets only one.
        if len(dims) != 2 or turned:
            what = f"a {node.op_type} with a constant of {_show(dims)}"
            return self._left_alone(node, weight, what)
        x = self._need(node, data)
        if on_left:
            shape = self._left_product(x, dims)
        else:
            shape = self._right_product(node, options, x, dims)
        return OnnxLayer(shape, node, weight)

    def _left_product(self, x: Dims, dims: Dims) -> ConvShape:
        """W x, with the constant (outputs, inputs) on the left."""
        outputs, inputs = dims
        plane = (self._places(x, inputs), 1)
        return _linear_shape(inputs, outputs, plane, "a product with its constant on the left")

    def _right_product(
        self,
        node: Any,
        options: Mapping[str, Any],
        x: Dims,
        dims: Dims,
    ) -> ConvShape:
        """x W, with the constant (inputs, outputs) on the right; transB: with its transpose."""
        inputs, outputs = dims
        if options.get("transB"):
            outputs, inputs = dims
        places = self._places(x, inputs)
        plane = (places, 1)
        # (B, H, W, C)
        if len(x) == 4 and places == x[1] * x[2]:
            plane = (x[1], x[2])
        fixed = _fixed(node)
        scaled = options.get("alpha", 1.0) != 1.0
        if not fixed and (options.get("transA") or scaled):
            fixed = "a Gemm that scales or turns round its input"
        return _linear_shape(inputs, outputs, plane, fixed)

    def _places(self, x: Dims, inputs: int) -> int:
        """The vectors of one image that a product is made of."""
        # Of no inputs there is no vector; the shape is refused later.
        vectors = math.prod(x) // max(1, inputs)
        return max(1, vectors // self.sizes.batch)

    def _lookup(self, node: Any) -> Untouched | None:
        table = node.input[0]
        if not self._is_matrix(table):
            return None
        name = layer_name(node, self.file.root(table))
        what = f"a lookup table ({node.op_type}) is left alone"
        return Untouched(name, what, 0, self._count(table))

    def _left_alone(
        self,
        node: Any,
        weight: str,
        what: str,
    ) -> Untouched:
        """A node that carries a weight and is not mapped, with its work where that follows from its sizes."""
        x = self._sizes_of_first(node.input)
        y = self._sizes_of_first(node.output)
        parameters = self._count(weight)
        macs = None
        if node.op_type == "ConvTranspose" and x is not None:
            macs = parameters * math.prod(x[2:])  # every input meets the whole kernel
        elif node.op_type in CONVOLUTIONS and y is not None:
            macs = parameters * math.prod(y[2:])  # every output does
        elif node.op_type in PRODUCTS and y is not None:
            inner = self.sizes.known[weight][-2]
            macs = math.prod(y) * inner // self.sizes.batch
        elif node.op_type in RECURRENT and x is not None:
            # The weights of the input and those of the state, in every step of the sequence.
            parameters = sum(self._count(name) for name in node.input[1:3])
            macs = parameters * x[0]
        name = layer_name(node, self.file.root(weight))
        return Untouched(name, f"{what} is left alone", macs, parameters)

    def _sizes_of_first(self, values: Sequence[str]) -> Dims | None:
        if not values:
            return None
        return self.sizes.known.get(values[0])

    def _need(self, node: Any, data: str) -> Dims:
        """The sizes of a layer's input."""
        if data not in self.sizes.known:
            culprit = where_inference_stops(self.file, self.sizes.known, data)
            raise InputError(
                f"{self.file.path}: shape inference stops at {culprit}, whose output has no known size, "
                f"so {describe(node)} cannot be mapped; "
                "replace that operator, or export the part after it on its own"
            )
        return self.sizes.known[data]


def _is_plain_product(node: Any, options: Mapping[str, Any]) -> bool:
    """Whether a constant on the left multiplies its data as they are."""
    return node.op_type in ("Gemm", "MatMul") and not options.get("transA")


def _linear_shape(
    inputs: int,
    outputs: int,
    plane: Pair,
    fixed: str,
) -> ConvShape:
    return ConvShape(
        "-",
        inputs,
        outputs,
        (1, 1),
        plane,
        kind="linear",
        fixed=fixed,
    )


def _operands(node: Any, data_place: int, weight_place: int) -> tuple[str, str]:
    """The names of a node's data and weight.

    Raises:
        InputError: it has too few inputs.
    """
    if len(node.input) <= weight_place:
        raise InputError(
            f"{describe(node)} has {len(node.input)} inputs, and needs {weight_place + 1}; export it again"
        )
    return node.input[data_place], node.input[weight_place]


def _conv_shape(
    node: Any,
    x: Dims,
    dims: Dims,
) -> ConvShape:
    """The shape of a convolution of x, (B, C_in, H, W), with a weight of (C_out, C_in/groups, kh, kw)."""
    options = _attributes(node)
    if len(x) != 4:
        raise InputError(f"{describe(node)} reads a value of {_show(x)}, and a convolution needs four sizes")
    out_channels, channels_per_group, *kernel_sizes = dims
    kernel = _pair(kernel_sizes)
    plane = (x[2], x[3])
    stride = _pair(_numbers(node, options, "strides", (1, 1)))
    dilation = _pair(_numbers(node, options, "dilations", (1, 1)))
    (groups,) = _numbers(node, options, "group", (1,))
    taken = channels_per_group * groups
    if taken != x[1]:
        raise InputError(
            f"{describe(node)} reads {x[1]} channels, "
            f"and its weight of {_show(dims)} in {groups} groups takes {taken}; "
            "pass its real --input"
        )
    automatic = options.get("auto_pad", b"NOTSET")
    if not isinstance(automatic, bytes):
        raise InputError(f"{describe(node)} has an auto_pad that is no word; export it again")
    automatic = automatic.decode(errors="replace")
    if automatic.startswith("SAME"):
        padding = _padding_like(automatic, same_padding(plane, kernel, stride, dilation))
    elif automatic == "VALID":
        padding = (0, 0, 0, 0)
    else:
        # ONNX names all beginnings before all ends.
        top, left, bottom, right = _numbers(node, options, "pads", (0, 0, 0, 0))
        padding = (top, bottom, left, right)
    return ConvShape(
        node.name or node.output[0],
        taken,
        out_channels,
        kernel,
        plane,
        stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        fixed=_fixed(node),
    )


def _padding_like(automatic: str, same: Sides) -> Sides:
    """`same`, which has the odd zero below and right, or turned round."""
    if automatic != "SAME_LOWER":
        return same
    top, bottom, left, right = same
    return bottom, top, right, left


def _numbers(
    node: Any,
    options: Mapping[str, Any],
    name: str,
    default: Dims,
) -> Dims:
    """An attribute of as many whole numbers as `default` has, or `default` where it is not given.

    Raises:
        InputError: it has others.
    """
    given = options.get(name)
    if given is None or given == []:
        return default
    numbers = given
    if not isinstance(given, list):
        numbers = [given]
    if len(numbers) != len(default) or not all(isinstance(number, int) for number in numbers):
        raise InputError(
            f"{describe(node)} has {name} (={given}), which must be {len(default)} whole numbers; "
            "export it again"
        )
    return tuple(numbers)


def _pair(values: Any) -> Pair:
    vertical, horizontal = values
    return vertical, horizontal


def _fixed(node: Any) -> str:
    """Why a node can only stay as it is; empty where it may be replaced."""
    if node.op_type in REPLACEABLE and node.domain in DEFAULT_DOMAINS:
        return ""
    return f"{_article(node.op_type)}, whose weight is quantised or fused already"


def _nested(node: Any) -> Iterator[Untouched]:
    """Layers inside the branches of an If or the body of a Loop: how often they run depends on values."""
    for graph in _graphs_inside(node):
        for inner in graph.node:
            if inner.op_type in CONVOLUTIONS or inner.op_type in PRODUCTS:
                counts = []
                for stored in graph.initializer:
                    if stored.name in inner.input:
                        counts.append(math.prod(stored.dims))
                yield Untouched(
                    inner.name or inner.output[0],
                    f"{_article(inner.op_type)} inside {describe(node)} is left alone",
                    None,
                    max(counts, default=0),
                )
            yield from _nested(inner)


def _graphs_inside(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _attributes(node: Any) -> dict[str, Any]:
    helper = import_onnx().helper
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _article(operator: str) -> str:
    """The operator with the article that its name is spoken with: an LSTM, but a GRU."""
    spoken_with_vowel = operator[0] in "AEIO" or operator in ("LSTM", "RNN")
    if spoken_with_vowel:
        return f"an {operator}"
    return f"a {operator}"


def _show(sizes: Dims) -> str:
    return "x".join(str(size) for size in sizes)
