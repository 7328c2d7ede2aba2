"""What a network computes between its arrays, as a list of plain steps that any language can follow."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.calibration.samples import tensors_of
from rankfold.errors import InputError
from rankfold.export.array_images.steps import Program, StepWriter
from rankfold.export.quiet import quiet_torch, why_not
from rankfold.nn.quantised import QuantConv2d, QuantLayer
from rankfold.nn.swap import swap_
from rankfold.workload import InputSpec, example_inputs
from rankfold.workload.padding import padding_sides

KEPT_WHOLE = (
    torch.ops.aten.matmul.default,
    torch.ops.aten.scaled_dot_product_attention.default,
    torch.ops.aten.roll.default,
)


@torch.library.custom_op("rankfold::on_arrays", mutates_args=())
def on_arrays(x: Tensor, layer: str, out: list[int]) -> Tensor:
    """Stands for a layer while the network around it is written down; it is never run."""
    raise NotImplementedError("on_arrays is a mark in a graph, not a computation")


@on_arrays.register_fake
def _(x: Tensor, layer: str, out: list[int]) -> Tensor:
    return x.new_empty(out)


class _Mark(nn.Module):
    """Takes the place of a layer that runs on arrays, and has its attributes for code that asks for them."""

    def __init__(self, name: str, layer: QuantLayer) -> None:
        super().__init__()
        self.name = name
        # In a list, so that it is no part of the network that is written down.
        self._layer = [layer]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._layer[0], name)


class _LinearMark(_Mark):
    """Takes the place of a linear layer."""

    def forward(self, input: Tensor) -> Tensor:
        size = [*input.shape[:-1], self.out_features]
        return on_arrays(input, self.name, size)


class _ConvMark(_Mark):
    """Takes the place of a convolution."""

    def __init__(self, name: str, conv: QuantConv2d) -> None:
        super().__init__(name, conv)
        left, right, top, bottom = padding_sides(conv)
        self.vertical = _Axis(conv, 0, top + bottom)
        self.horizontal = _Axis(conv, 1, left + right)

    def forward(self, input: Tensor) -> Tensor:
        batch, _, height, width = input.shape
        # A layer that runs on two sizes has a mapping, and thus a name, for each.
        label = f"{self.name}@{height}x{width}"
        size = [self.vertical.outputs(height), self.horizontal.outputs(width)]
        return on_arrays(input, label, [batch, self.out_channels, *size])


class _Axis:
    """One direction of a convolution."""

    def __init__(self, conv: QuantConv2d, axis: int, padding: int) -> None:
        self.padding = padding
        self.stride = conv.stride[axis]
        self.extent = (conv.kernel_size[axis] - 1) * conv.dilation[axis] + 1

    def outputs(self, inputs: int) -> int:
        """Output pixels."""
        return (inputs + self.padding - self.extent) // self.stride + 1


def _decompositions() -> Any:
    """Torch's decompositions into core operators, without those that would mix images.

    Products of several matrices become products of stacks in which images and heads are one axis, and rolls
    become lookups.
    """
    table = torch.export.default_decompositions()
    for whole in KEPT_WHOLE:
        table.pop(whole, None)  # type: ignore[no-untyped-call]
    return table


def write_program(
    model: nn.Module,
    layers: Mapping[str, QuantLayer],
    image: tuple[int, int, int],
    inputs: Sequence[InputSpec] = (),
) -> Program:
    """Write down what a network does with its inputs, with a step `layer` for each layer that runs on arrays.

    Args:
        model: the network, in any mode; evaluation is written.
        layers: its layers that run on arrays, by name.
        image: (C, H, W).
        inputs: what the network is called with; empty: one image.

    Raises:
        InputError: the network cannot be exported, or has an operator that no step stands for; the message
            names it.
    """
    # Digital steps are computed in float64 by whoever reads them.
    marked = copy.deepcopy(model).double().eval()
    marks: dict[nn.Module, nn.Module] = {}
    for name, layer in layers.items():
        mark: nn.Module
        if isinstance(layer, QuantConv2d):
            mark = _ConvMark(name, layer)
        else:
            mark = _LinearMark(name, layer)
        marks[marked.get_submodule(name)] = mark
    swap_(marked, marks)
    example = example_inputs(marked, image, inputs)
    positional: tuple[Any, ...] = ()
    keywords: dict[str, Any] | None = None
    if isinstance(example, Mapping):
        keywords = dict(example)
    else:
        positional = tensors_of(example)
    try:
        with torch.no_grad(), quiet_torch():
            # Decomposed into torch's core operators, of which there are few.
            exported = torch.export.export(marked, positional, keywords).run_decompositions(_decompositions())
    except Exception as error:  # whatever the user's network makes torch raise
        raise InputError(f"torch cannot write the network down as a graph: {why_not(error)}") from error
    stored: dict[str, Any] = {
        **exported.state_dict,
        **exported.constants,
    }
    signature = exported.graph_signature
    stored_by = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    return StepWriter(stored, stored_by).write(exported.graph)
