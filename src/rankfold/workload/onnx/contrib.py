"""Operators of onnxruntime's own, as operators of ONNX whose outputs have the same sizes.

Shape inference knows ONNX's operators only. It is asked about the sizes of values, not about what they are,
so that a quantised sum is a sum to it, and an activation hands on the sizes of its input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rankfold.workload.onnx.file import DEFAULT_DOMAINS, import_onnx

SAME_SIZES = (
    "QLinearLeakyRelu",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "Gelu",
    "FastGelu",
    "BiasGelu",
    "QuickGelu",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
)
LAYOUT = ("channels_last",)  # attributes that ONNX's operators lack, where they are 0

# Gives the inputs that the operator of ONNX reads, of those of the node.
Inputs = Callable[[list[str]], list[str]]


def _first(inputs: list[str]) -> list[str]:
    return inputs[:1]


def _first_two(inputs: list[str]) -> list[str]:
    return inputs[:2]


def _quantised_pair(inputs: list[str]) -> list[str]:
    # a, its scale and zero point, b, its scale and zero point, and those of the result.
    return [inputs[0], inputs[3]]


def _quantised_list(inputs: list[str]) -> list[str]:
    # Scale and zero point of the result, then value, scale and zero point of each part.
    return inputs[2::3]


STANDARD: dict[str, tuple[str, Inputs]] = {
    "QLinearAdd": ("Add", _quantised_pair),
    "QLinearMul": ("Mul", _quantised_pair),
    "QLinearConcat": ("Concat", _quantised_list),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", _first),
    "QLinearAveragePool": ("AveragePool", _first),
    "QLinearReduceMean": ("ReduceMean", _first),
    "QGemm": ("Gemm", _quantised_pair),
    "FusedConv": ("Conv", _first_two),
    "FusedGemm": ("Gemm", _first_two),
    "DynamicQuantizeMatMul": ("MatMul", _first_two),
    "MatMulIntegerToFloat": ("MatMul", _first_two),
    "QuantizeLinear": ("QuantizeLinear", lambda inputs: inputs),
    "DequantizeLinear": ("DequantizeLinear", lambda inputs: inputs),
    **dict.fromkeys(SAME_SIZES, ("Identity", _first)),
}
# What the operators of ONNX take of the attributes that the others have.
KEPT = {
    "Concat": ("axis",),
    "AveragePool": ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"),
    "ReduceMean": ("axes", "keepdims"),
    "Gemm": ("transA", "transB"),
    "Conv": ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"),
    "QuantizeLinear": ("axis",),
    "DequantizeLinear": ("axis",),
}


def in_standard_operators_(graph: Any) -> None:
    """Replace, in place, nodes of onnxruntime's own operators by ones of ONNX with outputs of the same sizes.

    Only the sizes are right then: the graph is for inference, not to be run.
    """
    helper = import_onnx().helper
    replaced = []
    for node in graph.node:
        replaced.append(_standard(node, helper))
    del graph.node[:]
    graph.node.extend(replaced)


def _standard(node: Any, helper: Any) -> Any:
    """The node, or one of ONNX that stands for it."""
    if node.domain in DEFAULT_DOMAINS or node.op_type not in STANDARD:
        return node
    operator, inputs_of = STANDARD[node.op_type]
    options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    # With channels last it would be another operator.
    if any(options.get(name) for name in LAYOUT):
        return node
    taken = KEPT.get(operator, ())
    kept = {name: value for name, value in options.items() if name in taken}
    inputs = inputs_of(list(node.input))
    return helper.make_node(operator, inputs, list(node.output)[:1], name=node.name, **kept)
