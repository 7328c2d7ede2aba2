"""The steps of transformers: layer norm, softmax, GELU, attention."""

from __future__ import annotations

import numpy as np
import torch
from torch import fx

from rankfold.export.array_images.writer import (
    Arguments,
    ProgramWriter,
    Step,
    is_of_images,
    part_name,
    with_defaults,
)


def layer_norm(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    """(x - mean) / sqrt(variance + epsilon) over the last axes, times a scale, plus a shift."""
    x, sizes, weight, bias, epsilon = args[:5]
    if is_of_images(x, -len(sizes)):
        return None
    step: Step = {
        "op": "layer_norm",
        "inputs": [writer.name(x)],
        "axes": len(sizes),
        "epsilon": float(epsilon),
        "scale": None,
        "shift": None,
    }
    for label, stored in (("scale", weight), ("shift", bias)):
        if stored is not None:
            step[label] = writer.constant(f"{node.name}_{label}", writer.array(stored))
    return step


def softmax(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step | None:
    """Along one axis."""
    x, axis = args[:2]
    if is_of_images(x, axis):
        return None
    return {"op": "softmax", "inputs": [writer.name(x)], "axis": int(axis)}


def gelu(writer: ProgramWriter, node: fx.Node, args: Arguments) -> Step:
    """x times the normal distribution up to x, exactly or by a hyperbolic tangent."""
    op = "gelu"
    if node.kwargs.get("approximate", "none") == "tanh":
        op = "gelu_tanh"
    return {"op": op, "inputs": [writer.name(args[0])]}


def attention(writer: ProgramWriter, node: fx.Node, args: Arguments) -> list[Step] | None:
    """softmax(Q K^T scale + mask) V, step by step."""
    queries, keys, values, mask, dropout, causal = with_defaults(args, *[None] * 4, 0.0, False)
    if causal or dropout or node.kwargs.get("enable_gqa"):
        return None
    scale = node.kwargs.get("scale")
    if scale is None:
        scale = queries.meta["val"].shape[-1] ** -0.5
    axes = list(range(keys.meta["val"].ndim))
    axes[-2:] = [axes[-1], axes[-2]]
    turned, scores, scaled, weights = (
        part_name(node, part) for part in ("keys", "scores", "scaled", "weights")
    )
    steps: list[Step] = [
        {"output": turned, "op": "transpose", "inputs": [writer.name(keys)], "axes": axes},
        {"output": scores, "op": "matmul", "inputs": [writer.name(queries), turned]},
        {"output": scaled, "op": "multiply", "inputs": [scores, writer.operand(scale, 1)]},
    ]
    if mask is not None:
        added = _added(writer, node, mask)
        if added is None:
            return None
        masked = part_name(node, "masked")
        steps.append({"output": masked, "op": "add", "inputs": [scaled, added]})
        scaled = masked
    steps.append({"output": weights, "op": "softmax", "inputs": [scaled], "axis": -1})
    steps.append({"output": node.name, "op": "matmul", "inputs": [weights, writer.name(values)]})
    return steps


def _added(writer: ProgramWriter, node: fx.Node, mask: fx.Node) -> str | None:
    """The name of the numbers that a mask adds to the scores; None: no step says it."""
    if mask.meta["val"].dtype != torch.bool:
        return writer.name(mask)
    # One of booleans says which keys count: all others are minus infinity.
    if not writer.is_constant(mask):
        return None
    numbers = np.where(writer.array(mask) > 0, 0.0, -np.inf)
    return writer.constant(part_name(node, "mask"), numbers)
