"""What is read of the nodes of an ONNX graph, and how new ones and their tensors are made."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankfold.workload.onnx.file import OnnxFile, import_onnx
from rankfold.workload.onnx.layers import OnnxLayer


def attributes(node: Any) -> dict[str, Any]:
    """The attributes that a node gives, by name."""
    value_of = import_onnx().helper.get_attribute_value
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        values[attribute.name] = value_of(attribute)
    return values


def dense_weight(file: OnnxFile, place: OnnxLayer) -> np.ndarray:
    """The weight of a layer as that of a convolution, (m, C_in/G, kh, kw), in float64.

    Raises:
        InputError: it cannot be computed.
    """
    weight = file.array(place.weight).astype(np.float64)
    if not place.shape.is_linear:
        return weight
    if not attributes(place.node).get("transB"):
        weight = weight.T  # (m, n)
    return weight[:, :, None, None]


def new_node(operator: str, inputs: list[str], outputs: list[str], name: str, **options: Any) -> Any:
    """A node of the default operator set."""
    return import_onnx().helper.make_node(operator, inputs, outputs, name, **options)


def new_tensor(name: str, values: np.ndarray, dtype: Any = None) -> Any:
    """A stored tensor, of the type of `values` unless another is given."""
    stored = np.ascontiguousarray(values, dtype)
    return import_onnx().numpy_helper.from_array(stored, name)
