"""A torch network as an ONNX file, in float or with quantisers (QDQ) around every quantised layer."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rankfold.errors import InputError, MissingDependencyError, first_line
from rankfold.export.merge import as_plain
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.quantised import QuantConv2d, QuantLayer
from rankfold.nn.quantisers import Quantiser
from rankfold.surgery.onnx.decompose import save_onnx
from rankfold.workload.onnx.file import OnnxFile, import_onnx

OPSET = 18


def write_onnx(model: nn.Module, image: tuple[int, int, int], path: str | Path, quantised: bool) -> None:
    """Write `model` for batches of any size of images (C, H, W).

    In float every layer computes with its own weights and inputs, unrounded. With quantisers a quantised layer's weight is
    stored as its int8 levels behind a DequantizeLinear, and its input passes a Clip to the range of its levels, a
    QuantizeLinear and a DequantizeLinear, so that any runtime computes what torch does, up to the order of float additions.

    Args:
        model: a network, compressed and quantised or not; it is left as it is.
        image: (C, H, W).
        path: the file; weights above a gigabyte go into `path.data` beside it.
        quantised: whether to write the quantisers.

    Raises:
        InputError: torch cannot export the network, or a quantised layer does not appear in what it exported.
        MissingDependencyError: onnxscript is not installed.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, QuantLayer)}
    if quantised and not layers:
        raise InputError("the network has no quantised layer; write it in float")
    made = _exported(model, image)
    if quantised:
        _add_quantisers(made, layers)
    made.producer_name = "rankfold"
    save_onnx(path, made)


@contextmanager
def bypassed(model: nn.Module) -> Iterator[None]:
    """Inside, all quantisers of `model` let everything through."""
    quantisers = [module for module in model.modules() if isinstance(module, Quantiser)]
    before = [quantiser.bypass for quantiser in quantisers]
    try:
        for quantiser in quantisers:
            quantiser.bypass = True
        yield
    finally:
        for quantiser, bypass in zip(quantisers, before, strict=True):
            quantiser.bypass = bypass


def _exported(model: nn.Module, image: tuple[int, int, int]) -> Any:
    """The float network as torch's exporter writes it, unoptimised, so that every layer has its weight under its own name."""
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "writing ONNX files needs the package onnxscript, which is not installed: pip install 'rankfold[onnx]'"
        ) from None
    parameter = next(model.parameters())
    images = torch.zeros(2, *image, device=parameter.device, dtype=parameter.dtype)  # a batch of one would be taken for fixed
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        plain = _without_masks(model).eval()
        logger.setLevel(logging.ERROR)
        with bypassed(plain), torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                plain, (images,), input_names=["input"], output_names=["logits"], opset_version=OPSET, dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},), optimize=False, verbose=False,
            )  # fmt: skip
    except Exception as error:  # whatever the user's network makes the exporter raise
        raise InputError(f"torch cannot export the network to ONNX: {first_line(error)}") from error
    finally:
        logger.setLevel(level)
    assert program is not None  # without a file name it returns the program
    return program.model_proto


@torch.no_grad()
def _without_masks(model: nn.Module) -> nn.Module:
    """A copy in which the weights that masks drop are zeros, so that the file holds one tensor a layer and multiplies none."""
    plain = copy.deepcopy(model)
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(plain.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, MaskedConv2d):
                if child not in made:
                    made[child] = as_plain(child, child.weight * child.mask)
                parent._modules[name] = made[child]
            elif isinstance(child, QuantConv2d) and child.mask is not None:
                child.weight.mul_(child.mask)
                child.mask = None
    return plain


def _add_quantisers(made: Any, layers: dict[str, QuantLayer]) -> None:
    """Store the weights of quantised layers as levels, and quantise their inputs, in place."""
    onnx = import_onnx()
    file = OnnxFile(Path("network.onnx"), made, OPSET)
    owner = {f"{name}.weight": name for name in layers}
    found: set[str] = set()
    nodes = []
    for node in made.graph.node:
        weight = node.input[1] if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in file.constants else ""
        name = next((owner[stored] for stored in file.ancestors(weight) if stored in owner), "") if weight else ""
        if name:
            nodes += _input_nodes(made, node, name, layers[name].input_quantiser)
            found.add(name)
        nodes.append(node)
    missing = sorted(set(layers) - found)
    if missing:
        raise InputError(
            f"layer {missing[0]} is quantised, and does not appear as a convolution or product in the exported network"
        )
    kept = [tensor for tensor in made.graph.initializer if tensor.name not in owner]
    first = []
    for name, layer in layers.items():
        stored = f"{name}.weight_quantized"
        kept.append(onnx.numpy_helper.from_array(_levels(layer), stored))
        kept += _scale(f"{name}.weight", layer.weight_quantiser, np.int8)
        first.append(_node("DequantizeLinear", [stored, *_pair(f"{name}.weight")], f"{name}.weight", f"{name}.weight_dequantize"))
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    made.graph.node.extend([*first, *nodes])
    del made.graph.value_info[:]


def _input_nodes(made: Any, node: Any, name: str, quantiser: Quantiser) -> list[Any]:
    """The quantiser before a node, which then reads what it gives."""
    if quantiser.bits == 1 and quantiser.signed:
        raise InputError(f"layer {name} has inputs of one bit with a sign (-1 and +1), which QuantizeLinear does not have")
    onnx = import_onnx()
    label, prefix = node.output[0], f"{name}.input"
    known = {tensor.name for tensor in made.graph.initializer}
    if f"{prefix}_scale" not in known:
        scale = float(quantiser.scale)
        bounds = [np.float32(level * np.float32(scale)) for level in (quantiser.low, quantiser.high)]
        stored = [
            onnx.numpy_helper.from_array(np.asarray(bound), f"{prefix}_{end}")
            for end, bound in zip(("low", "high"), bounds, strict=True)
        ]
        made.graph.initializer.extend([*stored, *_scale(prefix, quantiser, np.int8 if quantiser.signed else np.uint8)])
    clipped, levels, values = (f"{label}.input_{step}" for step in ("clipped", "levels", "values"))
    nodes = [
        # Levels of fewer than eight bits end before those of the type do.
        _node("Clip", [node.input[0], f"{prefix}_low", f"{prefix}_high"], clipped, f"{label}.input_clip"),
        _node("QuantizeLinear", [clipped, *_pair(prefix)], levels, f"{label}.input_quantize"),
        _node("DequantizeLinear", [levels, *_pair(prefix)], values, f"{label}.input_dequantize"),
    ]
    node.input[0] = values
    return nodes


def _levels(layer: QuantLayer) -> np.ndarray:
    levels = layer.weight_quantiser.integers(layer.weight)
    if isinstance(layer, QuantConv2d) and layer.mask is not None:
        levels = levels * layer.mask  # +-1, the levels of one bit, have no zero
    stored: np.ndarray = levels.cpu().numpy().astype(np.int8)
    return stored


def _scale(prefix: str, quantiser: Quantiser, kind: Any) -> list[Any]:
    helper = import_onnx().numpy_helper
    return [
        helper.from_array(quantiser.scale.cpu().numpy().astype(np.float32), f"{prefix}_scale"),
        helper.from_array(np.zeros((), kind), f"{prefix}_zero_point"),
    ]


def _pair(prefix: str) -> tuple[str, str]:
    return f"{prefix}_scale", f"{prefix}_zero_point"


def _node(kind: str, inputs: list[str], output: str, name: str) -> Any:
    return import_onnx().helper.make_node(kind, inputs, [output], name)
