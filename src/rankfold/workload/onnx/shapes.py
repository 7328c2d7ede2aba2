"""Sizes of all values of an ONNX graph for one image, by ONNX's own shape inference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankfold.errors import InputError
from rankfold.workload.onnx.file import RANDOM, OnnxFile, describe, import_onnx

Image = tuple[int, int, int]
SMALL = 1 << 10  # elements up to which a stored tensor may be a size that inference must know; larger ones are weights
NHWC_TO_NCHW = (0, 3, 1, 2)


@dataclass(frozen=True)
class Sizes:
    """The sizes of values in a graph whose inputs are fixed.

    Attributes:
        image: (C, H, W) of the first input.
        batch: images that one run takes; 1 unless the file fixes another number.
        inputs: the sizes that each input was given.
        known: value -> its sizes, for all values that inference reached.
    """

    image: Image
    batch: int
    inputs: Mapping[str, tuple[int, ...]]
    known: Mapping[str, tuple[int, ...]]


def infer_sizes(file: OnnxFile, image: Image | None) -> Sizes:
    """Fix the inputs of a graph (batches of one where that is open) and infer all sizes.

    Args:
        file: the model.
        image: (C, H, W) of its image inputs, for sizes that the file leaves open; one that it fixes must agree.

    Raises:
        InputError: a size is open and not given, or given and fixed to another; the message names the input.
    """
    onnx = import_onnx()
    if not file.inputs:
        raise InputError(f"{file.path} has no input, so there is nothing to map")
    inputs = _fixed_inputs(file, image)
    names = {value.name for value in file.inputs}
    light = onnx.ModelProto()
    light.CopyFrom(file.model)
    del light.graph.initializer[:]
    kept = [value for value in light.graph.input if value.name in names]
    del light.graph.input[:]
    for value in kept:
        _set_sizes(value, inputs[value.name])
    light.graph.input.extend(kept)
    del light.graph.value_info[:]  # what an exporter noted for other sizes would be taken for truth
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    for tensor in file.model.graph.initializer:
        # Weights go in as inputs without content: inference copies the model, and they may take gigabytes.
        if int(np.prod(tensor.dims)) <= SMALL:
            light.graph.initializer.append(onnx.numpy_helper.from_array(file.array(tensor.name), tensor.name))
        else:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    while True:
        known = _inferred(file, light)
        known.update((name, tuple(tensor.dims)) for name, tensor in file.initializers.items())
        # Of what was folded too: a small weight may be computed from others, by a quantiser or a transposition.
        known.update((tensor.name, tuple(tensor.dims)) for tensor in light.graph.initializer)
        if not _fold(light, known):
            break
    first_input = inputs[file.inputs[0].name]
    batch = first_input[0] if len(first_input) == 4 else 1
    return Sizes(_image(file, first_input), max(batch, 1), inputs, known)


def _inferred(file: OnnxFile, light: Any) -> dict[str, tuple[int, ...]]:
    onnx = import_onnx()
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except Exception as error:  # onnx raises several kinds of its own
        first = str(error).strip().splitlines()[-1]
        raise InputError(f"{file.path}: the sizes of its values contradict each other: {first}; pass its real --input") from None
    known = {}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        sizes = _sizes(value)
        if sizes is not None and all(isinstance(size, int) for size in sizes):
            known[value.name] = tuple(size for size in sizes if isinstance(size, int))
    return known


def _fold(light: Any, known: Mapping[str, tuple[int, ...]]) -> bool:
    """Replace the nodes that compute with known sizes by what they compute; whether there were any.

    Inference alone follows sizes through few operators, and stops where a Reshape or Resize is told its sizes by others.
    """
    onnx = import_onnx()
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in light.graph.initializer}
    kept, folded = [], False
    for node in light.graph.node:
        made = _sizes_computed(node, values, known, light.opset_import)
        if made is None:
            kept.append(node)
            continue
        values.update(made)
        light.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in made.items())
        folded = True
    if folded:
        del light.graph.node[:]
        light.graph.node.extend(kept)
    return folded


def _sizes_computed(
    node: Any, values: Mapping[str, np.ndarray], known: Mapping[str, tuple[int, ...]], opsets: Any
) -> dict[str, np.ndarray] | None:
    """The small values that a node makes from sizes and constants, if it does."""
    onnx = import_onnx()
    outputs = [name for name in node.output if name]
    if node.op_type == "Shape" and node.input[0] in known:
        first, last = (next((item.i for item in node.attribute if item.name == key), None) for key in ("start", "end"))
        return {node.output[0]: np.array(known[node.input[0]][first:last], np.int64)}
    if node.op_type == "Size" and node.input[0] in known:
        return {node.output[0]: np.array(math.prod(known[node.input[0]]), np.int64)}
    nested = any(item.HasField("g") or item.graphs for item in node.attribute)
    if nested or node.op_type in RANDOM or not all(not name or name in values for name in node.input):
        return None
    if any(math.prod(known.get(name, (1,))) > SMALL for name in outputs):
        return None
    graph = onnx.helper.make_graph(
        [node], "sizes", [], [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
        [onnx.numpy_helper.from_array(values[name], name) for name in node.input if name],
    )  # fmt: skip
    try:
        from onnx.reference import ReferenceEvaluator

        found = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets)).run(None, {})
    except Exception:  # an operator that the evaluator lacks: inference then stops there, and says so
        return None
    arrays = {name: np.asarray(value) for name, value in zip(outputs, found, strict=True)}
    return arrays if all(value.size <= SMALL for value in arrays.values()) else None


def where_inference_stops(file: OnnxFile, known: Mapping[str, tuple[int, ...]], name: str) -> str:
    """The node, in words, that keeps the sizes of value `name` from being known."""
    seen = set()
    while name in file.producers and name not in seen:
        seen.add(name)
        node = file.producers[name]
        unknown = [value for value in node.input if value and value not in known]
        if not unknown:
            return describe(node)
        name = unknown[0]
    return f"input {name}"


def _fixed_inputs(file: OnnxFile, image: Image | None) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    symbols: dict[str, int] = {}
    used = False
    for value in file.inputs:
        sizes = _sizes(value)
        if sizes is None:
            raise InputError(f"{file.path}: input {value.name} has no sizes; export it with the sizes of its inputs")
        sizes = [symbols.get(size, size) if isinstance(size, str) else size for size in sizes]
        if sizes and not isinstance(sizes[0], int):
            sizes[0] = 1
        if len(sizes) == 4:
            wanted = _arranged(file, value.name, image)
            for axis in (1, 2, 3):
                size = sizes[axis]
                if wanted is None:
                    continue
                if isinstance(size, int) and size != wanted[axis]:
                    raise InputError(
                        f"{file.path}: input {value.name} is fixed to {_show(sizes)}, which --input {_show(image or ())} "
                        "(C x H x W) contradicts; leave --input away, or export the network for that size"
                    )
                if isinstance(size, str) and size:
                    symbols[size] = wanted[axis]
                sizes[axis] = wanted[axis]
                used = True
        if not all(isinstance(size, int) for size in sizes):
            remedy = "give the size of an image: --input CxHxW" if len(sizes) == 4 else "export it with fixed sizes"
            raise InputError(f"{file.path}: input {value.name} has the open size {_show(sizes)}; {remedy}")
        found[value.name] = tuple(size for size in sizes if isinstance(size, int))
    if image is not None and not used:
        raise InputError(f"{file.path} takes no image (no input of four dimensions), so --input does not go with it")
    return found


def _arranged(file: OnnxFile, name: str, image: Image | None) -> tuple[int, int, int, int] | None:
    """The sizes (1, C, H, W) of an image, or (1, H, W, C) where the graph turns them round first."""
    if image is None:
        return None
    channels, height, width = image
    return (1, height, width, channels) if _channels_last(file, name) else (1, channels, height, width)


def _channels_last(file: OnnxFile, name: str) -> bool:
    readers = [node for node in file.model.graph.node if name in node.input]
    return bool(readers) and all(
        node.op_type == "Transpose" and any(tuple(item.ints) == NHWC_TO_NCHW for item in node.attribute) for node in readers
    )


def _image(file: OnnxFile, sizes: tuple[int, ...]) -> Image:
    """(C, H, W) of the first input; inputs of fewer dimensions have ones in front."""
    if len(sizes) == 4 and _channels_last(file, file.inputs[0].name):
        return sizes[3], sizes[1], sizes[2]
    last = (1, 1, 1, *sizes[1:])[-3:]
    return max(last[0], 1), max(last[1], 1), max(last[2], 1)


def _sizes(value: Any) -> list[int | str] | None:
    """A value's sizes, symbols as text and unknown ones as ''; None where not even their number is known."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    # Some exporters write an open size as -1, or as a name such as '?' that says nothing.
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param.replace("?", "")
        for dim in value.type.tensor_type.shape.dim
    ]


def _set_sizes(value: Any, sizes: tuple[int, ...]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in sizes:
        shape.dim.add().dim_value = size


def _show(sizes: Any) -> str:
    return "x".join(str(size) if size != "" else "?" for size in sizes)
