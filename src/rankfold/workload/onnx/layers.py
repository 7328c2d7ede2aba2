"""Networks given as ONNX files: their convolutions and fully connected layers, without any framework."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.workload.network import Network, Untouched
from rankfold.workload.onnx.attributes import operands
from rankfold.workload.onnx.convolutions import conv_shape
from rankfold.workload.onnx.file import OnnxFile, open_onnx
from rankfold.workload.onnx.flow import onnx_flow
from rankfold.workload.onnx.left_alone import (
    computed_convolution,
    left_alone,
    lookup,
    nested,
    product_of_computed,
)
from rankfold.workload.onnx.names import layer_name
from rankfold.workload.onnx.operators import (
    CONVOLUTIONS,
    ELEMENTWISE,
    LOOKUPS,
    PRODUCTS,
    SHAPING,
    TRANSPOSED,
    with_article,
)
from rankfold.workload.onnx.other_sizes import for_images
from rankfold.workload.onnx.products import is_plain_product, left_product, right_product
from rankfold.workload.onnx.shapes import Sizes, infer_sizes, where_inference_stops
from rankfold.workload.onnx.sizes import show_sizes
from rankfold.workload.onnx.transposed import transposed_shape
from rankfold.workload.product import PRODUCT
from rankfold.workload.shape import ConvShape
from rankfold.workload.sub_pixel import PART, is_replaced

NAMED = 3  # kinds of nodes in the complaint that there is nothing to map


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
        by_output = {layer.node.output[0]: layer.shape for layer in self.layers}
        return Network(
            str(self.file.path),
            self.sizes.image,
            layers=tuple(layer.shape for layer in self.layers),
            untouched=self.untouched,
            parameters=self.file.parameters,
            flow=onnx_flow(self.file, self.sizes, by_output),
        )


def read_onnx(path: str | Path, image: Sequence[int] | None = None) -> Network:
    """Read a network from an ONNX file of opset 7 or later.

    Convolutions and products with a constant matrix become layers, also those of quantised (QDQ or integer)
    models; a layer is called after its weight (`block.conv` for `block.conv.weight`), or after its node. A
    transposed convolution `up` is `up.conv`, the plain one that `load_onnx` makes of it.
    Batches of open size count as one image.

    Args:
        path: the file, whose weights may lie beside it.
        image: (C, H, W), also of another height and width than the file fixes, if the graph takes images of
            that size; or other sizes of an input without its batch, where the file leaves them open.

    Raises:
        InputError: the file is missing, broken or older, lacks weights, leaves sizes open, takes no images of
            the given size, or has no layer that can be mapped; the message names the input, or what there is
            instead.
        MissingDependencyError: onnx is not installed.
    """
    network = analyse_onnx(path, image).network
    layers = []
    for layer in network.layers:
        # As `load_onnx` makes them plain convolutions, they may become anything, and zeros may be trained.
        if is_replaced(layer):
            layer = replace(layer, fixed="", zeros=0)
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def analyse_onnx(path: str | Path, image: Sequence[int] | None = None) -> OnnxNetwork:
    """As `read_onnx`, with the nodes and weights behind every layer.

    Transposed convolutions are fixed, as the file's own nodes of them stay.
    """
    file = for_images(open_onnx(path), image)
    reader = _Reader(file, infer_sizes(file, image))
    nodes = list(file.model.graph.node)
    # Tables last, so that what a table shares with a layer is the layer's.
    nodes.sort(key=lambda node: node.op_type in LOOKUPS)
    for node in nodes:
        reader.read(node)
    if not reader.layers:
        raise InputError(f"{path} has nothing to map: {_instead(reader.untouched)}")
    return OnnxNetwork(
        file,
        reader.sizes,
        layers=tuple(reader.layers),
        untouched=tuple(reader.untouched),
    )


def _instead(untouched: Sequence[Untouched]) -> str:
    """What a graph without layers has."""
    if not untouched:
        return "no Conv, Gemm or MatMul"
    whats = Counter(other.what for other in untouched)
    counted = [f"{what} ({number})" for what, number in whats.most_common(NAMED)]
    return "; ".join(counted)


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
        self._names: dict[tuple[object, ...], str] = {}  # a weight and its sizes -> its name
        self._stored: set[str] = set()  # tensors that are counted already
        self._runs: Counter[str] = Counter()

    def read(self, node: Any) -> None:
        """Add what a node is to the layers, or to what is left untouched."""
        # It may run layers of its own, whatever it is.
        self.untouched.extend(nested(node))
        if self.file.constants.issuperset(node.output):
            return
        weighty = any(self._is_matrix(name) for name in node.input)
        if weighty:
            layer = self._layer(node)
        else:
            layer = self._without_weight(node)
        if isinstance(layer, OnnxLayer):
            self.layers.append(self._named(layer))
        elif layer is not None:
            self._leave(layer)

    def _leave(self, other: Untouched) -> None:
        """List what is left alone; products in one place count together."""
        for place, before in enumerate(self.untouched):
            if other.name == before.name and other.what == before.what == PRODUCT:
                macs = None
                if other.macs is not None and before.macs is not None:
                    macs = other.macs + before.macs
                products = (*before.products, *other.products)
                self.untouched[place] = replace(before, macs=macs, products=products)
                return
        self.untouched.append(other)

    def _without_weight(self, node: Any) -> OnnxLayer | Untouched | None:
        """A convolution or product of which nothing is stored as a constant matrix; None: another node."""
        if node.op_type in CONVOLUTIONS or node.op_type == TRANSPOSED:
            _, weight = operands(node, *CONVOLUTIONS.get(node.op_type, (0, 1)))
            return computed_convolution(self.sizes, node, weight)
        if node.op_type in PRODUCTS:
            factors = operands(node, *PRODUCTS[node.op_type])
            # A constant vector makes a weighted sum, of as much work as there are outputs.
            if not self.file.constants.intersection(factors):
                return product_of_computed(self.sizes, node)
        return None

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
        self._stored.add(root)
        name = self._shared_name(layer, root)
        if self._weight_of.setdefault(name, root) != root:
            # Two weights of one name: the node's own name tells them apart.
            name = f"{name}.{node.name or node.output[0]}"
            self._weight_of[name] = root
        if is_replaced(layer.shape):
            name += PART
        self._runs[name] += 1
        label = name
        if self._runs[name] > 1:
            label = f"{name}#{self._runs[name]}"
        return replace(layer, shape=replace(layer.shape, name=label, weight=name))

    def _shared_name(self, layer: OnnxLayer, root: str) -> str:
        """The name of a layer, which is that of the first one with the same weight."""
        shape = layer.shape
        # Of parts of a stored tensor each is a weight of its own.
        key = layer.weight
        if (
            root in self.file.initializers
            and math.prod(self.file.initializers[root].dims) == shape.parameters
        ):
            key = root
        sizes = (key, shape.in_channels, shape.out_channels, shape.kernel)
        return self._names.setdefault(sizes, layer_name(layer.node, root))

    def _layer(self, node: Any) -> OnnxLayer | Untouched | None:
        """What a node with a constant of two or more dimensions is; None: it multiplies nothing by it."""
        operator = node.op_type
        if operator in CONVOLUTIONS or operator == TRANSPOSED:
            return self._convolution(node)
        if operator in PRODUCTS:
            return self._product(node)
        if operator in LOOKUPS:
            # Its other inputs are places in the table, which may be constant matrices too.
            if not self._is_matrix(node.input[0]):
                return None
            return self._lookup(node)
        if operator in ELEMENTWISE or operator in SHAPING:
            return None
        weights = []
        for name in node.input:
            if name in self.file.constants and name in self.sizes.known:
                weights.append(name)
        largest = max(weights, key=self._count)
        return self._left_alone(node, largest, with_article(operator))

    def _lookup(self, node: Any) -> Untouched:
        """A table that is read; what another table or layer stores already has no numbers of its own."""
        other = lookup(self.file, self.sizes, node)
        root = self.file.root(node.input[0])
        if root in self._stored:
            return replace(other, parameters=0)
        self._stored.add(root)
        return other

    def _count(self, value: str) -> int:
        return math.prod(self.sizes.known[value])

    def _convolution(self, node: Any) -> OnnxLayer | Untouched | None:
        transposed = node.op_type == TRANSPOSED
        data, weight = operands(node, *CONVOLUTIONS.get(node.op_type, (0, 1)))
        if weight not in self.file.constants:
            # The constant of two dimensions is another input.
            return computed_convolution(self.sizes, node, weight)
        dims = self.sizes.known[weight]
        if len(dims) not in (3, 4):
            sort = "transposed convolution" if transposed else "convolution"
            return self._left_alone(node, weight, f"a {len(dims) - 2}-d {sort}")
        x = self.sizes.known.get(data)
        if x is None:
            return self._unreached(node, data, weight)
        shape = transposed_shape(node, x, dims) if transposed else conv_shape(node, x, dims)
        return OnnxLayer(shape, node, weight)

    def _product(self, node: Any) -> OnnxLayer | Untouched | None:
        data, weight = operands(node, *PRODUCTS[node.op_type])
        on_left = weight not in self.file.constants
        # What multiplies the data may stand on either side of them.
        if on_left:
            data, weight = weight, data
        if weight not in self.file.constants:
            # The constant is what a Gemm adds to the product.
            return product_of_computed(self.sizes, node)
        dims = self.sizes.known[weight]
        turned = on_left and not is_plain_product(node)
        # Of several matrices at once, each input meets only one.
        if len(dims) != 2 or turned:
            what = f"a {node.op_type} with a constant of {show_sizes(dims)}"
            return self._left_alone(node, weight, what)
        x = self.sizes.known.get(data)
        if x is None:
            return self._unreached(node, data, weight)
        if on_left:
            shape = left_product(x, dims, self.sizes.batch)
        else:
            shape = right_product(node, x, dims, self.sizes.batch)
        return OnnxLayer(shape, node, weight)

    def _left_alone(
        self,
        node: Any,
        weight: str,
        what: str,
    ) -> Untouched:
        return left_alone(self.file, self.sizes, node, weight, what)

    def _unreached(self, node: Any, data: str, weight: str) -> Untouched:
        """A layer whose input has no known size, so that its work is not known either."""
        culprit = where_inference_stops(self.file, self.sizes.known, data)
        what = f"{with_article(node.op_type)} behind {culprit}"
        return Untouched(
            layer_name(node, self.file.root(weight)),
            f"{what} is left alone: what comes from there has no known size",
            None,
            self._count(weight),
        )
