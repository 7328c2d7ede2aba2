"""Quantisers around the layers of an exported network, as nodes of an ONNX graph (QDQ)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError
from rankfold.nn.quantised import QuantLayer
from rankfold.nn.quantisers import Quantiser
from rankfold.workload.onnx.file import OnnxFile, import_onnx

OPSET = 18
PRODUCTS = ("Conv", "Gemm", "MatMul")


def add_quantisers_(model: Any, layers: Mapping[str, QuantLayer], left_out: Collection[str] = ()) -> None:
    """Store the weights of quantised layers as levels, and quantise their inputs, in place.

    Args:
        model: an `onnx.ModelProto` of the float network, with each layer's weight under the layer's name.
        layers: the quantised layers by name.
        left_out: those that may be missing, as nothing reads them.

    Raises:
        InputError: another layer does not appear in the graph, or has levels that ONNX does not have.
    """
    graph = model.graph
    file = OnnxFile(Path("network.onnx"), model, OPSET)
    owners = {f"{name}.weight": name for name in layers}
    stored = [tensor for tensor in graph.initializer if tensor.name not in owners]
    nodes: list[Any] = []
    seen: set[str] = set()
    for node in graph.node:
        name = _layer_of(node, file, owners)
        if name is not None:
            nodes += _quantised_input(node, name)
            # A layer that runs several times has one quantiser.
            if name not in seen:
                stored += _input_constants(name, layers[name].input_quantiser)
            seen.add(name)
        nodes.append(node)
    missing = sorted(set(layers) - seen - set(left_out))
    if missing:
        raise InputError(
            f"layer {missing[0]} is quantised, and does not appear as a convolution or product in the "
            "exported network"
        )
    weights = []
    for name, layer in layers.items():
        stored += _weight_constants(name, layer)
        weights.append(_dequantised_weight(name))
    del graph.node[:], graph.initializer[:]
    graph.initializer.extend(stored)
    graph.node.extend([*weights, *nodes])
    # What the exporter noted of the types of values is of the float network.
    del graph.value_info[:]


def _layer_of(
    node: Any,
    file: OnnxFile,
    owners: Mapping[str, str],
) -> str | None:
    """The layer that a node computes; None: it computes something else."""
    if node.op_type not in PRODUCTS:
        return None
    weight = node.input[1]
    if weight not in file.constants:
        return None
    # The exporter may transpose the weight of a linear layer on the way to its product.
    for tensor in file.ancestors(weight):
        if tensor in owners:
            return owners[tensor]
    return None


def _input_constants(name: str, quantiser: Quantiser) -> list[Any]:
    """The range, the scale and the zero point of a layer's input."""
    if quantiser.bits == 1 and quantiser.signed:
        raise InputError(
            f"layer {name} has inputs of one bit with a sign (-1 and +1), which QuantizeLinear does not have"
        )
    prefix = f"{name}.input"
    scale = np.float32(float(quantiser.scale))
    # In float32, as the scale is stored: Clip and QuantizeLinear then agree on where the levels end.
    low = np.asarray(quantiser.low * scale, np.float32)
    high = np.asarray(quantiser.high * scale, np.float32)
    dtype: type = np.uint8
    if quantiser.signed:
        dtype = np.int8
    return [
        _constant(f"{prefix}_low", low),
        _constant(f"{prefix}_high", high),
        *_scale(prefix, quantiser, dtype),
    ]


def _quantised_input(node: Any, name: str) -> list[Any]:
    """The quantiser before a node, which then reads what it gives."""
    prefix = f"{name}.input"
    scale = _scale_names(prefix)
    # Values are named after the node's output, which no other run of the layer has.
    label = node.output[0]
    clipped = f"{label}.input_clipped"
    levels = f"{label}.input_levels"
    values = f"{label}.input_values"
    # Levels of fewer than eight bits end before those of the type do.
    clip = _node(
        "Clip",
        [node.input[0], f"{prefix}_low", f"{prefix}_high"],
        clipped,
        f"{label}.input_clip",
    )
    quantise = _node(
        "QuantizeLinear",
        [clipped, *scale],
        levels,
        f"{label}.input_quantize",
    )
    dequantise = _node(
        "DequantizeLinear",
        [levels, *scale],
        values,
        f"{label}.input_dequantize",
    )
    node.input[0] = values
    return [clip, quantise, dequantise]


def _weight_constants(name: str, layer: QuantLayer) -> list[Any]:
    """The levels of a layer's weight, their scale and their zero point."""
    prefix = f"{name}.weight"
    # A linear layer gives its levels as those of a convolution of one pixel, (m, n, 1, 1).
    levels = layer.integer_weights().reshape(layer.weight.shape)
    stored = levels.cpu().numpy().astype(np.int8)
    return [
        _constant(f"{prefix}_quantized", stored),
        *_scale(prefix, layer.weight_quantiser, np.int8),
    ]


def _dequantised_weight(name: str) -> Any:
    """The node that makes a layer's weight, under the name that its float weight had."""
    prefix = f"{name}.weight"
    inputs = [f"{prefix}_quantized", *_scale_names(prefix)]
    return _node("DequantizeLinear", inputs, prefix, f"{prefix}_dequantize")


def _scale(prefix: str, quantiser: Quantiser, dtype: type) -> list[Any]:
    """The step size of a quantiser, and a zero point, which is always 0."""
    scale, zero_point = _scale_names(prefix)
    step = quantiser.scale.cpu().numpy()
    return [
        _constant(scale, step.astype(np.float32)),
        _constant(zero_point, np.zeros((), dtype)),
    ]


def _scale_names(prefix: str) -> tuple[str, str]:
    return f"{prefix}_scale", f"{prefix}_zero_point"


def _constant(name: str, value: np.ndarray) -> Any:
    helper = import_onnx().numpy_helper
    return helper.from_array(value, name)


def _node(
    operator: str,
    inputs: list[str],
    output: str,
    name: str,
) -> Any:
    helper = import_onnx().helper
    return helper.make_node(operator, inputs, [output], name)
