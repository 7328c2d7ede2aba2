"""Operators of ONNX, by what they do with a constant: convolve, multiply, look up, or nothing of these."""

from __future__ import annotations

from typing import Any

from rankfold.workload.onnx.file import DEFAULT_DOMAINS

# Operator -> the place of its data and of its weight among its inputs. All others with a weight are left
# alone.
CONVOLUTIONS = {
    "Conv": (0, 1),
    "FusedConv": (0, 1),
    "ConvInteger": (0, 1),
    "QLinearConv": (0, 3),
}
TRANSPOSED = "ConvTranspose"  # its data and weight are the first two
PRODUCTS = {
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3),
    "FusedGemm": (0, 1),
    "FusedMatMul": (0, 1),
    "DynamicQuantizeMatMul": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
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
    "QLinearAdd",
    "QLinearMul",
)
SHAPING = (
    "Concat",
    "QLinearConcat",
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


def why_fixed(node: Any) -> str:
    """Why a node can only stay as it is; empty where it may be replaced."""
    if node.op_type in REPLACEABLE and node.domain in DEFAULT_DOMAINS:
        return ""
    return f"{with_article(node.op_type)}, whose weight is quantised or fused already"


def with_article(operator: str) -> str:
    """The operator with the article that its name is spoken with: an LSTM, but a GRU."""
    spoken_with_vowel = operator[0] in "AEIO" or operator in ("LSTM", "RNN")
    if spoken_with_vowel:
        return f"an {operator}"
    return f"a {operator}"
