"""What the layers of an ONNX graph read, and where its feature maps are joined."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rankfold.workload.flow import INPUT, Flow, FlowRecorder, plane_of
from rankfold.workload.onnx.file import OnnxFile
from rankfold.workload.onnx.operators import PRODUCTS
from rankfold.workload.onnx.shapes import Sizes
from rankfold.workload.shape import ConvShape

# What they give are sizes of a feature map, and none of its values.
OF_SIZES = ("Shape", "Size")


def onnx_flow(file: OnnxFile, sizes: Sizes, layers: Mapping[str, ConvShape]) -> Flow | None:
    """The flow of a graph.

    Args:
        file: the graph.
        sizes: of its values.
        layers: by the first output of the node that each is, in the order of the graph.

    Returns:
        None where feature maps are joined whose size nobody knows.
    """
    recorder = FlowRecorder()
    origin = {value.name: INPUT for value in file.inputs}
    for node in file.model.graph.node:
        sources = [name for name in node.input if name in origin]
        layer = layers.get(node.output[0]) if node.output else None
        if layer is not None:
            # What is computed from constants alone is there from the start.
            source = origin[sources[0]] if sources else INPUT
            recorder.layer(layer.name, source)
            made_by = layer.name
        elif not sources or node.op_type in OF_SIZES:
            continue
        else:
            made_by = origin[sources[0]]
            if any(origin[name] != made_by for name in sources):
                known = _numbers([*sources, node.output[0]], sizes)
                if known is None:
                    return None
                *read, made = known
                parts = [(origin[name], numbers) for name, numbers in zip(sources, read, strict=True)]
                plane = plane_of(sizes.known[node.output[0]])
                made_by = recorder.join(parts, made, plane, whole=node.op_type in PRODUCTS)
        for name in node.output:
            origin[name] = made_by
    return recorder.flow(list(layers.values()))


def _numbers(names: Sequence[str], sizes: Sizes) -> list[int] | None:
    """Numbers of values for an image; None: of one it is not known."""
    if any(name not in sizes.known for name in names):
        return None
    return [math.prod(sizes.known[name]) // sizes.batch for name in names]
