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

    Its convolutions and linear layers become `nn.Conv2d` and `nn.Linear` modules of the names they had, so that they can be
    replaced. Batch norm and dropout stay in the mode in which they were exported.

    Returns:
        The network, and the example inputs it was exported with, by position and by keyword.

    Raises:
        InputError: the file is missing, damaged, of another version of torch, holds pickled objects, compiled
            code, operators that do more than compute, or names that are none, or unpacks to far more than its size.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"cannot read {source}: no such file; give a file saved with torch.export.save")
    archive = checked_archive(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notices of torch's own about its format
            program = torch.export.load(archive)
            # Guards would refuse batches of other sizes than the example's; older versions of torch have none.
            known = inspect.signature(program.module).parameters
            module = program.module(**({"check_guards": False} if "check_guards" in known else {}))
    except Exception as error:  # a damaged or foreign file raises anything
        raise InputError(
            f"{source} cannot be read as a torch.export file by torch {torch.__version__}: {first_line(error)}"
        ) from error
    graph_module = fx.GraphModule(module, module.graph)
    graph_module.graph.set_codegen(module.graph._codegen)
    _name_layers(graph_module)
    positional, keywords = program.example_inputs or ((), {})
    return graph_module, tuple(positional), dict(keywords)


def _name_layers(module: fx.GraphModule) -> None:
    """Put modules in the place of function calls whose weight no other call uses."""
    graph = module.graph
    calls: dict[Any, Callable[..., nn.Module]] = {
        torch.ops.aten.conv2d.default: _conv, torch.ops.aten.conv2d.padding: _conv, torch.ops.aten.linear.default: _linear,
    }  # fmt: skip
    for node in list(graph.nodes):
        make = calls.get(node.target) if node.op == "call_function" else None
        if make is None:
            continue
        given: list[Any] = list(node.args)
        x, weight, bias, *options = given + [None] * (3 - len(given))
        path = _owner(module, weight, bias)
        if path is None:
            continue
        tensors = [None if entry is None else _attribute(module, entry.target) for entry in (weight, bias)]
        module.add_submodule(path, make(*tensors, *options))
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.call_module(path, (x,)))
        graph.erase_node(node)
        for entry in (weight, bias):
            if entry is not None and not entry.users:
                graph.erase_node(entry)
    module.recompile()


def _owner(module: fx.GraphModule, weight: Any, bias: Any) -> str | None:
    """The path of the module that a weight and its bias made up, if nothing else was in it and nothing else reads them."""
    target = str(weight.target) if isinstance(weight, fx.Node) and weight.op == "get_attr" else ""
    if not target.endswith(".weight"):
        return None
    path = target.removesuffix(".weight")
    if len(weight.users) > 1 or not isinstance(_attribute(module, target), nn.Parameter):
        return None
    if bias is not None and not (isinstance(bias, fx.Node) and bias.target == f"{path}.bias" and len(bias.users) == 1):
        return None
    holder: Any = module.get_submodule(path)
    alone = set(holder._parameters) <= {"weight", "bias"} and not holder._buffers and not holder._modules
    return path if alone else None


def _conv(
    weight: nn.Parameter, bias: nn.Parameter | None, stride: Any = (1, 1), padding: Any = (0, 0), dilation: Any = (1, 1),
    groups: int = 1,
) -> nn.Conv2d:  # fmt: skip
    window = {"stride": stride, "padding": padding, "dilation": dilation}
    pairs: dict[str, Any] = {
        key: value if isinstance(value, str) else tuple(value) * (2 // len(value)) for key, value in window.items()
    }
    kernel = int(weight.shape[2]), int(weight.shape[3])
    conv = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], kernel, groups=groups, bias=bias is not None, device="meta", **pairs
    )
    conv.weight = weight
    conv.register_parameter("bias", bias)
    return conv


def _linear(weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = weight
    linear.register_parameter("bias", bias)
    return linear


def _attribute(module: nn.Module, path: str) -> Tensor | None:
    owner, _, name = path.rpartition(".")
    found: Tensor | None = getattr(module.get_submodule(owner), name, None)
    return found
