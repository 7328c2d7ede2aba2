"""Names of layers in ONNX graphs, those of the torch modules wherever the exporter kept a trace of them."""

from __future__ import annotations

import re
from typing import Any

# What exporters append to the name of a layer to name its weight.
WEIGHT_ENDINGS = re.compile(
    r"([._](weights?|kernel|w|w_0)(_0)?|/Conv2D/ReadVariableOp.*)?"
    r"([_.](quantized|quant|q))?"
    r"(:0)?$"
)
# Names that exporters count up, and that tell nothing of the layer.
MADE_UP = re.compile(r"(onnx::.*|val_\d+|\d+|Constant_.*|_?[vt]_?\d+|const_.*|.*_output_\d+)")


def layer_name(node: Any, weight: str) -> str:
    """The name of the layer that `node` runs with the stored tensor `weight`.

    `block.conv.weight` gives `block.conv`, an exporter's path `/block/block.0/conv/Conv` gives
    `block.0.conv`; otherwise the node's own name, or that of what it makes.
    """
    if not MADE_UP.fullmatch(weight):
        name = WEIGHT_ENDINGS.sub("", weight)
        if name:
            return name
    if node.name.startswith("/") and node.name.count("/") > 1:
        return _module_path(node.name)
    return str(node.name or node.output[0])


def _module_path(path: str) -> str:
    """`/features/features.3/features.3.1/Conv` as `features.3.1`: a step may repeat the step before it."""
    steps = path.split("/")[1:-1]  # without the empty one in front, and the operator
    parts: list[str] = []
    last = ""
    for step in steps:
        if last and step.startswith(f"{last}."):
            parts.append(step[len(last) + 1 :])
        elif step or parts:
            parts.append(step)
        last = step
    return ".".join(parts)
