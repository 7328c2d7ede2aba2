"""Constants in the type of another value, as torch's exporter writes biases that a layer does not have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rankfold.workload.onnx.file import OnnxFile, import_onnx


def with_plain_casts(file: OnnxFile) -> OnnxFile:
    """The same model with a `Cast` for every `CastLike` of a constant, wherever the type is known.

    Only the type of the other value counts, so that the result is a constant, too, though it reads a value
    that is none.
    """
    casts = [node for node in file.model.graph.node if node.op_type == "CastLike"]
    if not casts:
        return file
    onnx = import_onnx()
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    types = _types(model)
    for node in model.graph.node:
        if node.op_type == "CastLike" and node.input[0] in file.constants and node.input[1] in types:
            cast = onnx.helper.make_node("Cast", node.input[:1], node.output, to=types[node.input[1]])
            node.CopyFrom(cast)
    changed = replace(file, model=model)
    # A cast may have been of what another one gave.
    if changed.constants != file.constants:
        return with_plain_casts(changed)
    return changed


def _types(model: Any) -> dict[str, int]:
    """The types of values, as far as ONNX's inference knows them."""
    onnx = import_onnx()
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type:
            known[value.name] = value.type.tensor_type.elem_type
    return known
