"""Sizes of all values of an ONNX graph for one image, by ONNX's own shape inference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankfold.errors import InputError
from rankfold.workload.onnx.contrib import in_standard_operators_
from rankfold.workload.onnx.file import OnnxFile, describe, import_onnx, is_repeatable
from rankfold.workload.onnx.inputs import fixed_inputs, has_open_sizes, image_of
from rankfold.workload.onnx.other_sizes import check_reshapes
from rankfold.workload.onnx.sizes import Dims, Known, OpenSizes, closed, open_sizes, set_sizes
from rankfold.workload.shape import Image

SMALL = 1 << 10  # numbers up to which a value may be sizes that inference must know; larger ones are weights

Contents = Mapping[str, np.ndarray]  # value -> its numbers


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
    inputs: Known
    known: Known


def infer_sizes(file: OnnxFile, given: Sequence[int] | None) -> Sizes:
    """Fix the inputs of a graph (batches of one where that is open) and infer all sizes.

    Args:
        file: the model.
        given: sizes of an input without its batch, see `fixed_inputs`, for sizes that the file leaves open;
            one that it fixes must agree.

    Raises:
        InputError: a size is open and not given, or given and fixed to another; the message names the input.
    """
    if not file.inputs:
        raise InputError(f"{file.path} has no input, so there is nothing to map")
    inputs = fixed_inputs(file, given)
    light = _light_copy(file, inputs)
    # Every round folds a node at least, so the rounds come to an end.
    while True:
        known = _inferred(file, light)
        # Inference does not name the stored ones again.
        for name, tensor in file.initializers.items():
            known[name] = tuple(tensor.dims)
        # Of what was folded too: a small weight may be computed from others, by a quantiser or a
        # transposition.
        for tensor in light.graph.initializer:
            known[tensor.name] = tuple(tensor.dims)
        if not _fold(light, known) and not _noted(file, light, known, inputs):
            break
    if file.resized:
        check_reshapes(file, known)
    first = inputs[file.inputs[0].name]
    batch = 1
    if len(first) == 4:
        batch = max(first[0], 1)
    return Sizes(image_of(file, first), batch, inputs, known)


def _light_copy(file: OnnxFile, inputs: Known) -> Any:
    """The model with inputs of fixed sizes, without weights, and without what an exporter noted of sizes."""
    onnx = import_onnx()
    light = onnx.ModelProto()
    light.CopyFrom(file.model)
    graph = light.graph
    kept = [value for value in graph.input if value.name in inputs]
    del graph.input[:]
    for value in kept:
        set_sizes(value, inputs[value.name])
    graph.input.extend(kept)
    in_standard_operators_(graph)
    # Notes that were made for other sizes would be taken for truth.
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    # Weights go in as inputs without content: inference copies the model, and they may take gigabytes.
    del graph.initializer[:]
    for tensor in file.model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL:
            content = file.array(tensor.name)
            graph.initializer.append(onnx.numpy_helper.from_array(content, tensor.name))
        else:
            dims = list(tensor.dims)
            weight = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, dims)
            graph.input.append(weight)
    return light


def _inferred(file: OnnxFile, light: Any) -> dict[str, Dims]:
    """The sizes of all values that inference reaches."""
    onnx = import_onnx()
    try:
        # Of sizes that the file was not made for nothing is known to go together.
        inferred = onnx.shape_inference.infer_shapes(light, strict_mode=file.resized, data_prop=True)
    except Exception as error:  # onnx raises several kinds of its own
        told = str(error).strip().splitlines()
        # Strict inference tells of all that follows from the first one, too.
        reason = told[0] if file.resized else told[-1]
        # Sizes that the file fixes are no choice of the user's.
        remedy = "export it again"
        if has_open_sizes(file):
            remedy = "pass its real --input"
        elif file.resized:
            remedy = "it takes no images of other sizes: omit --input, or export the network for that size"
        raise InputError(
            f"{file.path}: the sizes of its values contradict each other: {reason}; {remedy}"
        ) from None
    known: dict[str, Dims] = {}
    graph = inferred.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        sizes = closed(open_sizes(value))
        if sizes is not None:
            known[value.name] = sizes
    return known


def _noted(file: OnnxFile, light: Any, known: Known, inputs: Known) -> bool:
    """Take an exporter's note of sizes that inference does not reach; whether there was one.

    A note holds where the inputs have the sizes that it was made for: those that the file fixes, and symbols,
    which are replaced by what they are here. Where sizes of the inputs are open without a symbol, notes may
    be of any.
    """
    symbols: dict[str, int] = {}
    for value in file.inputs:
        for declared, size in zip(open_sizes(value) or [], inputs[value.name], strict=True):
            if declared == "":
                return False
            if isinstance(declared, str):
                symbols[declared] = size
    made = {name for node in light.graph.node for name in node.output}
    for note in file.model.graph.value_info:
        if note.name in known or note.name not in made:
            continue
        sizes: OpenSizes = []
        for noted in open_sizes(note) or [""]:
            sizes.append(symbols.get(str(noted), noted))
        whole = closed(sizes)
        if whole is not None:
            # One after the other: what is inferred behind it goes before further notes.
            added = light.graph.value_info.add()
            added.CopyFrom(note)
            set_sizes(added, whole)
            return True
    return False


def _fold(light: Any, known: Known) -> bool:
    """Replace the nodes that compute with known sizes by what they compute; whether there were any.

    Inference alone follows sizes through few operators, and stops where a Reshape or Resize is told its
    sizes by others.
    """
    onnx = import_onnx()
    graph = light.graph
    contents: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        contents[tensor.name] = onnx.numpy_helper.to_array(tensor)
    kept = []
    for node in graph.node:
        made = _sizes_computed(node, contents, known, light.opset_import)
        if made is None:
            kept.append(node)
            continue
        contents.update(made)
        for name, content in made.items():
            graph.initializer.append(onnx.numpy_helper.from_array(content, name))
    folded = len(kept) < len(graph.node)
    if folded:
        del graph.node[:]
        graph.node.extend(kept)
    return folded


# What a node computes from sizes alone.
#
# Let s(v) be the sizes of a value v, a tuple of whole numbers, and c(v) its content. The inputs of the
# graph have fixed sizes, so where inference knows s(v), v has these sizes in every run, whatever the image
# shows. Let K be the values whose content is thereby the same in every run:
#
#   stored      c(v) is in the file, so v is in K;
#   Shape       c(y) = (s(x)[first], ..., s(x)[last - 1]), which asks for s(x) only; x itself need not be in
# K;   Size        c(y) = product of s(x), likewise;   any other   an operator is a function of its inputs'
# contents and of its attributes. If all its inputs are in K,               c(y) is one fixed value: the one
# that the operator gives when it is run once, alone, on these.
#
# The last rule needs a function: nodes that draw random numbers are none, and a node with a graph inside
# may read values that are not among its inputs. A node in K is replaced by its content as a stored tensor.
# The graph then computes in every run what it computed before, so the sizes inferred of it are those of the
# graph given: nothing is approximated. What is gained is content: inference asks c(v) of the target of a
# Reshape, the scales of a Resize, or the ends of a Slice, and knows s(y) behind them once v is in K; which
# may put further values in K, hence the rounds of `infer_sizes`.
#
# Values of more than SMALL numbers are no sizes but weights. They are not computed here; that only leaves K
# smaller.


def _sizes_computed(
    node: Any,
    contents: Contents,
    known: Known,
    opsets: Any,
) -> dict[str, np.ndarray] | None:
    """The contents of the small values that a node makes from sizes and constants; None: it does not.

    Args:
        node: an `onnx.NodeProto`.
        contents: c(v) of the values in K so far.
        known: s(v), as far as inference came.
        opsets: the versions of operators that the model is written in.
    """
    asked = ""
    if node.input:
        asked = node.input[0]
    if node.op_type == "Shape" and asked in known:
        # Both ends are optional, and count from the end where they are negative, as in Python.
        first, end = _whole_number(node, "start"), _whole_number(node, "end")
        sizes = known[asked][first:end]
        return {node.output[0]: np.array(sizes, np.int64)}
    if node.op_type == "Size" and asked in known:
        count = math.prod(known[asked])
        return {node.output[0]: np.array(count, np.int64)}
    if not is_repeatable(node):
        return None
    if any(name and name not in contents for name in node.input):
        return None
    outputs = [name for name in node.output if name]
    # Before it is run, where its size is known already: some would fill the memory.
    for name in outputs:
        if math.prod(known.get(name, (1,))) > SMALL:
            return None
    made = _run_alone(node, contents, opsets)
    if made is None:
        return None
    for content in made.values():
        if content.size > SMALL:
            return None
    return made


def _run_alone(
    node: Any,
    contents: Contents,
    opsets: Any,
) -> dict[str, np.ndarray] | None:
    """What one node makes of inputs whose content is known; None: the evaluator lacks its operator."""
    onnx = import_onnx()
    outputs = [name for name in node.output if name]
    stored = []
    for name in node.input:
        if name:
            stored.append(onnx.numpy_helper.from_array(contents[name], name))
    graph = onnx.helper.make_graph(
        [node],
        "sizes",
        inputs=[],
        outputs=[onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
        initializer=stored,
    )
    try:
        from onnx.reference import ReferenceEvaluator

        model = onnx.helper.make_model(graph, opset_imports=opsets)
        values: Any = ReferenceEvaluator(model).run(None, {})
    except Exception:  # inference then stops there, and says so
        return None
    made: dict[str, np.ndarray] = {}
    for name, value in zip(outputs, values, strict=True):
        made[name] = np.asarray(value)
    return made


def _whole_number(node: Any, attribute: str) -> int | None:
    """A whole number among a node's attributes, if it has that one."""
    for item in node.attribute:
        if item.name == attribute:
            return int(item.i)
    return None


def where_inference_stops(
    file: OnnxFile,
    known: Known,
    name: str,
) -> str:
    """The node, in words, that keeps the sizes of value `name` from being known."""
    seen: set[str] = set()
    while name in file.producers and name not in seen:
        seen.add(name)
        node = file.producers[name]
        # Whatever else it reads: one value that is not known keeps its output from being known.
        unknown = [value for value in node.input if value and value not in known]
        if not unknown:
            return describe(node)
        name = unknown[0]
    return f"input {name}"
