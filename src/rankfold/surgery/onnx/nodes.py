"""What is read of the nodes of an ONNX graph, and how new ones and their tensors are made."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankfold.workload.onnx.file import OnnxFile, import_onnx
from rankfold.workload.onnx.layers import OnnxLayer


def attributes(node: Any) -> dict[str, Any]:
    """The attributes that a node gives, by name."""
    helper = import_onnx().helper
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        values[attribute.name] = helper.get_attribute_value(attribute)
    return values


def dense_weight(file: OnnxFile, place: OnnxLayer) -> np.ndarray:
    """The weight of a layer as that of a convolution, (m, C_in/G, kh, kw), in float64.

    Raises:
        InputError: it cannot be computed.
    """
    stored = file.array(place.weight)
    weight = stored.astype(np.float64)
    if not place.shape.is_linear:
        return weight
    # MatMul and Gemm multiply by (n, m), unless a Gemm says that its weight is transposed.
    if not attributes(place.node).get("transB"):
        weight = weight.T  # (m, n)
    return weight[:, :, None, None]


def new_node(
    operator: str,
    inputs: list[str],
    outputs: list[str],
    name: str,
    **options: Any,
) -> Any:
    """A node of the default operator set."""
    helper = import_onnx().helper
    return helper.make_node(operator, inputs, outputs, name, **options)


def new_tensor(name: str, values: np.ndarray, dtype: Any = None) -> Any:
    """A stored tensor, of the type of `values` unless another is given."""
    helper = import_onnx().numpy_helper
    # Transposed views are not in the order in which tensors are stored.
    stored = np.ascontiguousarray(values, dtype)
    return helper.from_array(stored, name)
