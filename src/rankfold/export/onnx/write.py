"""A torch network as an ONNX file, in float or with quantisers (QDQ) around every quantised layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.arguments import PATH, takes
from rankfold.calibration.branches import unread
from rankfold.errors import InputError, MissingDependencyError
from rankfold.export.onnx.quantisers import OPSET, add_quantisers_
from rankfold.export.quiet import quiet_torch, why_not
from rankfold.models.device import MODEL
from rankfold.models.finite import check_numbers
from rankfold.models.onnx.casts import with_plain_casts
from rankfold.models.onnx.graph import OnnxGraph
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.quantised import QuantLayer
from rankfold.nn.swap import swap_
from rankfold.simulator.network import check_not_simulated
from rankfold.workload.onnx.file import OnnxFile
from rankfold.workload.onnx.save import LARGEST_FILE, save_onnx

# Without a bound older torch (2.7) takes batches as long as the end of an open slice for exceptions, and
# refuses to export a network that slices anything.
LARGEST_BATCH = 2**31 - 1

Example = tuple[int, int, int] | Tensor | Sequence[Any] | Mapping[str, Any]


@takes(model=MODEL, path=PATH)
def write_onnx(model: nn.Module, example: Example, path: str | Path, quantised: bool | None = None) -> None:
    """Write a network for batches of any size.

    In float every layer computes with its own weights and inputs, unrounded. With quantisers a quantised
    layer's weight is stored as its int8 levels behind a DequantizeLinear, and its input passes a Clip to
    the range of its levels, a QuantizeLinear and a DequantizeLinear, so that any runtime computes what
    torch does, up to the order of float additions.

    Args:
        model: a network, compressed and quantised or not; it is left as it is, and written in eval mode.
        example: (C, H, W), the size of the images that are its only input; or a batch; or several inputs by
            position or by name, each a batch.
        path: the file; weights above a gigabyte go into `path.data` beside it.
        quantised: whether to write the quantisers; None: if the network has any.

    Raises:
        InputError: torch cannot export the network, or a quantised layer does not appear in what it
            exported, or computes in another precision than float32, which ONNX's quantisers need; the
            quantisers are asked for and there are none, or one of them is of a kind that ONNX does not have;
            a weight is NaN, or the network lies on simulated arrays.
        MissingDependencyError: onnxscript is not installed.
    """
    check_not_simulated(model)
    check_numbers(model.state_dict(), "the network")
    layers: dict[str, QuantLayer] = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantLayer):
            layers[name] = module
    if quantised is None:
        quantised = bool(layers)
    if quantised and not layers:
        raise InputError("the network has no quantised layer; write it in float")
    if quantised:
        _check_single_precision(layers)
    given = _inputs(model, example)
    written = _plainly_cast(_exported(model, given))
    # Torch would write its own quantisers as many small operators, which no runtime takes for integers.
    if quantised:
        # Nor does it write what no output depends on.
        left_out = unread(model, given.by_name or given.by_position, list(layers))
        add_quantisers_(written, layers, left_out)
    written.producer_name = "rankfold"
    save_onnx(path, written)


def _check_single_precision(layers: Mapping[str, QuantLayer]) -> None:
    """Refuse quantised layers whose values Clip and QuantizeLinear of one graph could not both take."""
    for name, layer in layers.items():
        dtype = layer.weight.dtype
        if dtype is not torch.float32:
            raise InputError(
                f"layer {name} computes in {str(dtype).removeprefix('torch.')}, and ONNX's quantisers take "
                "float32; write network.float(), or the network without quantisers (quantised=False)"
            )


@dataclass(frozen=True)
class _Inputs:
    """What a network is called with: all by position, or all by name."""

    by_position: tuple[Any, ...] = ()
    by_name: dict[str, Any] | None = None

    def open_sizes(self, model: nn.Module) -> Any:
        """Which sizes may differ from call to call, as torch.export is told: the first one of every
        tensor."""
        if self.by_name is not None:
            return {name: _batch(value) for name, value in self.by_name.items()}
        sizes = tuple(_batch(value) for value in self.by_position)
        # To torch.export all inputs of a `forward(*inputs)` are one.
        kinds = {parameter.kind for parameter in signature(model.forward).parameters.values()}
        return (sizes,) if Parameter.VAR_POSITIONAL in kinds else sizes

    def names(self, model: nn.Module) -> list[str] | None:
        """The names of inputs in the file; None: those that the network's `forward` gives them."""
        # A network that was read from a file keeps the names that it has there.
        if isinstance(model, OnnxGraph):
            return list(model.input_names)
        # Files of networks with one input have always called it so.
        if len(self.by_position) == 1:
            return ["input"]
        return None


