"""The shapes of products with a constant matrix in ONNX graphs: fully connected layers."""

from __future__ import annotations

import math
from typing import Any

from rankfold.workload.onnx.attributes import attributes
from rankfold.workload.onnx.operators import why_fixed
from rankfold.workload.onnx.sizes import Dims
from rankfold.workload.shape import ConvShape, Pair


def left_product(x: Dims, dims: Dims, batch: int) -> ConvShape:
    """The shape of W x, with the constant (outputs, inputs) on the left."""
    outputs, inputs = dims
    plane = (_places(x, inputs, batch), 1)
    return _linear_shape(inputs, outputs, plane, "a product with its constant on the left")


def right_product(
    node: Any,
    x: Dims,
    dims: Dims,
    batch: int,
) -> ConvShape:
    """The shape of x W, with the constant (inputs, outputs) on the right; transB: with its transpose."""
    options = attributes(node)
    inputs, outputs = dims
    if options.get("transB"):
        outputs, inputs = dims
    places = _places(x, inputs, batch)
    plane = (places, 1)
    # (B, H, W, C)
    if len(x) == 4 and places == x[1] * x[2]:
        plane = (x[1], x[2])
    fixed = why_fixed(node)
    scaled = options.get("alpha", 1.0) != 1.0
    if not fixed and (options.get("transA") or scaled):
        fixed = "a Gemm that scales or turns round its input"
    return _linear_shape(inputs, outputs, plane, fixed)


def is_plain_product(node: Any) -> bool:
    """Whether a constant on the left multiplies its data as they are."""
    return node.op_type in ("Gemm", "MatMul") and not attributes(node).get("transA")


def _places(x: Dims, inputs: int, batch: int) -> int:
    """The vectors of one image that a product is made of."""
    # Of no inputs there is no vector; the shape is refused later.
    vectors = math.prod(x) // max(1, inputs)
    return max(1, vectors // batch)


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
