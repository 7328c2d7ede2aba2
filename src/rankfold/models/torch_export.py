"""Networks saved by `torch.export` (.pt2), as modules whose layers can be replaced and trained."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from rankfold.errors import InputError, first_line
from rankfold.models.torch_export_check import checked_archive

SUFFIX = ".pt2"


def load_exported(path: str | Path) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Read a `torch.export` file; nothing in it is unpickled, and no text in it is run as code.

    Its convolutions and linear layers become `nn.Conv2d` and `nn.Linear` modules of the names they had, so
    that they can be replaced. Batch norm and dropout stay in the mode in which they were exported.

    Returns:
        The network, and the example inputs it was exported with, by position and by keyword.

    Raises:
        InputError: the file is missing, damaged, of another version of torch, holds pickled objects,
            compiled code, operators that do more than compute, or names that are none, or unpacks to far
            more than its size.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"cannot read {source}: no such file; give a file saved with torch.export.save")
    archive = checked_archive(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notices of torch's own about its format
            program = torch.export.load(archive)
            module = _without_guards(program)
    except Exception as error:  # a damaged or foreign file raises anything
        raise InputError(
            f"{source} cannot be read as a torch.export file by torch {torch.__version__}: "
            f"{first_line(error)}"
        ) from error
    graph_module = fx.GraphModule(module, module.graph)
    # It puts positional and keyword inputs where the exported network had them.
    graph_module.graph.set_codegen(module.graph._codegen)
    _name_layers(graph_module)
    positional, keywords = program.example_inputs or ((), {})
    return graph_module, tuple(positional), dict(keywords)


def _without_guards(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The program as a module that takes batches of other sizes than the example's."""
    options: dict[str, Any] = {}
    # Older versions of torch have no guards, and no such option.
    if "check_guards" in inspect.signature(program.module).parameters:
        options["check_guards"] = False
    return program.module(**options)


def _name_layers(module: fx.GraphModule) -> None:
    """Put modules in the place of function calls whose weight no other call uses."""
    operators = torch.ops.aten
    calls: dict[Any, Callable[..., nn.Module]] = {
        operators.conv2d.default: _conv,
        operators.conv2d.padding: _conv,
        operators.conv_transpose2d.input: _transposed,
        operators.linear.default: _linear,
    }
    # A list, as nodes come and go meanwhile.
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in calls:
            _name_layer(module, node, calls[node.target])
    module.recompile()


def _name_layer(
    module: fx.GraphModule,
    node: fx.Node,
    make: Callable[..., nn.Module],
) -> None:
    """Put a module in the place of a call F(x, weight, bias, *options), if it can have its name."""
    # Trailing arguments that have their default are left out.
    given: list[Any] = list(node.args)
    given += [None] * (3 - len(given))
    x, weight, bias, *options = given
    path = _owner(module, weight, bias)
    if path is None:
        return
    bias_value = None
    if bias is not None:
        bias_value = _attribute(module, bias.target)
    layer = make(_attribute(module, weight.target), bias_value, *options)
    module.add_submodule(path, layer)
    graph = module.graph
    with graph.inserting_before(node):
        node.replace_all_uses_with(graph.call_module(path, (x,)))
    graph.erase_node(node)
    # The parameters now belong to the module, and nothing reads them from the graph.
    for entry in (weight, bias):
        if entry is not None and not entry.users:
            graph.erase_node(entry)


def _owner(
    module: fx.GraphModule,
    weight: Any,
    bias: Any,
) -> str | None:
    """The path of the module that a weight and its bias made up; None if more is in it or reads them."""
    if not _is_read_once(weight) or not weight.target.endswith(".weight"):
        return None
    path: str = weight.target.removesuffix(".weight")
    if not isinstance(_attribute(module, weight.target), nn.Parameter):
        return None
    if bias is not None and not (_is_read_once(bias) and bias.target == f"{path}.bias"):
        return None
    # Putting a layer there would take away whatever else lies there.
    holder: Any = module.get_submodule(path)
    if not set(holder._parameters) <= {"weight", "bias"}:
        return None
    if holder._buffers or holder._modules:
        return None
    return path


def _is_read_once(node: Any) -> bool:
    """Whether a node stands for an attribute that one call uses."""
    return isinstance(node, fx.Node) and node.op == "get_attr" and len(node.users) == 1


def _conv(
    weight: nn.Parameter,
    bias: nn.Parameter | None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> nn.Conv2d:
    """The module of a call of `aten.conv2d`, whose arguments these are."""
    out_channels, channels_per_group, *kernel = weight.shape
    # On the meta device nothing is drawn or allocated for weights that are replaced at once.
    conv = nn.Conv2d(
        channels_per_group * groups,
        out_channels,
        kernel_size=(kernel[0], kernel[1]),
        stride=_pair(stride),
        padding=_pair(padding),
        dilation=_pair(dilation),
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    conv.weight = weight
    conv.register_parameter("bias", bias)
    return conv


def _transposed(weight: nn.Parameter, bias: nn.Parameter | None, *options: Any) -> nn.ConvTranspose2d:
    """The module of a call of `aten.conv_transpose2d`, whose arguments these are."""
    defaults: tuple[Any, ...] = ((1, 1), (0, 0), (0, 0), 1, (1, 1))
    stride, padding, output_padding, groups, dilation = (*options, *defaults[len(options) :])
    in_channels, channels_per_group, *kernel = weight.shape
    conv = nn.ConvTranspose2d(
        in_channels,
        channels_per_group * groups,
        kernel_size=(kernel[0], kernel[1]),
        stride=_pair(stride),
        padding=_pair(padding),
        output_padding=_pair(output_padding),
        groups=groups,
        bias=bias is not None,
        dilation=_pair(dilation),
        device="meta",
    )
    conv.weight = weight
    conv.register_parameter("bias", bias)
    return conv


def _linear(weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Linear:
    """The module of a call of `aten.linear`."""
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias is not None, device="meta")
    linear.weight = weight
    linear.register_parameter("bias", bias)
    return linear


def _pair(value: Any) -> Any:
    """One number for both directions, or two, as two; a text such as 'same' as it is."""
    if isinstance(value, str):
        return value
    return value[0], value[-1]


def _attribute(module: nn.Module, path: str) -> Tensor | None:
    owner, _, name = path.rpartition(".")
    value: Tensor | None = getattr(module.get_submodule(owner), name, None)
    return value
