"""Quantisers around the layers of an exported network, as nodes of an ONNX graph (QDQ)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError
from rankfold.nn.quantised import QuantLayer
from rankfold.nn.quantisers import Quantiser
from rankfold.workload.onnx.file import OnnxFile, import_onnx

OPSET = 18
PRODUCTS = ("Conv", "Gemm", "MatMul")


def add_quantisers_(model: Any, layers: Mapping[str, QuantLayer]) -> None:
    """Store the weights of quantised layers as levels, and quantise their inputs, in place.

    Args:
        model: an `onnx.ModelProto` of the float network, with each layer's weight under the layer's name.
        layers: the quantised layers by name.

    Raises:
        InputError: a layer does not appear in the graph, or has levels that ONNX does not have.
    """
    file = OnnxFile(Path("network.onnx"), model, OPSET)
    owners = {f"{name}.weight": name for name in layers}
    stored = [tensor for tensor in model.graph.initializer if tensor.name not in owners]
    nodes: list[Any] = []
    seen: set[str] = set()
    for node in model.graph.node:
        name = _layer_of(node, file, owners)
        if name is not None:
            quantiser = layers[name].input_quantiser
            if name not in seen:
                stored += _input_constants(name, quantiser)
            seen.add(name)
            nodes += _quantised_input(node, name)
        nodes.append(node)
    missing = sorted(set(layers) - seen)
    if missing:
        raise InputError(
            f"layer {missing[0]} is quantised, and does not appear as a convolution or product in the "
            "exported network"
        )
    weights = []
    for name, layer in layers.items():
        stored += _weight_constants(name, layer)
        weights.append(_dequantised_weight(name))
    graph = model.graph
    del graph.node[:], graph.initializer[:]
    graph.initializer.extend(stored)
    graph.node.extend([*weights, *nodes])
    # The types of values are those of the float network.
    del graph.value_info[:]


def _layer_of(node: Any, file: OnnxFile, owners: Mapping[str, str]) -> str | None:
    """The layer that a node computes; None: it computes something else."""
    if node.op_type not in PRODUCTS or node.input[1] not in file.constants:
        return None
    # The exporter may transpose the weight of a linear layer on the way to its product.
    for stored in file.ancestors(node.input[1]):
        if stored in owners:
            return owners[stored]
    return None


def _input_constants(name: str, quantiser: Quantiser) -> list[Any]:
    """The range, the scale and the zero point of a layer's input."""
    if quantiser.bits == 1 and quantiser.signed:
        raise InputError(
            f"layer {name} has inputs of one bit with a sign (-1 and +1), which QuantizeLinear does not have"
        )
    scale = np.float32(float(quantiser.scale))
    dtype = np.int8 if quantiser.signed else np.uint8
    return [
        _constant(f"{name}.input_low", np.asarray(quantiser.low * scale, np.float32)),
        _constant(f"{name}.input_high", np.asarray(quantiser.high * scale, np.float32)),
        *_scale(f"{name}.input", quantiser, dtype),
    ]


def _quantised_input(node: Any, name: str) -> list[Any]:
    """The quantiser before a node, which then reads what it gives."""
    # A layer that runs several times has one quantiser, and values of its own at each run.
    label, prefix = node.output[0], f"{name}.input"
    clipped, levels, values = f"{label}.input_clipped", f"{label}.input_levels", f"{label}.input_values"
    bounds = [f"{prefix}_low", f"{prefix}_high"]
    nodes = [
        # Levels of fewer than eight bits end before those of the type do.
        _node("Clip", [node.input[0], *bounds], clipped, f"{label}.input_clip"),
        _node("QuantizeLinear", [clipped, *_scale_names(prefix)], levels, f"{label}.input_quantize"),
        _node("DequantizeLinear", [levels, *_scale_names(prefix)], values, f"{label}.input_dequantize"),
    ]
    node.input[0] = values
    return nodes


def _weight_constants(name: str, layer: QuantLayer) -> list[Any]:
    """The levels of a layer's weight, their scale and their zero point."""
    levels = layer.integer_weights().reshape(layer.weight.shape)
    stored = levels.cpu().numpy().astype(np.int8)
    prefix = f"{name}.weight"
    return [_constant(f"{prefix}_quantized", stored), *_scale(prefix, layer.weight_quantiser, np.int8)]


def _dequantised_weight(name: str) -> Any:
    """The node that makes a layer's weight, under the name that its float weight had."""
    prefix = f"{name}.weight"
    inputs = [f"{prefix}_quantized", *_scale_names(prefix)]
    return _node("DequantizeLinear", inputs, prefix, f"{prefix}_dequantize")


def _scale(prefix: str, quantiser: Quantiser, dtype: Any) -> list[Any]:
    scale, zero_point = _scale_names(prefix)
    step = quantiser.scale.cpu().numpy().astype(np.float32)
    return [_constant(scale, step), _constant(zero_point, np.zeros((), dtype))]


def _scale_names(prefix: str) -> tuple[str, str]:
    return f"{prefix}_scale", f"{prefix}_zero_point"


def _constant(name: str, value: np.ndarray) -> Any:
    return import_onnx().numpy_helper.from_array(value, name)


def _node(operator: str, inputs: list[str], output: str, name: str) -> Any:
    return import_onnx().helper.make_node(operator, inputs, [output], name)
