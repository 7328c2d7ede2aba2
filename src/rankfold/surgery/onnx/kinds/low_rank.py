"""Low-rank pairs in ONNX files: two convolutions, or products of the inputs' blocks and one of their sums."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError
from rankfold.lowrank import LowRankFactors
from rankfold.plan.kinds import LowRankLayer
from rankfold.plan.layer import LayerPlan
from rankfold.surgery.kinds.low_rank_factors import low_rank_factors
from rankfold.surgery.onnx.kinds.kind import DecomposedLayer, KindOnnx, StoredLayer
from rankfold.surgery.onnx.nodes import attributes, dense_weight, new_node, new_tensor
from rankfold.workload.onnx.file import OnnxFile
from rankfold.workload.onnx.layers import OnnxLayer

# The opset in which Split takes its sizes as an input; before it, they are an attribute.
SPLIT_BY_INPUT = 13
# What says which inputs an output sees: all of it belongs to the first stage.
WINDOW_ATTRIBUTES = (
    "strides",
    "pads",
    "dilations",
    "auto_pad",
    "kernel_shape",
)


class LowRankOnnx(KindOnnx):
    """A grouped Conv of the same window and a 1x1 Conv; of a product, products of its blocks of inputs.

    Names follow those of the modules of a pair in torch: the stages of `block.conv` are `block.conv.reduce`
    and `block.conv.expand`.
    """

    def check(self, layer: LayerPlan) -> None:
        """Refuse kernel positions, which are chosen for data and then trained with."""
        kind = cast(LowRankLayer, layer.kind)
        if kind.entries is not None:
            raise InputError(
                f"plan, layer {layer.name}: an ONNX file is decomposed with all kernel positions; "
                "omit entries"
            )

    def store(
        self,
        layer: LayerPlan,
        place: OnnxLayer,
        file: OnnxFile,
        moments: PatchMoments | None,
    ) -> StoredLayer | None:
        """R_ and L, in the type that the layer computes in."""
        kind = cast(LowRankLayer, layer.kind)
        shape = place.shape
        weight = dense_weight(file, place)
        try:
            factors, _ = low_rank_factors(weight, shape.groups, kind, moments)
        except InputError as error:
            raise InputError(f"layer {shape.name}: {error}") from None
        # A weight behind a DequantizeLinear is a number of the type that it gives.
        dtype = file.array(place.weight).dtype
        if shape.is_linear:
            weights = _product_weights(place, kind, factors, dtype)
            sizes = _block_sizes(place, kind, file.opset)
        else:
            weights = _conv_weights(place, factors, dtype)
            sizes = []
        report = DecomposedLayer(
            name=shape.weight,
            kind=kind,
            error=factors.error,
            plain_error=factors.plain_error,
            output_error=factors.output_error,
            parameters_before=shape.parameters,
            parameters_after=sum(math.prod(tensor.dims) for tensor in weights),
        )
        return StoredLayer((*weights, *sizes), report)

    def nodes(
        self,
        layer: LayerPlan,
        place: OnnxLayer,
        file: OnnxFile,
    ) -> list[Any]:
        """Both stages; the second one has the bias and gives the output of the node."""
        kind = cast(LowRankLayer, layer.kind)
        if not place.shape.is_linear:
            return _conv_nodes(place, kind)
        # The sums of all blocks, which the second stage reads.
        middle = f"{place.shape.name}.reduce.out"
        first = _block_products(place, kind, file.opset, middle)
        last = _last_product(place, middle)
        return [*first, last]


def _conv_weights(
    place: OnnxLayer,
    factors: LowRankFactors,
    dtype: Any,
) -> list[Any]:
    name = place.shape.weight
    return [
        new_tensor(f"{name}.reduce.weight", factors.reduce, dtype),  # (G*g*r, C_in/(G*g), kh, kw)
        new_tensor(f"{name}.expand.weight", factors.expand, dtype),  # (m, g*r, 1, 1)
    ]


def _conv_nodes(place: OnnxLayer, kind: LowRankLayer) -> list[Any]:
    node, shape = place.node, place.shape
    # A weight that several nodes read is stored once; the values between the stages are each node's own.
    name, label = shape.weight, shape.name
    middle = f"{label}.reduce.out"
    window: dict[str, Any] = {}
    for key, value in attributes(node).items():
        if key in WINDOW_ATTRIBUTES:
            window[key] = value
    reduce = new_node(
        "Conv",
        [node.input[0], f"{name}.reduce.weight"],
        [middle],
        f"{label}.reduce",
        group=shape.groups * kind.groups,
        **window,
    )
    expand = new_node(
        "Conv",
        [middle, f"{name}.expand.weight", *_bias(node)],
        [node.output[0]],
        f"{label}.expand",
        group=shape.groups,
    )
    return [reduce, expand]


def _product_weights(
    place: OnnxLayer,
    kind: LowRankLayer,
    factors: LowRankFactors,
    dtype: Any,
) -> list[Any]:
    """A tensor for each block of R_, and one for L, as products with them on the right need them."""
    name = place.shape.weight
    right = factors.reduce.reshape(kind.groups, kind.rank, -1)  # (g, r, n/g)
    left = factors.expand.reshape(place.shape.m, -1)  # (m, g*r)
    tensors = []
    for index, block in enumerate(right):
        part = new_tensor(f"{name}.reduce.{index}", block.T, dtype)  # (n/g, r)
        tensors.append(part)
    whole = new_tensor(f"{name}.expand.weight", left.T, dtype)  # (g*r, m)
    return [*tensors, whole]


def _block_sizes(
    place: OnnxLayer,
    kind: LowRankLayer,
    opset: int,
) -> list[Any]:
    """The sizes of the blocks of inputs, where a Split reads them from a tensor."""
    if kind.groups == 1 or opset < SPLIT_BY_INPUT:
        return []
    size = place.shape.in_channels // kind.groups
    sizes = np.full(kind.groups, size, np.int64)
    return [new_tensor(f"{place.shape.weight}.reduce.sizes", sizes)]


def _block_products(
    place: OnnxLayer,
    kind: LowRankLayer,
    opset: int,
    middle: str,
) -> list[Any]:
    """Nodes that give `middle` (..., g*r): each block of inputs (..., n/g) times its own part of R_."""
    name, label = place.shape.weight, place.shape.name
    x = place.node.input[0]
    # One block is all inputs: nothing is to be cut or joined.
    if kind.groups == 1:
        only = new_node("MatMul", [x, f"{name}.reduce.0"], [middle], f"{label}.reduce")
        return [only]
    blocks = [f"{label}.part.{index}" for index in range(kind.groups)]
    sums = [f"{label}.sum.{index}" for index in range(kind.groups)]
    products = []
    for index, (block, result) in enumerate(zip(blocks, sums, strict=True)):
        product = new_node(
            "MatMul",
            [block, f"{name}.reduce.{index}"],
            [result],
            f"{label}.reduce.{index}",
        )
        products.append(product)
    split = _split(place, opset, blocks)
    concat = new_node("Concat", sums, [middle], f"{label}.concat", axis=-1)
    return [split, *products, concat]


def _split(place: OnnxLayer, opset: int, blocks: list[str]) -> Any:
    """The node that cuts the inputs (..., n) into equal blocks."""
    x = place.node.input[0]
    name, label = place.shape.weight, f"{place.shape.name}.split"
    if opset >= SPLIT_BY_INPUT:
        return new_node("Split", [x, f"{name}.reduce.sizes"], blocks, label, axis=-1)
    size = place.shape.in_channels // len(blocks)
    sizes = [size] * len(blocks)
    return new_node("Split", [x], blocks, label, axis=-1, split=sizes)


def _last_product(place: OnnxLayer, middle: str) -> Any:
    """The node that gives the outputs of a product: `middle` times L."""
    node = place.node
    label = f"{place.shape.name}.expand"
    inputs = [middle, f"{place.shape.weight}.expand.weight"]
    outputs = [node.output[0]]
    if node.op_type == "MatMul":
        return new_node("MatMul", inputs, outputs, label)
    # Beta scales the bias, which stays; transB is of the weight, which is laid out anew.
    scale: dict[str, Any] = {}
    options = attributes(node)
    if "beta" in options:
        scale["beta"] = options["beta"]
    return new_node("Gemm", [*inputs, *_bias(node)], outputs, label, **scale)


def _bias(node: Any) -> list[str]:
    # An optional input that is not given may be there under an empty name.
    given = node.input[2:3]
    return [value for value in given if value]


PART = LowRankOnnx()
