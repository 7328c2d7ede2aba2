"""Nodes of ONNX that are modules of torch: layers with stored weights, and batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.errors import InputError
from rankfold.models.onnx.arrays import as_tensor
from rankfold.models.onnx.operators.windows import cut, padded, sides
from rankfold.workload.onnx.file import OnnxFile
from rankfold.workload.onnx.sizes import Known
from rankfold.workload.onnx.transposed import cut_sides

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


@dataclass(frozen=True)
class Layer:
    """A module in the place of a node.

    Attributes:
        module: it.
        before: what its input passes first, such as zeros on one side; None: nothing.
        behind: what its output passes; None: nothing.
    """

    module: nn.Module
    before: partial[Tensor] | None = None
    behind: partial[Tensor] | None = None


def layer_of(file: OnnxFile, known: Known, node: Any, options: dict[str, Any]) -> Layer | None:
    """The module that computes what a node does; None: its weights are computed, or it has none.

    Args:
        file: the model.
        known: sizes of its values.
        node: the node.
        options: its attributes.
    """
    stored = all(name in file.constants for name in node.input[1:] if name)
    makers = {"Conv": _convolution, "ConvTranspose": _transposed, "Gemm": _gemm, "MatMul": _matmul}
    makers["BatchNormalization"] = _norm
    if not stored or node.op_type not in makers or node.input[0] in file.constants:
        return None
    return makers[node.op_type](file, known, node, options)


def _convolution(file: OnnxFile, known: Known, node: Any, options: dict[str, Any]) -> Layer | None:
    weight, bias = _stored(file, node.input[1]), _bias(file, node)
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    stride, dilation = options.get("strides") or ones, options.get("dilations") or ones
    placed = _sides(known, node, kernel, stride, dilation, options)
    if placed is None or len(kernel) not in CONVOLUTIONS:
        return None
    first, last = placed
    groups = options.get("group", 1)
    # What both sides do not share is put beside the module.
    padding: Any = 0
    if first == last:
        padding = first
    module = CONVOLUTIONS[len(kernel)](
        weight.shape[1] * groups,
        weight.shape[0],
        kernel,
        stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    _fill_(module, weight, bias)
    if first == last:
        return Layer(module)
    return Layer(module, before=partial(padded, before=first, behind=last))


def _sides(
    known: Known,
    node: Any,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    options: dict[str, Any],
) -> tuple[list[int], list[int]] | None:
    """Zeros on both sides; None: they depend on sizes that are not known."""
    automatic = options.get("auto_pad", "NOTSET")
    plane = known.get(node.input[0], ())[2:]
    if automatic.startswith("SAME") and len(plane) != len(kernel):
        return None
    return sides(plane, kernel, stride, dilation, pads=options.get("pads"), auto_pad=automatic)


def _transposed(file: OnnxFile, known: Known, node: Any, options: dict[str, Any]) -> Layer | None:
    weight, bias = _stored(file, node.input[1]), _bias(file, node)
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    stride, dilation = options.get("strides") or ones, options.get("dilations") or ones
    further = options.get("output_padding") or [0] * len(kernel)
    plane = known.get(node.input[0], ())[2:]
    automatic, shape = options.get("auto_pad", "NOTSET"), options.get("output_shape")
    fixed = shape is None and automatic in ("NOTSET", "", "VALID")
    if len(kernel) not in TRANSPOSED or not (fixed or len(plane) == len(kernel)):
        return None
    first, last = cut_sides(
        plane, kernel, stride, dilation, further, pads=options.get("pads"), shape=shape, auto_pad=automatic
    )
    even = [one - more for one, more in zip(first, further, strict=True)] == last and min(first) >= 0
    groups = options.get("group", 1)
    padding: Any = 0
    output_padding: Any = 0
    if even:
        padding, output_padding = first, further
    module = TRANSPOSED[len(kernel)](
        weight.shape[0],
        weight.shape[1] * groups,
        kernel,
        stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        bias=bias is not None,
        dilation=dilation,
        device="meta",
    )
    _fill_(module, weight, bias)
    if even:
        return Layer(module)
    # What is added behind has the bias alone, as it has in torch.
    if bias is not None and min(*first, *last) < 0:
        return None
    return Layer(module, behind=partial(cut, before=first, behind=last))


def _gemm(file: OnnxFile, known: Known, node: Any, options: dict[str, Any]) -> Layer | None:
    weight = _stored(file, node.input[1])
    if options.get("transA") or options.get("alpha", 1.0) != 1.0 or weight.ndim != 2:
        return None
    if not options.get("transB"):
        weight = weight.T
    bias = _bias(file, node)
    if bias is not None:
        bias = options.get("beta", 1.0) * bias
        if bias.numel() not in (1, len(weight)):
            return None
        bias = bias.reshape(-1).expand(len(weight))
    return Layer(_linear(weight, bias))


def _matmul(file: OnnxFile, known: Known, node: Any, options: dict[str, Any]) -> Layer | None:
    weight = _stored(file, node.input[1])
    return Layer(_linear(weight.T, None)) if weight.ndim == 2 else None


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    module = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    _fill_(module, weight, bias)
    return module


def _norm(file: OnnxFile, known: Known, node: Any, options: dict[str, Any]) -> Layer | None:
    if options.get("training_mode"):
        raise InputError("a BatchNormalization is in training mode; export the network in eval mode")
    rank = len(known.get(node.input[0], (1, 1, 1, 1)))
    if rank not in NORMS:
        return None
    stored = [_stored(file, name) for name in node.input[1:]]
    if len(stored) != 4 or len({value.shape for value in stored}) > 1:
        shapes = ", ".join(str(tuple(value.shape)) for value in stored)
        raise InputError(
            f"it has values of {shapes}, and needs scale, bias, mean and variance of one length; export it "
            "again"
        )
    scale, bias, mean, variance = stored
    momentum = 1 - options.get("momentum", 0.9)
    module = NORMS[rank](len(scale), options.get("epsilon", 1e-5), momentum)
    with torch.no_grad():
        module.weight.copy_(scale)
        module.bias.copy_(bias)
        module.running_mean.copy_(mean)  # type: ignore[union-attr]  # it tracks its statistics
        module.running_var.copy_(variance)  # type: ignore[union-attr]
    return Layer(module)


def _stored(file: OnnxFile, name: str) -> Tensor:
    return as_tensor(file.array(name)).float()


def _bias(file: OnnxFile, node: Any) -> Tensor | None:
    if len(node.input) < 3 or not node.input[2]:
        return None
    return _stored(file, node.input[2])


def _fill_(module: Any, weight: Tensor, bias: Tensor | None) -> None:
    module.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
    if bias is not None:
        module.bias = nn.Parameter(bias.clone())
