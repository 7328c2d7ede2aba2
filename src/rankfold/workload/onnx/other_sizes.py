"""ONNX files for images of other sizes, and batches of other numbers, than their exporter fixed.

Exporters that were shown one batch of images of one size write both into the inputs, and the batch into the
targets of reshapes, though most networks of convolutions take batches of any number and images of any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rankfold.errors import InputError
from rankfold.workload.onnx.file import OnnxFile, describe, import_onnx
from rankfold.workload.onnx.inputs import arranged
from rankfold.workload.onnx.sizes import Known, closed, open_sizes, set_sizes, show_sizes


def for_images(file: OnnxFile, given: Sequence[int] | None) -> OnnxFile:
    """The file with inputs of images of a given size, where it fixes another height or width.

    Whether the rest of the graph takes them is seen when sizes are inferred (`check_reshapes`).

    Args:
        file: the model.
        given: (C, H, W), or another number of sizes, which change nothing; None: as the file says.
    """
    if given is None or len(given) != 3:
        return file
    wanted: dict[str, tuple[int, ...]] = {}
    for value in file.inputs:
        sizes = closed(open_sizes(value))
        if sizes is None or len(sizes) != 4:
            continue
        others = (sizes[0], *arranged(file, value.name, given))
        # Channels are the weights' matter.
        channels = arranged(file, value.name, (0, 1, 2)).index(0) + 1
        if others != sizes and others[channels] == sizes[channels]:
            wanted[value.name] = others
    if not wanted:
        return file
    changed = _copied(file)
    for value in changed.graph.input:
        if value.name in wanted:
            set_sizes(value, wanted[value.name])
    # Notes are of the sizes that the file had.
    del changed.graph.value_info[:]
    for value in changed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return replace(file, model=changed, resized=True)


def check_reshapes(file: OnnxFile, known: Known) -> None:
    """Refuse images of other sizes where a reshape has numbers of the exporter's, which inference believes.

    Raises:
        InputError: a reshape does not hold as many values as it is given; the message names the node.
    """
    for node in file.model.graph.node:
        if node.op_type != "Reshape" or not {node.input[0], node.output[0]} <= known.keys():
            continue
        before, behind = known[node.input[0]], known[node.output[0]]
        if math.prod(before) != math.prod(behind):
            raise InputError(
                f"{file.path}: {describe(node)} is made for {show_sizes(behind)} and would be given "
                f"{show_sizes(before)}, so that the file takes no images of other sizes; omit --input, or "
                "export the network for that size"
            )


def with_open_batch(file: OnnxFile, known: Known) -> OnnxFile:
    """The file with reshapes that keep the number of samples, where it has the batch of its input in them.

    The first dimension is that of samples. A target (b, ...) of values (b, ...) with the b of the input is
    written as (0, ...), which is the same for b samples and right for others.

    Args:
        file: the model.
        known: sizes of its values.
    """
    batches = {sizes[0] for value in file.inputs if (sizes := closed(open_sizes(value)))}
    places = [place for place in range(len(file.model.graph.node)) if _fixes(file, place, known, batches)]
    if not places:
        return file
    helper = import_onnx().numpy_helper
    changed = _copied(file)
    for place in places:
        node = changed.graph.node[place]
        target = file.array(node.input[1]).copy()
        target[0] = 0
        name = f"{node.input[1]} of {node.output[0]}"
        changed.graph.initializer.append(helper.from_array(target, name))
        node.input[1] = name
    return replace(file, model=changed)


def _fixes(file: OnnxFile, place: int, known: Known, batches: set[int]) -> bool:
    """Whether a node is a reshape to the number of samples that the file's input has."""
    node = file.model.graph.node[place]
    if node.op_type != "Reshape" or node.input[1] not in file.constants or node.input[0] in file.constants:
        return False
    if any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute):
        return False
    samples = known.get(node.input[0], ())[:1]
    target = file.array(node.input[1])
    return bool(samples) and samples[0] in batches and target.size > 1 and target[0] == samples[0]


def _copied(file: OnnxFile) -> Any:
    model = import_onnx().ModelProto()
    model.CopyFrom(file.model)
    return model
