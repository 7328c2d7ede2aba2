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
from rankfold.surgery.factors import low_rank_factors
from rankfold.surgery.onnx.kinds.kind import DecomposedLayer, KindOnnx, StoredLayer
from rankfold.surgery.onnx.nodes import attributes, dense_weight, new_node, new_tensor
from rankfold.workload.onnx.file import OnnxFile
from rankfold.workload.onnx.layers import OnnxLayer

# The opset in which Split takes its sizes as an input; before it, they are an attribute.
SPLIT_BY_INPUT = 13
WINDOW = ("strides", "pads", "dilations", "auto_pad", "kernel_shape")


class LowRankOnnx(KindOnnx):
    """A grouped Conv of the same window and a 1x1 Conv; of a Gemm or MatMul, products of its blocks of
    inputs.

    Names follow those of the modules of a pair in torch: the stages of `block.conv` are `block.conv.reduce`
    and `block.conv.expand`.
    """

    def check(self, layer: LayerPlan) -> None:
        """Refuse kernel positions, which are chosen for data and then trained with."""
        if cast(LowRankLayer, layer.kind).entries is not None:
            raise InputError(
                f"plan, layer {layer.name}: an ONNX file is decomposed with all kernel positions; "
                "omit entries"
            )

    def store(
        self, layer: LayerPlan, place: OnnxLayer, file: OnnxFile, moments: PatchMoments | None
    ) -> StoredLayer | None:
        """R_ and L, in the type that the layer computes in."""
        kind = cast(LowRankLayer, layer.kind)
        shape = place.shape
        try:
            factors, _ = low_rank_factors(dense_weight(file, place), shape.groups, kind, moments)
        except InputError as error:
            raise InputError(f"layer {shape.name}: {error}") from None
        dtype = file.array(place.weight).dtype
        if shape.is_linear:
            weights = _product_tensors(place, kind, factors, dtype)
        else:
            weights = _conv_tensors(place, factors, dtype)
        report = DecomposedLayer(
            shape.weight,
            kind.groups,
            kind.rank,
            factors.error,
            factors.plain_error,
            factors.output_error,
            parameters_before=shape.parameters,
            parameters_after=sum(math.prod(tensor.dims) for tensor in weights),
        )
        return StoredLayer((*weights, *_sizes(place, kind, file.opset)), report)

    def nodes(self, layer: LayerPlan, place: OnnxLayer, file: OnnxFile) -> list[Any]:
        """Both stages; the second one has the bias and gives the output of the node."""
        kind = cast(LowRankLayer, layer.kind)
        if not place.shape.is_linear:
            return _conv_nodes(place, kind)
        middle = f"{place.shape.name}.reduce.out"
        return [*_block_products(place, kind, file.opset, middle), _last_product(place, middle)]


def _conv_tensors(place: OnnxLayer, factors: LowRankFactors, dtype: Any) -> list[Any]:
    name = place.shape.weight
    return [
        new_tensor(f"{name}.reduce.weight", factors.reduce, dtype),
        new_tensor(f"{name}.expand.weight", factors.expand, dtype),
    ]


def _conv_nodes(place: OnnxLayer, kind: LowRankLayer) -> list[Any]:
    node, shape = place.node, place.shape
    name, label = shape.weight, shape.name
    middle = f"{label}.reduce.out"
    window = {key: value for key, value in attributes(node).items() if key in WINDOW}
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
        list(node.output[:1]),
        f"{label}.expand",
        group=shape.groups,
    )
    return [reduce, expand]


def _product_tensors(place: OnnxLayer, kind: LowRankLayer, factors: LowRankFactors, dtype: Any) -> list[Any]:
    name = place.shape.weight
    right = factors.reduce.reshape(kind.groups, kind.rank, -1)  # (g, r, n/g)
    left = factors.expand.reshape(place.shape.m, -1)  # (m, g*r)
    tensors = []
    for index, block in enumerate(right):
        tensors.append(new_tensor(f"{name}.reduce.{index}", block.T, dtype))
    tensors.append(new_tensor(f"{name}.expand.weight", left.T, dtype))
    return tensors


def _sizes(place: OnnxLayer, kind: LowRankLayer, opset: int) -> list[Any]:
    """The sizes of the blocks of inputs, where `Split` reads them from a tensor."""
    if not place.shape.is_linear or kind.groups == 1 or opset < SPLIT_BY_INPUT:
        return []
    sizes = np.full(kind.groups, place.shape.in_channels // kind.groups, np.int64)
    return [new_tensor(f"{place.shape.weight}.reduce.sizes", sizes)]


def _block_products(place: OnnxLayer, kind: LowRankLayer, opset: int, middle: str) -> list[Any]:
    """Nodes that give `middle` (..., g*r): each block of inputs (..., n/g) times its own part of R_."""
    name, label = place.shape.weight, place.shape.name
    x = place.node.input[0]
    if kind.groups == 1:
        return [new_node("MatMul", [x, f"{name}.reduce.0"], [middle], f"{label}.reduce")]
    blocks = [f"{label}.part.{index}" for index in range(kind.groups)]
    sums = [f"{label}.sum.{index}" for index in range(kind.groups)]
    nodes = [_split(place, kind, opset, blocks)]
    for index in range(kind.groups):
        weight = f"{name}.reduce.{index}"
        nodes.append(new_node("MatMul", [blocks[index], weight], [sums[index]], f"{label}.reduce.{index}"))
    nodes.append(new_node("Concat", sums, [middle], f"{label}.concat", axis=-1))
    return nodes


def _split(place: OnnxLayer, kind: LowRankLayer, opset: int, blocks: list[str]) -> Any:
    x, label = place.node.input[0], f"{place.shape.name}.split"
    if opset >= SPLIT_BY_INPUT:
        return new_node("Split", [x, f"{place.shape.weight}.reduce.sizes"], blocks, label, axis=-1)
    sizes = [place.shape.in_channels // kind.groups] * kind.groups
    return new_node("Split", [x], blocks, label, axis=-1, split=sizes)


def _last_product(place: OnnxLayer, middle: str) -> Any:
    """The node that gives the outputs of a product: `middle` times L."""
    node, label = place.node, f"{place.shape.name}.expand"
    inputs = [middle, f"{place.shape.weight}.expand.weight"]
    outputs = list(node.output[:1])
    if node.op_type == "MatMul":
        return new_node("MatMul", inputs, outputs, label)
    options = attributes(node)
    scale = {}
    if "beta" in options:
        scale["beta"] = options["beta"]
    return new_node("Gemm", [*inputs, *_bias(node)], outputs, label, **scale)


def _bias(node: Any) -> list[str]:
    # An input that is left out before others has an empty name.
    return [value for value in node.input[2:3] if value]


PART = LowRankOnnx()
