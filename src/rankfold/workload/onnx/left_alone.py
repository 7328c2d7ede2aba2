"""Nodes that carry weights and are not mapped, with their work where that follows from their sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rankfold.workload.network import Untouched
from rankfold.workload.onnx.attributes import attributes, graphs_inside
from rankfold.workload.onnx.file import OnnxFile, describe
from rankfold.workload.onnx.names import layer_name
from rankfold.workload.onnx.operators import CONVOLUTIONS, PRODUCTS, RECURRENT, TRANSPOSED, with_article
from rankfold.workload.onnx.shapes import Sizes
from rankfold.workload.onnx.sizes import Dims
from rankfold.workload.product import PRODUCT, Product

MADE_UP_NAME = "0"  # of a weight that is none: the name is that of the node


def left_alone(
    file: OnnxFile,
    sizes: Sizes,
    node: Any,
    weight: str,
    what: str,
) -> Untouched:
    """A node with a weight of known size that is not mapped.

    Args:
        file: the file.
        sizes: of its values.
        node: the node.
        weight: what it reads as its weight.
        what: what it is, in words.
    """
    x = _sizes_of_first(sizes, node.input)
    y = _sizes_of_first(sizes, node.output)
    parameters = math.prod(sizes.known[weight])
    macs = None
    if node.op_type == TRANSPOSED and x is not None:
        macs = parameters * math.prod(x[2:])  # every input meets the whole kernel
    elif node.op_type in CONVOLUTIONS and y is not None:
        macs = parameters * math.prod(y[2:])  # every output does
    elif node.op_type in PRODUCTS and y is not None:
        inner = sizes.known[weight][-2]
        macs = math.prod(y) * inner // sizes.batch
    elif node.op_type in RECURRENT and x is not None:
        # The weights of the input and those of the state, in every step of the sequence.
        parameters = sum(math.prod(sizes.known[name]) for name in node.input[1:3])
        macs = parameters * x[0]
    name = layer_name(node, file.root(weight))
    return Untouched(name, f"{what} is left alone", macs, parameters)


def lookup(
    file: OnnxFile,
    sizes: Sizes,
    node: Any,
) -> Untouched:
    """A node that reads a constant table, of known size, at computed places."""
    table = node.input[0]
    what = f"a lookup table ({node.op_type}) is left alone"
    return Untouched(layer_name(node, file.root(table)), what, 0, math.prod(sizes.known[table]))


def product_of_computed(
    sizes: Sizes,
    node: Any,
) -> Untouched:
    """A product of two computed values, such as one of attention: work that no weight is part of."""
    data, other = PRODUCTS[node.op_type]
    x, matrix = sizes.known.get(node.input[data]), sizes.known.get(node.input[other])
    y = _sizes_of_first(sizes, node.output)
    name = f"{layer_name(node, MADE_UP_NAME)} (products)"
    if not x or not matrix or y is None:
        return Untouched(name, PRODUCT, None, 0)
    inner = x[-1]
    if attributes(node).get("transA"):
        inner = x[-2]
    matrices = math.prod(matrix[:-2])
    # Of an empty product nothing is computed.
    numbers = max(1, inner * matrices)
    product = Product(
        matrices=matrices,
        inputs=inner,
        outputs=math.prod(matrix) // numbers,
        vectors=math.prod(x) // numbers,
    )
    macs = math.prod(y) * inner // sizes.batch
    return Untouched(name, PRODUCT, macs, 0, (product.of_one_image(sizes.batch),))


def computed_convolution(
    sizes: Sizes,
    node: Any,
    weight: str,
) -> Untouched:
    """A convolution whose weight is computed from what the network is given."""
    dims = sizes.known.get(weight)
    # The whole kernel meets every output, or every input of a transposed convolution.
    ends = node.input if node.op_type == TRANSPOSED else node.output
    met = _sizes_of_first(sizes, ends)
    macs = None
    if dims is not None and met is not None:
        macs = math.prod(dims) * math.prod(met[2:])
    what = f"{with_article(node.op_type)} with a computed weight is left alone"
    return Untouched(layer_name(node, MADE_UP_NAME), what, macs, 0)


def nested(node: Any) -> Iterator[Untouched]:
    """Layers inside the branches of an If or the body of a Loop: how often they run depends on values."""
    for graph in graphs_inside(node):
        for inner in graph.node:
            if inner.op_type in CONVOLUTIONS or inner.op_type in PRODUCTS:
                counts = []
                for stored in graph.initializer:
                    if stored.name in inner.input:
                        counts.append(math.prod(stored.dims))
                yield Untouched(
                    inner.name or inner.output[0],
                    f"{with_article(inner.op_type)} inside {describe(node)} is left alone",
                    None,
                    max(counts, default=0),
                )
            yield from nested(inner)


def _sizes_of_first(sizes: Sizes, values: Sequence[str]) -> Dims | None:
    if not values:
        return None
    return sizes.known.get(values[0])