def _batch(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {0: torch.export.Dim("batch", max=LARGEST_BATCH)}
    return None


def _inputs(model: nn.Module, example: Example) -> _Inputs:
    """The inputs that an example stands for, on the device of the network.

    Raises:
        InputError: it is none of what an example can be.
    """
    first = next(model.parameters(), torch.zeros(()))
    if isinstance(example, Mapping) and isinstance(model, OnnxGraph):
        # Its `forward` takes any names, so that torch's exporter knows none of them.
        if example.keys() != set(model.input_names):
            raise InputError(
                f"the example has {', '.join(example)}, and the network takes {', '.join(model.input_names)}"
            )
        return _Inputs(tuple(_as_batch(example[name], first) for name in model.input_names))
    if isinstance(example, Mapping):
        return _Inputs(by_name={name: _as_batch(value, first) for name, value in example.items()})
    if isinstance(example, Tensor):
        return _Inputs((_as_batch(example, first),))
    if isinstance(example, (tuple, list)):
        if len(example) == 3 and all(isinstance(size, int) for size in example):
            # A batch of one would be taken for fixed.
            return _Inputs((torch.zeros(2, *example, device=first.device, dtype=first.dtype),))
        if any(isinstance(value, Tensor) for value in example):
            return _Inputs(tuple(_as_batch(value, first) for value in example))
    raise InputError(
        f"the example is a {type(example).__name__}; give the (C, H, W) of images, a batch, or several "
        "inputs by position or by name"
    )


def _as_batch(value: Any, first: Tensor) -> Any:
    """A tensor of two samples or more, on the device of `first`; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    if value.ndim and len(value) == 1:
        # A batch of one would be taken for fixed.
        value = torch.cat((value, value))
    return value.to(first.device)


def _exported(model: nn.Module, inputs: _Inputs) -> Any:
    """The float network as torch's exporter writes it.

    It is not optimised, so that every layer has its weight under its own name.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "writing ONNX files needs the package onnxscript, which is not installed: "
            "pip install 'rankfold[onnx]'"
        ) from None
    try:
        plain = _plain_float(model).eval()
        outputs = ["logits"]
        if isinstance(model, OnnxGraph):
            outputs = list(model.output_names)
        with torch.no_grad(), quiet_torch():
            program = torch.onnx.export(
                plain,
                inputs.by_position,
                kwargs=inputs.by_name,
                input_names=inputs.names(model),
                output_names=outputs,
                dynamic_shapes=inputs.open_sizes(model),
                opset_version=OPSET,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # whatever the user's network makes the exporter raise
        raise InputError(f"torch cannot export the network to ONNX: {why_not(error)}") from error
    assert program is not None  # without a file name it returns the program
    return program.model_proto


def _plainly_cast(model: Any) -> Any:
    """The exported network with constants of the type that they are cast to like others.

    onnxruntime says of each, whenever it reads the file, that it cannot do so beforehand.
    """
    # Inference copies the model, which no message above two gigabytes can be.
    if model.ByteSize() > LARGEST_FILE:
        return model
    return with_plain_casts(OnnxFile(Path("network.onnx"), model, OPSET)).model


def _plain_float(model: nn.Module) -> nn.Module:
    """A copy without quantisers and masks: the file then has one tensor a layer, and multiplies none by a
    mask."""
    # On a copy: the quantisers of the network itself keep what they have learned.
    plain = copy.deepcopy(model)
    replaced: dict[nn.Module, nn.Module] = {}
    for module in plain.modules():
        if isinstance(module, QuantLayer):
            replaced[module] = module.to_float()
        elif isinstance(module, MaskedConv2d):
            replaced[module] = module.to_dense()
    swap_(plain, replaced)
    return plain
